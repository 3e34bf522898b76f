"""Who asks for decisions: a registered proxy, by its socket, its TLS certificate, or its secret. There is no anonymous caller."""

import hashlib
from typing import Final

from watchword_server.core.audit import Action, Actor, Target
from watchword_server.core.rules import Caller
from watchword_server.core.snapshot import RuleSnapshot
from watchword_server.errors import CallerRefusedError
from watchword_server.peer import Peer
from watchword_server.services.auditing import Auditing

SECRET_HEADER: Final = "x-watchword-caller-secret"  # noqa: S105 - a name of a header


def note_refused_caller(auditing: Auditing, peer: Peer, door: str) -> None:
    """Records that nobody we know asked for a decision."""
    actor = Actor("nobody", address=peer.address)
    auditing.notice(Action.AUTHENTICATION_FAILED, actor, Target("decisions", door), reason=CallerRefusedError.code)


def authenticate_caller(peer: Peer, snapshot: RuleSnapshot) -> Caller:
    """The caller, by the one means its entry names. Raises `CallerRefusedError`."""
    if peer.socket_name is not None:
        caller = snapshot.caller_by_name.get(peer.socket_name)
        if caller is not None and caller.unix_socket:
            return caller
        raise CallerRefusedError(f"the socket of `{peer.socket_name}` belongs to no caller")
    for name in peer.subject_alternative_names:
        caller = snapshot.caller_by_subject_alternative_name.get(name)
        if caller is not None:
            return caller
    secrets = peer.metadata.get(SECRET_HEADER, ())
    if len(secrets) == 1:
        # Looked up by digest: no comparison runs over the secret itself.
        caller = snapshot.caller_by_secret.get(hashlib.sha256(secrets[0].encode()).digest())
        if caller is not None:
            return caller
    raise CallerRefusedError(f"no registered caller at {peer.address}")

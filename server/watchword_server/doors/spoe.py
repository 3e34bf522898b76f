"""HAProxy's contract: one message `watchword` over SPOP, with fixed arguments; variables of the transaction come back.

Arguments: `method`, `scheme`, `host` and `target`, required; `secret`; with the caller's entry's permission `source` (the
client's address), `certificate` (DER), `identity` and `facts`; of the client itself `client_id` and `client_secret` (a service
token), `device_token` and `device_proof`, and `accept`. Of the variables only `allow`, where it is true, lets a request pass:
HAProxy has to deny whatever comes back without it.
"""

import ipaddress
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import structlog

from watchword_server import events
from watchword_server.adapters.metrics import Metrics
from watchword_server.core.answer_headers import REASON
from watchword_server.core.model.decisions import AccessRequest
from watchword_server.core.rules import Caller
from watchword_server.doors.callers import SECRET_HEADER, authenticate_caller, note_refused_caller
from watchword_server.doors.denials import told_to_the_client
from watchword_server.doors.requests import access_request, as_headers, presented_der
from watchword_server.errors import CallerRefusedError, RequestMalformedError, WatchwordError
from watchword_server.peer import Peer
from watchword_server.services.auditing import Auditing
from watchword_server.services.decisions import Decisions
from watchword_server.services.resolving import Presented
from watchword_server.services.rules_in_force import RulesInForce

_log = structlog.get_logger(__name__)

NAME: Final = "spoe"
MESSAGE: Final = "watchword"
Variables = Mapping[str, str | int | bool]
_PREFIX: Final = "x-watchword-"
_TEXTS: Final = frozenset({
    "method", "scheme", "host", "target", "secret", "identity", "facts", "client_id", "client_secret", "device_token",
    "device_proof", "accept",
})  # fmt: skip
_KNOWN: Final = _TEXTS | {"source", "certificate"}


@dataclass(frozen=True, slots=True)
class SpoeDoor:
    """Translates a message, asks, and translates the answer."""

    decisions: Decisions
    rules: RulesInForce
    metrics: Metrics
    auditing: Auditing

    async def answer(self, message: str, arguments: Mapping[str, object], peer: Peer) -> Variables:
        """The variables to set; never raises."""
        started = time.perf_counter()
        accept = arguments.get("accept")
        accepted = (accept,) if isinstance(accept, str) else ()
        try:
            said = _texts(message, arguments)
            peer = replace(peer, metadata={SECRET_HEADER: (said["secret"],)} if said["secret"] else {})
            caller = authenticate_caller(peer, self.rules.current)
            asked, shown = _read(said, arguments, caller)
        except WatchwordError as error:
            _log.warning(events.CALLER_REFUSED, door=NAME, peer=peer.address, code=error.code, detail=str(error))
            self.metrics.decisions.labels(NAME, "deny", error.code).inc()
            if isinstance(error, CallerRefusedError):
                note_refused_caller(self.auditing, peer, NAME)
                return {}  # nothing is set, so HAProxy says that there was no decision
            return _denied({REASON: error.code}, {"decision": "deny", "reason": error.code}, accepted)
        answer = await self.decisions.answer(asked, shown, caller=caller)
        self.metrics.decisions.labels(NAME, answer.decision.outcome.value, answer.decision.reason).inc()
        self.metrics.decision_seconds.labels(NAME).observe(time.perf_counter() - started)
        if answer.decision.allowed:
            return {**_variables(answer.headers), "allow": True}
        return _denied(answer.headers, answer.body, accepted)


def _texts(message: str, arguments: Mapping[str, object]) -> Mapping[str, str]:
    """Every argument that is a text, empty where it is not there. Raises `RequestMalformedError`."""
    if message != MESSAGE:
        raise RequestMalformedError(f"the message is not named `{MESSAGE}`")
    if unknown := sorted(arguments.keys() - _KNOWN):
        raise RequestMalformedError(f"`{unknown[0][:64]}` is no argument of the message")
    said = {}
    for name in _TEXTS:
        value = arguments.get(name)
        if value is not None and not isinstance(value, str):
            raise RequestMalformedError(f"the argument `{name}` is not a text")
        said[name] = value or ""
    return said


def _read(said: Mapping[str, str], arguments: Mapping[str, object], caller: Caller) -> tuple[AccessRequest, Presented]:
    source, certificate = arguments.get("source"), arguments.get("certificate")
    if source is not None and not isinstance(source, ipaddress.IPv4Address | ipaddress.IPv6Address):
        raise RequestMalformedError("the argument `source` is not an address")
    if certificate is not None and not isinstance(certificate, bytes):
        raise RequestMalformedError("the argument `certificate` is not binary")
    if said["scheme"] not in ("http", "https"):
        raise RequestMalformedError("the argument `scheme` is neither http nor https")
    headers = as_headers(
        caller,
        identity=said["identity"],
        facts=said["facts"],
        client_id=said["client_id"],
        client_secret=said["client_secret"],
        device_token=said["device_token"],
        device_proof=said["device_proof"],
    )
    asked = access_request(
        caller=caller,
        method=said["method"],
        scheme=said["scheme"],
        host=said["host"],
        target=said["target"],
        address=None if source is None else str(source),
        headers=headers,
    )
    return asked, presented_der(caller, certificate or b"", headers)


def _denied(headers: Mapping[str, str], body: Mapping[str, object], accept: tuple[str, ...]) -> Variables:
    content_type, content = told_to_the_client(body, accept=accept)
    return {
        **_variables(headers),
        "allow": False,
        "content_type": content_type,
        "body": content.decode().strip().replace("\n", " "),  # HAProxy would escape the ends of lines
    }


def _variables(headers: Mapping[str, str]) -> dict[str, str | int | bool]:
    """Each header of ours as a variable: `x-watchword-decision-id` is `decision_id`."""
    return {name.removeprefix(_PREFIX).replace("-", "_"): value for name, value in headers.items()}

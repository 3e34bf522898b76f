"""Who may ask: by the one means its entry names, and by no other. There is no anonymous caller."""

import datetime as dt
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from doors.stage import MESH_SAN, MUTE_SECRET, SECRET_HEADER, Ask, Stage, check_request, nginx_peer
from services.world import SECRET
from support.pki import DAY, HOUR, generate_key, root_authority
from watchword_server.core.model.decisions import Resolution, ResolvedDevice
from watchword_server.core.rules import Caller, Link
from watchword_server.errors import CallerRefusedError
from watchword_server.peer import OPERATORS_SOCKET, Peer
from watchword_server.services.resolving import Presented


def peer(ask: Ask, *, socket_name: str | None = None, names: tuple[str, ...] = ()) -> Peer:
    """The proxy, as a transport knows it."""
    return Peer("127.0.0.1", names, socket_name, nginx_peer(ask).metadata)


def who(stage: Stage, from_peer: Peer, ask: Ask) -> str | None:
    """As whom both doors hear this peer; None: as nobody."""
    nginx = stage.nginx(ask, peer=from_peer)
    if nginx.reason == "caller_refused":
        assert nginx.status == 401
        with pytest.raises(CallerRefusedError):
            stage.check(check_request(ask), from_peer)
        return None
    envoy = stage.check(check_request(ask), from_peer)
    callers = {str(stage.record(told)["caller"]) for told in (envoy, nginx)}
    (caller,) = callers
    return caller


@pytest.mark.parametrize(("secret", "caller"), [(SECRET, "edge"), (MUTE_SECRET, "mute")])
def test_a_secret_names_its_caller(stage: Stage, secret: str, caller: str) -> None:
    ask = Ask(secrets=(secret,))
    assert who(stage, peer(ask), ask) == caller


def test_a_socket_names_its_caller_whatever_secret_is_said_there(stage: Stage) -> None:
    for secrets in ((), (SECRET,), (MUTE_SECRET,), ("wrong",), (SECRET, SECRET)):
        ask = Ask(secrets=secrets)
        assert who(stage, peer(ask, socket_name="local"), ask) == "local"


@pytest.mark.parametrize("name", ["edge", "mute", "mesh", "nobody", "", OPERATORS_SOCKET])
def test_a_socket_of_no_caller_that_uses_one_is_nobodys_whatever_secret_is_said_there(stage: Stage, name: str) -> None:
    """Were the secret to count there, whoever may open one proxy's socket could be another."""
    ask = Ask(secrets=(SECRET,))
    assert who(stage, peer(ask, socket_name=name), ask) is None


def test_a_certificate_names_its_caller(stage: Stage) -> None:
    ask = Ask(secrets=())
    assert who(stage, peer(ask, names=(MESH_SAN,)), ask) == "mesh"
    assert who(stage, peer(ask, names=("spiffe://corp.example/other", MESH_SAN)), ask) == "mesh"


@pytest.mark.parametrize("name", [MESH_SAN.upper(), MESH_SAN + "/", MESH_SAN[:-1], "mesh", "edge", ""])
def test_another_certificate_names_nobody(stage: Stage, name: str) -> None:
    ask = Ask(secrets=())
    assert who(stage, peer(ask, names=(name,)), ask) is None


def test_a_caller_with_a_certificate_or_a_socket_has_no_secret(stage: Stage) -> None:
    """Neither its name nor nothing at all is one."""
    for secret in ("mesh", "local", MESH_SAN, ""):
        ask = Ask(secrets=(secret,))
        assert who(stage, peer(ask), ask) is None


def test_a_certificate_counts_only_from_a_caller_that_may_assert_one_whatever_its_resolvers(stage: Stage) -> None:
    """Rules that say otherwise are refused when they are applied; this is the second lock on that door."""
    snapshot = stage.world.house.rules.in_force.current
    resolver, now = stage.world.house.ext_authz.decisions.resolver, stage.world.house.clock.now()
    edge = snapshot.caller_by_name["edge"]
    presented = Presented(certificate_der=stage.credential.der)
    for may_assert, outcome in ((edge.may_assert, Resolution.FOUND), (frozenset(), Resolution.ABSENT)):
        caller = replace(edge, may_assert=may_assert)
        resolved = stage.run(resolver.resolve(presented, caller=caller, snapshot=snapshot, now=now))
        assert resolved.outcome is outcome


@pytest.mark.parametrize("resolvers", [{Link.CLIENT_CERTIFICATE}, set()])
def test_a_certificate_is_verified_wherever_it_may_be_asserted_also_where_it_finds_no_device(
    stage: Stage, resolvers: set[Link]
) -> None:
    """Rules ask about the certificate itself as well: a wrong one must not pass for none."""
    snapshot = stage.world.house.rules.in_force.current
    resolver, now = stage.world.house.ext_authz.decisions.resolver, stage.world.house.clock.now()
    edge = replace(snapshot.caller_by_name["edge"], resolvers=frozenset(resolvers))

    def resolved(presented: Presented, caller: Caller = edge) -> ResolvedDevice:
        return stage.run(resolver.resolve(presented, caller=caller, snapshot=snapshot, now=now))

    for _ in range(2):  # the second time from memory
        shown = resolved(Presented(certificate_der=stage.credential.der))
        assert (shown.outcome is Resolution.FOUND) == bool(resolvers)
        assert (shown.certificate_possible, shown.common_name) == (True, "laptop-1.corp.example")
        assert shown.certificate is not None
    nothing = resolved(Presented())
    assert (nothing.outcome, nothing.certificate_possible, nothing.common_name) == (Resolution.ABSENT, True, None)
    stranger = root_authority("Somebody Else's CA").issue()
    for wrong in (Presented(unreadable=True), Presented(certificate_der=stranger.der)):
        assert resolved(wrong).outcome is Resolution.INVALID
        assert resolved(wrong).certificate_possible
        silent = resolved(wrong, replace(edge, may_assert=frozenset(), resolvers=frozenset()))
        assert (silent.outcome, silent.certificate_possible, silent.certificate) == (Resolution.ABSENT, False, None)


@pytest.mark.parametrize("names", [(), ("only",), ("first", "last")])
def test_of_several_common_names_the_last_counts(stage: Stage, names: tuple[str, ...]) -> None:
    """RFC 5280 writes a name from the root down: the last is the most specific."""
    snapshot = stage.world.house.rules.in_force.current
    resolver, now = stage.world.house.ext_authz.decisions.resolver, stage.world.house.clock.now()
    presented = Presented(certificate_der=_named(stage, names))
    caller = snapshot.caller_by_name["edge"]
    resolved = stage.run(resolver.resolve(presented, caller=caller, snapshot=snapshot, now=now))
    assert (resolved.reason, resolved.common_name) == ("unknown_device", names[-1] if names else None)


def _named(stage: Stage, names: tuple[str, ...]) -> bytes:
    """A client certificate with these common names in its subject."""
    issuing, now = stage.pki.issuing.credential, dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names]))
        .issuer_name(issuing.certificate.subject)
        .public_key(generate_key().public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - HOUR)
        .not_valid_after(now + DAY)
    )
    return builder.sign(issuing.key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_a_refused_caller_is_counted_and_told_nothing_more(stage: Stage) -> None:
    told = stage.nginx(Ask(stage.credential, secrets=("wrong",)))
    assert told.headers.keys() == {"x-watchword-reason", "content-type", "cache-control"}
    counted = stage.world.house.ext_authz.metrics.callers_refused.labels("ext_authz_grpc")
    before = counted._value.get()
    with pytest.raises(CallerRefusedError) as refusal:
        stage.envoy(Ask(stage.credential, secrets=("wrong",)))
    assert counted._value.get() == before + 1
    assert "wrong" not in str(refusal.value)


def test_a_caller_that_is_removed_is_refused_at_once(stage: Stage) -> None:
    ask = Ask(secrets=(MUTE_SECRET,))
    rules = stage.world.rules
    without = {**rules, "callers": [caller for caller in rules["callers"] if caller["name"] != "mute"]}
    stage.run(stage.world.apply(without, prune=True))
    assert who(stage, peer(ask), ask) is None
    stage.run(stage.world.apply(rules))
    assert who(stage, peer(ask), ask) == "mute"


def test_the_secret_is_never_in_what_is_kept_of_a_decision(stage: Stage) -> None:
    told = stage.envoy(Ask(stage.credential, headers=((SECRET_HEADER, SECRET),)))
    assert SECRET not in str(stage.record(told))
    assert SECRET not in str(told)

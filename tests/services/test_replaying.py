"""A line of the decision log is enough to decide again: what is read from it decides the same, under the same rules."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.values import NOW, a_device
from watchword_server.core.decide import decide
from watchword_server.core.evaluations import evaluation_of
from watchword_server.core.facts import COUNTRY, REPORTABLE
from watchword_server.core.language.gateway import MEMBERS
from watchword_server.core.language.types import BOOL, BYTES, INT, IP, ArrayOf, MapOf, Type
from watchword_server.core.model.checks import Check, ClientCertificateConfig, OnClone, Trust
from watchword_server.core.model.decisions import (
    AccessRequest,
    Decision,
    Identity,
    Resolution,
    ResolutionStrength,
    ResolvedDevice,
    Value,
)
from watchword_server.core.model.devices import DeviceState
from watchword_server.core.model.names import CertificateId, CheckId, DeviceId, Fingerprint, Instant
from watchword_server.core.model.results import DevicePosture, EvidenceLevel, PostureResult
from watchword_server.core.rules import (
    EMPTY_RULE_SET,
    AnyClientCertificate,
    Application,
    CommonNameIs,
    Conditions,
    Destination,
    EmailIs,
    EvidenceDemand,
    FactIs,
    GatewayAction,
    GatewayFilter,
    GatewayRule,
    IpIn,
    Policy,
    PolicyDecision,
    PostureCheckPassed,
    Selector,
    ServiceToken,
    ServiceTokenIs,
)
from watchword_server.core.snapshot import RuleSnapshot, compile_rules
from watchword_server.services.recording import Recent, decision_record, exact_instant, exact_text
from watchword_server.services.replaying import RecordUnreadableError, replayed

HOST: Final = "wiki.corp.example"
CHECKS: Final = tuple(CheckId(f"00000000-0000-4000-8000-00000000000{number}") for number in range(3))
CONFIG: Final = ClientCertificateConfig(CertificateId("ca"), None, (), (), True, (), (), Trust.ISSUER, OnClone.FAIL, False)
TOKEN: Final = ServiceToken("token-1", "backup", "id.access", bytes(32), None)

# ---- A set of rules that looks at everything ---------------------------------------------------------------------------

SELECTORS: Final[tuple[Selector, ...]] = (
    EmailIs("ada@corp.example"),
    IpIn(ip_network("192.0.2.0/24")),
    ServiceTokenIs(TOKEN.id),
    AnyClientCertificate(),
    CommonNameIs("laptop-1"),
    FactIs("geo", COUNTRY, frozenset({b"PT"})),
    PostureCheckPassed(CHECKS[0]),
    PostureCheckPassed(CHECKS[1], EvidenceDemand(EvidenceLevel.PROVEN, 60.0)),
    PostureCheckPassed(CHECKS[2], EvidenceDemand(None, 600.0)),
)


def snapshot() -> RuleSnapshot:
    """A policy for each selector that denies in its favour under a path of its own, one that grants, and Gateway rules."""
    policies = {
        f"policy-{number}": Policy(
            f"policy-{number}",
            f"policy-{number}",
            PolicyDecision.NON_IDENTITY if isinstance(selector, ServiceTokenIs) else PolicyDecision.ALLOW,
            Conditions((selector,)),
            report_only=number % 4 == 3,
        )
        for number, selector in enumerate(SELECTORS)
    }
    applications = tuple(
        Application(f"app-{number}", f"app-{number}", (Destination(HOST, f"/{number}"),), tuple(names))
        for number, names in enumerate([[name] for name in policies] + [list(policies)])
    )
    gateway = GatewayRule(
        "gateway-1",
        "no-search-for-secrets",
        10,
        GatewayFilter.HTTP,
        GatewayAction.BLOCK,
        traffic='http.request.uri.query contains "secret"',
    )
    network = GatewayRule("gateway-2", "no-odd-ports", 20, GatewayFilter.L4, GatewayAction.BLOCK, traffic="net.dst.port == 8443")
    checks = {
        check_id: Check(check_id, f"check {check_id[-1]}", 1, "client_certificate_v2", frozenset(), 300, 900, CONFIG)
        for check_id in CHECKS
    }
    return compile_rules(
        replace(
            EMPTY_RULE_SET,
            revision=7,
            checks=checks,
            policies=policies,
            applications=applications,
            gateway_rules=(gateway, network),
            service_tokens={TOKEN.id: TOKEN},
        )
    )


SNAPSHOT: Final = snapshot()

# ---- Requests and devices ----------------------------------------------------------------------------------------------


def values(kind: Type) -> st.SearchStrategy[Any]:
    """Values of a type, as expressions read them."""
    match kind:
        case ArrayOf(element):
            return st.lists(values(element), max_size=2).map(tuple)
        case MapOf(element):
            return st.dictionaries(st.text(max_size=4).map(str.encode), values(element), max_size=2)
        case _ if kind is BYTES:
            return st.text(max_size=4).map(str.encode) | st.binary(max_size=4)
        case _ if kind is IP:
            return st.ip_addresses().map(lambda address: (address.version, int(address)))
        case _ if kind is INT:
            return st.integers(-(2**63), 2**63 - 1)
        case _:
            assert kind is BOOL
            return st.booleans()


def _fact(name: str) -> st.SearchStrategy[tuple[str, Value]]:
    if name in MEMBERS:
        records = st.dictionaries(st.sampled_from(sorted(MEMBERS[name])).map(str.encode), values(BYTES), max_size=2)
        return st.tuples(st.just(name), st.lists(records, max_size=2).map(tuple))
    return st.tuples(st.just(name), values(REPORTABLE[name]))


facts = st.lists(st.one_of(st.just((COUNTRY, b"PT")), st.sampled_from(sorted(REPORTABLE)).flatmap(_fact)), max_size=3).map(dict)
words = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="?#\\"), max_size=6)
requests = st.builds(
    AccessRequest,
    method=st.sampled_from(["GET", "POST"]),
    scheme=st.sampled_from(["http", "https"]),
    host=st.sampled_from([HOST, HOST, HOST, "other.example"]),
    path=st.integers(0, len(SELECTORS)).flatmap(lambda number: st.sampled_from([f"/{number}", f"/{number}/a", f"/x/../{number}"]))
    | words.map(lambda word: f"/{word}"),
    query=st.sampled_from(["", "q=1", "q=secret"]),
    source_ip=st.sampled_from([None, ip_address("192.0.2.1"), ip_address("2001:db8::1")]),
    identity=st.sampled_from([None, Identity("ada@corp.example"), Identity("bob@other.example")]),
    caller=st.just("edge"),
    port=st.sampled_from([None, 8443, 0]),
    facts=facts,
    service_token_id=st.sampled_from([None, TOKEN.id]),
    service_token_refused=st.booleans(),
)
# Near each other, so that they are told apart only by the last bits of a float.
instants = st.integers(-40, 40).map(lambda steps: Instant(NOW + steps * math.ulp(NOW))) | st.floats(NOW - 2_000, NOW + 2_000).map(
    Instant
)


def results(check_id: CheckId) -> st.SearchStrategy[PostureResult]:
    return st.builds(
        PostureResult,
        check_id=st.just(check_id),
        check_revision=st.sampled_from([1, 1, 1, 2]),
        passed=st.booleans(),
        reason=st.just("passed"),
        level=st.sampled_from(EvidenceLevel),
        evaluated_at=instants,
        evidence_at=instants,
        expires_at=st.none() | instants,
    )


postures = st.builds(
    lambda state, found: DevicePosture(a_device(state=state), {result.check_id: result for result in found}, revision=3),
    st.sampled_from([DeviceState.ACTIVE, DeviceState.ACTIVE, *DeviceState]),
    st.lists(st.sampled_from([*CHECKS, CheckId("gone")]).flatmap(results), max_size=4),
)
devices = st.builds(
    ResolvedDevice,
    outcome=st.sampled_from([Resolution.FOUND, Resolution.FOUND, *Resolution]),
    reason=st.sampled_from(["found", "no_device", "certificate_cloned"]),
    method=st.sampled_from([None, "client_certificate"]),
    strength=st.sampled_from(ResolutionStrength),
    certificate=st.none() | st.binary(min_size=32, max_size=32).map(Fingerprint),
    posture=st.none() | postures,
    proven=st.booleans(),
    others=st.lists(st.just(DeviceId("dev_2")), max_size=2).map(tuple),
    certificate_possible=st.booleans(),
    common_name=st.sampled_from([None, "laptop-1", "Laptop \u00e9"]),
)


def line(request: AccessRequest, device: ResolvedDevice, *, now: Instant = NOW, with_query: bool = True) -> dict[str, Any]:
    """What the log's file has of the decision, read again."""
    decision = decide(request, device, SNAPSHOT, now=now)
    recent = Recent("dcn_" + "0" * 24, request, decision, SNAPSHOT.rules.revision, SNAPSHOT.rules.checks, TOKEN.name)
    record: dict[str, Any] = json.loads(json.dumps(decision_record(recent, with_query=with_query)))
    return record


def told(decision: Decision) -> tuple[Any, ...]:
    """A decision without what is only for people: the results' expected and received values, the device's key."""
    standings = [(check.check_id, check.name, check.standing) for check in decision.checks]
    return decision.outcome, decision.reason, decision.rules, standings, decision.decided_at, decision.errors, decision.reported


def _request(**fields: Any) -> AccessRequest:
    common: dict[str, Any] = {"method": "GET", "scheme": "https", "host": HOST, "path": "/", "query": "", "caller": "edge"}
    return AccessRequest(**{**common, "source_ip": ip_address("192.0.2.1"), "identity": Identity("ada@corp.example"), **fields})


def _nobody() -> ResolvedDevice:
    return ResolvedDevice(Resolution.ABSENT, "no_device")


def _result(check_id: CheckId) -> PostureResult:
    return PostureResult(check_id, 1, True, "passed", EvidenceLevel.PROVEN, NOW, NOW, None)


# ---- There and back ----------------------------------------------------------------------------------------------------


@settings(max_examples=500, deadline=None)
@given(requests, devices, instants)
def test_what_is_read_from_the_log_decides_the_same_again(request: AccessRequest, device: ResolvedDevice, now: Instant) -> None:
    again, same_device, same_time = replayed(line(request, device, now=now))
    assert again == request
    assert same_time == now
    assert told(decide(again, same_device, SNAPSHOT, now=same_time)) == told(decide(request, device, SNAPSHOT, now=now))
    assert _decisive(same_device) == _decisive(device)


def _decisive(device: ResolvedDevice) -> ResolvedDevice:
    """Without what is not in the log, since no decision depends on it."""
    if device.posture is None:
        return device
    known = replace(device.posture.device, key=a_device().key, epoch=0, enrolled_at=NOW, last_seen_at=None)
    return replace(device, posture=DevicePosture(known, device.posture.results, revision=0))


@settings(max_examples=300, deadline=None)
@given(instants | st.floats(1.0e9, 4.0e9).map(Instant))
def test_a_time_is_read_as_the_very_instant_it_was(instant: Instant) -> None:
    assert exact_instant(exact_text(instant)) == instant


def test_a_time_is_rfc_3339() -> None:
    assert exact_text(Instant(1_790_000_000.25)) == "2026-09-21T14:13:20.250000000Z"


@pytest.mark.parametrize(
    "text", ["", "Z", "2026-09-21T14:13:20Z", "2026-09-21T14:13:20.25Z", "2026-09-21T14:13:20.250000000", "now.250000000Z"]
)
def test_another_form_of_a_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        exact_instant(text)


def test_a_query_is_told_only_where_it_was_asked_for_or_is_empty() -> None:
    request = _request(query="reset=hunter2")
    record = line(request, _nobody(), with_query=False)
    assert "hunter2" not in json.dumps(record)
    assert (record["request"]["query"], record["request"]["query_logged"]) == (None, False)
    assert replayed(record)[0] == replace(request, query="")
    record = line(request, _nobody(), with_query=True)
    assert (record["request"]["query"], record["request"]["query_logged"]) == ("reset=hunter2", True)
    record = line(_request(query=""), _nobody(), with_query=False)
    assert (record["request"]["query"], record["request"]["query_logged"]) == ("", True)


def test_all_results_of_the_device_are_told_asked_about_or_not() -> None:
    gone = CheckId("gone")
    kept = {check_id: _result(check_id) for check_id in (CHECKS[2], gone)}
    device = ResolvedDevice(Resolution.FOUND, "found", posture=DevicePosture(a_device(), kept, 1))
    record = line(_request(path="/nowhere"), device)
    assert record["checks"] == []
    assert record["rules_revision"] == 7
    times = dict.fromkeys(("evidence_at", "evaluated_at"), exact_text(NOW))
    common = {"check_revision": 1, "passed": True, "reason": "passed", "evidence_level": "proven", **times, "expires_at": None}
    assert record["device"]["results"] == [
        {"check_id": CHECKS[2], "check_name": "check 2", **common},
        {"check_id": gone, "check_name": None, **common},
    ]


# ---- What is no decision -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("record", [{}, {"event": "posture_result"}, {"event": None}, {"event": "decision "}])
def test_a_line_that_is_no_decision_is_refused(record: Mapping[str, object]) -> None:
    with pytest.raises(RecordUnreadableError, match="no decision"):
        replayed(record)


def _paths(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    match value:
        case dict():
            return [*([path] if path else []), *(found for key, each in value.items() for found in _paths(each, (*path, key)))]
        case list():
            return [path, *(found for index, each in enumerate(value) for found in _paths(each, (*path, index)))]
        case _:
            return [path]


def _whole() -> dict[str, Any]:
    posture = DevicePosture(a_device(), {CHECKS[0]: _result(CHECKS[0])}, 1)
    device = ResolvedDevice(
        Resolution.FOUND,
        "found",
        method="client_certificate",
        strength=ResolutionStrength.CERTIFICATE,
        certificate=Fingerprint(bytes(32)),
        posture=posture,
        certificate_possible=True,
        common_name="laptop-1",
    )
    return line(_request(path="/nowhere", service_token_id=TOKEN.id, facts={COUNTRY: b"PT"}), device)


NEEDED_ELSEWHERE: Final = {  # for people, or told by something else
    ("id",), ("decision",), ("reason",), ("rules_revision",), ("rules",), ("checks",), ("reported",), ("errors",),
    ("request", "query_logged"), ("request", "service_token", "name"), ("device", "results", 0, "check_name"),
    ("device", "key_protection"),
    ("device", "owner"),
}  # fmt: skip
NEEDED: Final = [path for path in _paths(_whole()) if path not in NEEDED_ELSEWHERE and path != ("request", "facts", COUNTRY)]


@pytest.mark.parametrize("path", NEEDED, ids=lambda path: ".".join(map(str, path)))
def test_a_decision_without_anything_it_needs_or_with_something_else_there_is_refused(path: tuple[str | int, ...]) -> None:
    """A line of an older version is not completed by guesses."""
    *above, last = path
    for wrong in (None, object(), 7.5, [object()], {"x": 1}):
        record = _whole()
        place: Any = record
        for step in above:
            place = place[step]
        if wrong is None:
            if isinstance(last, int):
                continue
            del place[last]
        else:
            place[last] = wrong
        with pytest.raises(RecordUnreadableError):
            replayed(record)


def test_a_fact_that_does_not_exist_any_more_is_refused() -> None:
    record = _whole()
    record["request"]["facts"]["http.src_ip.geo.planet"] = "earth"
    with pytest.raises(RecordUnreadableError, match="planet"):
        replayed(record)


def test_the_message_says_what_is_wrong() -> None:
    record = _whole()
    record["request"]["port"] = "443"
    with pytest.raises(RecordUnreadableError, match=r"`request\.port`"):
        replayed(record)


QUESTION: Final[Mapping[str, Any]] = {
    "subject": {"type": "user", "id": "ada", "properties": {"role": "admin", "owner": {"team": "red"}, "sizes": [1, "x"]}},
    "action": {"name": "read", "properties": {"soft": True}},
    "resource": {"type": "record", "id": "record-1", "properties": {"pages": 7, "tags": ["a", "b"]}},
    "context": {"ticket": "OPS-7"},
}


def test_an_evaluation_is_what_it_was() -> None:
    record = {**_whole(), "evaluation": json.loads(json.dumps(QUESTION))}
    assert replayed(record)[0].evaluation == evaluation_of(QUESTION)


@pytest.mark.parametrize(
    "wrong",
    [
        "alice reads",
        {key: value for key, value in QUESTION.items() if key != "subject"},
        {**QUESTION, "action": {}},
        {**QUESTION, "resource": {"type": "record"}},
        {**QUESTION, "subject": {"type": "user", "id": "ada", "properties": {"a.b": 1, "a": {"b": 2}}}},
    ],
    ids=["text", "no subject", "no name", "no id", "one path twice"],
)
def test_an_evaluation_that_is_not_whole_is_refused(wrong: object) -> None:
    with pytest.raises(RecordUnreadableError):
        replayed({**_whole(), "evaluation": wrong})

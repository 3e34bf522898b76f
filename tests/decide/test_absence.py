"""Absence never widens access: removing, expiring or failing a result never turns a deny into an allow.

Random rule sets in which posture is used positively in allow policies and negatively (by `exclude`) in deny policies.
"""

from dataclasses import replace
from ipaddress import ip_address, ip_network

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from watchword_server.core.access import all_of, any_of, negation
from watchword_server.core.decide import decide
from watchword_server.core.model import (
    AccessRequest,
    CertificateId,
    Check,
    CheckId,
    ClientCertificateConfig,
    Device,
    DeviceId,
    DeviceKey,
    DevicePosture,
    DeviceState,
    EvidenceLevel,
    Identity,
    Instant,
    KeyAlgorithm,
    OnClone,
    Outcome,
    PostureResult,
    Resolution,
    ResolutionStrength,
    ResolvedDevice,
    Trust,
)
from watchword_server.core.rules import (
    EMPTY_RULE_SET,
    Application,
    Conditions,
    EmailDomainIs,
    EmailIs,
    Everyone,
    Group,
    InGroup,
    IpIn,
    Policy,
    PolicyDecision,
    PostureCheckPassed,
    RuleSnapshot,
    Selector,
    compile_rules,
)

NOW = Instant(1_000_000.0)
CHECKS = tuple(CheckId(f"check-{number}") for number in range(3))
HOST = "wiki.corp.example"
CONFIG = ClientCertificateConfig(CertificateId("ca"), None, (), (), True, (), (), Trust.ISSUER, OnClone.FAIL, False)

_facts: list[Selector] = [
    Everyone(),
    EmailIs("ada@corp.example"),
    EmailIs("eve@corp.example"),
    EmailDomainIs("corp.example"),
    EmailDomainIs("other.example"),
    IpIn(ip_network("192.0.2.0/24")),
    IpIn(ip_network("198.51.100.0/24")),
]
facts = st.sampled_from(_facts)
postures = st.sampled_from([PostureCheckPassed(check_id) for check_id in CHECKS])
positive_groups = st.sampled_from([InGroup("positive-0"), InGroup("positive-1")])
positive = st.one_of(facts, postures, positive_groups)


def some(selectors: st.SearchStrategy[Selector], *, least: int = 0) -> st.SearchStrategy[tuple[Selector, ...]]:
    return st.lists(selectors, min_size=least, max_size=3).map(tuple)


granting = st.builds(Conditions, some(positive, least=1), some(positive), some(facts))
denying = st.builds(Conditions, some(facts, least=1), some(facts), some(positive))


@st.composite
def snapshots(draw: st.DrawFn) -> RuleSnapshot:
    groups = {
        f"positive-{number}": Group(
            f"positive-{number}",
            f"positive-{number}",
            draw(st.builds(Conditions, some(st.one_of(facts, postures), least=1), some(st.one_of(facts, postures)), some(facts))),
        )
        for number in range(2)
    }
    policies = {}
    for number in range(draw(st.integers(1, 4))):
        decision = draw(st.sampled_from([PolicyDecision.ALLOW, PolicyDecision.ALLOW, PolicyDecision.DENY]))
        conditions = draw(denying if decision is PolicyDecision.DENY else granting)
        policies[f"policy-{number}"] = Policy(f"policy-{number}", f"policy-{number}", decision, conditions)
    rules = replace(
        EMPTY_RULE_SET,
        checks={
            check_id: Check(check_id, check_id, 1, "client_certificate_v2", frozenset(), 300, 900, CONFIG) for check_id in CHECKS
        },
        applications=(Application("app", "app", HOST, tuple(policies)),),
        policies=policies,
        groups=groups,
    )
    return compile_rules(rules)


requests = st.builds(
    AccessRequest,
    method=st.just("GET"),
    scheme=st.just("https"),
    host=st.just(HOST),
    path=st.just("/"),
    query=st.just(""),
    source_ip=st.sampled_from([None, ip_address("192.0.2.1"), ip_address("198.51.100.1")]),
    identity=st.sampled_from([None, Identity("ada@corp.example"), Identity("bob@other.example")]),
    caller=st.just("edge"),
)
standings = st.dictionaries(st.sampled_from(CHECKS), st.sampled_from(["passed", "passed", "failed", "expired", "stale"]))


def device(results: dict[CheckId, str]) -> ResolvedDevice:
    made = {
        check_id: PostureResult(
            check_id,
            check_revision=0 if standing == "stale" else 1,
            passed=standing != "failed",
            reason="passed" if standing != "failed" else "certificate_expired",
            level=EvidenceLevel.PROVEN,
            evaluated_at=NOW,
            evidence_at=NOW,
            expires_at=NOW if standing == "expired" else Instant(NOW + 60),
        )
        for check_id, standing in results.items()
    }
    known = Device(DeviceId("dev"), DeviceKey("k", b"", KeyAlgorithm.ED25519), DeviceState.ACTIVE, "linux", None, None, 1, NOW)
    return ResolvedDevice(
        Resolution.FOUND, "found", "client_certificate", ResolutionStrength.CERTIFICATE, posture=DevicePosture(known, made, 1)
    )


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(snapshots(), requests, standings, st.sampled_from(CHECKS), st.sampled_from(["removed", "failed", "expired", "stale"]))
def test_losing_a_result_never_lets_in(
    snapshot: RuleSnapshot, request: AccessRequest, results: dict[CheckId, str], lost: CheckId, how: str
) -> None:
    before = decide(request, device(results), snapshot, now=NOW)
    worse = {check_id: standing for check_id, standing in results.items() if check_id != lost}
    if how != "removed":
        worse[lost] = how
    if results.get(lost) in {None, "expired", "stale"} and how == "failed":
        # From unknown to failed is not a loss: a known failure may satisfy what the unknown could not.
        event("not a loss")
    else:
        event(f"baseline {before.outcome.value}")
        after = decide(request, device(worse), snapshot, now=NOW)
        assert not (after.allowed and not before.allowed)


@given(snapshots(), requests, standings)
def test_a_request_without_a_device_fares_no_better(
    snapshot: RuleSnapshot, request: AccessRequest, results: dict[CheckId, str]
) -> None:
    absent = ResolvedDevice(Resolution.ABSENT, "no_device")
    passing = device(dict.fromkeys(CHECKS, "passed"))
    if decide(request, absent, snapshot, now=NOW).allowed:
        assert decide(request, passing, snapshot, now=NOW).allowed


@given(snapshots(), requests, standings)
def test_an_invalid_link_denies_whatever_the_rules(
    snapshot: RuleSnapshot, request: AccessRequest, results: dict[CheckId, str]
) -> None:
    invalid = replace(device(results), outcome=Resolution.INVALID, reason="certificate_expired")
    decision = decide(request, invalid, snapshot, now=NOW)
    assert (decision.outcome, decision.reason) == (Outcome.DENY, "certificate_expired")


@given(snapshots(), requests, standings)
def test_a_device_that_is_not_active_counts_as_none(
    snapshot: RuleSnapshot, request: AccessRequest, results: dict[CheckId, str]
) -> None:
    for state in (DeviceState.PENDING, DeviceState.REVOKED):
        active = device(dict.fromkeys(CHECKS, "passed"))
        assert active.posture is not None
        posture = replace(active.posture, device=replace(active.posture.device, state=state))
        inactive = decide(request, replace(active, posture=posture, reason="device_revoked"), snapshot, now=NOW)
        absent = decide(request, ResolvedDevice(Resolution.ABSENT, "no_device"), snapshot, now=NOW)
        assert inactive.outcome is absent.outcome


def test_three_valued_logic() -> None:
    values = (True, False, None)
    assert [any_of((left, right)) for left in values for right in values] == [
        True,
        True,
        True,
        True,
        False,
        None,
        True,
        None,
        None,
    ]
    assert [all_of((left, right)) for left in values for right in values] == [
        True,
        False,
        None,
        False,
        False,
        False,
        None,
        False,
        None,
    ]
    assert [negation(value) for value in values] == [False, True, None]
    assert any_of(()) is False
    assert all_of(()) is True

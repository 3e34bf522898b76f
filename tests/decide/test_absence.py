"""Absence never widens access (DESIGN.md 4): whoever loses a result, or the device, is let in nowhere they were not before.

Two properties over random rules. Losing knowledge (a result removed, expired, too old, too weak, judged under another check, the
device gone) lets nobody in, wherever posture stands in a rule. Failing lets nobody in where posture is asked for as it is meant:
to be let in, or to escape a block or a deny.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.deciding import (
    NOBODY,
    NOW,
    a_device,
    a_group,
    a_policy,
    a_request,
    a_result,
    a_rule,
    a_snapshot,
    an_application,
    decided,
)
from watchword_server.core.decide import decide
from watchword_server.core.model.decisions import AccessRequest, Outcome, Resolution, ResolvedDevice
from watchword_server.core.model.devices import DeviceState
from watchword_server.core.model.names import CheckId, Instant
from watchword_server.core.model.results import EvidenceLevel, PostureResult
from watchword_server.core.rules import (
    NO_DEMAND,
    DeviceOwner,
    EmailDomainIs,
    EmailIs,
    Everyone,
    EvidenceDemand,
    FactIs,
    GatewayRule,
    Group,
    InGroup,
    IpIn,
    Policy,
    PostureCheckPassed,
    Selector,
)
from watchword_server.core.snapshot import RuleSnapshot

CHECKS = ("laptop", "disk", "card")
DEMANDS = [
    NO_DEMAND,
    NO_DEMAND,
    EvidenceDemand(level=EvidenceLevel.PROVEN),
    EvidenceDemand(max_age_seconds=300),
    EvidenceDemand(EvidenceLevel.SIGNED, 300),
]
Results = dict[str, PostureResult]
OWNER = "ada@corp.example"

# ---- Rules --------------------------------------------------------------------------------------------------------------

FACTS: list[Selector] = [
    *[Everyone()] * 4,
    EmailIs("ada@corp.example"),
    EmailDomainIs("corp.example"),
    EmailDomainIs("other.example"),
    IpIn(ip_network("192.0.2.0/24")),
    FactIs("geo", "http.src_ip.geo.country", frozenset({b"PT"})),
    DeviceOwner(),
]
facts = st.sampled_from(FACTS)
demands = st.sampled_from(DEMANDS)
postures = st.builds(PostureCheckPassed, st.sampled_from([CheckId(name) for name in CHECKS]), demands)
asking = st.sampled_from([InGroup("asks-0"), InGroup("asks-1")])  # groups that posture makes true
refusing = st.sampled_from([InGroup("refuses-0"), InGroup("refuses-1")])  # groups that posture makes false
for_it = st.one_of(facts, postures, postures, asking)
against_it = st.one_of(facts, refusing)
anything = st.one_of(facts, postures, postures, asking, refusing)


def some(selectors: st.SearchStrategy[Selector], *, least: int = 0, most: int = 2) -> st.SearchStrategy[list[Selector]]:
    return st.lists(selectors, min_size=least, max_size=most)


@st.composite
def groups(draw: st.DrawFn) -> list[Group]:
    plain = st.one_of(facts, postures, postures)
    asks = [
        a_group(f"asks-{number}", *draw(some(plain, least=1)), require=draw(some(plain)), exclude=draw(some(facts, most=1)))
        for number in range(2)
    ]
    refuses = [
        a_group(f"refuses-{number}", *draw(some(facts, least=1)), require=draw(some(facts, most=1)), exclude=draw(some(plain)))
        for number in range(2)
    ]
    return [*asks, *refuses]


@st.composite
def policies(draw: st.DrawFn, *, as_meant: bool) -> list[Policy]:
    """`as_meant`: who passes more is let in by an allow and escapes a deny; else posture may stand anywhere."""
    found = []
    for number in range(draw(st.integers(1, 4))):
        decision = draw(st.sampled_from(["allow"] * 5 + ["deny"]))
        toward, away = (for_it, against_it) if decision == "allow" else (against_it, for_it)
        include, exclude = (toward, away) if as_meant else (anything, anything)
        found.append(
            a_policy(
                decision,
                policy_id=f"policy-{number}",
                include=draw(some(include, least=1, most=3)),
                require=draw(some(include, most=1)),
                exclude=draw(some(exclude, most=1)),
                demand=draw(demands),
            )
        )
    return found


def one_of_the_checks(operator: str = "in") -> st.SearchStrategy[str]:
    if operator == "==":
        return st.sampled_from(CHECKS).map(lambda name: f'== "{name}"')
    return st.lists(st.sampled_from(CHECKS), min_size=1, max_size=2, unique=True).map(
        lambda names: "in {" + " ".join(f'"{name}"' for name in names) + "}"
    )


matches = st.one_of(one_of_the_checks(), one_of_the_checks("=="))
passes = st.one_of(
    matches.map(lambda right: f"any(device_posture.checks.passed[*] {right})"), matches.map(lambda _: "device.owned_by_user")
)
fails = matches.map(lambda right: f"any(device_posture.checks.failed[*] {right})")
does_not_pass = passes.map(lambda text: f"not({text})")


def joined(expressions: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.tuples(expressions, st.sampled_from(["and", "or"]), expressions).map(" ".join)
    return st.one_of(expressions, expressions, pairs)


TRAFFIC = ["", 'http.request.host == "wiki.corp.example"', "http.conn.src_ip in {192.0.2.0/24}", 'http.request.method == "POST"']


@st.composite
def gateway_rules(draw: st.DrawFn) -> list[GatewayRule]:
    """Allows for devices that pass, blocks of those that do not or that fail: the only ways that absence cannot turn."""
    found = []
    for number in range(draw(st.sampled_from([0, 0, 0, 0, 1, 2, 3]))):
        action = draw(st.sampled_from(["allow", "block"]))
        posture = joined(passes) if action == "allow" else joined(st.one_of(does_not_pass, fails))
        found.append(
            a_rule(
                draw(st.sampled_from(TRAFFIC)),
                action=action,
                precedence=number,
                device_posture=draw(posture),
                demand=draw(demands),
            )
        )
    if draw(st.booleans()) and found:
        found.append(a_rule(draw(st.sampled_from(TRAFFIC[1:])), action="block", precedence=9))  # what an allow could skip
    return found


@st.composite
def snapshots(draw: st.DrawFn, *, as_meant: bool) -> RuleSnapshot:
    found = draw(policies(as_meant=as_meant))
    return a_snapshot(
        an_application(*(policy.id for policy in found)),
        policies=found,
        groups=draw(groups()),
        rules=draw(gateway_rules()),
        checks=CHECKS,
    )


# ---- Requests and devices -------------------------------------------------------------------------------------------------

requests = st.builds(
    a_request,
    email=st.sampled_from([None, "ada@corp.example", "ada@corp.example", "bob@other.example"]),
    source_ip=st.sampled_from([None, "192.0.2.1", "198.51.100.1"]),
    facts=st.sampled_from([{}, {"http.src_ip.geo.country": b"PT"}, {"http.src_ip.geo.country": b"DE"}]),
    method=st.sampled_from(["GET", "GET", "POST"]),
)


@st.composite
def standing(draw: st.DrawFn) -> Results:
    """The results of a device: most pass, some do not, some are not there."""
    results: Results = {}
    for check in CHECKS:
        how = draw(st.sampled_from(["passed", "passed", "failed", "none"]))
        if how != "none":
            level = draw(st.sampled_from(["proven", "proven", "signed"]))
            results[check] = a_result(check, passed=how == "passed", age=draw(st.sampled_from([60, 400])), level=level)
    return results


def device_with(results: Results) -> ResolvedDevice:
    return a_device(*results.values(), owner=OWNER)


def worse(results: Results, check: str, how: str) -> ResolvedDevice:
    """The same device with one thing lost."""
    without = {name: result for name, result in results.items() if name != check}
    if how == "lost":
        return NOBODY
    if how == "unproven":
        return a_device(*results.values(), owner=OWNER, proven=False)
    if how == "revoked":
        return a_device(*results.values(), owner=OWNER, state="revoked")
    if check not in results or how == "removed":
        return device_with(without)
    before = results[check]
    match how:
        case "expired":
            after = replace(before, expires_at=NOW)
        case "stale":
            after = replace(before, check_revision=before.check_revision + 1)
        case "older":
            after = replace(before, evidence_at=Instant(before.evidence_at - 500))
        case "weaker":
            after = replace(before, level=EvidenceLevel.REPORTED)
        case _:
            after = replace(before, passed=False, reason="certificate_expired")
    return device_with({**without, check: after})


KNOWLEDGE_LOST = ["removed", "expired", "stale", "older", "weaker", "lost", "unproven", "revoked"]


# ---- The properties -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("as_meant", "losses"),
    [(False, KNOWLEDGE_LOST), (True, [*KNOWLEDGE_LOST, "failed"])],
    ids=["losing knowledge, posture anywhere", "failing too, posture as it is meant"],
)
def test_whoever_loses_is_let_in_nowhere_new(as_meant: bool, losses: Sequence[str]) -> None:
    """Each example is one set of rules; every loss of every check is tried on several requests of several devices."""
    baselines: Counter[Outcome] = Counter()
    turned: Counter[str] = Counter()  # what was allowed before and is denied after, by the loss: losses that matter

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(snapshots(as_meant=as_meant), st.lists(requests, min_size=3, max_size=3), st.lists(standing(), min_size=3, max_size=3))
    def never_widens(snapshot: RuleSnapshot, asked: list[AccessRequest], devices: list[Results]) -> None:
        for request, results in product(asked, devices):
            before = decided(request, snapshot, device_with(results))
            baselines[before.outcome] += 1
            for check, how in product(CHECKS, losses):
                after = decided(request, snapshot, worse(results, check, how))
                assert before.allowed or not after.allowed, f"{check} {how}: {before.reason}, then {after.reason}"
                assert before.errors == after.errors == ()
                turned[how] += before.allowed and not after.allowed

    never_widens()
    total = baselines.total()
    assert total >= 1_000, baselines
    assert min(baselines[Outcome.ALLOW], baselines[Outcome.DENY]) >= total / 5, baselines
    assert all(turned[how] > 0 for how in losses), turned


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(snapshots(as_meant=True), requests)
def test_a_request_without_a_device_fares_no_better(snapshot: RuleSnapshot, request: AccessRequest) -> None:
    passing = device_with({check: a_result(check) for check in CHECKS})
    if decided(request, snapshot, NOBODY).allowed:
        assert decided(request, snapshot, passing).allowed


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(snapshots(as_meant=False), requests, standing())
def test_an_invalid_link_denies_whatever_the_rules(snapshot: RuleSnapshot, request: AccessRequest, results: Results) -> None:
    invalid = replace(device_with(results), outcome=Resolution.INVALID, reason="certificate_expired")
    decision = decided(request, snapshot, invalid)
    assert (decision.outcome, decision.reason) == (Outcome.DENY, "certificate_expired")


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(snapshots(as_meant=False), requests, standing())
def test_a_device_that_is_not_active_counts_as_none(snapshot: RuleSnapshot, request: AccessRequest, results: Results) -> None:
    absent = decided(request, snapshot, NOBODY)
    for state in (DeviceState.PENDING, DeviceState.REVOKED):
        inactive = decided(request, snapshot, a_device(*results.values(), owner=OWNER, state=state.value))
        assert inactive.outcome is absent.outcome


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(snapshots(as_meant=False), requests, standing(), st.sampled_from([0.0, 400.0, 700.0, 10_000.0]))
def test_time_alone_lets_nobody_in(snapshot: RuleSnapshot, request: AccessRequest, results: Results, seconds: float) -> None:
    device: Any = device_with(results)
    if decide(request, device, snapshot, now=Instant(NOW + seconds)).allowed:
        assert decided(request, snapshot, device).allowed

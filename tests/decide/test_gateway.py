"""Gateway rules: expressions ANDed, precedence, posture in allow and block, and an index that only saves work."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.deciding import (
    NOBODY,
    NOW,
    a_device,
    a_policy,
    a_request,
    a_result,
    a_rule,
    a_snapshot,
    an_application,
    decided,
)
from watchword_server.core.gateway import PARTS, parse_part
from watchword_server.core.language.compile import compile_expression
from watchword_server.core.model.decisions import ResolvedDevice, Value
from watchword_server.core.model.results import EvidenceLevel
from watchword_server.core.rules import EvidenceDemand, GatewayAction, GatewayList, GatewayRule, LanguageSettings
from watchword_server.core.scene import Scene, posture_keys
from watchword_server.core.snapshot import RuleSnapshot

OPEN = an_application(a_policy("bypass"))
PASSING = a_device(a_result("laptop"))
FAILING = a_device(a_result("laptop", passed=False))
NOT_PASSED = 'not(any(device_posture.checks.passed[*] in {"laptop"}))'
FAILED = 'any(device_posture.checks.failed[*] == "laptop")'
PASSED = 'any(device_posture.checks.passed[*] == "laptop")'


def winner(snapshot: RuleSnapshot, request: object = None, device: ResolvedDevice = NOBODY) -> str | None:
    decision = decided(request or a_request(), snapshot, device)  # type: ignore[arg-type]  # a request or none
    return next((match.id for match in decision.rules if match.kind == "gateway_rule"), None)


# ---- Matching -------------------------------------------------------------------------------------------------------------


def test_no_rule_and_no_match_leave_it_to_access() -> None:
    assert decided(a_request(), a_snapshot(OPEN)).reason == "policy_bypass"
    assert decided(a_request(), a_snapshot(OPEN, rules=[a_rule('http.request.host == "other"')])).reason == "policy_bypass"
    assert decided(a_request(), a_snapshot(rules=[a_rule(action="allow")])).reason == "no_application", "an allow skips nothing"


def test_a_rule_without_conditions_matches_everything() -> None:
    assert decided(a_request(), a_snapshot(OPEN, rules=[a_rule()])).reason == "gateway_block"


@pytest.mark.parametrize("missing", ["traffic", "identity", "device_posture", ""])
def test_the_three_expressions_are_anded(missing: str) -> None:
    parts = {
        "traffic": 'http.request.method == "GET"',
        "identity": 'identity.email == "ada@corp.example"',
        "device_posture": PASSED,
    }
    holds = {"traffic": "GET", "identity": "ada@corp.example", "device_posture": "passed"}
    request = a_request(
        method="PUT" if missing == "traffic" else "GET", email="eve@x" if missing == "identity" else holds["identity"]
    )
    device = FAILING if missing == "device_posture" else PASSING
    rule = a_rule(parts["traffic"], identity=parts["identity"], device_posture=parts["device_posture"])
    assert (winner(a_snapshot(OPEN, rules=[rule]), request, device) is None) is bool(missing)


def test_the_lowest_precedence_wins_whatever_leads_to_the_rule() -> None:
    on_host = a_rule('http.request.host == "wiki.corp.example"', precedence=20)
    always = a_rule('http.request.uri.path matches "^/pages"', precedence=10)
    on_method = a_rule('http.request.method == "GET"', precedence=30, action="allow")
    rules = [on_method, on_host, always]
    assert winner(a_snapshot(OPEN, rules=rules)) == always.id
    assert winner(a_snapshot(OPEN, rules=rules), a_request("/x")) == on_host.id
    assert winner(a_snapshot(OPEN, rules=rules), a_request("/x", host="other")) == on_method.id


def test_network_rules_come_before_http_rules_and_their_allow_skips_none_of_those() -> None:
    network = a_rule("net.dst.port == 443", precedence=9, filter_="l4")
    http = a_rule(precedence=1, action="allow")
    assert decided(a_request(), a_snapshot(OPEN, rules=[http, network])).rules[0].id == network.id
    network_allow = a_rule("net.dst.port == 443", precedence=1, filter_="l4", action="allow")
    http_block = a_rule(precedence=9)
    decision = decided(a_request(), a_snapshot(OPEN, rules=[http_block, network_allow]))
    assert (decision.reason, [match.id for match in decision.rules]) == ("gateway_block", [network_allow.id, http_block.id])


def test_lists() -> None:
    office = GatewayList("01302951-49f9-47c9-a400-0297e60b6a10", "office", "IP", ("192.0.2.0/24",))
    rule = a_rule("not http.conn.src_ip in $01302951-49f9-47c9-a400-0297e60b6a10")
    snapshot = a_snapshot(OPEN, rules=[rule], lists=[office])
    assert winner(snapshot, a_request(source_ip="192.0.2.7")) is None
    assert winner(snapshot, a_request(source_ip="198.51.100.7")) == rule.id
    assert winner(snapshot, a_request()) == rule.id


@pytest.mark.parametrize(("missing_not_equal", "blocked"), [(True, True), (False, False)])
def test_whether_a_missing_field_is_unequal_is_a_setting(missing_not_equal: bool, blocked: bool) -> None:
    language = LanguageSettings(missing_not_equal=missing_not_equal)
    snapshot = a_snapshot(OPEN, rules=[a_rule('identity.email != "ada@corp.example"')], language=language)
    assert decided(a_request(email="eve@corp.example"), snapshot).reason == "gateway_block"
    assert (decided(a_request(), snapshot).reason == "gateway_block") is blocked


# ---- Posture --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("posture", [NOT_PASSED, FAILED])
@pytest.mark.parametrize(
    ("device", "blocked"),
    [
        (PASSING, False),
        (FAILING, True),
        (NOBODY, True),
        (a_device(), True),
        (a_device(a_result("laptop", expires_in=0)), True),
        (a_device(a_result("laptop"), proven=False), True),
        (a_device(a_result("laptop"), state="revoked"), True),
    ],
)
def test_a_block_treats_what_is_not_known_to_pass_as_failed(posture: str, device: ResolvedDevice, blocked: bool) -> None:
    assert (winner(a_snapshot(OPEN, rules=[a_rule(device_posture=posture)]), device=device) is not None) is blocked


@pytest.mark.parametrize(
    ("posture", "device", "matches"),
    [
        (PASSED, PASSING, True),
        (PASSED, FAILING, False),
        (PASSED, NOBODY, False),
        (FAILED, FAILING, True),
        (FAILED, PASSING, False),
        (FAILED, NOBODY, False),
        (FAILED, a_device(a_result("laptop", passed=False, expires_in=0)), False),
    ],
)
def test_an_allow_sees_only_what_is_known(posture: str, device: ResolvedDevice, matches: bool) -> None:
    snapshot = a_snapshot(OPEN, rules=[a_rule(device_posture=posture, action="allow")])
    assert (winner(snapshot, device=device) is not None) is matches


def test_evidence_that_does_not_meet_the_demand_has_not_passed() -> None:
    snapshot = a_snapshot(OPEN, rules=[a_rule(device_posture=NOT_PASSED, demand=EvidenceDemand(EvidenceLevel.PROVEN, 60))])
    assert winner(snapshot, device=a_device(a_result("laptop", age=60))) is None
    assert winner(snapshot, device=a_device(a_result("laptop", age=61))) is not None
    decision = decided(a_request(), snapshot, a_device(a_result("laptop", age=1, level="signed")))
    assert decision.reason == "gateway_block"
    assert [(check.check_id, check.standing.value) for check in decision.checks] == [("laptop", "evidence_too_weak")]


# ---- Reports, faults --------------------------------------------------------------------------------------------------------


def test_a_rule_that_only_reports_is_named_and_does_not_end_the_search() -> None:
    rules = [a_rule(precedence=1, report_only=True), a_rule(precedence=2, action="allow"), a_rule(precedence=3)]
    decision = decided(a_request(), a_snapshot(OPEN, rules=rules))
    assert decision.allowed
    assert [(match.id, match.effect) for match in decision.reported] == [("rule-1", "block")]
    assert [match.id for match in decision.rules if match.kind == "gateway_rule"] == ["rule-2"]


@pytest.mark.parametrize(("action", "allowed"), [("block", False), ("allow", True)])
def test_a_rule_that_cannot_be_evaluated_blocks_or_grants_nothing(action: str, allowed: bool) -> None:
    broken: Mapping[str, Value] = {"http.download.file.size": b"not a number"}
    snapshot = a_snapshot(OPEN, rules=[a_rule("http.download.file.size > 7", action=action)])
    decision = decided(a_request(facts=broken), snapshot)
    assert decision.allowed is allowed
    assert len(decision.errors) == 1
    assert decision.errors[0].startswith("gateway_rule rule-1: TypeError")


# ---- The index --------------------------------------------------------------------------------------------------------------

HOSTS = ["a.corp.example", "b.corp.example", "c.test"]
TRAFFIC = st.sampled_from([
    "",
    'http.request.host == "a.corp.example"',
    'http.request.host in {"a.corp.example" "b.corp.example"}',
    'http.request.host == "a.corp.example" or http.request.host == "c.test"',
    'http.request.host == "a.corp.example" or http.request.method == "PUT"',
    'not http.request.host == "a.corp.example"',
    'http.request.host != "a.corp.example"',
    'any(http.request.domains[*] in {"corp.example"}) and http.request.method == "GET"',
    'any(http.request.domains[*] == "test")',
    'all(http.request.domains[*] == "test")',
    'http.request.uri.path == "/x" and http.request.host in {"b.corp.example"}',
    'http.request.uri.path wildcard "/x*"',
    'http.request.method == "PUT" xor http.request.host == "a.corp.example"',
    'lower(http.request.host) == "a.corp.example"',
    "http.conn.src_ip == 192.0.2.1",
    "http.conn.src_ip in {192.0.2.1 2001:db8::1}",
    'any(http.request.domains[*] == "c.test") and http.conn.src_ip == 192.0.2.1',
])  # fmt: skip
IDENTITY = st.sampled_from(["", 'identity.email == "ada@corp.example"', 'any(identity.groups[*].name in {"Finance"})'])
RULES = st.lists(st.tuples(TRAFFIC, IDENTITY, st.sampled_from(["", NOT_PASSED, PASSED]), st.booleans()), max_size=8)


def holds(rule: GatewayRule, scene: Scene) -> bool:
    """Each expression as it is written, one after the other."""
    keys = posture_keys(rule.demand, unknown_fails=rule.action is GatewayAction.BLOCK)
    expressions = [parse_part(rule, part, LanguageSettings()) for part in PARTS if getattr(rule, part)]
    return all(compile_expression(expression, keys=keys)(scene) for expression in expressions)


@given(
    parts=RULES,
    host=st.sampled_from(HOSTS),
    method=st.sampled_from(["GET", "PUT"]),
    path=st.sampled_from(["/x", "/y"]),
    email=st.sampled_from([None, "ada@corp.example", "eve@corp.example"]),
    device=st.sampled_from([NOBODY, PASSING, FAILING]),
    source_ip=st.sampled_from([None, "192.0.2.1", "192.0.2.2", "2001:db8::1"]),
)
def test_the_index_changes_no_answer(
    parts: list[tuple[str, str, str, bool]],
    host: str,
    method: str,
    path: str,
    email: str | None,
    device: ResolvedDevice,
    source_ip: str | None,
) -> None:
    rules: list[GatewayRule] = [
        a_rule(traffic, identity=identity, device_posture=posture, action="block" if blocks else "allow", precedence=number)
        for number, (traffic, identity, posture, blocks) in enumerate(parts)
    ]
    snapshot = a_snapshot(OPEN, rules=rules)
    request = a_request(path, host=host, method=method, email=email, source_ip=source_ip)
    scene = Scene(request, device, snapshot.rules.checks, NOW, path.encode())
    one_by_one = next((rule.id for rule in rules if holds(rule, scene)), None)
    assert winner(snapshot, request, device) == one_by_one


@pytest.mark.parametrize("traffic", ["http.conn.src_ip == 192.0.2.1", "http.conn.src_ip in {192.0.2.1}"])
def test_an_address_is_one_value_to_the_index(traffic: str) -> None:
    snapshot = a_snapshot(OPEN, rules=[a_rule(traffic)])
    assert winner(snapshot, a_request(source_ip="192.0.2.1")) == "rule-1"
    assert winner(snapshot, a_request(source_ip="192.0.2.2")) is None


def test_rules_on_other_hosts_are_not_even_looked_at() -> None:
    rules = [a_rule(f'http.request.host == "h{number}" and {NOT_PASSED}', precedence=number) for number in range(1_000)]
    (index,) = a_snapshot(OPEN, rules=rules).gateway
    scene = Scene(a_request(host="h7"), NOBODY, {}, NOW, b"/")
    assert [rule.rule.id for rule in index.candidates(scene)] == ["rule-7"]
    assert index.always == ()

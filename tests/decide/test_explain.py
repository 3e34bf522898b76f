"""An explanation tells the story of the decision, not another one."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.deciding import NOBODY, NOW, a_device, a_group, a_policy, a_request, a_result, a_rule, a_snapshot, an_application
from watchword_server.core.decide import decide
from watchword_server.core.explain import Explanation, Step, explain
from watchword_server.core.model.decisions import AccessRequest, ResolvedDevice
from watchword_server.core.model.names import CheckId
from watchword_server.core.rules import EmailIs, Everyone, InGroup, PostureCheckPassed
from watchword_server.core.snapshot import RuleSnapshot

LAPTOP = PostureCheckPassed(CheckId("laptop"))
NOT_PASSED = 'not(any(device_posture.checks.passed[*] in {"laptop"}))'
PASSING = a_device(a_result("laptop"))
FAILING = a_device(a_result("laptop", passed=False))


def explained(snapshot: RuleSnapshot, request: AccessRequest, device: ResolvedDevice = NOBODY) -> Explanation:
    return explain(request, device, snapshot, now=NOW)


def steps_of(explanation: Explanation) -> Iterator[Step]:
    def walk(steps: tuple[Step, ...]) -> Iterator[Step]:
        for step in steps:
            yield step
            yield from walk(step.steps)

    for reading in explanation.readings:
        yield from walk(reading.steps)


def outcomes(explanation: Explanation, kind: str) -> list[tuple[str, str]]:
    return [(step.title, step.outcome) for step in steps_of(explanation) if step.kind == kind]


def test_it_names_the_rules_considered_and_those_the_index_ruled_out() -> None:
    rules = [
        a_rule('http.request.host == "other"', precedence=1),
        a_rule('http.request.uri.path wildcard "/admin/*"', precedence=2),
        a_rule('http.request.host == "wiki.corp.example"', device_posture=NOT_PASSED, precedence=3),
        a_rule(precedence=4),
    ]
    explanation = explained(a_snapshot(rules=rules), a_request(), FAILING)
    assert outcomes(explanation, "gateway_rule") == [("name of rule-2", "does not apply"), ("name of rule-3", "applies")]
    (gateway,) = [step for step in steps_of(explanation) if step.kind == "gateway"]
    assert gateway.outcome == "block"
    assert gateway.details == {"rules": 4, "ruled_out_by_index": 1, "considered": 2}
    assert outcomes(explanation, "check") == [("name of laptop", "failed")]


def test_the_condition_that_failed_is_told_with_the_value_it_saw() -> None:
    rule = a_rule('(http.request.method == "PUT" or http.request.uri.path wildcard "/admin/*") and http.request.host == "other"')
    explanation = explained(
        a_snapshot(rules=[a_rule('http.request.method == "GET"', precedence=0, report_only=True), rule]), a_request(host="other")
    )
    told = [
        (step.details["text"], step.outcome, step.details.get("received"))
        for step in steps_of(explanation)
        if step.kind == "condition"
    ]
    assert ('http.request.method == "PUT"', "false", {"http.request.method": "GET"}) in told
    assert ('http.request.uri.path wildcard "/admin/*"', "false", {"http.request.uri.path": "/pages/7"}) in told
    assert not [text for text, _, _ in told if text == 'http.request.host == "other"'], "what was not reached is not told"


def test_each_selector_is_told_with_what_it_expected_and_received() -> None:
    policy = a_policy(include=[EmailIs("ada@corp.example")], require=[InGroup("managed")])
    snapshot = a_snapshot(an_application(policy), groups=[a_group("managed", LAPTOP)])
    explanation = explained(snapshot, a_request(email="eve@corp.example"), PASSING)
    assert outcomes(explanation, "policy") == [("name of policy", "does not apply")]
    assert outcomes(explanation, "selector") == [
        ("include email", "false"),
        ("require group name of managed", "true"),
        ("include device_posture", "true"),
    ]
    (email,) = [step for step in steps_of(explanation) if step.title == "include email"]
    assert email.details == {"expected": "ada@corp.example", "received": "eve@corp.example"}


def test_every_reading_of_a_path_is_told() -> None:
    explanation = explained(a_snapshot(an_application(a_policy(include=[Everyone()]))), a_request("/a/../b"))
    assert [reading.path for reading in explanation.readings] == ["/a/../b", "/b"]


@pytest.mark.parametrize("unmatched", ["allow", "deny"])
def test_a_host_without_an_application(unmatched: str) -> None:
    explanation = explained(a_snapshot(unmatched=unmatched), a_request())
    assert outcomes(explanation, "application") == [("no application covers this host and path", unmatched)]


EXPRESSIONS = st.sampled_from(
    ["", 'http.request.method == "GET"', 'identity.email == "ada@corp.example"', NOT_PASSED, "http.download.file.size > 7"]
)
POLICIES = st.tuples(
    st.sampled_from(["allow", "deny", "bypass", "non_identity"]),
    st.sampled_from([Everyone(), LAPTOP, EmailIs("ada@corp.example"), InGroup("managed")]),
    st.booleans(),
)


@given(
    rules=st.lists(st.tuples(EXPRESSIONS, st.booleans(), st.booleans(), st.sampled_from(["l4", "http"])), max_size=4),
    policies=st.lists(POLICIES, max_size=4),
    path=st.sampled_from(["/x", "/x/../admin", "/%61dmin"]),
    email=st.sampled_from([None, "ada@corp.example"]),
    device=st.sampled_from([NOBODY, PASSING, FAILING]),
    broken=st.booleans(),
)
def test_the_path_leads_to_the_decision(
    rules: list[tuple[str, bool, bool, str]],
    policies: list[tuple[str, Everyone | PostureCheckPassed | EmailIs | InGroup, bool]],
    path: str,
    email: str | None,
    device: ResolvedDevice,
    broken: bool,
) -> None:
    gateway = [
        a_rule(text, action="block" if blocks else "allow", report_only=reports, precedence=number, filter_=filter_)
        for number, (text, blocks, reports, filter_) in enumerate(rules)
        if filter_ == "http" or "http" not in text
    ]
    access = [
        a_policy(decision, include=[selector], report_only=reports, policy_id=f"policy-{number}")
        for number, (decision, selector, reports) in enumerate(policies)
    ]
    snapshot = a_snapshot(an_application(*access), rules=gateway, groups=[a_group("managed", LAPTOP)])
    request = a_request(path, email=email, facts={"http.download.file.size": b"broken"} if broken else {})
    explanation = explained(snapshot, request, device)
    assert explanation.decision == decide(request, device, snapshot, now=NOW)
    applying = {
        (step.kind, step.details["id"])
        for step in steps_of(explanation)
        if step.kind in {"gateway_rule", "policy"} and step.outcome == "applies" and "report_only" not in step.details
    }
    named = {(match.kind, match.id) for match in explanation.decision.rules if match.kind != "application"}
    assert named <= applying
    if len(explanation.readings) == 1:
        assert named == applying


def test_numbers_that_look_like_an_address_are_numbers() -> None:
    rule = a_rule('any(app.ids[*] in {7}) or http.request.method == "PUT"')
    explanation = explained(a_snapshot(rules=[rule]), a_request(facts={"app.ids": (4, 1099511627776)}))
    told = [step.details.get("received") for step in steps_of(explanation) if step.kind == "condition"]
    assert {"app.ids": [4, 1099511627776]} in told
    address = explained(a_snapshot(rules=[a_rule("http.conn.src_ip in {192.0.2.0/24}")]), a_request(source_ip="198.51.100.7"))
    told = [step.details.get("received") for step in steps_of(address) if step.kind == "condition"]
    assert {"http.conn.src_ip": "198.51.100.7"} in told


def test_a_path_that_is_too_odd_is_denied_and_has_no_readings() -> None:
    explanation = explained(a_snapshot(an_application(a_policy("bypass"))), a_request("/" + "%2561;%5c//." * 300))
    assert (explanation.decision.reason, explanation.readings) == ("path_ambiguous", ())

"""Recorded decisions made again: what a change of rules would have changed, and what nobody can tell."""

import copy
from pathlib import Path
from typing import Any

import pytest

from rehearsal.files import HOST, a_check, a_document, a_rule, written
from watchword_server.core.decide import decide
from watchword_server.core.model.names import Instant
from watchword_server.rehearsal.diffing import Differ, Difference, why
from watchword_server.rehearsal.running import inputs_of
from watchword_server.rehearsal.scenarios import Scenario
from watchword_server.rehearsal.snapshots import LoadedRules, load_rules
from watchword_server.services.recording import Recent, decision_record

NOW = Instant(1_795_000_000.25)
POSTURE = [{"device_posture": {"integration_uid": "laptop"}}]
ADA = {"email": "ada@corp.example"}


def loaded(directory: Path, name: str, **sections: Any) -> LoadedRules:
    return load_rules(written(directory / f"{name}.yaml", a_document(**sections)))


def recorded(rules: LoadedRules, *, logs_query: bool = False, **scenario: Any) -> dict[str, Any]:
    """A line of the decision log of a server with these rules."""
    fields = {"name": "x", "request": {"url": f"https://{HOST}/pages/7"}, "expect": {"decision": "deny"}, **scenario}
    request, device = inputs_of(Scenario.model_validate(fields), rules.snapshot.rules, now=NOW)
    decision = decide(request, device, rules.snapshot, now=NOW)
    tokens = rules.snapshot.rules.service_tokens
    token = None if request.service_token_id is None else tokens[request.service_token_id].name
    recent = Recent("dcn_1", request, decision, 7, rules.snapshot.rules.checks, token)
    return copy.deepcopy(decision_record(recent, with_query=logs_query))


def difference(old: LoadedRules, new: LoadedRules, *records: object, all_changes: bool = False) -> Difference:
    differ = Differ(old.snapshot, new.snapshot, all_changes=all_changes)
    for record in records:
        differ.take(record)
    return differ.difference


def a_device(passed: bool = True, age: str = "60s") -> dict[str, Any]:
    return {"id": "dev", "results": {"laptop": {"passed": passed, "age": age}}}


def of_ada(**fields: Any) -> dict[str, Any]:
    return {"name": "ada", "decision": "allow", "include": [{"email": ADA}], **fields}


def test_the_same_rules_change_nothing(tmp_path: Path) -> None:
    rules = loaded(tmp_path, "rules")
    records = [recorded(rules, identity=ADA), recorded(rules), recorded(rules, device=a_device(), identity=ADA)]
    found = difference(rules, loaded(tmp_path, "again"), *records, all_changes=True)
    assert (found.decided, found.unchanged, found.changed, found.not_told) == (3, 3, [], {})


def test_ids_of_the_server_are_not_those_of_the_file(tmp_path: Path) -> None:
    """Checks and service tokens are known by name."""
    policies = [
        of_ada(require=POSTURE),
        {"name": "machines", "decision": "non_identity", "include": [{"service_token": {"token_id": "backup"}}]},
    ]
    applications = [{"name": "wiki", "type": "self_hosted", "domain": HOST, "policies": ["ada", "machines"]}]
    rules = loaded(tmp_path, "rules", policies=policies, applications=applications, service_tokens=[{"name": "backup"}])
    records = [recorded(rules, device=a_device(), identity=ADA), recorded(rules, service_token="backup")]
    for record in records:
        for result in record["device"]["results"]:
            result["check_id"], result["check_revision"] = "0123", 41
        if record["request"]["service_token"]:
            record["request"]["service_token"]["id"] = "4567"
    gone = loaded(tmp_path, "new", policies=policies[:1], applications=[{**applications[0], "policies": ["ada"]}])
    found = difference(rules, gone, *records)
    assert [(one.kind, str(one.before), str(one.after)) for one in found.changed] == [
        ("allow→deny", "policy machines", "service_token_refused")
    ]
    assert found.unchanged == 1


def test_what_changes_is_grouped_and_counted(tmp_path: Path) -> None:
    old, new = loaded(tmp_path, "old"), loaded(tmp_path, "new", policies=[of_ada(require=POSTURE)])
    records = [recorded(old, identity=ADA)] * 3 + [recorded(old, identity=ADA, device=a_device()), recorded(old)]
    found = difference(old, new, *records)
    ((kind, before, after, lines),) = found.groups()
    assert (kind, str(before), str(after)) == ("allow→deny", "policy ada", "no_device")
    assert lines == {f"GET https://{HOST}/pages/7  ada@corp.example": 3}
    assert found.unchanged == 2


def test_another_rule_is_a_change_only_if_asked_for(tmp_path: Path) -> None:
    old = loaded(tmp_path, "old")
    new = loaded(tmp_path, "new", gateway_rules=[a_rule(f'http.request.host == "{HOST}"', name="shut")])
    record = recorded(old, identity={"email": "eve@corp.example"})
    assert difference(old, new, record).changed == []
    (changed,) = difference(old, new, record, all_changes=True).changed
    assert (changed.kind, str(changed.after)) == ("deny→deny", "gateway_rule shut")


def test_a_shorter_expiration_ends_results_earlier(tmp_path: Path) -> None:
    policies = [of_ada(require=POSTURE)]
    old = loaded(tmp_path, "old", policies=policies)
    new = loaded(tmp_path, "new", policies=policies, checks=[a_check(expiration="6m")])
    records = [recorded(old, identity=ADA, device=a_device(age=age)) for age in ("1m", "7m")]
    (changed,) = difference(old, new, *records).changed
    assert (changed.before.outcome, changed.after.reason) == ("allow", "result_expired")


def test_a_check_that_asks_for_something_else_may_judge_either_way(tmp_path: Path) -> None:
    policies = [of_ada(require=POSTURE)]
    old = loaded(tmp_path, "old", policies=policies)
    stricter = a_check()
    stricter["input"]["cn"] = "${hostname}"
    new = loaded(tmp_path, "new", policies=policies, checks=[stricter])
    found = difference(
        old, new, recorded(old, identity=ADA, device=a_device()), recorded(old, device=a_device()), recorded(old, identity=ADA)
    )
    assert (found.unchanged, found.changed) == (2, [])
    assert dict(found.not_told) == {"a check is new or asks for something else, and nobody knows who would pass it": 1}


def test_more_new_checks_than_can_be_tried_cannot_be_told(tmp_path: Path) -> None:
    """All passing and all failing change nothing; one that passes and one that fails would."""
    old = loaded(tmp_path, "old", policies=[of_ada(require=POSTURE)])
    checks = [a_check(), *({**a_check(), "name": f"new-{number}"} for number in range(5))]
    require, exclude = ([{"device_posture": {"integration_uid": f"new-{number}"}}] for number in (0, 1))
    another = {"name": "another", "decision": "allow", "include": [{"everyone": {}}], "require": require, "exclude": exclude}
    new = loaded(tmp_path, "new", policies=[of_ada(require=POSTURE), another], checks=checks)
    found = difference(old, new, recorded(old, device=a_device(passed=False)))
    assert (found.unchanged, found.changed) == (0, [])
    assert dict(found.not_told) == {"more is unknown of it than can be tried, a few things at a time": 1}


def test_a_query_that_was_not_logged(tmp_path: Path) -> None:
    """Where old and new rules ask the same of it, it does not matter what it was."""
    query = 'http.request.uri.query contains "secret"'
    old = loaded(tmp_path, "old", gateway_rules=[a_rule(query)])
    request = {"url": f"https://{HOST}/pages/7?x=1"}
    hidden, logged = (recorded(old, logs_query=logs, identity=ADA, request=request) for logs in (False, True))
    stricter = loaded(tmp_path, "new", gateway_rules=[a_rule(query)], policies=[of_ada(require=POSTURE)])
    assert difference(old, old, hidden).unchanged == 1
    assert dict(difference(old, stricter, hidden).not_told) == {"a rule reads the query, which was not logged": 1}
    assert [one.kind for one in difference(old, stricter, logged).changed] == ["allow→deny"]

    open_ = loaded(tmp_path, "open")
    assert sum(difference(old, open_, hidden).not_told.values()) == 1
    assert difference(old, open_, logged).unchanged == 1
    elsewhere = loaded(tmp_path, "elsewhere", gateway_rules=[a_rule(f'http.request.host == "other.example" and {query}')])
    assert difference(open_, elsewhere, hidden).unchanged == 1
    assert difference(open_, old, recorded(old, identity=ADA)).unchanged == 1  # there was no query at all


@pytest.mark.parametrize(
    ("record", "count"),
    [(None, "unreadable"), ([], "unreadable"), ({"event": "posture_result"}, "skipped")],
)
def test_lines_that_are_no_decisions_are_counted(tmp_path: Path, record: object, count: str) -> None:
    rules = loaded(tmp_path, "rules")
    found = difference(rules, rules, record)
    assert (getattr(found, count), found.decided) == (1, 0)


def test_a_decision_in_another_form_cannot_be_told(tmp_path: Path) -> None:
    rules = loaded(tmp_path, "rules")
    found = difference(rules, rules, {"event": "decision"})
    assert (found.decided, found.unchanged, found.not_told) == (1, 0, {"it is in a form that this version does not read": 1})


def test_why_names_the_rule_that_decided(tmp_path: Path) -> None:
    rules = loaded(tmp_path, "rules", gateway_rules=[a_rule(action="allow")])
    request, device = inputs_of(
        Scenario.model_validate({"name": "x", "request": {"url": f"https://{HOST}/"}, "expect": {"decision": "deny"}}),
        rules.snapshot.rules,
        now=NOW,
    )
    assert str(why(decide(request, device, rules.snapshot, now=NOW))) == "fact_unknown"

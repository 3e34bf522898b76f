"""AuthZEN beyond the certification: who may ask, what a question may not be, short circuits, routes, devices, the log."""

import base64
import json
from typing import Any, Final

import httpx
import pytest

from authzen.conftest import DecisionPoint
from authzen.test_certification import ALICE, BOB, READ, READING, RECORD_1, WRITE, asked
from server.scene import passes
from support.device import SimulatedDevice
from support.rules import CHECK

WIKI: Final = {"type": "route", "id": "https://wiki.corp.example/pages/7"}
ADA: Final = {"type": "user", "id": "ada@corp.example"}
GET: Final = {"name": "GET"}
_ENDPOINTS: Final = ("evaluation", "evaluations", "search/subject", "search/resource", "search/action")


@pytest.mark.parametrize("endpoint", _ENDPOINTS)
def test_nobody_unknown_is_answered(point: DecisionPoint, endpoint: str) -> None:
    for authorization in ("", "Bearer", "Bearer wrong", "Basic YTpi"):
        response = point.post(f"/access/v1/{endpoint}", READING, headers={"Authorization": authorization})
        assert response.status_code == 401
        assert response.headers["www-authenticate"].startswith("Bearer")
        assert isinstance(response.json(), str)
    for method in ("GET", "PUT", "DELETE"):
        assert point.client.request(method, f"/access/v1/{endpoint}").status_code == 405
    assert point.client.post(f"/access/v1/{endpoint}/", json=READING).status_code == 404
    assert point.client.post("/access/v1/search/Subject", json=READING).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(READING).encode().replace(b'"id": "alice"', b'"id": "alice", "id": "bob"'),
        json.dumps({**READING, "context": {"x": "\ud800"}}).encode(),
        b'{"subject": NaN}',
        json.dumps(READING).encode().replace(b"}", b', "n": 1e999}', 1),
        b"[" * 100_000,
        b"\xff\xfe{}",
        b'{"context": "' + b"x" * 70_000 + b'"}',
    ],
    ids=["a name twice", "a lone surrogate", "NaN", "infinity", "nested", "UTF-16", "too long"],
)
def test_what_is_not_i_json_is_refused(point: DecisionPoint, body: bytes) -> None:
    """RFC 7493."""
    headers = {"content-type": "application/json"}
    assert point.client.post("/access/v1/evaluation", content=body, headers=headers).status_code == 400


@pytest.mark.parametrize(
    ("semantic", "told"),
    [
        (None, [True, False, True]),
        ("execute_all", [True, False, True]),
        ("deny_on_first_deny", [True, False]),
        ("permit_on_first_permit", [True]),
    ],
)
def test_evaluations_end_where_their_semantics_end(point: DecisionPoint, semantic: str | None, told: list[bool]) -> None:
    items = [{"action": READ}, {"subject": BOB, "action": WRITE}, {"action": WRITE}]
    question: dict[str, Any] = {"subject": ALICE, "resource": RECORD_1, "evaluations": items}
    if semantic is not None:
        question["options"] = {"evaluations_semantic": semantic, "another": 1}
    answers = point.post("/access/v1/evaluations", question).json()["evaluations"]
    assert [answer["decision"] for answer in answers] == told


def test_semantics_that_are_none_and_too_many_questions_are_refused(point: DecisionPoint) -> None:
    wrong: tuple[dict[str, Any], ...] = (
        {"options": {"evaluations_semantic": "all"}},
        {"options": []},
        {"evaluations": {"a": 1}},
        {"evaluations": {}},
        {"evaluations": ""},
        {"evaluations": None},
        {"evaluations": [{}] * 1_001},
    )
    for change in wrong:
        assert point.post("/access/v1/evaluations", {**READING, "evaluations": [{}], **change}).status_code == 400, change
    told = point.post("/access/v1/evaluations", {**READING, "evaluations": ["x", 1, None, {}]}).json()["evaluations"]
    assert [answer["decision"] for answer in told] == [False, False, False, True]
    assert told[0]["context"]["error"]["status"] == 400


@pytest.mark.parametrize("told", [[], {}, ["x"], 5, True, "", "x" * 129])
def test_what_is_no_id_names_no_device(point: DecisionPoint, told: object) -> None:
    for question in (
        asked({**ALICE, "properties": {"device_id": told}}, READ, RECORD_1),
        asked(ALICE, READ, RECORD_1, context={"device": {"id": told}}),
    ):
        response = point.evaluate(question)
        assert (response.status_code, response.json().startswith("the question names a device by")) == (400, True)


@pytest.mark.parametrize("entity", ["subject", "action", "resource", "context"])
def test_properties_without_a_plain_path_are_refused(point: DecisionPoint, entity: str) -> None:
    """A long name around many members would be kept once for each; of two values of one path nobody could say which counts."""
    wrong: tuple[dict[str, object], ...] = (
        {"x" * 500: {f"property-{number}": number for number in range(1_000)}},
        {"owner.team": "red", "owner": {"team": "blue"}},
        {"owner": {"team": "blue"}, "owner.team": None},
        nested(17),
    )
    for properties in wrong:
        change = properties if entity == "context" else {**READING.get(entity, {}), "properties": properties}
        response = point.evaluate({**READING, entity: change})
        assert (response.status_code, f"`{entity}` has" in response.json()) == (400, True)
    change = nested(16) if entity == "context" else {**READING.get(entity, {}), "properties": nested(16)}
    assert point.decision({**READING, entity: change})


def nested(depth: int) -> dict[str, object]:
    told: dict[str, object] = {"a": 1}
    for _ in range(depth - 1):
        told = {"a": told}
    return told


@pytest.mark.parametrize("depth", [64, 900, 970, 1_500])
def test_no_nesting_runs_out_of_stack(point: DecisionPoint, depth: int) -> None:
    """JSON that can just be read, and what is beyond; in a field that nobody knows as well."""
    deep = "[" * depth + "]" * depth
    for body in (json.dumps({**READING, "future": 0}).replace("0}", f"{deep}}}"), f'{{"evaluations": [{deep}]}}'):
        for endpoint in _ENDPOINTS:
            headers = {"content-type": "application/json"}
            assert point.client.post(f"/access/v1/{endpoint}", content=body, headers=headers).status_code == 400


def test_defaults_make_no_short_body_long(point: DecisionPoint) -> None:
    """A question is measured with the defaults that it takes, and so are all together."""
    long = {"text": "x" * 50_000}
    assert point.post("/access/v1/evaluations", {**READING, "context": long, "evaluations": [{}] * 80}).status_code == 200
    for question in (
        {**READING, "context": long, "evaluations": [{}] * 100},
        {**READING, "context": {"text": "x" * 70_000}, "evaluations": [{}]},
        {**READING, "context": {"text": "x" * 70_000}},
        {**READING, "evaluations": [{"context": {"text": "x" * 70_000}}]},
    ):
        response = point.post("/access/v1/evaluations", question)
        assert (response.status_code, isinstance(response.json(), str)) == (400, True)
    own = {**READING, "context": long, "evaluations": [{"context": {}}] * 100}
    assert point.post("/access/v1/evaluations", own).status_code == 200


@pytest.mark.parametrize("soft", ["true", 1, [True], {"soft": True}, None])
def test_a_property_of_another_type_is_no_property(point: DecisionPoint, soft: object) -> None:
    delete = {"name": "delete", "properties": {"soft": soft}}
    assert not point.decision(asked(ALICE, delete, RECORD_1))


def test_a_question_that_no_rule_answers_is_denied(point: DecisionPoint) -> None:
    response = point.evaluate(asked(ALICE, {"name": "shred"}, RECORD_1)).json()
    assert (response["decision"], response["context"]["reason"]) == (False, "no_rule_matched")
    assert {"id", "reason_admin", "reason_user", "policy_revision"} <= response["context"].keys()


async def test_a_route_is_decided_by_access_as_at_every_door(point: DecisionPoint) -> None:
    credential = point.pki.issuing.issue("laptop-1.corp.example")
    device = SimulatedDevice(point.server.endpoints.agents, hostname="laptop-1", found_for={CHECK: (credential,)})
    await device.enroll(point.operators.enrollment_token(max_uses=1).text)
    assert passes(await device.attest_once(), device)
    certificate = {"client_certificate": base64.b64encode(credential.der).decode()}
    by_properties = {"type": "url", "id": "wiki", "properties": {"host": "wiki.corp.example", "path": "/pages/7"}}
    for question, reason in (
        (asked(ADA, GET, WIKI, context=certificate), "policy_allow"),
        (asked(ADA, GET, by_properties, context=certificate), "policy_allow"),
        (asked(ADA, GET, WIKI, context={"client_certificate": credential.pem.decode()}), "policy_allow"),
        (asked(ADA, GET, WIKI, context={"device": {"id": device.device_id}}), "policy_allow"),
        (asked({**ADA, "properties": {"device_id": device.device_id}}, GET, WIKI), "policy_allow"),
        (asked({"type": "device", "id": device.device_id}, GET, WIKI), "fact_unknown"),
        (asked(ADA, GET, WIKI), "no_device"),
        (asked(ADA, GET, WIKI, context={"client_certificate": "x"}), "certificate_malformed"),
        (asked(ADA, GET, WIKI, context={"device": {"id": "dev_nobody"}}), "unknown_device"),
        (asked({"type": "user", "id": "mallory@else.example"}, GET, WIKI, context=certificate), "no_policy_matched"),
        (asked(ADA, GET, {"type": "route", "id": "https://other.example/"}), "no_application"),
    ):
        answer = point.evaluate(question).json()
        assert (answer["context"]["reason"], answer["decision"]) == (reason, reason == "policy_allow"), question
    for wrong in (
        asked(ADA, {"name": "get"}, WIKI),
        asked(ADA, GET, {"type": "route", "id": "/pages/7"}),
        asked(ADA, GET, {"type": "route", "id": "https://wiki.corp.example/#x"}),
        asked(ADA, GET, WIKI, context={"source_ip": "here"}),
        asked(ADA, GET, WIKI, context=[]),
        asked({**ADA, "properties": {"device_id": "one"}}, GET, WIKI, context={"device": {"id": "other"}}),
    ):
        assert point.evaluate(wrong).status_code == 400, wrong


def test_an_evaluation_is_logged_and_explained(point: DecisionPoint) -> None:
    answer = point.evaluate(asked(BOB, WRITE, RECORD_1, context={"ticket": "OPS-7"})).json()
    record = point.operators.call("GET", f"/decisions/{answer['context']['id']}")
    assert (record["decision"], record["reason"]) == ("deny", "no_rule_matched")
    assert record["evaluation"] == asked(BOB, WRITE, RECORD_1, context={"ticket": "OPS-7"})
    explanation = point.operators.call("GET", f"/decisions/{answer['context']['id']}/explanation")
    assert (explanation["agrees"], explanation["decision"]) == (True, "deny")
    [gateway] = [step for reading in explanation["readings"] for step in reading["steps"] if step["kind"] == "gateway"]
    assert gateway["details"]["rules"] == 5


def test_rules_of_evaluations_and_of_requests_do_not_mix(point: DecisionPoint) -> None:
    """A rule that allows every evaluation lets no request pass, and a Gateway rule blocks no evaluation."""
    assert isinstance(point.client, httpx.Client)
    answer = point.evaluate(asked({"type": "user", "id": "alice"}, GET, WIKI)).json()
    assert not answer["decision"]

"""The AuthZEN certification scenario, level by level: Basic, Batch, Search, Discovery. The numbers are its tests'."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pytest

from authzen.conftest import DecisionPoint

ALICE: Final = {"type": "user", "id": "alice"}
BOB: Final = {"type": "user", "id": "bob"}
ADMIN: Final = {**BOB, "properties": {"role": "admin"}}
RECORD_1: Final = {"type": "record", "id": "record-1"}
RECORD_2: Final = {"type": "record", "id": "record-2"}
ACTIVE: Final = {**RECORD_1, "properties": {"status": "active"}}
ARCHIVED: Final = {**RECORD_2, "properties": {"status": "archived"}}
READ: Final = {"name": "read"}
WRITE: Final = {"name": "write"}

Question = Mapping[str, Any]
READING: Final[Question] = {"subject": ALICE, "action": READ, "resource": RECORD_1}


def asked(subject: object, action: object, resource: object, **more: object) -> dict[str, object]:
    return {"subject": subject, "action": action, "resource": resource, **more}


# ---- Basic --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "decision"),
    [
        pytest.param(READING, True, id="c-2-2-1"),
        pytest.param(asked(ALICE, WRITE, RECORD_1), True, id="rule-2"),
        pytest.param(asked(BOB, READ, RECORD_1), True, id="rule-3"),
        pytest.param(asked(BOB, WRITE, RECORD_1), False, id="c-2-2-2"),
        pytest.param({**READING, "context": {"time": "2025-06-27T18:03-07:00", "ip": "192.168.1.1"}}, True, id="c-2-2-3"),
        pytest.param(asked(ALICE, WRITE, ARCHIVED), False, id="c-2-2-4"),
        pytest.param(asked(ADMIN, WRITE, ARCHIVED), True, id="c-2-2-5"),
        pytest.param(asked(ALICE, {"name": "delete", "properties": {"soft": True}}, RECORD_1), True, id="c-2-2-6"),
        pytest.param(asked(ALICE, {"name": "delete", "properties": {"soft": False}}, RECORD_1), False, id="c-2-2-7"),
        pytest.param(
            asked(
                {**ALICE, "properties": {"department": "Sales", "role": "manager"}},
                {**READ, "properties": {"method": "GET"}},
                {**RECORD_1, "properties": {"status": "active", "owner": "bob"}},
            ),
            True,
            id="c-2-2-8",
        ),
        pytest.param({**READING, "foo": "bar", "futureField": {"nested": True}}, True, id="c-2-2-9"),
    ],
)
def test_basic_decisions(point: DecisionPoint, question: Question, decision: bool) -> None:
    response = point.evaluate(question)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert response.json()["decision"] is decision
    assert isinstance(response.json()["context"], dict)


@pytest.mark.parametrize(
    "question",
    [
        *({key: value for key, value in READING.items() if key != missing} for missing in READING),
        asked({"id": "alice"}, READ, RECORD_1),
        asked({"type": "user"}, READ, RECORD_1),
        asked(ALICE, {}, RECORD_1),
        asked(ALICE, READ, {"id": "record-1"}),
        asked(ALICE, READ, {"type": "record"}),
        asked("alice", READ, RECORD_1),
        asked(ALICE, {"name": 123}, RECORD_1),
        [],
        "a question",
        None,
    ],
    ids=lambda question: json.dumps(question)[:60],
)
def test_basic_what_is_missing_or_of_another_type_is_refused(point: DecisionPoint, question: object) -> None:
    """c-2-4-1, c-2-4-2, c-2-4-6."""
    response = point.evaluate(question)
    assert response.status_code == 400
    assert isinstance(response.json(), str)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain", json.dumps(READING)),  # c-2-4-3
        ("application/x-www-form-urlencoded", "a=b"),
        ("application/json", '{"subject": '),  # c-2-4-4
        ("application/json", ""),  # c-2-4-5
    ],
)
def test_basic_what_is_no_json_is_refused(point: DecisionPoint, content_type: str, body: str) -> None:
    response = point.client.post("/access/v1/evaluation", content=body, headers={"content-type": content_type})
    assert response.status_code == 400
    assert point.client.post("/access/v1/evaluation").status_code == 400


def test_basic_the_request_id_is_echoed(point: DecisionPoint) -> None:
    """c-2-5."""
    for path in ("/access/v1/evaluation", "/access/v1/evaluations", "/access/v1/search/action"):
        response = point.post(path, READING, headers={"X-Request-ID": "bfe9eb29-ab87-4ca3"})
        assert (response.status_code, response.headers["x-request-id"]) == (200, "bfe9eb29-ab87-4ca3")
        assert point.post(path, READING).status_code == 200
    assert point.evaluate({}).status_code == 400
    assert point.post("/access/v1/evaluation", {}, headers={"X-Request-ID": "x"}).headers["x-request-id"] == "x"


def test_basic_the_same_question_has_the_same_answer(point: DecisionPoint) -> None:
    """c-2-6."""
    assert {point.decision(READING) for _ in range(5)} == {True}


# ---- Batch --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "decisions"),
    [
        pytest.param(
            {"subject": ALICE, "action": READ, "evaluations": [{"resource": RECORD_1}, {"resource": RECORD_2}]},
            [True, None],
            id="c-3-2-1",
        ),
        pytest.param(
            {"subject": BOB, "resource": RECORD_1, "evaluations": [{"action": READ}, {"action": WRITE}]},
            [True, False],
            id="c-3-2-2",
        ),
        pytest.param(
            {"subject": ALICE, "action": WRITE, "evaluations": [{"resource": ACTIVE}, {"resource": ARCHIVED}]},
            [True, False],
            id="c-3-2-3",
        ),
        pytest.param(
            {"action": WRITE, "resource": ARCHIVED, "evaluations": [{"subject": ALICE}, {"subject": ADMIN}]},
            [False, True],
            id="c-3-2-4",
        ),
        pytest.param({"evaluations": [READING, asked(BOB, WRITE, RECORD_1)]}, [True, False], id="c-3-2-5"),
        pytest.param(
            {
                "subject": ALICE,
                "action": READ,
                "context": {"time": "2025-06-27T18:03-07:00"},
                "evaluations": [{"resource": RECORD_1}, {"resource": RECORD_2, "context": {"source": "batch-override"}}],
            },
            [True, None],
            id="c-3-2-6",
        ),
        pytest.param(
            {
                "subject": ALICE,
                "action": WRITE,
                "resource": {"type": "record"},
                "evaluations": [
                    {"resource": {"id": "record-1", "properties": {"status": "active"}}},
                    {"resource": ARCHIVED},
                ],
            },
            [True, False],
            id="c-3-2-7",
        ),
        pytest.param(
            {"subject": ALICE, "action": READ, "evaluations": [{"resource": RECORD_1}, {}]}, [True, False], id="c-3-4-1"
        ),
        pytest.param({**READING, "evaluations": [{}]}, [True], id="all defaults"),
    ],
)
def test_batch_decisions(point: DecisionPoint, question: Question, decisions: Sequence[bool | None]) -> None:
    response = point.post("/access/v1/evaluations", question)
    assert response.status_code == 200
    told = [each["decision"] for each in response.json()["evaluations"]]
    assert all(isinstance(each, bool) for each in told)
    assert "decision" not in response.json()
    assert [each if expected is not None else None for each, expected in zip(told, decisions, strict=True)] == decisions


@pytest.mark.parametrize("question", [READING, {**READING, "evaluations": []}], ids=["c-3-4-2", "c-3-4-3"])
def test_batch_without_evaluations_is_one_evaluation(point: DecisionPoint, question: Question) -> None:
    response = point.post("/access/v1/evaluations", question)
    assert (response.status_code, response.json()["decision"]) == (200, True)
    assert "evaluations" not in response.json()
    assert point.post("/access/v1/evaluations", {"evaluations": []}).status_code == 400


# ---- Search -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "question", "expected"),
    [
        pytest.param("subject", asked({"type": "user"}, READ, RECORD_1), ["alice", "bob"], id="c-4-2-1"),
        pytest.param("subject", asked({"type": "user"}, READ, RECORD_1, context={"ip": "x"}), ["alice", "bob"], id="c-4-2-2"),
        pytest.param("subject", asked(ALICE, READ, RECORD_1), ["alice", "bob"], id="c-4-2-3"),
        pytest.param("subject", asked({"type": "user"}, WRITE, ARCHIVED), ["bob"], id="c-4-2-4"),
        pytest.param("resource", asked(ALICE, READ, {"type": "record"}), ["record-1", "record-2"], id="c-4-3-1"),
        pytest.param("resource", asked(ALICE, READ, RECORD_2), ["record-1", "record-2"], id="c-4-3-2"),
        pytest.param("resource", asked(ADMIN, WRITE, {"type": "record"}), ["record-2"], id="c-4-3-3"),
        pytest.param("action", {"subject": ALICE, "resource": RECORD_1}, ["read", "write"], id="c-4-4-1"),
        pytest.param("action", {"subject": ALICE, "resource": RECORD_1, "context": {}}, ["read", "write"], id="c-4-4-2"),
        pytest.param("action", {"subject": ADMIN, "resource": ARCHIVED}, ["read", "write"], id="c-4-4-3"),
        pytest.param("action", {"subject": {"type": "user", "id": "nobody"}, "resource": RECORD_1}, [], id="c-4-6-1"),
        pytest.param("subject", asked({"type": "spaceship"}, READ, RECORD_1), [], id="c-4-6-2"),
    ],
)
def test_search_results(point: DecisionPoint, role: str, question: Question, expected: Sequence[str]) -> None:
    response = point.post(f"/access/v1/search/{role}", question)
    assert response.status_code == 200
    results = response.json()["results"]
    assert [result.get("id", result.get("name")) for result in results] == expected
    if role != "action":
        assert all(result.keys() == {"type", "id"} and result["type"] == question[role]["type"] for result in results)


def test_search_pages(point: DecisionPoint) -> None:
    """c-4-5."""
    question = asked({"type": "user"}, READ, RECORD_1)
    first = point.post("/access/v1/search/subject", {**question, "page": {"limit": 1}}).json()
    assert [result["id"] for result in first["results"]] == ["alice"]
    token = first["page"]["next_token"]
    assert token
    second = point.post("/access/v1/search/subject", {**question, "page": {"token": token}}).json()
    assert ([result["id"] for result in second["results"]], second["page"]["next_token"]) == (["bob"], "")
    other = point.post("/access/v1/search/subject", {**asked({"type": "user"}, WRITE, RECORD_1), "page": {"token": token}})
    assert other.status_code == 400
    wrong: tuple[object, ...] = ({"token": "AAAA"}, {"token": 5}, {"limit": 0}, {"limit": "1"}, {"limit": True}, [])
    for page in wrong:
        assert point.post("/access/v1/search/subject", {**question, "page": page}).status_code == 400, page


@pytest.mark.parametrize(
    ("role", "question"),
    [
        ("subject", {"subject": {"type": "user"}, "resource": RECORD_1}),
        ("resource", {"action": READ, "resource": {"type": "record"}}),
        ("action", {"subject": ALICE}),
        ("subject", asked({"type": "user"}, READ, {"type": "record"})),
        ("resource", asked({"type": "user"}, READ, {"type": "record"})),
        ("subject", asked({}, READ, RECORD_1)),
    ],
)
def test_search_what_is_missing_is_refused(point: DecisionPoint, role: str, question: Question) -> None:
    """c-4-7."""
    assert point.post(f"/access/v1/search/{role}", question).status_code == 400


# ---- Discovery ----------------------------------------------------------------------------------------------------------


def test_discovery(point: DecisionPoint) -> None:
    """c-6."""
    response = point.client.get("/.well-known/authzen-configuration", headers={"Authorization": ""})
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    metadata = response.json()
    base = str(point.client.base_url).rstrip("/")
    assert metadata["policy_decision_point"] == base
    endpoints = [value for name, value in metadata.items() if name.endswith("_endpoint")]
    assert len(endpoints) == 5
    for endpoint in endpoints:
        assert endpoint.startswith(f"{base}/access/v1/")
        assert point.client.post(endpoint, json={}).status_code == 400
    assert metadata["capabilities"] == []
    assert point.client.get("/.well-known/authzen-configuration/tenant1").status_code == 404

"""Rules that ask how a device stands or who the user is, and searches among many entities, routes among them."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import pytest

from authzen.conftest import DecisionPoint, decision_point
from authzen.test_certification import asked
from server.scene import passes
from support.device import SimulatedDevice
from support.rules import CHECK

ADA: Final = {"type": "user", "id": "ada@corp.example"}
EVE: Final = {"type": "user", "id": "eve@corp.example"}
OPEN: Final = {"name": "open"}
PRINT: Final = {"name": "print"}
VAULT: Final = {"type": "vault", "id": "vault-1"}
_PASSED: Final = f'any(device_posture.checks.passed[*] == "{CHECK}")'
_FAILED: Final = f'any(device_posture.checks.failed[*] == "{CHECK}")'
_MANY: Final = 25


def rule(precedence: int, name: str, action: str, traffic: str, **more: object) -> dict[str, object]:
    return {
        "name": name,
        "precedence": precedence,
        "enabled": True,
        "filters": ["authzen"],
        "action": action,
        "traffic": traffic,
        **more,
    }


RULES: Final = [
    rule(10, "managed-devices-open", "allow", 'action.name == "open" and resource.type == "vault"', device_posture=_PASSED),
    rule(20, "no-print-from-elsewhere", "block", 'action.name == "print"', device_posture=_FAILED),
    rule(30, "print", "allow", 'action.name == "print"'),
    rule(40, "ada-closes", "allow", 'action.name == "close"', identity='identity.email == "ada@corp.example"'),
    rule(50, "two-properties", "allow", 'subject.properties["a"] == "x" and subject.properties["b"] == "y"'),
    rule(60, "deep", "allow", 'resource.properties["owner.team"] == "red" and context.properties.int["risk"] < 5'),
    rule(70, "groups", "allow", 'any(subject.properties.list["groups"][*] == "ops") and action.name == "page"'),
    rule(75, "staff", "allow", 'action.name == "greet"', identity='any(identity.groups.name[*] == "staff")'),
    rule(80, "even", "allow", 'action.name == "count" and resource.properties.bool["even"]'),
]
POLICIES: Final = [
    {"name": "machines", "decision": "non_identity", "include": [{"service_token": {"token_id": "backup"}}]},
    {"name": "from-portugal", "decision": "allow", "include": [{"geo": {"country_code": "PT"}}]},
]
APPLICATIONS: Final = [
    {"name": "archive", "type": "self_hosted", "domain": "archive.corp.example", "policies": ["machines"]},
    {"name": "map", "type": "self_hosted", "domain": "map.corp.example", "policies": ["from-portugal"]},
]
ENTITIES: Final = [
    {"name": "ada", "role": "subject", "type": "user", "id": "ada@corp.example"},
    {"name": "eve", "role": "subject", "type": "user", "id": "eve@corp.example"},
    *({"name": name, "role": "action"} for name in ("open", "print", "close", "count", "GET", "POST", "get")),
    {"name": "vault-1", "role": "resource", "type": "vault"},
    {"name": "wiki", "role": "resource", "type": "route", "id": "https://wiki.corp.example/pages/7"},
    {"name": "shop", "role": "resource", "type": "route", "id": "https://shop.corp.example/"},
    {"name": "no-url", "role": "resource", "type": "route", "id": "pages"},
    *(
        {"name": f"number-{number:02}", "role": "resource", "type": "number", "properties": {"even": number % 2 == 0}}
        for number in range(_MANY)
    ),
]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DecisionPoint]:
    more: dict[str, Sequence[object]] = {
        "gateway_rules": RULES,
        "entities": ENTITIES,
        "policies": POLICIES,
        "applications": APPLICATIONS,
        "service_tokens": [{"name": "backup"}],
    }
    with decision_point(tmp_path_factory.mktemp("own"), more) as point:
        yield point


async def a_device(point: DecisionPoint, hostname: str, *, passing: bool) -> str:
    credential = point.pki.issuing.issue(f"{hostname}.corp.example")
    device = SimulatedDevice(
        point.server.endpoints.agents, hostname=hostname, found_for={CHECK: (credential,)} if passing else {}
    )
    await device.enroll(point.operators.enrollment_token(max_uses=1).text)
    answer = await device.attest_once()
    assert not passing or passes(answer, device)
    return device.device_id


async def test_rules_ask_how_the_stated_device_stands(own: DecisionPoint) -> None:
    """An allowing rule needs a check that passed; a blocking one takes what is not known for failed."""
    good, bad = await a_device(own, "laptop-1", passing=True), await a_device(own, "laptop-2", passing=False)
    for device, allowed in ((good, True), (bad, False), (None, False)):
        context = {} if device is None else {"device": {"id": device}}
        for action in (OPEN, PRINT):
            assert own.decision(asked(ADA, action, VAULT, context=context)) is allowed, (action, device)
    claimed = {"posture": {CHECK: "passed"}, "device": {"id": bad, "checks": {"passed": [CHECK]}}}
    assert not own.decision(asked(ADA, OPEN, VAULT, context=claimed))
    machine = {"type": "device", "id": good}
    assert own.decision(asked(machine, OPEN, VAULT))
    assert not own.decision(asked({"type": "user", "id": good}, OPEN, VAULT))
    answer = own.evaluate(asked(ADA, OPEN, VAULT, context={"device": {"id": "dev_nobody"}})).json()
    assert (answer["decision"], answer["context"]["reason"]) == (False, "unknown_device")


async def test_a_revoked_device_denies_at_once(own: DecisionPoint) -> None:
    device = await a_device(own, "laptop-3", passing=True)
    question = asked(ADA, OPEN, VAULT, context={"device": {"id": device}})
    assert own.decision(question)
    own.operators.revoke(device)
    assert not own.decision(question)


@pytest.mark.parametrize(
    ("question", "decision"),
    [
        (asked(ADA, {"name": "close"}, VAULT), True),
        (asked({"type": "user", "id": "x", "properties": {"email": "ADA@corp.example"}}, {"name": "close"}, VAULT), True),
        (asked(EVE, {"name": "close"}, VAULT), False),
        (asked({"type": "robot", "id": "ada@corp.example"}, {"name": "close"}, VAULT), False),
        (asked({**ADA, "properties": {"email": "eve@corp.example"}}, {"name": "close"}, VAULT), False),
        (asked({**ADA, "properties": {"email": 7}}, {"name": "close"}, VAULT), False),
        (asked({**EVE, "properties": {"a": "x", "b": "y"}}, {"name": "-"}, VAULT), True),
        (asked({**EVE, "properties": {"a": "x", "b": "x"}}, {"name": "-"}, VAULT), False),
        (asked({**EVE, "properties": {"a": "x"}}, {"name": "-"}, VAULT), False),
        (asked(EVE, {"name": "-"}, {**VAULT, "properties": {"owner": {"team": "red"}}}, context={"risk": 4}), True),
        (asked(EVE, {"name": "-"}, {**VAULT, "properties": {"owner.team": "red"}}, context={"risk": -1}), True),
        (asked(EVE, {"name": "-"}, {**VAULT, "properties": {"owner": {"team": "red"}}}, context={"risk": 5}), False),
        (asked(EVE, {"name": "-"}, {**VAULT, "properties": {"owner": {"team": "red"}}}, context={"risk": 4.0}), False),
        (asked(EVE, {"name": "-"}, {**VAULT, "properties": {"owner": {"team": "red"}}}, context={"risk": "4"}), False),
        (asked(EVE, {"name": "-"}, {**VAULT, "properties": {"owner": {"team": "red"}}}, context={"risk": 2**63}), False),
        (asked(EVE, {"name": "-"}, {**VAULT, "properties": {"owner": {"team": "red"}}}), False),
        (asked({**EVE, "properties": {"groups": ["dev", "ops"]}}, {"name": "page"}, VAULT), True),
        (asked({**EVE, "properties": {"groups": ["ops", 1]}}, {"name": "page"}, VAULT), False),
        (asked({**EVE, "properties": {"groups": "ops"}}, {"name": "page"}, VAULT), False),
        (asked({**EVE, "properties": {"groups": []}}, {"name": "page"}, VAULT), False),
    ],
)
def test_users_and_properties_of_every_type(own: DecisionPoint, question: object, decision: bool) -> None:
    assert own.decision(question) is decision


def a_route(host: str) -> dict[str, object]:
    return {"type": "url", "id": f"https://{host}.corp.example/x"}


def test_facts_count_for_routes_and_for_rules(own: DecisionPoint) -> None:
    """What a proxy reports in a header, a question has in `context.facts`."""
    get = {"name": "GET"}
    for facts, decision in (({"http.src_ip.geo.country": "PT"}, True), ({"http.src_ip.geo.country": "ES"}, False), ({}, False)):
        assert own.decision(asked(ADA, get, a_route("map"), context={"facts": facts})) is decision
    for name, decision in (("staff", True), ("guests", False)):
        groups: dict[str, Any] = {"identity.groups": [{"name": name}]}
        assert own.decision(asked(ADA, {"name": "greet"}, VAULT, context={"facts": groups})) is decision
    assert not own.decision(asked(ADA, {"name": "greet"}, VAULT))
    others: tuple[object, ...] = ([], "PT", {"http.src_ip.geo.planet": "earth"}, {"http.src_ip.geo.country": 7})
    for wrong in others:
        assert own.evaluate(asked(ADA, get, a_route("map"), context={"facts": wrong})).status_code == 400


def test_a_service_token_opens_a_route_and_is_in_no_log(own: DecisionPoint) -> None:
    issued = own.operators.call("POST", "/service-tokens/backup/credential", {})
    token = {"id": issued["client_id"], "secret": issued["client_secret"]}
    machine, get = {"type": "service", "id": "backup"}, {"name": "GET"}
    assert own.decision(asked(machine, get, a_route("archive"), context={"service_token": token}))
    for wrong in ({**token, "secret": "x"}, {"id": token["id"]}, {}, {"secret": token["secret"]}):
        assert not own.decision(asked(machine, get, a_route("archive"), context={"service_token": wrong}))
    others: tuple[object, ...] = ([], "x", {"id": 1, "secret": 2}, {**token, "secret": "a, b"})
    for malformed in others:
        question = asked(machine, get, a_route("archive"), context={"service_token": malformed})
        assert own.evaluate(question).status_code == 400
    answer = own.evaluate(asked(machine, OPEN, VAULT, context={"service_token": token, "ticket": "OPS-7"})).json()
    record = own.operators.call("GET", f"/decisions/{answer['context']['id']}")
    assert record["evaluation"]["context"] == {"ticket": "OPS-7"}
    assert token["secret"] not in str(record)


# ---- Searches -----------------------------------------------------------------------------------------------------------


def search(point: DecisionPoint, role: str, question: dict[str, object], **page: object) -> dict[str, Any]:
    response = point.post(f"/access/v1/search/{role}", {**question, **({"page": page} if page else {})})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def names(found: dict[str, Any]) -> list[str]:
    return [result.get("id", result.get("name")) for result in found["results"]]


@pytest.mark.parametrize("limit", [1, 2, 5, 12, 13, 14, 1_000_000])
def test_pages_hold_every_result_once(own: DecisionPoint, limit: int) -> None:
    question = asked(ADA, {"name": "count"}, {"type": "number"})
    expected = [f"number-{number:02}" for number in range(0, _MANY, 2)]
    assert names(search(own, "resource", question)) == expected
    assert "page" not in search(own, "resource", question)
    gathered: list[str] = []
    page: dict[str, object] = {"limit": limit}
    for _ in range(_MANY):
        found = search(own, "resource", question, **page)
        assert found["page"]["count"] == len(found["results"]) <= limit
        gathered += names(found)
        if not found["page"]["next_token"]:
            break
        page = {"limit": limit, "token": found["page"]["next_token"]}
    assert gathered == expected


async def test_routes_are_found_by_access(own: DecisionPoint) -> None:
    """An entity that the question cannot be asked about is no result: an action that is no method, a route that is no URL."""
    device = await a_device(own, "laptop-4", passing=True)
    context = {"device": {"id": device}}
    wiki = {"type": "route", "id": "https://wiki.corp.example/pages/7"}
    assert names(search(own, "action", {"subject": ADA, "resource": wiki, "context": context})) == ["GET", "POST"]
    assert names(search(own, "resource", asked(ADA, {"name": "GET"}, {"type": "route"}, context=context))) == [wiki["id"]]
    assert names(search(own, "subject", asked({"type": "user"}, {"name": "GET"}, wiki, context=context))) == [
        ADA["id"],
        EVE["id"],
    ]
    assert names(search(own, "subject", asked({"type": "user"}, {"name": "GET"}, wiki))) == []


def test_what_is_wrong_with_a_question_is_told_whatever_is_searched_for(own: DecisionPoint) -> None:
    contexts: tuple[object, ...] = ([], {"device": 1}, {"source_ip": "here"}, {"a": {"b": 1}, "a.b": 2})
    for context in contexts:
        for role, question in (
            ("subject", asked({"type": "user"}, OPEN, VAULT)),
            ("resource", asked(ADA, OPEN, {"type": "vault"})),
            ("action", {"subject": ADA, "resource": VAULT}),
        ):
            assert own.post(f"/access/v1/search/{role}", {**question, "context": context}).status_code == 400, (role, context)

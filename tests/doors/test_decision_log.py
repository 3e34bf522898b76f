"""What both doors leave in the decision log: enough to decide again, and nothing that somebody could use."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from doors.stage import (
    ALICE_HOST,
    BYPASS_HOST,
    COUNTRY_HOST,
    FACTS_HEADER,
    OFFICE_HOST,
    REPORTER_SECRET,
    SERVICE_HOST,
    SERVICE_TOKEN,
    Ask,
    Stage,
    Told,
)
from support.pki import root_authority
from support.processes import wait_until
from support.rules import CHECK
from watchword_server.core.decide import decide
from watchword_server.core.facts import COUNTRY
from watchword_server.services.replaying import replayed

QUERY = "reset=hunter2"


@pytest.fixture(params=["envoy", "nginx"])
def door(request: pytest.FixtureRequest, stage: Stage) -> Callable[[Ask], Told]:
    """One of the two."""
    asked: Callable[[Ask], Told] = getattr(stage, request.param)
    return asked


def line(stage: Stage, told: Told) -> dict[str, Any]:
    """The decision's line in the file."""
    path, decision_id = stage.world.house.decision_log.path, told.headers["x-watchword-decision-id"]
    wait_until(lambda: f'"id":"{decision_id}"' in path.read_text(), what="the log's own thread writes the line")
    (found,) = [line for line in path.read_text().splitlines() if f'"id":"{decision_id}"' in line]
    record: dict[str, Any] = json.loads(found)
    return record


def asks(stage: Stage) -> Mapping[str, Ask]:
    """Requests of all sorts."""
    issued = stage.run(stage.world.house.operators.tokens.service_tokens.issue(SERVICE_TOKEN))
    token = (("CF-Access-Client-Id", issued.client_id), ("CF-Access-Client-Secret", issued.client_secret))
    return {
        "a device that passes": Ask(stage.credential),
        "no device": Ask(),
        "a stranger's certificate": Ask(root_authority("Somebody Else's CA").issue()),
        "nobody's certificate": Ask(stage.pki.issuing.issue()),
        "a user": Ask(host=ALICE_HOST),
        "no user": Ask(host=ALICE_HOST, user=None),
        "an address": Ask(host=OFFICE_HOST, address="2001:db8::7"),
        "a service token": Ask(host=SERVICE_HOST, user=None, headers=token),
        "a wrong service token": Ask(host=SERVICE_HOST, user=None, headers=(token[0], (token[1][0], "0" * 64))),
        "a fact": Ask(host=COUNTRY_HOST, headers=((FACTS_HEADER, json.dumps({COUNTRY: "PT"})),), secrets=(REPORTER_SECRET,)),
        "a port": Ask(host=f"{BYPASS_HOST}:8443"),
        "a path of several readings": Ask(stage.credential, target="/a/..%2fb//c"),
        "no application": Ask(host="elsewhere.example"),
    }


def test_what_a_door_decided_is_decided_again_from_the_log_alone(stage: Stage, door: Callable[[Ask], Told]) -> None:
    snapshot = stage.world.house.rules.in_force
    for name, ask in asks(stage).items():
        told = door(ask)
        record = line(stage, told)
        assert record["rules_revision"] == snapshot.current.rules.revision
        request, device, now = replayed(record)
        again = decide(request, device, snapshot.current, now=now)
        assert (again.allowed, again.reason) == (told.allowed, record["reason"]), name
        assert [rule.id for rule in again.rules] == [rule["id"] for rule in record["rules"]]
        assert [check.standing for check in again.checks] == [check["standing"] for check in record["checks"]]


def test_memory_tells_what_the_log_tells(stage: Stage, door: Callable[[Ask], Told]) -> None:
    for ask in asks(stage).values():
        told = door(ask)
        assert json.loads(json.dumps(stage.record(told))) == line(stage, told)


def test_memory_keeps_what_a_decision_was_made_of(stage: Stage, door: Callable[[Ask], Told]) -> None:
    recent = stage.recent(door(Ask(stage.credential, target=f"/page?{QUERY}")))
    snapshot = stage.world.house.rules.in_force.current
    assert recent.rules_revision == snapshot.rules.revision
    assert recent.request.query == QUERY  # never in the log; memory is no log
    assert decide(recent.request, recent.device, snapshot, now=recent.decision.decided_at) == recent.decision


def test_a_query_is_in_no_log_unless_it_is_asked_for(
    stage: Stage, door: Callable[[Ask], Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Ask(stage.credential, target=f"/page?{QUERY}")
    told = door(ask)
    record = line(stage, told)
    assert (record["request"]["path"], record["request"]["query"], record["request"]["query_logged"]) == ("/page", None, False)
    assert QUERY not in stage.world.house.decision_log.path.read_text() + json.dumps(stage.record(told))
    monkeypatch.setattr(stage.world.house.ext_authz.decisions, "log_query", True)
    record = line(stage, door(Ask(stage.credential, target="/page?q=1")))
    assert (record["request"]["path"], record["request"]["query"], record["request"]["query_logged"]) == ("/page", "q=1", True)


def test_the_device_and_all_its_results_are_told_whatever_was_asked(stage: Stage, door: Callable[[Ask], Told]) -> None:
    record = line(stage, door(Ask(stage.credential, host=BYPASS_HOST)))
    assert record["checks"] == []
    device = record["device"]
    assert (device["id"], device["certificate_possible"]) == (stage.device_id, True)
    assert device["common_name"] == "laptop-1.corp.example"
    (result,) = device["results"]
    assert (result["check_name"], result["passed"], result["evidence_level"]) == (CHECK, True, "proven")


def test_a_fault_of_ours_is_a_decision_in_the_log(
    stage: Stage, door: Callable[[Ask], Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fault(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("watchword_server.services.resolving.Resolver.resolve", fault)
    record = line(stage, door(Ask(stage.credential)))
    assert (record["decision"], record["reason"], record["errors"]) == ("deny", "internal", ["internal"])
    request, device, now = replayed(record)
    assert decide(request, device, stage.world.house.rules.in_force.current, now=now).reason == "internal"

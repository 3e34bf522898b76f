"""How a decision came about: by the rules it was made with while they are at hand, else by those in force, and it says which."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.world import USER, World
from support.pki import Pki
from support.rules import CHECK, HOST, POLICY
from watchword_server.core.model.decisions import AccessRequest, Identity
from watchword_server.core.model.names import DeviceId
from watchword_server.core.snapshot import EMPTY_SNAPSHOT
from watchword_server.errors import NotFoundError
from watchword_server.services.explaining import Explaining
from watchword_server.services.rules_in_force import RulesInForce

DECISION_ID = "x-watchword-decision-id"


def explaining(world: World) -> Explaining:
    return world.house.operators.decisions.explaining


def outcomes(explained: Any) -> dict[str, str]:
    """What came of each step, by kind."""
    found: dict[str, str] = {}

    def walk(steps: Any) -> None:
        for step in steps:
            found[step["kind"]] = step["outcome"]
            walk(step["steps"])

    for reading in explained["readings"]:
        walk(reading["steps"])
    return found


async def test_a_recent_decision_is_explained_by_the_rules_it_was_made_with(world: World) -> None:
    asked = await world.ask()
    await world.apply({**world.rules, "policies": [{**world.rules["policies"][0], "require": []}]})
    explained: Any = await explaining(world).decision(asked.headers[DECISION_ID])
    assert (explained["basis"], explained["agrees"], explained["rules_revision"]) == ("rules_of_the_decision", True, 1)
    assert (explained["decision"], explained["reason"]) == ("deny", "no_device")
    assert outcomes(explained) == {
        "device": "absent",
        "application": "no policy applies: deny",
        "policy": "does not apply",
        "selector": "unknown",
        "check": "no_device",
    }


async def test_rules_long_gone_are_not_kept_and_that_is_said(world: World) -> None:
    asked = await world.ask()
    for number in range(8):
        policy = {**world.rules["policies"][0], "require": [], "description": f"version {number}"}
        await world.apply({**world.rules, "policies": [policy]})
    explained: Any = await explaining(world).decision(asked.headers[DECISION_ID])
    assert (explained["basis"], explained["agrees"]) == ("rules_in_force", False)
    assert (explained["decision"], explained["rules"][-1]["name"]) == ("allow", POLICY)


async def test_a_decision_of_a_server_that_was_restarted_is_explained_from_the_log(tmp_path: Path, pki: Pki) -> None:
    async with World.open(tmp_path, pki) as world:
        await world.apply(world.rules)
        credential = pki.issuing.issue()
        await world.attest(await world.device("laptop-1", credential))
        asked = await world.ask(credential)
        assert asked.allowed
    async with World.open(tmp_path, pki) as world:
        world.pass_time(86_400)
        explained: Any = await explaining(world).decision(asked.headers[DECISION_ID])
        assert (explained["basis"], explained["agrees"], explained["query_known"]) == ("rules_in_force", True, True)
        assert outcomes(explained)["check"] == "passed"
        with pytest.raises(NotFoundError):
            await explaining(world).decision("dcn_000000000000000000000000")


def a_request(**fields: Any) -> AccessRequest:
    request = AccessRequest("GET", "https", HOST, "/page", "", None, Identity(USER), "operator")
    return replace(request, **fields)


async def test_a_request_that_nobody_made(world: World, pki: Pki) -> None:
    """From a device as the server knows it; nothing is decided, and nothing is logged."""
    device = await world.device("laptop-1", pki.issuing.issue())
    await world.attest(device)
    log = world.house.decision_log.path
    before = log.read_bytes() if log.exists() else b""
    allowed: Any = await explaining(world).request(a_request(), DeviceId(device.device_id))
    assert (allowed["decision"], allowed["reason"], allowed["rules"][-1]["name"]) == ("allow", "policy_allow", POLICY)
    await world.devices.lock(DeviceId(device.device_id), "lost")
    locked: Any = await explaining(world).request(a_request(), DeviceId(device.device_id))
    assert (locked["decision"], locked["reason"]) == ("deny", "device_locked")
    await world.devices.unlock(DeviceId(device.device_id))
    denied: Any = await explaining(world).request(a_request(), None)
    assert (denied["decision"], denied["reason"]) == ("deny", "no_device")
    await world.devices.revoke(DeviceId(device.device_id))
    revoked: Any = await explaining(world).request(a_request(), DeviceId(device.device_id))
    assert revoked["reason"] == "device_revoked"
    with pytest.raises(NotFoundError, match="no device `dev_x`"):
        await explaining(world).request(a_request(), DeviceId("dev_x"))
    assert (log.read_bytes() if log.exists() else b"") == before


async def test_expressions_are_told_by_name(world: World) -> None:
    rule: dict[str, Any] = {
        "name": "only-managed",
        "precedence": 1,
        "enabled": True,
        "filters": ["http"],
        "action": "block",
        "device_posture": f'not(any(device_posture.checks.passed[*] in {{"{CHECK}"}}))',
        "traffic": "not(http.conn.src_ip in $office)",
    }
    nets = {"name": "office", "type": "IP", "items": [{"value": "192.0.2.0/24"}]}
    await world.apply({**world.rules, "gateway_rules": [rule], "lists": [nets]})
    explained = str(await explaining(world).request(a_request(), None))
    assert rule["device_posture"] in explained
    assert rule["traffic"] in explained


def test_only_the_last_few_snapshots_are_kept() -> None:
    rules = RulesInForce()
    for revision in range(20):
        rules.current = replace(EMPTY_SNAPSHOT, rules=replace(EMPTY_SNAPSHOT.rules, revision=revision))
    kept = [revision for revision in range(20) if rules.of_revision(revision) is not None]
    assert kept == list(range(16, 20))
    assert rules.of_revision(19) is rules.current

"""The posture log says what each check came to, from when until when, in as few entries as that takes."""

from typing import Any

import pytest

from audit.conftest import Office
from support.device import SimulatedDevice
from support.pki import Credential, Pki
from support.rules import CHECK
from watchword_server.core.model.names import DeviceId, Instant


@pytest.fixture
def credential(pki: Pki) -> Credential:
    return pki.issuing.issue()


async def entries(office: Office, query: str = "") -> list[dict[str, Any]]:
    answer = await office.call("GET", f"/api/v1/posture-log{query}", token=office.tokens["read"])
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["entries"]
    return found


async def history(office: Office, credential: Credential) -> SimulatedDevice:
    """A device that passes three times, fails twice, and passes again."""
    world = office.world
    device = await world.device("laptop-1", credential)
    for _ in range(3):
        await world.attest(device)
    device.found = ()
    for _ in range(2):
        await world.attest(device, "certificate_not_found")
    device.found = (credential,)
    await world.attest(device)
    return device


async def test_results_that_say_the_same_are_one_entry_with_a_beginning_and_an_end(
    office: Office, credential: Credential
) -> None:
    device = await history(office, credential)
    newest, failed, first = await entries(office)
    assert [(each["reason"], each["conditions_met"], each["evaluations"]) for each in (first, failed, newest)] == [
        ("passed", True, 3),
        ("certificate_not_found", False, 2),
        ("passed", True, 1),
    ]
    assert first["until"] == failed["from"]
    assert failed["until"] == newest["from"]
    assert newest["until"] is None
    assert {each["device_id"] for each in (first, failed, newest)} == {device.device_id}
    assert (newest["check"], newest["device"], newest["evidence_level"]) == (CHECK, "laptop-1", "proven")
    assert newest["evidence_age_seconds"] >= 0


async def test_what_stays_the_same_holds_until_it_expires(office: Office, credential: Credential) -> None:
    device = await office.world.device("laptop-1", credential)
    await office.world.attest(device)
    office.world.pass_time(3600)
    [entry] = await entries(office)
    assert entry["until"] == entry["expires_at"] is not None


async def test_a_device_that_leaves_or_is_revoked_ends_its_entries(office: Office, credential: Credential) -> None:
    device = await office.world.device("laptop-1", credential)
    await office.world.attest(device)
    await office.world.devices.revoke(DeviceId(device.device_id))
    [entry] = await entries(office)
    assert entry["until"] is not None


async def test_changed_rules_that_change_a_verdict_are_told_too(office: Office, credential: Credential) -> None:
    device = await office.world.device("laptop-1", credential)
    await office.world.attest(device)
    rules = office.world.rules
    rules["checks"][0]["input"]["cn"] = "somebody else"
    await office.world.apply(rules)
    newest, first = await entries(office)
    assert (first["reason"], newest["reason"]) == ("passed", "common_name_mismatch")
    assert "somebody else" in str(newest["expected_values"])
    assert newest["received_values"]
    assert newest["check_revision"] > first["check_revision"]


async def test_filters(office: Office, credential: Credential) -> None:
    device = await history(office, credential)
    other = await office.world.device("laptop-2")
    await office.world.attest(other, "certificate_not_found")
    everything = await entries(office)
    assert len(everything) == 4
    for query, expected in (
        (f"?device={device.device_id}", 3),
        ("?device=dev_nobody", 0),
        (f"?check={CHECK}", 4),
        (f"?check={everything[0]['check_id']}", 4),
        ("?check=another", 0),
        ("?outcome=failed", 2),
        (f"?outcome=passed&device={other.device_id}", 0),
        ("?reason=certificate_not_found", 2),
        ("?since=2030-01-01T00:00:00Z", 0),
        ("?until=2020-01-01T00:00:00Z", 0),
        ("?since=2020-01-01T00:00:00Z&until=2090-01-01T00:00:00Z", 4),
    ):
        assert len(await entries(office, query)) == expected, query
    for query in ("?outcome=maybe", "?limit=0", "?limit=1001", "?before=x", "?since=yesterday", "?device="):
        answer = await office.call("GET", f"/api/v1/posture-log{query}", token=office.tokens["read"])
        assert answer.status_code == 400, query


async def test_pages_have_every_entry_once(office: Office, credential: Credential) -> None:
    await history(office, credential)
    everything = await entries(office)
    pages: list[dict[str, Any]] = []
    query = "?limit=2"
    for _ in range(2):
        answer = (await office.call("GET", f"/api/v1/posture-log{query}", token=office.tokens["read"])).json()
        pages += answer["entries"]
        query = f"?limit=2&before={answer['next']}"
    assert [each["number"] for each in pages] == [each["number"] for each in everything]
    assert answer["next"] is None


async def test_it_is_trimmed_by_age_and_by_number(office: Office, credential: Credential) -> None:
    await history(office, credential)
    store = office.world.house.store
    await store.trim_posture_log(rows=2, older_than=Instant(0.0))
    assert [each["reason"] for each in await entries(office)] == ["passed", "certificate_not_found"]
    await store.trim_posture_log(rows=2, older_than=Instant(office.world.house.clock.now() + 1))
    assert await entries(office) == []

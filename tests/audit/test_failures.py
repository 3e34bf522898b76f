"""Failures to authenticate: the first of an address is recorded at once, a flood as one record a minute."""

from pathlib import Path

from audit.conftest import Office
from services.world import World
from support.device import Ended, SimulatedDevice
from support.pki import Pki
from watchword_server.core.audit import Action, Actor
from watchword_server.services.auditing import MAX_WINDOWS

WRONG = "wwa." + "A" * 16 + "." + "B" * 43


async def failures(office: Office, after: int) -> list[tuple[str | None, int, str]]:
    """Address, count and reason of each record."""
    found = [each for each in await office.records(after) if each["action"] == "authentication.failed"]
    return [(each["address"], each["details"]["count"], each["details"]["reason"]) for each in found]


async def test_a_flood_of_one_address_is_one_record_a_minute(office: Office) -> None:
    world, before = office.world, await office.last()
    for _ in range(50):
        await office.call("GET", "/api/v1/devices", token=WRONG, address="192.0.2.1")
    await office.call("GET", f"{office.account}/devices/posture", address="192.0.2.2")
    assert await failures(office, before) == [("192.0.2.1", 1, "token_unknown"), ("192.0.2.2", 1, "token_missing")]
    await world.house.keep_books()
    assert len(await failures(office, before)) == 2  # the minute is not over
    world.pass_time(60)
    await world.house.keep_books()
    assert (await failures(office, before))[2:] == [("192.0.2.1", 49, "token_unknown")]
    for _ in range(7):
        await office.call("GET", "/api/v1/devices", token=WRONG, address="192.0.2.1")
    assert len(await failures(office, before)) == 3
    world.pass_time(60)
    await world.house.keep_books()
    assert (await failures(office, before))[3:] == [("192.0.2.1", 7, "token_unknown")]
    world.pass_time(60)
    await world.house.keep_books()
    await office.call("GET", "/api/v1/devices", token=WRONG, address="192.0.2.1")
    assert (await failures(office, before))[4:] == [("192.0.2.1", 1, "token_unknown")]  # after a quiet minute, at once


async def test_a_flood_of_many_addresses_is_bounded_too(office: Office) -> None:
    auditing, before = office.world.house.auditing, await office.last()
    for number in range(MAX_WINDOWS + 500):
        await auditing.failed(
            Action.AUTHENTICATION_FAILED, Actor("nobody", address=f"2001:db8::{number:x}"), reason="token_wrong"
        )
    assert len(await failures(office, before)) == MAX_WINDOWS
    office.world.pass_time(60)
    await auditing.flush()
    assert (await failures(office, before))[MAX_WINDOWS:] == [(None, 500, "several")]
    assert len(auditing._windows) <= MAX_WINDOWS + 2


async def test_what_the_store_did_not_take_is_counted_until_it_does(office: Office) -> None:
    before = await office.last()
    with office.world.failing("record"):
        for _ in range(3):
            assert (await office.call("GET", "/api/v1/devices", token=WRONG, address="192.0.2.1")).status_code == 401
        office.world.pass_time(60)
        await office.world.house.auditing.flush()
    assert await failures(office, before) == []
    await office.world.house.auditing.flush()
    assert await failures(office, before) == [("192.0.2.1", 3, "token_unknown")]


async def test_no_token_and_no_part_of_one_is_in_the_log(office: Office) -> None:
    secret = office.tokens["read"].split(".")[2]
    await office.call("GET", "/api/v1/devices", token=office.tokens["read"][:-1] + "-", address="192.0.2.1")
    await office.call("GET", "/api/v1/devices", token=office.tokens["read"] + "x", address="192.0.2.3")
    text = str(await office.records())
    assert secret[:20] not in text
    assert "token_wrong" in text
    assert "token_malformed" in text


async def test_what_was_counted_is_written_when_the_server_stops(tmp_path: Path, pki: Pki) -> None:
    async with World.open(tmp_path, pki) as world:
        office = Office(world)
        for _ in range(5):
            await office.call("GET", "/api/v1/devices", token=WRONG, address="192.0.2.1")
    async with World.open(tmp_path, pki) as world:
        assert await failures(Office(world), 0) == [("192.0.2.1", 1, "token_unknown"), ("192.0.2.1", 4, "token_unknown")]


async def test_callers_that_nobody_knows_and_refused_enrollments_are_recorded_without_waiting(office: Office) -> None:
    world, before = office.world, await office.last()
    for secret in ("a wrong secret", "another one"):
        asked = await world.ask(headers={"X-Watchword-Caller-Secret": secret})
        assert (asked.status, asked.reason) == (401, "caller_refused")
    used = await world.token()
    await world.device("laptop", token=used)
    for hostname in ("b", "c", "d"):
        refused = await world.enroll(SimulatedDevice("in this process", hostname=hostname), used)
        assert isinstance(refused, Ended)
    assert await failures(office, before) == []
    await world.house.keep_books()
    assert await failures(office, before) == [("127.0.0.1", 2, "caller_refused"), ("192.0.2.7", 3, "token_used")]
    [caller, enrollment] = (await office.records(before))[-2:]
    assert caller["target"] == {"kind": "decisions", "id": "auth_request", "name": None}
    assert enrollment["target"]["kind"] == "enrollment"
    assert used.split(".")[2] not in str(await office.records())

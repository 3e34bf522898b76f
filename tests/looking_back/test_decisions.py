"""Decisions can be looked through as long as the log has them, whether or not it was rotated meanwhile."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from audit.conftest import Office
from services.world import USER, World
from support.pki import Credential, Pki
from support.rules import HOST


@pytest.fixture
def credential(pki: Pki) -> Credential:
    return pki.issuing.issue()


async def found(office: Office, query: str = "") -> dict[str, Any]:
    answer = await office.call("GET", f"/api/v1/decisions{query}", token=office.tokens["read"])
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def written(world: World, number: int) -> None:
    """Until the log's own thread has written so many lines, over all of its files."""
    path: Path = world.house.decision_log.path
    async with asyncio.timeout(20):
        while sum(file.read_bytes().count(b"\n") for file in path.parent.glob(f"{path.name}*")) < number:  # noqa: ASYNC110 - a file
            await asyncio.sleep(0)


async def test_the_newest_first_in_pages_and_by_filters(office: Office, credential: Credential) -> None:
    world = office.world
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    asked = [(await world.ask(credential if number % 2 else None)).headers["x-watchword-decision-id"] for number in range(6)]
    asked.append((await world.ask(credential, host="elsewhere.example")).headers["x-watchword-decision-id"])
    await written(world, len(asked))
    told = await found(office)
    assert [record["id"] for record in told["decisions"]] == asked[::-1]
    assert told["next"] is None
    paged: list[str] = []
    query = "?limit=3"
    while True:
        page = await found(office, query)
        paged += [record["id"] for record in page["decisions"]]
        if page["next"] is None:
            break
        query = f"?limit=3&before={page['next']}"
    assert paged == asked[::-1]
    for query, expected in (
        ("?decision=allow", 3),
        ("?decision=deny&reason=no_device", 3),
        (f"?device={device.device_id}", 4),
        (f"?user={USER.upper()}", 7),
        (f"?host={HOST}", 6),
        ("?host=ELSEWHERE.example", 1),
        ("?caller=nobody", 0),
        ("?rule=nothing", 0),
        ("?since=2090-01-01T00:00:00Z", 0),
        ("?until=2090-01-01T00:00:00Z", 7),
        ("?until=2020-01-01T00:00:00Z", 0),
    ):
        assert len((await found(office, query))["decisions"]) == expected, query
    policy = (await found(office, "?decision=allow"))["decisions"][0]["rules"][-1]
    for rule in (policy["id"], policy["name"]):
        answer = await office.call("GET", "/api/v1/decisions", token=office.tokens["read"])
        assert answer.status_code == 200
        assert len((await found(office, f"?decision=allow&rule={rule}"))["decisions"]) == 3


async def test_what_cannot_be_looked_for_is_refused(office: Office) -> None:
    for query in ("?before=x", "?decision=perhaps", "?limit=0", "?since=now", "?host="):
        answer = await office.call("GET", f"/api/v1/decisions{query}", token=office.tokens["read"])
        assert answer.status_code == 400, query
    gone = await office.call("GET", f"/api/v1/decisions?before=dcn_{'0' * 24}", token=office.tokens["read"])
    assert gone.status_code == 404


async def test_older_files_are_looked_through_too_and_a_line_that_was_cut_off_is_left_out(tmp_path: Path, pki: Pki) -> None:
    async with World.open(tmp_path, pki, logs={"max_bytes": 1 << 20}) as world:
        await world.apply(world.rules)
        office = Office(world)
        await office.hire("read")
        path = world.house.decision_log.path
        first = (await world.ask()).headers["x-watchword-decision-id"]
        await written(world, 1)
        line = path.read_bytes()
        path.with_name(f"{path.name}.1").write_bytes(line.replace(first.encode(), b"dcn_" + b"1" * 24) + line[: len(line) // 2])
        told = await found(office)
        assert [record["id"] for record in told["decisions"]] == [first, f"dcn_{'1' * 24}"]
        assert (await office.call("GET", f"/api/v1/decisions/dcn_{'1' * 24}", token=office.tokens["read"])).status_code == 200

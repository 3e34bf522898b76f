"""Lists of one CA from several places: none is in another's way, and the newest counts wherever it came from."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from services.reading import InProcessReading
from services.test_revocation import CA, lists, opened, upload
from services.world import World
from support.crls import MINUTE, make_list
from support.pki import HOUR, Pki
from watchword.v1 import posture_pb2 as wire
from watchword_server.errors import ConflictError, RevocationReadError
from watchword_server.ports.revocation import ListSource, ReadList, ReadRequest
from watchword_server.services.revocation_places import Slot

FIRST, SECOND = "http://pki.corp.example/1.crl", "http://pki.corp.example/2.crl"


@dataclass(slots=True)
class HangingReading(InProcessReading):
    """Reading that waits at a URL until it is let go."""

    hanging: dict[str, asyncio.Event] = field(default_factory=dict)
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, request: ReadRequest) -> ReadList | None:
        if request.place in self.hanging:
            self.reached.set()
            await self.hanging[request.place].wait()
        return await InProcessReading.read(self, request)


@asynccontextmanager
async def two_places(directory: Path, pki: Pki, **check_input: Any) -> AsyncIterator[tuple[World, HangingReading]]:
    async with opened(directory, pki, **check_input) as world:
        reading = HangingReading(directory / "spool")
        lists(world).reading = reading
        certificate = {"name": CA, "pem": pki.issuing.pem.decode(), "crl": [{"url": FIRST}, {"url": SECOND}]}
        await world.apply({**world.rules, "certificates": [certificate]})
        yield world, reading


async def serve(world: World, url: str, content: bytes) -> None:
    reading = cast("InProcessReading", lists(world).reading)
    reading.served[url] = content
    await lists(world).refresh(slot_of(world, url))


def slot_of(world: World, url: str) -> Slot:
    return Slot(lists(world).certificate(CA).id, ListSource.URL, url)


def numbers(world: World) -> Sequence[int | None]:
    return sorted(kept.revocation_list.number or 0 for kept in lists(world).lists(lists(world).certificate(CA).id))


async def test_a_place_that_never_finishes_is_not_in_the_way_of_an_upload(tmp_path: Path, pki: Pki) -> None:
    async with two_places(tmp_path, pki) as (world, reading):
        reading.served[FIRST] = make_list(pki.issuing, number=1)
        reading.hanging[FIRST] = asyncio.Event()
        fetching = asyncio.ensure_future(lists(world).refresh(slot_of(world, FIRST)))
        await reading.reached.wait()
        await upload(world, make_list(pki.issuing, number=2))
        assert numbers(world) == [2]
        reading.hanging[FIRST].set()
        await fetching
        assert numbers(world) == [1, 2]


async def test_what_was_read_for_rules_that_are_gone_is_not_taken(tmp_path: Path, pki: Pki) -> None:
    async with two_places(tmp_path, pki) as (world, reading):
        reading.served[FIRST] = make_list(pki.issuing, number=1)
        reading.hanging[FIRST] = asyncio.Event()
        fetching = asyncio.ensure_future(lists(world).refresh(slot_of(world, FIRST)))
        await reading.reached.wait()
        await world.apply(world.rules)  # without places
        reading.hanging[FIRST].set()
        with pytest.raises(ConflictError):
            await fetching
        assert numbers(world) == []
        assert list(reading.spool.iterdir()) == []


async def test_a_newer_list_from_another_place_takes_a_revocation_back(tmp_path: Path, pki: Pki) -> None:
    credential = pki.issuing.issue()
    async with two_places(tmp_path, pki) as (world, _):
        device = await world.device("laptop-1", credential)
        await world.attest(device)
        await serve(world, FIRST, make_list(pki.issuing, [credential], number=6))
        assert (await world.ask(credential)).reason == "certificate_revoked"
        await upload(world, make_list(pki.issuing, number=7, this_update=-MINUTE))
        stored = await world.stored(device)
        assert stored is not None
        assert stored.passed
        assert (await world.ask(credential)).allowed


async def test_a_place_that_had_an_older_list_takes_back_what_another_place_told(tmp_path: Path, pki: Pki) -> None:
    """Against its own last list nothing changed."""
    credential = pki.issuing.issue()
    async with two_places(tmp_path, pki) as (world, _):
        device = await world.device("laptop-1", credential)
        await world.attest(device)
        await serve(world, SECOND, make_list(pki.issuing, number=5, this_update=-2 * HOUR))
        await serve(world, FIRST, make_list(pki.issuing, [credential], number=6))
        assert (await world.ask(credential)).reason == "certificate_revoked"
        await serve(world, SECOND, make_list(pki.issuing, number=7, this_update=-MINUTE))
        stored = await world.stored(device)
        assert stored is not None
        assert stored.passed
        assert (await world.ask(credential)).allowed


async def test_an_older_list_vouches_for_nothing_after_the_newest_has_ended(tmp_path: Path, pki: Pki) -> None:
    credential = pki.issuing.issue()
    async with two_places(tmp_path, pki, revocation="require") as (world, _):
        device = await world.device("laptop-1", credential)
        await world.attest(device, "revocation_unknown")
        await serve(world, FIRST, make_list(pki.issuing, number=6, next_update=10 * HOUR))
        assert (await world.ask(credential)).allowed
        await upload(world, make_list(pki.issuing, number=7, this_update=-MINUTE, next_update=2 * MINUTE))
        world.pass_time(60)
        assert (await world.ask(credential)).allowed
        world.pass_time(120)
        assert not (await world.ask(credential)).allowed
        await world.attest(device, "revocation_unknown")


async def test_files_of_superseded_and_refused_lists_go(tmp_path: Path, pki: Pki) -> None:
    async with two_places(tmp_path, pki) as (world, reading):
        for number in (1, 2, 3):
            await upload(world, make_list(pki.issuing, number=number))
        with pytest.raises(ConflictError):
            await upload(world, make_list(pki.issuing, number=2))
        [kept] = reading.spool.iterdir()
        assert kept.name == lists(world).lists(lists(world).certificate(CA).id)[0].stored.sha256.hex()
        assert list(lists(world).inbox.iterdir()) == []


async def test_uploads_that_a_crash_left_behind_go_at_the_start(tmp_path: Path, pki: Pki) -> None:
    inbox, spool = tmp_path / "data" / "inbox", tmp_path / "data" / "revocation"
    async with opened(tmp_path, pki):
        inbox.mkdir(exist_ok=True)
        spool.mkdir(exist_ok=True)
        (inbox / "half.crl").write_bytes(b"0")
        (spool / ".half.tmp").write_bytes(b"0")
    async with World.open(tmp_path, pki):
        assert [*inbox.iterdir(), *spool.iterdir()] == []


async def test_an_upload_on_its_way_is_nobody_else_s_to_read(tmp_path: Path, pki: Pki) -> None:
    modes: list[int] = []
    async with opened(tmp_path, pki) as world:

        async def body() -> AsyncIterator[bytes]:
            yield b"x"
            modes.extend(path.stat().st_mode & 0o777 for path in lists(world).inbox.iterdir())

        with pytest.raises(RevocationReadError):
            await lists(world).upload(CA, body())
    assert modes == [0o600]


async def test_who_has_places_read_hears_what_came_of_each(tmp_path: Path, pki: Pki) -> None:
    async with two_places(tmp_path, pki) as (world, reading):
        sources = world.house.revocation_sources
        reading.served[FIRST] = make_list(pki.issuing, number=1)
        sources.follow()
        told = {source.slot.place: error for source, error in await sources.read_now(lists(world).certificate(CA))}
        assert told == {FIRST: None, SECOND: "fetch_failed: connection refused"}
        reading.served[SECOND] = make_list(pki.issuing, number=2)
        reading.hanging[FIRST] = asyncio.Event()
        lists(world).fetch_timeout_seconds = 0.3
        told = {source.slot.place: error for source, error in await sources.read_now(lists(world).certificate(CA))}
        assert str(told.pop(FIRST)).startswith("not read yet")
        assert told == {SECOND: None}
        assert numbers(world) == [1, 2]


async def test_a_connected_device_is_asked_to_attest_when_its_verdict_is_another_one(tmp_path: Path, pki: Pki) -> None:
    credential, other = pki.issuing.issue(), pki.issuing.issue("other.corp.example")
    async with opened(tmp_path, pki) as world:
        device, bystander = await world.device("laptop-1", credential), await world.device("laptop-2", other)
        async with world.ready(device) as stream, world.ready(bystander) as quiet:
            assert isinstance(await stream.attest(), wire.Ack)
            assert isinstance(await quiet.attest(), wire.Ack)
            await upload(world, make_list(pki.issuing, [credential], number=1))
            assert isinstance(await stream.receive_until(wire.AttestNow), wire.AttestNow)
            await upload(world, make_list(pki.issuing, number=2))
            assert isinstance(await stream.receive_until(wire.AttestNow), wire.AttestNow)
            assert isinstance(await quiet.attest(), wire.Ack)
            assert not any(isinstance(message, wire.AttestNow) for message in quiet.received)

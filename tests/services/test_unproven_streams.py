"""Streams that have proven nothing are bounded by themselves, and never crowd out devices that have."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest

from services.world import World
from support.device import Ended, SimulatedDevice
from support.pki import Pki
from watchword.v1 import posture_pb2 as wire

FEW = 3


@pytest.fixture
async def small(tmp_path: Path, pki: Pki) -> AsyncIterator[World]:
    """A world that lets in few streams which prove nothing, from anywhere."""
    limits = {"max_unproven_streams": FEW, "max_unproven_streams_of_an_address": 100}
    async with World.open(tmp_path, pki, limits=limits) as world:
        await world.apply(world.rules)
        yield world


async def test_the_oldest_that_proved_nothing_gives_way(small: World, pki: Pki) -> None:
    device = await small.device("laptop-1", pki.issuing.issue())
    async with AsyncExitStack() as streams:
        idle = [await streams.enter_async_context(small.attesting(SimulatedDevice("", device_id=f"dev_{n}"))) for n in range(FEW)]
        await small.attest(device)
        closing = await idle[0].receive_until(wire.Closing)
        assert isinstance(closing, wire.Closing)
        assert closing.code == "overloaded"


async def test_streams_that_proved_something_do_not_count(small: World, pki: Pki) -> None:
    async with AsyncExitStack() as streams:
        for number in range(2 * FEW):
            device = await small.device(f"laptop-{number}", pki.issuing.issue())
            stream = await streams.enter_async_context(small.attesting(device))
            assert isinstance(await stream.settle(), wire.Ack)
        for stream in [await streams.enter_async_context(small.attesting(SimulatedDevice("", device_id="dev")))]:
            assert stream.challenge is not None


async def test_one_address_has_a_share_of_its_own(tmp_path: Path, pki: Pki) -> None:
    async with (
        World.open(tmp_path, pki, limits={"max_unproven_streams_of_an_address": FEW}) as world,
        AsyncExitStack() as streams,
    ):
        for number in range(FEW):
            await streams.enter_async_context(world.attesting(SimulatedDevice("", device_id=f"dev_{number}")))
        one_more = await streams.enter_async_context(world.attesting(SimulatedDevice("", device_id="dev")))
        assert one_more.received[-1] == Ended(grpc.StatusCode.RESOURCE_EXHAUSTED, "rate_limited")

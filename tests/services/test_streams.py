"""What the house tells a stream: bounded for whoever does not read, and gone when the stream is."""

from typing import cast

import pytest

from services.world import LocalCall, World
from support.device import AttestStream, Ended
from support.pki import Credential, Pki
from watchword.v1 import posture_pb2 as wire
from watchword_server.core.model.names import DeviceId
from watchword_server.services.connections import AttestNow


@pytest.fixture
def credential(pki: Pki) -> Credential:
    return pki.issuing.issue()


def call_of(stream: AttestStream) -> LocalCall:
    return cast("LocalCall", stream._call)


async def test_who_does_not_read_what_it_is_told_is_told_no_more_than_fits_and_then_that_it_is_too_slow(
    world: World, credential: Credential
) -> None:
    slow, quick = await world.device("laptop-1", credential), await world.device("laptop-2")
    async with world.ready(slow) as unread, world.ready(quick) as read:
        call_of(unread).stop_reading()
        for _ in range(1000):
            world.house.connections.notify_all(AttestNow, devices_per_second=1e9)
            assert isinstance(await read.receive(), wire.AttestNow), "others are told as ever"
        call_of(unread).read_on()
        told = []
        while not isinstance(message := await unread.receive(), Ended):
            told.append(message)
        assert len(told) < 100
        closing = told[-1]
        assert isinstance(closing, wire.Closing)
        assert (closing.code, closing.retry_after_ms > 0) == ("slow_reader", True)
    await world.attest(slow)


async def test_a_stream_that_was_closed_is_not_told_anything_more(world: World, credential: Credential) -> None:
    device = await world.device("laptop-1", credential)
    async with world.ready(device):
        assert len(world.house.connections) == 1
    assert len(world.house.connections) == 0
    async with world.ready(device) as stream:
        await world.devices.revoke(DeviceId(device.device_id))
        closing = await stream.receive_until(wire.Closing)
        assert isinstance(closing, wire.Closing)
        assert closing.code == "device_revoked"
        assert isinstance(await stream.receive(), Ended)
        assert len(world.house.connections) == 0


async def test_a_stream_that_proved_nothing_is_told_nothing(world: World, credential: Credential) -> None:
    """Hello is unsigned: whatever device it names, nothing about that device goes down this stream."""
    device = await world.device("laptop-1", credential)
    async with world.ready(device) as honest, world.attesting(device) as stranger:
        world.house.connections.notify_all(AttestNow, devices_per_second=1e9)
        await world.devices.revoke(DeviceId(device.device_id))
        assert isinstance(await honest.receive(), wire.AttestNow)
        assert isinstance(await honest.receive(), wire.Closing)
        assert [type(message) for message in stranger.received] == [wire.Challenge]
        answer = await stranger.attest(claims=())
        assert isinstance(answer, wire.Rejected)
        assert answer.code == "device_not_active"


async def test_the_newer_of_two_streams_stays_also_if_the_older_one_is_slow_to_take_its_answer(
    world: World, credential: Credential
) -> None:
    device = await world.device("laptop-1", credential)
    async with world.attesting(device) as older:
        call_of(older).stop_reading()
        assert isinstance(await older.attest(claims=()), wire.Ack)
        async with world.attesting(device) as newer:
            assert isinstance(await newer.attest(claims=()), wire.Ack)
            call_of(older).read_on()
            closing = await older.receive_until(wire.Closing)
            assert isinstance(closing, wire.Closing)
            assert closing.code == "session_superseded"
            assert isinstance(await newer.attest(claims=()), wire.Ack)

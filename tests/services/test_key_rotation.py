"""What a running server cannot be asked: a pending key's time, and a commit whose answer is lost."""

from dataclasses import replace
from pathlib import Path

from services.world import World
from support.device import SimulatedDevice
from support.pki import Pki, PrivateKey, generate_key
from watchword.v1 import posture_pb2 as wire
from watchword_server.errors import StoreUnavailableError


def _with_key(device: SimulatedDevice, key: PrivateKey) -> SimulatedDevice:
    return replace(device, key=key)


async def test_a_pending_key_has_its_time_and_the_enrolled_one_goes_on(tmp_path: Path, pki: Pki) -> None:
    new_key = generate_key()
    async with World.open(tmp_path, pki, limits={"key_rotation_hours": 1}) as world:
        await world.apply(world.rules)
        device = await world.device("laptop-1", pki.issuing.issue())
        async with world.ready(device) as stream:
            pending = await stream.rotate(new_key)
            assert isinstance(pending, wire.KeyPending)
            assert pending.valid_for_seconds == 3600
        world.pass_time(3600)
        async with world.attesting(_with_key(device, new_key)) as stream:
            assert await stream.attest(claims=()) == wire.Rejected(code="envelope_invalid")
        await world.attest(device)


async def test_a_proposal_whose_answer_was_lost_is_made_again(tmp_path: Path, pki: Pki) -> None:
    new_key = generate_key()
    async with World.open(tmp_path, pki) as world:
        await world.apply(world.rules)
        device = await world.device("laptop-1", pki.issuing.issue())
        held = world.hold("commit_key_rotation", after=True, failure=StoreUnavailableError("it was committed all the same"))
        held.let_go()
        async with world.ready(device) as stream:
            answer = await stream.rotate(new_key)
            assert isinstance(answer, wire.Rejected)
            assert answer.code == "store_unavailable"
            assert isinstance(await stream.rotate(new_key), wire.KeyPending)
        await world.attest(_with_key(device, new_key))
        async with world.attesting(device) as stream:
            assert await stream.attest(claims=()) == wire.Rejected(code="envelope_invalid")


async def test_a_revoked_device_has_no_pending_key(tmp_path: Path, pki: Pki) -> None:
    new_key = generate_key()
    async with World.open(tmp_path, pki) as world:
        await world.apply(world.rules)
        device = await world.device("laptop-1", pki.issuing.issue())
        async with world.ready(device) as stream:
            await stream.rotate(new_key)
        await world.devices.revoke((await world.house.store.devices())[0].device.id)
        [posture] = await world.house.store.devices()
        assert (posture.device.pending_key, posture.device.pending_until) == (None, None)


async def test_a_goodbye_narrows_before_it_is_durable_and_is_held_if_the_store_is_away(tmp_path: Path, pki: Pki) -> None:
    credential = pki.issuing.issue()
    async with World.open(tmp_path, pki) as world:
        await world.apply(world.rules)
        device = await world.device("laptop-1", credential)
        await world.attest(device)
        assert (await world.ask(credential)).allowed
        with world.failing("commit_evidence"):
            async with world.attesting(device) as stream:
                answer = await stream.goodbye()
                assert isinstance(answer, wire.Rejected)
                assert answer.code == "store_unavailable"
        assert not (await world.ask(credential)).allowed
        await world.attest(device)
        assert (await world.ask(credential)).allowed

"""Two machines that attest with one device key, as after a disk was copied: noticed by a boot that comes back, until cleared."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from services.world import World
from support.device import Lie, SimulatedDevice
from support.pki import Credential, Pki
from watchword.v1 import posture_pb2 as wire
from watchword_server.core.model.devices import Device
from watchword_server.core.model.names import DeviceId
from watchword_server.errors import ConflictError, NotFoundError

CLONED = "device_key_cloned"


@pytest.fixture
def credential(pki: Pki) -> Credential:
    return pki.issuing.issue()


@pytest.fixture
async def original(world: World, credential: Credential) -> SimulatedDevice:
    """A device that passes."""
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    return device


@pytest.fixture
def copy(original: SimulatedDevice) -> SimulatedDevice:
    """Another machine with all that it has."""
    return replace(original, boot_id=os.urandom(16))


async def known(world: World, device: SimulatedDevice) -> Device:
    """The device as the store has it; memory has to agree."""
    stored = await world.house.store.posture(DeviceId(device.device_id))
    remembered = await world.memory.posture(DeviceId(device.device_id))
    assert stored is not None
    assert remembered is not None
    assert stored.device == remembered.device
    return stored.device


async def test_a_boot_that_comes_back_fails_both_machines(
    world: World, credential: Credential, original: SimulatedDevice, copy: SimulatedDevice
) -> None:
    await world.attest(copy)
    assert (await known(world, original)).key_cloned_at is None, "so far it could be a reboot"
    await world.attest(original, CLONED)
    since = (await known(world, original)).key_cloned_at
    assert since is not None
    for machine in (copy, original, original, copy):
        await world.attest(machine, CLONED)
        assert (await world.ask(credential)).reason == "check_failed"
    assert (await known(world, original)).key_cloned_at == since
    assert world.posture_log()[-1]["device_key_cloned_at"] is not None


async def test_reboots_and_restarted_agents_are_one_machines(world: World, original: SimulatedDevice) -> None:
    for _ in range(3):
        await world.attest(original)
        original.boot_id = os.urandom(16)
        await world.attest(original)
    assert len((await known(world, original)).boots) == 4


async def test_a_copy_that_states_no_boot_is_another_machine(world: World, original: SimulatedDevice) -> None:
    silent = replace(original, boot_id=b"")
    await world.attest(silent)
    await world.attest(original, CLONED)


async def test_two_boots_in_one_session_are_two_machines(world: World, original: SimulatedDevice) -> None:
    async with world.ready(original) as stream:
        original.boot_id = os.urandom(16)
        answer = await stream.attest()
    assert isinstance(answer, wire.Ack)
    assert [result.reason for result in answer.results] == [CLONED]


async def test_results_that_the_telling_evidence_is_not_about_fail_as_well_and_before_it_is_committed(
    world: World, credential: Credential, original: SimulatedDevice, copy: SimulatedDevice
) -> None:
    await world.attest(copy)
    async with world.attesting(original) as stream:
        evidence, again = world.hold("commit_evidence"), world.hold("commit_rejudged")
        attesting = asyncio.create_task(stream.attest(claims=()))
        await evidence.reached()
        assert (await world.ask(credential)).reason == "check_failed"
        evidence.let_go()
        await again.reached()
        assert (await world.ask(credential)).reason == "check_failed"
        again.let_go()
        await attesting
    stored, remembered = await world.stored(original), await world.remembered(original)
    assert stored is not None
    assert stored.reason == CLONED
    assert stored == remembered


async def test_it_stays_narrowed_where_the_store_did_not_take_it_and_is_seen_again(
    world: World, credential: Credential, original: SimulatedDevice, copy: SimulatedDevice
) -> None:
    await world.attest(copy)
    async with world.attesting(original) as stream:
        with world.failing("commit_evidence"):
            assert isinstance(await stream.attest(claims=()), wire.Rejected)
    assert (await world.ask(credential)).reason == "check_failed"
    assert (await known(world, original)).key_cloned_at is None
    await world.attest(original, CLONED)


async def test_an_operator_clears_it_and_whoever_is_left_passes_at_once(
    world: World, credential: Credential, original: SimulatedDevice, copy: SimulatedDevice
) -> None:
    await world.attest(copy)
    await world.attest(original, CLONED)
    await world.devices.clear_key_clone(DeviceId(original.device_id))
    cleared = await known(world, original)
    assert (cleared.key_cloned_at, cleared.boots) == (None, ())
    assert (await world.ask(credential)).allowed
    await world.attest(original)
    await world.attest(copy)
    await world.attest(original, CLONED)


async def test_there_has_to_be_something_to_clear(world: World, original: SimulatedDevice) -> None:
    with pytest.raises(ConflictError):
        await world.devices.clear_key_clone(DeviceId(original.device_id))
    with pytest.raises(NotFoundError):
        await world.devices.clear_key_clone(DeviceId("dev_nobody"))


async def test_evidence_that_was_on_its_way_does_not_undo_the_clearing(
    world: World, original: SimulatedDevice, copy: SimulatedDevice
) -> None:
    await world.attest(copy)
    await world.attest(original, CLONED)
    async with world.ready(original) as stream:
        held = world.hold("commit_evidence")
        attesting = asyncio.create_task(stream.attest())
        await held.reached()
        await world.devices.clear_key_clone(DeviceId(original.device_id))
        held.let_go()
        assert not isinstance(await attesting, wire.Ack)
    assert (await known(world, original)).key_cloned_at is None
    await world.attest(original)


async def test_a_new_key_of_the_device_is_on_one_machine(
    world: World, credential: Credential, original: SimulatedDevice, copy: SimulatedDevice
) -> None:
    await world.attest(copy)
    await world.attest(original, CLONED)
    token = await world.token(device_id=original.device_id)
    renewed = await world.device("laptop-1", credential, token=token)
    assert renewed.device_id == original.device_id
    cleared = await known(world, renewed)
    assert (cleared.key_cloned_at, cleared.boots) == (None, ())
    await world.attest(renewed)


async def test_where_the_check_only_flags_it_passes_and_is_told(tmp_path: Path, pki: Pki, credential: Credential) -> None:
    async with World.open(tmp_path / "flagging", pki) as world:
        world.rules["checks"][0]["input"]["on_clone"] = "flag"
        await world.apply(world.rules)
        original = await world.device("laptop-1", credential)
        for boot_id in (b"A", b"B", b"A"):
            original.boot_id = boot_id
            await world.attest(original)
        assert (await world.ask(credential)).allowed
        assert (await known(world, original)).key_cloned_at is not None
        world.rules["checks"][0]["input"]["on_clone"] = "fail"
        await world.apply(world.rules)
        stored = await world.stored(original)
        assert stored is not None
        assert stored.reason == CLONED, "without the agents"


async def test_evidence_that_is_rejected_tells_nothing_of_a_machine(
    world: World, original: SimulatedDevice, copy: SimulatedDevice
) -> None:
    await world.attest(copy)
    async with world.attesting(original) as stream:
        assert isinstance(await stream.attest(Lie(evidence=lambda message: message.ClearField("nonce"))), wire.Rejected)
    assert (await known(world, original)).key_cloned_at is None

"""A certificate identifies a device for as long as the device proves it: not after it was renewed, removed, or has expired."""

import pytest

from services.world import World
from support.device import SimulatedDevice
from support.pki import Credential, Pki


@pytest.fixture
def old(pki: Pki) -> Credential:
    return pki.issuing.issue()


@pytest.fixture
def new(pki: Pki) -> Credential:
    return pki.issuing.issue()


@pytest.fixture
async def device(world: World, old: Credential) -> SimulatedDevice:
    """A device that passes with the old certificate."""
    device = await world.device("laptop-1", old)
    await world.attest(device)
    assert (await world.ask(old)).allowed
    return device


async def test_a_renewed_certificate_opens_and_the_one_before_it_does_not(
    world: World, device: SimulatedDevice, old: Credential, new: Credential
) -> None:
    device.found = (new,)
    await world.attest(device)
    assert (await world.ask(new)).allowed
    asked = await world.ask(old)
    assert (asked.allowed, asked.reason) == (False, "certificate_not_proven")


async def test_both_open_while_the_device_proves_both(
    world: World, device: SimulatedDevice, old: Credential, new: Credential
) -> None:
    """Two checks, two certificates: each is proven, and each identifies the device."""
    (check,) = world.rules["checks"]
    await world.apply({**world.rules, "checks": [check, {**check, "name": "second"}]})
    device.found_for["second"] = (new,)
    device.checks = None  # as a restarted agent: it asks for them
    await world.attest(device, "passed", "passed")
    assert (await world.ask(old)).allowed
    assert (await world.ask(new)).allowed


async def test_a_certificate_that_is_gone_denies_with_the_checks_own_reason(
    world: World, device: SimulatedDevice, old: Credential
) -> None:
    device.found = ()
    await world.attest(device, "certificate_not_found")
    assert (await world.ask(old)).reason == "check_failed"


async def test_a_proof_that_ended_by_itself_denies(
    world: World, device: SimulatedDevice, old: Credential, new: Credential
) -> None:
    world.pass_time(16 * 60)
    assert (await world.ask(old)).reason == "result_expired"
    device.found = (new,)
    await world.attest(device)
    assert (await world.ask(old)).reason == "certificate_not_proven"

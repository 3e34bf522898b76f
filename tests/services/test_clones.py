"""One certificate whose key two devices prove: both are flagged, whoever came first, and un-flagged when one of them ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from services.world import Held, World
from support.device import SimulatedDevice
from support.pki import Credential, Pki
from support.rules import CHECK
from watchword.v1 import posture_pb2 as wire
from watchword_server.core.certificates.parsed import parse
from watchword_server.core.model.names import DeviceId, KeyFingerprint
from watchword_server.errors import StoreUnavailableError

CLONED = "certificate_cloned"


@pytest.fixture
def credential(pki: Pki) -> Credential:
    return pki.issuing.issue()


@pytest.fixture
async def first(world: World, credential: Credential) -> SimulatedDevice:
    """A device that passes with the certificate."""
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    assert (await world.ask(credential)).allowed
    return device


@pytest.fixture
async def second(world: World, credential: Credential) -> SimulatedDevice:
    """Another that has the same certificate and key, and has not attested yet."""
    return await world.device("laptop-2", credential)


def key_of(credential: Credential) -> KeyFingerprint:
    return KeyFingerprint(parse(credential.der).public_key_sha256)


async def reasons(world: World, *devices: SimulatedDevice) -> list[str]:
    """What the store holds about each; memory has to agree."""
    found = []
    for device in devices:
        stored, remembered = await world.stored(device), await world.remembered(device)
        assert stored == remembered
        found.append("nothing" if stored is None else stored.reason)
    return found


# ---- Flagging ----------------------------------------------------------------------------------------------------------


async def test_the_second_device_to_prove_a_certificate_fails_and_so_does_the_first(
    world: World, credential: Credential, first: SimulatedDevice, second: SimulatedDevice
) -> None:
    await world.attest(second, CLONED)
    assert await reasons(world, first, second) == [CLONED, CLONED]
    assert (await world.ask(credential)).reason == CLONED
    for device in (first, second):
        result = await world.stored(device)
        assert result is not None
        other = second if device is first else first
        assert result.received["also_proven_by"] == [other.device_id]


async def test_it_stays_so_whichever_attests_next(
    world: World, credential: Credential, first: SimulatedDevice, second: SimulatedDevice
) -> None:
    await world.attest(second, CLONED)
    for device in (first, first, second, first):
        await world.attest(device, CLONED)
        assert await reasons(world, first, second) == [CLONED, CLONED]
        assert (await world.ask(credential)).reason == CLONED


async def test_the_first_device_is_denied_before_the_seconds_evidence_is_committed(
    world: World, credential: Credential, first: SimulatedDevice, second: SimulatedDevice
) -> None:
    async with world.ready(second) as stream:
        held = world.hold("commit_evidence")
        attesting = asyncio.create_task(stream.attest())
        await held.reached()
        assert (await world.ask(credential)).reason == "check_failed"
        held.let_go()
        await attesting


async def test_the_first_device_stays_denied_though_the_seconds_evidence_was_not_stored(
    world: World, credential: Credential, first: SimulatedDevice, second: SimulatedDevice
) -> None:
    async with world.ready(second) as stream:
        with world.failing("commit_evidence"):
            assert isinstance(await stream.attest(), wire.Rejected)
        assert (await world.ask(credential)).reason == "check_failed"
    await world.attest(first)
    assert (await world.ask(credential)).allowed, "its own next evidence is stored, and nothing is known of the other"


async def test_the_first_device_stays_denied_though_judging_it_again_was_not_stored(
    world: World, credential: Credential, first: SimulatedDevice, second: SimulatedDevice
) -> None:
    """The second's evidence is durable and acknowledged; the first is narrowed in memory, and a clone at the proxy as well."""
    with world.failing("commit_rejudged"):
        await world.attest(second, CLONED)
    assert (await world.ask(credential)).reason == CLONED
    remembered = await world.remembered(first)
    assert remembered is not None
    assert remembered.reason == CLONED
    await world.attest(first, CLONED)
    assert await reasons(world, first, second) == [CLONED, CLONED]


async def test_three_devices_are_flagged_as_two_are(
    world: World, credential: Credential, first: SimulatedDevice, second: SimulatedDevice
) -> None:
    third = await world.device("laptop-3", credential)
    await world.attest(second, CLONED)
    await world.attest(third, CLONED)
    assert await reasons(world, first, second, third) == [CLONED] * 3
    await world.devices.revoke(DeviceId(third.device_id))
    assert await reasons(world, first, second) == [CLONED, CLONED], "two are still one too many"
    await world.devices.revoke(DeviceId(second.device_id))
    assert await reasons(world, first) == ["passed"]


@pytest.mark.parametrize("devices", [2, 5])
async def test_devices_that_prove_a_certificate_at_the_same_moment_are_all_flagged(
    world: World, credential: Credential, devices: int
) -> None:
    """None of them sees another's proof before its own is committed; none is allowed at any time, and all end up failed."""
    fleet = [await world.device(f"laptop-{number}", credential) for number in range(devices)]
    async with AsyncExitStack() as streams:
        conversations = [await streams.enter_async_context(world.ready(device)) for device in fleet]
        commits = world.hold("commit_evidence", times=devices)
        attesting = [asyncio.create_task(stream.attest()) for stream in conversations]
        await commits.reached(devices)
        assert not (await world.ask(credential)).allowed
        again = world.hold("commit_rejudged", times=devices)
        commits.let_go()
        await again.reached()
        assert (await world.ask(credential)).reason == CLONED, "two live proofs are a clone before any result says so"
        again.let_go()
        answers = await asyncio.gather(*attesting)
    assert all(isinstance(answer, wire.Ack) for answer in answers)
    assert await reasons(world, *fleet) == [CLONED] * devices
    assert (await world.ask(credential)).reason == CLONED


async def test_a_certificate_that_is_only_shown_and_not_proven_flags_nobody(
    world: World, pki: Pki, credential: Credential, first: SimulatedDevice
) -> None:
    thief = await world.device("laptop-2", credential.with_key(pki.issuing.issue().key))
    await world.attest(thief, "private_key_mismatch")
    assert await reasons(world, first) == ["passed"]
    assert (await world.ask(credential)).allowed


async def test_one_device_that_proves_a_certificate_for_two_checks_is_no_clone(world: World, credential: Credential) -> None:
    rules = world.rules
    rules["checks"].append({**rules["checks"][0], "name": "managed-laptop-too"})
    await world.apply(rules)
    device = await world.device("laptop-1", credential)
    await world.attest(device, "passed", "passed")
    assert (await world.ask(credential)).allowed


async def test_two_devices_that_prove_a_certificate_for_different_checks_are_flagged(
    world: World, credential: Credential
) -> None:
    """Checks differ by platform; the certificate is one all the same."""
    rules = world.rules
    mac = {**rules["checks"][0], "name": "managed-mac", "match": [{"platform": "mac"}]}
    rules["checks"].append({**mac, "input": {**mac["input"], "operating_system": "mac"}})
    await world.apply(rules)
    laptop, mac_book = await world.device("laptop-1", credential), await world.device("mac-1", credential, platform="mac")
    await world.attest(laptop)
    await world.attest(mac_book, CLONED)
    assert (await world.stored(laptop, CHECK)).reason == CLONED  # type: ignore[union-attr] # a result is there
    assert (await world.ask(credential)).reason == CLONED


# ---- By key, not by certificate ----------------------------------------------------------------------------------------


@pytest.fixture(params=["another certificate of the key", "the same with its signature rewritten"])
def variant(request: pytest.FixtureRequest, pki: Pki, credential: Credential) -> Credential:
    """Another certificate, by its bytes, of the key that `credential` has."""
    if request.param == "another certificate of the key":
        return pki.issuing.issue(key=credential.key)
    return credential.with_rewritten_signature()


async def test_a_key_is_cloned_whatever_certificate_it_comes_with(
    world: World, credential: Credential, variant: Credential, first: SimulatedDevice
) -> None:
    second = await world.device("laptop-2", variant)
    await world.attest(second, CLONED)
    assert await reasons(world, first, second) == [CLONED, CLONED]
    for shown in (credential, variant):
        assert (await world.ask(shown)).reason == CLONED
    await world.devices.revoke(DeviceId(second.device_id))
    assert await reasons(world, first) == ["passed"]
    assert (await world.ask(credential)).allowed
    assert not (await world.ask(variant)).allowed, "its device is gone, and the other never proved it"


async def test_the_first_device_is_denied_before_evidence_with_another_certificate_of_its_key_is_committed(
    world: World, credential: Credential, variant: Credential, first: SimulatedDevice
) -> None:
    second = await world.device("laptop-2", variant)
    async with world.ready(second) as stream:
        held = world.hold("commit_evidence")
        attesting = asyncio.create_task(stream.attest())
        await held.reached()
        assert (await world.ask(credential)).reason == "check_failed"
        held.let_go()
        await attesting


async def test_devices_that_prove_a_key_with_several_certificates_at_the_same_moment_are_all_flagged(
    world: World, credential: Credential, variant: Credential
) -> None:
    fleet = [await world.device(f"laptop-{number}", shown) for number, shown in enumerate((credential, variant))]
    async with AsyncExitStack() as streams:
        conversations = [await streams.enter_async_context(world.ready(device)) for device in fleet]
        commits = world.hold("commit_evidence", times=2)
        attesting = [asyncio.create_task(stream.attest()) for stream in conversations]
        await commits.reached(2)
        commits.let_go()
        await asyncio.gather(*attesting)
    assert await reasons(world, *fleet) == [CLONED, CLONED]
    assert (await world.ask(credential)).reason == (await world.ask(variant)).reason == CLONED


async def test_a_certificate_renewed_for_its_key_on_one_device_is_no_clone(
    world: World, credential: Credential, variant: Credential, first: SimulatedDevice
) -> None:
    first.found = (variant,)
    await world.attest(first)
    assert (await world.ask(variant)).allowed
    assert (await world.ask(credential)).reason == "certificate_not_proven"


async def test_one_device_that_proves_both_certificates_of_a_key_is_no_clone(
    world: World, credential: Credential, variant: Credential
) -> None:
    rules = world.rules
    rules["checks"].append({**rules["checks"][0], "name": "managed-laptop-too"})
    await world.apply(rules)
    device = await world.device("laptop-1")
    device.found_for = {CHECK: (credential,), "managed-laptop-too": (variant,)}
    await world.attest(device, "passed", "passed")
    assert (await world.ask(credential)).allowed
    assert (await world.ask(variant)).allowed


async def test_another_device_whose_proof_has_expired_is_no_clone(
    world: World, credential: Credential, variant: Credential, first: SimulatedDevice
) -> None:
    world.pass_time(16 * 60)
    second = await world.device("laptop-2", variant)
    await world.attest(second)
    assert (await world.ask(variant)).allowed


async def test_the_other_passes_with_its_next_evidence_when_the_proof_of_another_certificate_of_its_key_has_expired(
    world: World, credential: Credential, variant: Credential, first: SimulatedDevice
) -> None:
    second = await world.device("laptop-2", variant)
    await world.attest(second, CLONED)
    world.pass_time(16 * 60)
    await world.attest(first)
    assert (await world.ask(credential)).allowed


async def test_who_proves_a_key_for_another_check_still_holds_it_when_a_check_is_judged_again(
    world: World, credential: Credential
) -> None:
    rules = world.rules
    rules["checks"].append({**rules["checks"][0], "name": "managed-laptop-too"})
    await world.apply(rules)
    first, second = await world.device("laptop-1", credential), await world.device("laptop-2", credential)
    await world.attest(first, "passed", "passed")
    await world.attest(second, CLONED, CLONED)
    rules["checks"][0] = {**rules["checks"][0], "input": {**rules["checks"][0]["input"], "cn": "${hostname}.corp.example"}}
    await world.apply(rules)
    assert await reasons(world, first, second) == [CLONED, "common_name_mismatch"]


# ---- Un-flagging -------------------------------------------------------------------------------------------------------


async def test_the_other_passes_again_when_one_is_revoked(
    world: World, credential: Credential, first: SimulatedDevice, second: SimulatedDevice
) -> None:
    await world.attest(second, CLONED)
    await world.devices.revoke(DeviceId(second.device_id))
    assert await reasons(world, first) == ["passed"]
    assert (await world.ask(credential)).allowed


async def test_the_other_passes_again_when_one_no_longer_has_it(
    world: World, pki: Pki, credential: Credential, first: SimulatedDevice, second: SimulatedDevice
) -> None:
    await world.attest(second, CLONED)
    second.found = (pki.issuing.issue(),)
    await world.attest(second)
    assert await reasons(world, first, second) == ["passed", "passed"]
    assert (await world.ask(credential)).allowed


async def test_the_other_passes_only_after_that_is_committed(
    world: World, credential: Credential, first: SimulatedDevice, second: SimulatedDevice
) -> None:
    await world.attest(second, CLONED)
    async with world.ready(second) as stream:
        second.found = ()
        evidence, again = world.hold("commit_evidence"), world.hold("commit_rejudged")
        attesting = asyncio.create_task(stream.attest())
        await evidence.reached()
        assert not (await world.ask(credential)).allowed
        evidence.let_go()
        await again.reached()
        assert not (await world.ask(credential)).allowed
        again.let_go()
        await attesting
    assert (await world.ask(credential)).allowed


async def test_the_other_passes_again_with_its_next_evidence_when_ones_proof_has_expired(
    world: World, credential: Credential, first: SimulatedDevice, second: SimulatedDevice
) -> None:
    await world.attest(second, CLONED)
    world.pass_time(16 * 60)
    await world.attest(first)
    assert (await world.ask(credential)).allowed


async def test_a_device_is_revoked_though_the_others_could_not_be_judged_again(
    world: World, credential: Credential, first: SimulatedDevice, second: SimulatedDevice
) -> None:
    await world.attest(second, CLONED)
    with world.failing("commit_rejudged"):
        await world.devices.revoke(DeviceId(second.device_id))
    assert await reasons(world, first) == [CLONED]
    await world.attest(first)
    assert (await world.ask(credential)).allowed


async def test_a_clone_that_came_and_went_does_not_lift_a_newer_failure_of_the_other_that_was_not_stored(
    world: World, credential: Credential, first: SimulatedDevice, second: SimulatedDevice
) -> None:
    async with world.ready(first) as stream:
        first.found = ()
        with world.failing("commit_evidence"):
            assert isinstance(await stream.attest(), wire.Rejected)
    await world.attest(second, CLONED)
    await world.devices.revoke(DeviceId(second.device_id))
    stored = await world.stored(first)
    assert stored is not None
    assert stored.passed, "the store knows no better"
    assert (await world.ask(credential)).reason == "check_failed"


# ---- Flag, and nothing more --------------------------------------------------------------------------------------------


@pytest.fixture
async def flagging(tmp_path: Path, pki: Pki) -> AsyncIterator[World]:
    """A world whose check only flags clones."""
    async with World.open(tmp_path / "flagging", pki) as world:
        world.rules["checks"][0]["input"]["on_clone"] = "flag"
        await world.apply(world.rules)
        yield world


async def test_where_the_check_only_flags_both_pass_and_the_certificate_identifies_neither(
    flagging: World, credential: Credential
) -> None:
    variant = credential.with_rewritten_signature()
    first, second = await flagging.device("laptop-1", credential), await flagging.device("laptop-2", variant)
    await flagging.attest(first)
    assert (await flagging.ask(credential)).allowed
    await flagging.attest(second)
    assert await reasons(flagging, first, second) == ["passed", "passed"]
    assert (await flagging.ask(credential)).reason == (await flagging.ask(variant)).reason == CLONED
    for device, other in ((first, second), (second, first)):
        result = await flagging.stored(device)
        assert result is not None
        assert result.received["also_proven_by"] == [other.device_id], "told, though it passes"
    await flagging.devices.revoke(DeviceId(second.device_id))
    assert (await flagging.ask(credential)).allowed


async def test_turning_flagging_into_failing_fails_both_without_the_agents(flagging: World, credential: Credential) -> None:
    first, second = await flagging.device("laptop-1", credential), await flagging.device("laptop-2", credential)
    await flagging.attest(first)
    await flagging.attest(second)
    flagging.rules["checks"][0]["input"]["on_clone"] = "fail"
    await flagging.apply(flagging.rules)
    assert await reasons(flagging, first, second) == [CLONED, CLONED]
    flagging.rules["checks"][0]["input"]["on_clone"] = "flag"
    await flagging.apply(flagging.rules)
    assert await reasons(flagging, first, second) == ["passed", "passed"]


async def test_finding_out_who_else_has_it_is_not_possible_while_the_store_is_away_so_nothing_is_believed(
    world: World, credential: Credential, first: SimulatedDevice, second: SimulatedDevice
) -> None:
    async with world.ready(second) as stream:
        world.memory.forget_key(key_of(credential), revision=10**9)
        Held(world.memory._bindings, "_load", failure=StoreUnavailableError("away")).let_go()
        answer = await stream.attest()
        assert isinstance(answer, wire.Rejected)
        assert answer.code == "store_unavailable"
    assert await world.stored(second) is None


async def test_a_device_that_comes_back_fails_the_copy_that_passed_meanwhile(
    world: World, credential: Credential, first: SimulatedDevice, second: SimulatedDevice
) -> None:
    """The first slept past the end of its result, so the second passed; when the first proves it again both fail at once."""
    world.pass_time(16 * 60)
    await world.attest(second)
    assert await reasons(world, second) == ["passed"]
    await world.attest(first, CLONED)
    assert await reasons(world, first, second) == [CLONED, CLONED]
    assert (await world.ask(credential)).reason == CLONED

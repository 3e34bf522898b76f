"""What narrows access holds before its commit; what widens it only after (DESIGN.md 3), whatever the store does meanwhile."""

import asyncio

import pytest

from services.world import Held, World
from support.device import Ended
from support.pki import Credential, Pki
from support.rules import CHECK
from watchword.v1 import posture_pb2 as wire
from watchword_server.core.model.devices import DeviceState
from watchword_server.core.model.names import DeviceId
from watchword_server.errors import ConflictError, NotFoundError, StoreUnavailableError


@pytest.fixture
def credential(pki: Pki) -> Credential:
    return pki.issuing.issue()


# ---- Evidence ----------------------------------------------------------------------------------------------------------


async def test_a_failed_result_denies_before_its_commit(world: World, credential: Credential) -> None:
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    assert (await world.ask(credential)).allowed
    async with world.attesting(device) as stream:
        held = world.hold("commit_evidence")
        device.found = ()
        attesting = asyncio.create_task(stream.attest())
        await held.reached()
        assert (await world.ask(credential)).reason == "check_failed"
        stored = await world.stored(device)
        assert stored is not None
        assert stored.passed, "the store has not heard of it yet"
        assert not attesting.done(), "no Ack before the commit"
        held.let_go()
        assert isinstance(await attesting, wire.Ack)
    assert (await world.ask(credential)).reason == "check_failed"


async def test_a_failed_result_does_not_wait_for_what_another_check_needs_to_know(
    world: World, pki: Pki, credential: Credential
) -> None:
    """Who else proves the other check's certificate has to be looked up; what failed holds before that."""
    rules = world.rules
    rules["checks"].append({**rules["checks"][0], "name": "another"})
    await world.apply(rules)
    device = await world.device("laptop-1", credential, found_for={"another": (pki.issuing.issue(),)})
    await world.attest(device, "passed", "passed")
    async with world.ready(device) as stream:
        other = pki.issuing.issue()
        device.found_for = {CHECK: (), "another": (other,)}
        held = Held(world.memory._bindings, "_load")
        attesting = asyncio.create_task(stream.attest())
        await held.reached()
        assert (await world.remembered(device)).reason == "certificate_not_found"  # type: ignore[union-attr] # a result is there
        held.let_go()
        assert isinstance(await attesting, wire.Ack)


@pytest.mark.parametrize("after", [False, True], ids=["not stored yet", "stored, but nobody has heard"])
async def test_a_passed_result_allows_only_after_its_commit(world: World, credential: Credential, after: bool) -> None:
    device = await world.device("laptop-1")
    await world.attest(device, "certificate_not_found")
    device.found = (credential,)
    await world.attest(device)
    device.found = ()
    await world.attest(device, "certificate_not_found")
    assert (await world.ask(credential)).reason == "check_failed"
    async with world.attesting(device) as stream:
        held = world.hold("commit_evidence", after=after)
        device.found = (credential,)
        attesting = asyncio.create_task(stream.attest())
        await held.reached()
        assert (await world.ask(credential)).reason == "check_failed"
        assert not attesting.done(), "no Ack before the commit"
        held.let_go()
        assert isinstance(await attesting, wire.Ack)
        assert (await world.ask(credential)).allowed, "and at once when it is acknowledged"


async def test_a_commit_is_finished_though_the_agent_left_meanwhile(world: World, credential: Credential) -> None:
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    async with world.attesting(device) as stream:
        held = world.hold("commit_evidence")
        device.found = ()
        attesting = asyncio.create_task(stream.attest())
        await held.reached()
        stream.hang_up()
        attesting.cancel()
        await asyncio.gather(attesting, return_exceptions=True)
    assert (await world.ask(credential)).reason == "check_failed"
    held.let_go()
    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})
    stored, remembered = await world.stored(device), await world.remembered(device)
    assert stored is not None
    assert stored == remembered
    assert not stored.passed
    device.found = (credential,)
    await world.attest(device)
    assert (await world.ask(credential)).allowed


async def test_evidence_of_a_session_that_was_superseded_meanwhile_has_no_effect(world: World, credential: Credential) -> None:
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    async with world.attesting(device) as older:
        await older.attest()
        held = world.hold("commit_evidence")
        late = asyncio.create_task(older.attest())
        await held.reached()
        device.found = ()
        await world.attest(device, "certificate_not_found")
        held.let_go()
        answer = await late
        assert isinstance(answer, wire.Rejected)
        assert answer.code == "session_superseded"
    assert (await world.ask(credential)).reason == "check_failed"
    stored = await world.stored(device)
    assert stored is not None
    assert not stored.passed


async def test_a_failure_of_a_session_that_was_superseded_meanwhile_narrows_nothing_for_long(
    world: World, credential: Credential
) -> None:
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    async with world.attesting(device) as older:
        await older.attest()
        held = world.hold("commit_evidence")
        device.found = ()
        late = asyncio.create_task(older.attest())
        await held.reached()
        device.found = (credential,)
        await world.attest(device)
        assert (await world.ask(credential)).reason == "check_failed", "while it may still be committed"
        held.let_go()
        assert isinstance(await late, wire.Rejected)
    assert (await world.ask(credential)).allowed


# ---- Evidence and a store that is away ---------------------------------------------------------------------------------


async def test_evidence_is_refused_and_narrows_while_the_store_is_away_and_is_accepted_when_it_is_back(
    world: World, credential: Credential
) -> None:
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    async with world.attesting(device) as stream:
        await stream.attest()
        with world.failing("commit_evidence"):
            assert await refused(stream.attest()) == "store_unavailable"
            assert (await world.ask(credential)).allowed, "decisions go on from memory"
            device.found = ()
            assert await refused(stream.attest()) == "store_unavailable"
            assert (await world.ask(credential)).reason == "check_failed", "what narrows holds in memory"
            device.found = (credential,)
            assert await refused(stream.attest()) == "store_unavailable"
            assert (await world.ask(credential)).reason == "check_failed", "what widens waits for its commit"
        assert isinstance(await stream.attest(), wire.Ack)
        assert (await world.ask(credential)).allowed


async def test_a_failure_that_is_held_outlives_the_stream_and_the_cache(world: World, credential: Credential) -> None:
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    async with world.attesting(device) as stream:
        device.found = ()
        with world.failing("commit_evidence"):
            await stream.attest()
    world.memory.forget_device(DeviceId(device.device_id), revision=10**9)
    assert (await world.ask(credential)).reason == "check_failed"


async def test_evidence_that_was_stored_though_the_store_said_nothing_is_brought_again_by_another_session(
    world: World, credential: Credential
) -> None:
    """The epoch was claimed behind the session's back: it is told so, and the next session starts from what is stored."""
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    held = world.hold("commit_evidence", after=True, failure=StoreUnavailableError("no answer"))
    held.let_go()
    async with world.attesting(device) as stream:
        assert await refused(stream.attest()) == "store_unavailable"
        assert await refused(stream.attest()) == "session_superseded"
        assert isinstance(await stream.answer(), wire.Closing)
    await world.attest(device)
    assert (await world.ask(credential)).allowed


async def test_an_agent_that_comes_back_after_that_starts_from_what_is_stored(world: World, credential: Credential) -> None:
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    held = world.hold("commit_evidence", after=True, failure=StoreUnavailableError("no answer"))
    held.let_go()
    async with world.attesting(device) as stream:
        assert stream.challenge is not None
        claimed = stream.challenge.epoch
        assert await refused(stream.attest()) == "store_unavailable"
    async with world.attesting(device) as stream:
        assert stream.challenge is not None
        assert stream.challenge.epoch > claimed
        assert isinstance(await stream.attest(), wire.Ack)


async def test_a_stream_whose_evidence_is_refused_again_and_again_is_told_to_come_back_later(
    world: World, credential: Credential
) -> None:
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    limit = world.house.agents.limits.max_rejections
    async with world.attesting(device) as stream:
        with world.failing("commit_evidence"):
            for _ in range(limit - 1):
                assert await refused(stream.attest()) == "store_unavailable"
                assert stream.challenge is not None
            assert await refused(stream.attest()) == "store_unavailable"
            assert stream.challenge is None
        closing = await stream.answer()
        assert isinstance(closing, wire.Closing)
        assert closing.retry_after_ms > 0
    await world.attest(device)


async def test_a_miss_while_the_store_is_away_denies(world: World, credential: Credential) -> None:
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    world.memory.forget_device(DeviceId(device.device_id), revision=10**9)
    with world.failing("posture"):
        assert (await world.ask(credential)).reason == "store_unavailable"
    assert (await world.ask(credential)).allowed


# ---- Revocation --------------------------------------------------------------------------------------------------------


async def test_a_revocation_denies_before_its_commit_and_closes_the_stream(world: World, credential: Credential) -> None:
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    async with world.attesting(device) as stream:
        await stream.attest()
        held = world.hold("set_device_state")
        revoking = asyncio.create_task(world.devices.revoke(DeviceId(device.device_id)))
        await held.reached()
        assert (await world.ask(credential)).reason == "device_revoked"
        assert await refused(stream.attest()) == "device_not_active"
        held.let_go()
        await revoking
        closing = await stream.receive_until(wire.Closing)
        assert isinstance(closing, wire.Closing)
        assert isinstance(await stream.receive(), Ended)
    assert (await world.ask(credential)).reason == "device_revoked"


# ---- Locks -------------------------------------------------------------------------------------------------------------


async def test_a_lock_denies_before_its_commit_and_unlocking_only_allows_after_its_own(
    world: World, credential: Credential
) -> None:
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    held = world.hold("set_device_lock")
    locking = asyncio.create_task(world.devices.lock(DeviceId(device.device_id), "reported lost"))
    await held.reached()
    assert (await world.ask(credential)).reason == "device_locked"
    held.let_go()
    await locking
    assert (await world.ask(credential)).reason == "device_locked"
    await world.attest(device)  # it goes on attesting, and stays locked
    assert (await world.ask(credential)).reason == "device_locked"
    held = world.hold("set_device_lock")
    unlocking = asyncio.create_task(world.devices.unlock(DeviceId(device.device_id)))
    await held.reached()
    assert (await world.ask(credential)).reason == "device_locked"
    held.let_go()
    await unlocking
    assert (await world.ask(credential)).allowed


async def test_evidence_on_its_way_brings_back_no_device_as_it_was_before_the_lock(world: World, credential: Credential) -> None:
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    held = world.hold("commit_evidence")
    async with world.attesting(device) as stream:
        attesting = asyncio.create_task(stream.attest())
        await held.reached()
        await world.devices.lock(DeviceId(device.device_id), "reported lost")
        assert (await world.ask(credential)).reason == "device_locked"  # read from the store
        held.let_go()
        assert isinstance(await attesting, wire.Ack)
        assert (await world.ask(credential)).reason == "device_locked"


async def test_evidence_between_a_lock_s_commit_and_its_answer_lifts_it_neither(world: World, credential: Credential) -> None:
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    held = world.hold("set_device_lock", after=True)
    locking = asyncio.create_task(world.devices.lock(DeviceId(device.device_id), "reported lost"))
    await held.reached()
    await world.attest(device)
    held.let_go()
    await locking
    assert (await world.ask(credential)).reason == "device_locked"


async def test_a_lock_that_the_store_did_not_take_holds_until_it_is_taken_back(world: World, credential: Credential) -> None:
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    device_id = DeviceId(device.device_id)
    with world.failing("set_device_lock"):
        with pytest.raises(StoreUnavailableError):
            await world.devices.lock(device_id, "reported lost")
        assert (await world.ask(credential)).reason == "device_locked"
        with pytest.raises(StoreUnavailableError):
            await world.devices.unlock(device_id)
    assert (await world.ask(credential)).reason == "device_locked"
    await world.devices.unlock(device_id)
    assert (await world.ask(credential)).allowed


async def test_locking_what_is_revoked_or_unknown_is_refused_and_locks_nobody(world: World, credential: Credential) -> None:
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    with pytest.raises(NotFoundError):
        await world.devices.lock(DeviceId("dev_nobody"), "x")
    with pytest.raises(ConflictError, match="is not locked"):
        await world.devices.unlock(DeviceId(device.device_id))
    assert (await world.ask(credential)).allowed
    await world.devices.revoke(DeviceId(device.device_id))
    with pytest.raises(ConflictError, match="revoked"):
        await world.devices.lock(DeviceId(device.device_id), "x")
    assert (await world.ask(credential)).reason == "device_revoked"


async def test_a_revocation_holds_in_memory_though_the_store_did_not_take_it(world: World, credential: Credential) -> None:
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    async with world.attesting(device) as stream:
        await stream.attest()
        with world.failing("set_device_state"), pytest.raises(StoreUnavailableError):
            await world.devices.revoke(DeviceId(device.device_id))
        assert isinstance(await stream.receive_until(wire.Closing), wire.Closing)
    assert (await world.ask(credential)).reason == "device_revoked"
    async with world.attesting(device) as stream:
        assert await refused(stream.attest()) == "device_not_active"
    await world.devices.revoke(DeviceId(device.device_id))
    posture = await world.house.store.posture(DeviceId(device.device_id))
    assert posture is not None
    assert posture.device.state is DeviceState.REVOKED


async def test_evidence_on_its_way_while_its_device_is_revoked_is_not_stored(world: World, credential: Credential) -> None:
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    before = await world.stored(device)
    async with world.attesting(device) as stream:
        held = world.hold("commit_evidence")
        late = asyncio.create_task(stream.attest())
        await held.reached()
        await world.devices.revoke(DeviceId(device.device_id))
        held.let_go()
        assert await refused(late) == "device_not_active"
    assert await world.stored(device) == before
    assert (await world.ask(credential)).reason == "device_revoked"


async def test_revoking_what_is_revoked_or_unknown_is_refused_and_locks_nobody_else(world: World, credential: Credential) -> None:
    device = await world.device("laptop-1", credential)
    other = await world.device("laptop-2")
    await world.attest(device)
    await world.devices.revoke(DeviceId(other.device_id))
    with pytest.raises(ConflictError):
        await world.devices.revoke(DeviceId(other.device_id))
    with pytest.raises(NotFoundError):
        await world.devices.revoke(DeviceId("dev_nobody"))
    assert (await world.ask(credential)).allowed


# ---- Approval, which may revoke another --------------------------------------------------------------------------------


async def test_a_device_that_waits_for_approval_is_not_believed_until_then(world: World, credential: Credential) -> None:
    device = await world.device("laptop-1", credential, token=await world.token(needs_approval=True))
    async with world.attesting(device) as stream:
        assert await refused(stream.attest()) == "device_not_active"
    await world.devices.approve(DeviceId(device.device_id))
    await world.attest(device)
    assert (await world.ask(credential)).allowed


async def test_a_device_that_an_approval_replaces_is_denied_before_the_commit(world: World, credential: Credential) -> None:
    device = await world.device("laptop-1", credential, serial_number="SN-1")
    await world.attest(device)
    token = await world.token(needs_approval=True)
    successor = await world.device("laptop-1", token=token, serial_number="SN-1")
    async with world.attesting(device) as stream:
        await stream.attest()
        held = world.hold("set_device_state")
        approving = asyncio.create_task(world.devices.approve(DeviceId(successor.device_id)))
        await held.reached()
        assert (await world.ask(credential)).reason == "device_revoked"
        held.let_go()
        await approving
        assert isinstance(await stream.receive_until(wire.Closing), wire.Closing)
    assert (await world.ask(credential)).reason == "device_revoked"


async def test_an_approval_that_is_refused_or_fails_leaves_the_others_as_they_are(world: World, credential: Credential) -> None:
    device = await world.device("laptop-1", credential, serial_number="SN-1")
    await world.attest(device)
    with pytest.raises(ConflictError):
        await world.devices.approve(DeviceId(device.device_id))
    with pytest.raises(NotFoundError):
        await world.devices.approve(DeviceId("dev_nobody"))
    assert (await world.ask(credential)).allowed


async def test_a_device_that_an_approval_replaced_stays_denied_though_the_store_is_away_right_after(
    world: World, credential: Credential
) -> None:
    device = await world.device("laptop-1", credential, serial_number="SN-1")
    await world.attest(device)
    token = await world.token(needs_approval=True)
    successor = await world.device("laptop-1", token=token, serial_number="SN-1")
    held = world.hold("set_device_state", after=True)
    approving = asyncio.create_task(world.devices.approve(DeviceId(successor.device_id)))
    await held.reached()
    with world.failing("devices"):
        held.let_go()
        await asyncio.gather(approving, return_exceptions=True)
    assert (await world.ask(credential)).reason == "device_revoked"


# ---- A new key for a device --------------------------------------------------------------------------------------------


async def test_what_the_old_key_of_a_device_proved_does_not_count_for_its_new_one(world: World, credential: Credential) -> None:
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    successor = await world.device("laptop-1", credential, token=await world.token(device_id=DeviceId(device.device_id)))
    assert successor.device_id == device.device_id
    assert (await world.ask(credential)).reason == "no_result"
    async with world.attesting(device) as stream:
        assert await refused(stream.attest()) == "envelope_invalid"
    await world.attest(successor)
    assert (await world.ask(credential)).allowed


async def test_evidence_of_the_old_key_that_is_on_its_way_while_the_key_is_replaced_does_not_count(
    world: World, credential: Credential
) -> None:
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    async with world.attesting(device) as stream:
        await stream.attest()
        held = world.hold("commit_evidence")
        late = asyncio.create_task(stream.attest())
        await held.reached()
        await world.device("laptop-1", credential, token=await world.token(device_id=DeviceId(device.device_id)))
        held.let_go()
        assert isinstance(await late, wire.Rejected)
    assert await world.stored(device) is None
    assert (await world.ask(credential)).reason == "no_result"


async def refused(answer: "asyncio.Future[object] | object") -> str:
    """The code of a rejection."""
    answered = await answer  # type: ignore[misc] # a coroutine or a task
    assert isinstance(answered, wire.Rejected), answered
    return answered.code

"""Contract: enrolling, approving, revoking."""

import asyncio
from dataclasses import replace

import pytest

from store.builders import (
    CERTIFICATE,
    NOW,
    Store,
    a_commit,
    a_judged_claim,
    a_key,
    a_token,
    an_enrollment,
    device,
    enroll,
    enroll_in_session,
    later,
    proven_until,
    uses,
)
from watchword_server.core.model.devices import Device, DeviceState
from watchword_server.core.model.names import DeviceId
from watchword_server.errors import ConflictError, EnrollmentRefusedError, NotFoundError

# ---- Enrolling ----------------------------------------------------------------------------------------------------------


async def test_an_enrolled_device_is_as_it_was_proven(store: Store) -> None:
    await store.add_enrollment_token(a_token())
    enrolled = await store.enroll(an_enrollment("d", serial_number="S1"), now=NOW)
    assert enrolled == Device(DeviceId("d"), a_key("d"), DeviceState.ACTIVE, "linux", "host", "S1", epoch=0, enrolled_at=NOW)
    assert await device(store, "d") == enrolled
    assert await uses(store, "token") == 1


async def test_a_hundred_at_once_use_a_token_as_often_as_it_says(store: Store) -> None:
    await store.add_enrollment_token(a_token("once", max_uses=1))
    await store.add_enrollment_token(a_token("thrice", max_uses=3))
    attempts = [
        store.enroll(an_enrollment(f"{token}-{n}", token_id=token), now=NOW) for n in range(100) for token in ("once", "thrice")
    ]
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    enrolled = [outcome.id for outcome in outcomes if isinstance(outcome, Device)]
    assert sorted(name.split("-")[0] for name in enrolled) == ["once", "thrice", "thrice", "thrice"]
    refused = [outcome.reason for outcome in outcomes if isinstance(outcome, EnrollmentRefusedError)]
    assert refused == ["token_used"] * 196
    assert sorted(posture.device.id for posture in await store.devices()) == sorted(enrolled)
    assert (await uses(store, "once"), await uses(store, "thrice")) == (1, 3)


async def test_a_lost_answer_is_given_again_and_uses_nothing(store: Store) -> None:
    await store.add_enrollment_token(a_token())
    first = await store.enroll(an_enrollment("d"), now=NOW)
    assert await store.enroll(an_enrollment("another id", key="d"), now=later(60)) == first
    assert await uses(store, "token") == 1


async def test_a_refused_enrollment_uses_nothing(store: Store) -> None:
    await store.add_enrollment_token(a_token(serial_number="S1"))
    with pytest.raises(EnrollmentRefusedError, match="serial_number_not_allowed"):
        await store.enroll(an_enrollment("d", serial_number="S2"), now=NOW)
    with pytest.raises(EnrollmentRefusedError, match="token_unknown"):
        await store.enroll(an_enrollment("d", token_id="never made"), now=NOW)
    assert await uses(store, "token") == 0
    assert await store.devices() == []


async def test_a_key_is_not_enrolled_twice(store: Store) -> None:
    await enroll(store, "d")
    await store.add_enrollment_token(a_token("second"))
    with pytest.raises(EnrollmentRefusedError, match="key_already_enrolled"):
        await store.enroll(an_enrollment("e", key="d", token_id="second"), now=NOW)
    assert await uses(store, "second") == 0


async def test_what_only_an_index_notices_is_refused_and_uses_nothing(store: Store) -> None:
    await enroll(store, "d")
    await store.add_enrollment_token(a_token())
    with pytest.raises(EnrollmentRefusedError, match="conflict"):
        await store.enroll(an_enrollment("d", key="another key"), now=NOW)
    assert await uses(store, "token") == 0
    assert (await device(store, "d")).key == a_key("d")


async def test_a_hundred_at_once_with_one_serial_number_become_one_device(store: Store) -> None:
    await store.add_enrollment_token(a_token(max_uses=100))
    attempts = [store.enroll(an_enrollment(f"d{n}", serial_number="S1"), now=NOW) for n in range(100)]
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    assert [outcome.reason for outcome in outcomes if isinstance(outcome, EnrollmentRefusedError)] == ["serial_number_taken"] * 99
    assert len(await store.devices()) == 1
    assert await uses(store, "token") == 1


async def test_the_serial_number_of_a_revoked_device_is_free(store: Store) -> None:
    await enroll(store, "d", serial_number="S1")
    await store.set_device_state(DeviceId("d"), DeviceState.REVOKED, now=NOW)
    assert (await enroll(store, "e", serial_number="S1")).state is DeviceState.ACTIVE


async def test_devices_are_listed_by_time_of_enrollment_with_their_results(store: Store) -> None:
    for at, name in ((30, "a"), (10, "b"), (20, "c")):
        await enroll(store, name, at=later(at))
    judged = a_judged_claim("c")
    revision = await store.commit_evidence(a_commit("c", judged, claims_epoch=True))
    postures = await store.devices()
    assert [posture.device.id for posture in postures] == ["b", "c", "a"]
    assert [dict(posture.results) for posture in postures] == [{}, {judged.result.check_id: judged.result}, {}]
    assert {posture.revision for posture in postures} == {revision}


# ---- Another key for a device -------------------------------------------------------------------------------------------


async def test_a_new_key_keeps_the_device_raises_its_epoch_and_leaves_no_result(store: Store) -> None:
    before = await enroll_in_session(store, "d", serial_number="S1")
    await store.commit_evidence(a_commit("d", a_judged_claim("d", proves=CERTIFICATE, expires_at=later(900))))
    await store.add_enrollment_token(a_token("again", device_id=before.id))
    again = an_enrollment("not used", key="new", token_id="again", serial_number="S1", hostname="reinstalled")
    replaced = await store.enroll(again, now=later(60))
    assert replaced == replace(before, key=a_key("new"), hostname="reinstalled", epoch=before.epoch + 1)
    posture = await store.posture(before.id)
    assert posture is not None
    assert (posture.device, dict(posture.results)) == (replaced, {})
    assert await proven_until(store, CERTIFICATE) == {"d": later(60)}
    assert await store.claims() == []
    assert await uses(store, "again") == 1


async def test_a_new_key_whose_answer_was_lost_is_the_same_again(store: Store) -> None:
    await enroll(store, "d")
    await store.add_enrollment_token(a_token("again", device_id=DeviceId("d")))
    again = an_enrollment("not used", key="new", token_id="again")
    assert await store.enroll(again, now=NOW) == await store.enroll(again, now=later(1))
    assert await uses(store, "again") == 1


async def test_a_new_key_that_does_not_know_the_serial_number_leaves_it(store: Store) -> None:
    await enroll(store, "d", serial_number="S1")
    await store.add_enrollment_token(a_token("again", device_id=DeviceId("d")))
    replaced = await store.enroll(an_enrollment("x", key="new", token_id="again", serial_number=None, hostname=None), now=NOW)
    assert (replaced.serial_number, replaced.hostname) == ("S1", "host")


async def test_a_new_key_waits_for_approval_where_its_token_says_so(store: Store) -> None:
    await enroll_in_session(store, "d")
    await store.add_enrollment_token(a_token("again", device_id=DeviceId("d"), needs_approval=True))
    replaced = await store.enroll(an_enrollment("x", key="new", token_id="again"), now=NOW)
    assert (replaced.id, replaced.state) == ("d", DeviceState.PENDING)


async def test_a_new_key_takes_no_other_devices_serial_number(store: Store) -> None:
    await enroll(store, "d", serial_number="S1")
    await enroll(store, "e", serial_number="S2")
    await store.add_enrollment_token(a_token("again", device_id=DeviceId("d")))
    with pytest.raises(EnrollmentRefusedError, match="serial_number_not_allowed"):
        await store.enroll(an_enrollment("x", key="new", token_id="again", serial_number="S2"), now=NOW)


async def test_somebody_waiting_with_the_serial_number_does_not_hinder_its_device(store: Store) -> None:
    await enroll(store, "d", serial_number="S1")
    await enroll(store, "a pretender", serial_number="S1", needs_approval=True)
    await store.add_enrollment_token(a_token("again", device_id=DeviceId("d")))
    replaced = await store.enroll(an_enrollment("x", key="new", token_id="again", serial_number="S1"), now=NOW)
    assert (replaced.id, replaced.state) == ("d", DeviceState.ACTIVE)


async def test_of_two_that_wait_the_one_the_token_names_is_meant(store: Store) -> None:
    for name in ("a", "b"):
        await enroll(store, name, serial_number="S1", needs_approval=True)
    await store.add_enrollment_token(a_token("again", device_id=DeviceId("b")))
    replaced = await store.enroll(an_enrollment("x", key="new", token_id="again", serial_number="S1"), now=NOW)
    assert (replaced.id, replaced.state) == ("b", DeviceState.PENDING)


async def test_one_that_waits_gets_no_key_while_another_holds_its_serial_number(store: Store) -> None:
    await enroll(store, "holder", serial_number="S1")
    await enroll(store, "a waiting one", serial_number="S1", needs_approval=True)
    await store.add_enrollment_token(a_token("again", device_id=DeviceId("a waiting one")))
    with pytest.raises(EnrollmentRefusedError, match="serial_number_taken"):
        await store.enroll(an_enrollment("x", key="new", token_id="again", serial_number="S1"), now=NOW)


# ---- Approving and revoking ---------------------------------------------------------------------------------------------


async def test_with_approval_a_taken_serial_number_makes_a_pending_device(store: Store) -> None:
    await enroll_in_session(store, "old", serial_number="S1")
    waiting = await enroll(store, "new", serial_number="S1", needs_approval=True)
    assert waiting.state is DeviceState.PENDING
    assert (await device(store, "old")).state is DeviceState.ACTIVE


async def test_approving_a_device_revokes_the_one_with_its_serial_number(store: Store) -> None:
    await enroll(store, "old", serial_number="S1")
    await enroll(store, "bystander", serial_number="S2")
    await enroll(store, "new", serial_number="S1", needs_approval=True)
    revision = await store.set_device_state(DeviceId("new"), DeviceState.ACTIVE, now=NOW)
    postures = await store.devices()
    assert {posture.device.id: posture.device.state for posture in postures} == {
        "old": DeviceState.REVOKED,
        "bystander": DeviceState.ACTIVE,
        "new": DeviceState.ACTIVE,
    }
    assert {posture.revision for posture in postures} == {revision}


async def test_of_two_that_wait_for_one_serial_number_the_last_approved_stays(store: Store) -> None:
    for name in ("a", "b"):
        await enroll(store, name, serial_number="S1", needs_approval=True)
        await store.set_device_state(DeviceId(name), DeviceState.ACTIVE, now=NOW)
    assert [(await device(store, name)).state for name in ("a", "b")] == [DeviceState.REVOKED, DeviceState.ACTIVE]


async def test_approving_a_device_without_serial_number_revokes_nobody(store: Store) -> None:
    await enroll(store, "old")
    await enroll(store, "new", needs_approval=True)
    await store.set_device_state(DeviceId("new"), DeviceState.ACTIVE, now=NOW)
    assert {posture.device.state for posture in await store.devices()} == {DeviceState.ACTIVE}


@pytest.mark.parametrize(
    ("state", "wanted"),
    [
        (DeviceState.ACTIVE, DeviceState.ACTIVE),
        (DeviceState.ACTIVE, DeviceState.PENDING),
        (DeviceState.PENDING, DeviceState.PENDING),
        *((DeviceState.REVOKED, wanted) for wanted in DeviceState),
    ],
)
async def test_no_other_way_leads_from_state_to_state(store: Store, state: DeviceState, wanted: DeviceState) -> None:
    """Revoked is final, and whoever revokes or approves twice is told that it was done before."""
    await enroll(store, "d", needs_approval=state is not DeviceState.ACTIVE)
    if state is DeviceState.REVOKED:
        await store.set_device_state(DeviceId("d"), state, now=NOW)
    with pytest.raises(ConflictError, match=f"`d` is {state}"):
        await store.set_device_state(DeviceId("d"), wanted, now=NOW)
    assert (await device(store, "d")).state is state


async def test_a_pending_device_can_be_turned_away(store: Store) -> None:
    await enroll(store, "d", needs_approval=True)
    await store.set_device_state(DeviceId("d"), DeviceState.REVOKED, now=NOW)
    assert (await device(store, "d")).state is DeviceState.REVOKED


async def test_a_device_that_does_not_exist_has_no_state(store: Store) -> None:
    with pytest.raises(NotFoundError, match="`nobody`"):
        await store.set_device_state(DeviceId("nobody"), DeviceState.REVOKED, now=NOW)

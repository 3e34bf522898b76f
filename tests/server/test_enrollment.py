"""Enrollment: whose device a key, a token and a serial number are, also where many ask at once."""

import asyncio
import hashlib
from dataclasses import replace
from unittest.mock import ANY

from server.refusals import REFUSAL, REFUSED, Attempt, refusal
from server.scene import Scene, enroll, passes
from support.device import Ended, Lie, fields
from support.pki import generate_key
from watchword.v1 import posture_pb2 as wire

# ---- Whose device it is -------------------------------------------------------------------------------------------------


async def test_a_used_token_enrolls_nobody_else(scene: Scene) -> None:
    token = scene.operators.enrollment_token()
    await enroll(scene.device(), token)
    assert await refusal(Attempt(scene.device(), token.text)) == replace(REFUSAL, correlation_id=ANY)
    assert scene.operators.uses(token) == 1


async def test_the_same_key_with_the_same_token_is_the_same_device(scene: Scene) -> None:
    """The answer was lost. It is told again, whatever became of the token meanwhile, and whatever else it says of itself."""
    token, device = scene.operators.enrollment_token(), scene.device()
    first = await enroll(device, token)
    before = scene.operators.devices()
    device.hostname, device.serial_number = "another", "5CG-ANOTHER"
    assert await enroll(device, token) == first
    assert scene.operators.devices() == before
    assert scene.operators.uses(token) == 1


async def test_a_key_belongs_to_one_device_for_good(scene: Scene) -> None:
    device = await scene.enrolled()
    other = scene.operators.enrollment_token()
    assert await device.enroll(other.text) == REFUSED
    scene.operators.revoke(device.device_id)
    assert await device.enroll(other.text) == REFUSED
    assert await device.enroll(scene.token.text) == REFUSED
    assert scene.operators.uses(other) == 0


async def test_a_public_key_seen_on_the_wire_enrolls_nobody(scene: Scene) -> None:
    """Neither with the token it was enrolled with: the proof comes first, also where the answer would be the same."""
    victim = await scene.enrolled()
    thief = scene.device()
    assert await thief.enroll(scene.token.text, Lie(init=fields(public_key=victim.public_key))) == REFUSED
    hashed = hashlib.sha256(victim.public_key).digest()
    lie = Lie(init=fields(public_key=victim.public_key), statement=fields(public_key_sha256=hashed))
    assert await thief.enroll(scene.token.text, lie) == REFUSED


async def test_a_serial_number_that_is_taken_is_not_taken_over(scene: Scene) -> None:
    victim = await scene.enrolled(serial_number="5CG-TAKEN")
    token = scene.operators.enrollment_token()
    thief = scene.device(serial_number="5CG-TAKEN")
    async with victim.attesting() as stream:
        assert passes(await stream.settle(), victim)
        before = scene.knows(victim)
        for spelled in ("5CG-TAKEN", "5cg-taken", " 5CG-Taken "):
            thief.serial_number = spelled
            assert await refusal(Attempt(thief, token.text)) == replace(REFUSAL, correlation_id=ANY)
        assert scene.operators.uses(token) == 0
        assert scene.knows(victim) == before

        with_approval = scene.operators.enrollment_token(needs_approval=True)
        assert (await enroll(thief, with_approval)).state == wire.DEVICE_STATE_PENDING_APPROVAL
        assert await thief.attest_once() == wire.Rejected(code="device_not_active")
        assert scene.knows(victim) == before
        assert passes(await stream.attest(), victim)


async def test_a_token_for_a_device_replaces_its_key_and_the_old_key_is_out(scene: Scene) -> None:
    victim = await scene.enrolled(serial_number="5CG-REPLACED")
    assert passes(await victim.attest_once(), victim)
    token = scene.operators.enrollment_token(device_id=victim.device_id)
    device = scene.device(serial_number="5CG-REPLACED")
    assert (await enroll(device, token)).device_id == victim.device_id
    assert scene.operators.results(device.device_id) == {}  # what the old key signed counts no more
    assert await victim.attest_once() == wire.Rejected(code="envelope_invalid")
    assert passes(await device.attest_once(), device)


# ---- Many at once -------------------------------------------------------------------------------------------------------


async def test_of_a_hundred_concurrent_uses_of_a_one_use_token_one_succeeds(scene: Scene) -> None:
    token = scene.operators.enrollment_token()
    devices = [scene.device(hostname="one-of-many", found_for={}) for _ in range(100)]
    answers = await asyncio.gather(*(device.enroll(token.text) for device in devices))
    enrolled = [answer for answer in answers if isinstance(answer, wire.EnrollResult)]
    assert len(enrolled) == 1
    assert [answer for answer in answers if isinstance(answer, Ended)] == [REFUSED] * 99
    known = [device for device in scene.operators.devices().values() if device["name"] == "one-of-many"]
    assert [device["id"] for device in known] == [enrolled[0].device_id]
    assert scene.operators.uses(token) == 1


async def test_of_many_concurrent_enrollments_of_one_key_all_are_the_same_device(scene: Scene) -> None:
    token, device = scene.operators.enrollment_token(), scene.device()
    answers = await asyncio.gather(*(device.enroll(token.text) for _ in range(20)))
    assert [isinstance(answer, wire.EnrollResult) for answer in answers] == [True] * 20
    assert {answer.device_id for answer in answers if isinstance(answer, wire.EnrollResult)} == {device.device_id}
    assert scene.operators.uses(token) == 1


async def test_of_many_concurrent_enrollments_of_one_serial_number_one_succeeds(scene: Scene) -> None:
    token = scene.operators.enrollment_token(max_uses=20)
    devices = [scene.device(serial_number="5CG-MANY", found_for={}) for _ in range(20)]
    answers = await asyncio.gather(*(device.enroll(token.text) for device in devices))
    assert [answer for answer in answers if isinstance(answer, Ended)] == [REFUSED] * 19
    assert scene.operators.uses(token) == 1


# ---- What is kept -------------------------------------------------------------------------------------------------------


async def test_a_tokens_text_is_kept_nowhere(scene: Scene) -> None:
    used, refused, unused = (scene.operators.enrollment_token() for _ in range(3))
    await enroll(scene.device(), used)
    assert await scene.device().enroll(used.text) == REFUSED
    assert await scene.device().enroll(refused.text, Lie(signing_key=generate_key())) == REFUSED
    assert await scene.device().enroll(refused.text + "x") == REFUSED
    kept = {path: path.read_bytes() for path in scene.server.data.parent.rglob("*") if path.is_file()}
    assert any(path.name == "watchword.stderr" for path in kept)
    for token in (used, refused, unused, scene.token):
        secret = token.text.rpartition(".")[2].encode()
        assert [path for path, content in kept.items() if secret in content] == []
        assert any(hashlib.sha256(secret).digest() in content for content in kept.values())  # this is how it is kept

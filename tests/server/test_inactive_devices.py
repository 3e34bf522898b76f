"""Step 1 of verification: only a device that is enrolled, approved and not revoked is believed. The others answer alike."""

import os

from server.scene import Scene, challenge_of, closing_of, enroll, passes
from support.device import HONEST, Lie, fields
from support.pki import generate_key
from watchword.v1 import posture_pb2 as wire


async def test_an_unknown_device_is_challenged_like_any_other_and_then_rejected(scene: Scene) -> None:
    device = await scene.enrolled()
    stranger = scene.device(device_id="dev_" + os.urandom(16).hex(), audience=device.audience)
    epochs = set()
    async with device.attesting() as known:
        for _ in range(2):
            async with stranger.attesting() as stream:
                given, usual = challenge_of(stream), challenge_of(known)
                assert (given.audience, given.nonce_ttl_seconds) == (usual.audience, usual.nonce_ttl_seconds)
                assert (len(given.session_id), len(given.nonce)) == (16, 32) == (len(usual.session_id), len(usual.nonce))
                epochs.add(given.epoch)
                assert await stream.attest() == wire.Rejected(code="device_not_active")
                assert await closing_of(stream) == "device_not_active"
    assert len(epochs) == 1  # a real device's epoch stays as well, as long as nothing is proven
    assert stranger.device_id not in scene.operators.devices()


async def test_a_key_that_is_enrolled_does_not_speak_for_an_unknown_device(scene: Scene) -> None:
    device = await scene.enrolled()
    device.device_id = "dev_" + "0" * 32
    assert await device.attest_once() == wire.Rejected(code="device_not_active")


async def test_a_pending_device_is_rejected_until_it_is_approved(scene: Scene) -> None:
    device = scene.device()
    result = await enroll(device, scene.operators.enrollment_token(needs_approval=True))
    assert result.state == wire.DEVICE_STATE_PENDING_APPROVAL
    before = scene.knows(device)
    assert await device.attest_once() == wire.Rejected(code="device_not_active")
    assert scene.knows(device) == before

    scene.operators.approve(device.device_id)
    assert passes(await device.attest_once(), device)


async def test_a_revoked_device_is_told_so_and_rejected_from_then_on(scene: Scene) -> None:
    device, other = await scene.enrolled(), await scene.enrolled()
    async with device.attesting() as stream, other.attesting() as others:
        assert passes(await stream.settle(), device)
        assert passes(await others.settle(), other)
        scene.operators.revoke(device.device_id)
        assert await closing_of(stream) == "device_revoked"
        before = scene.knows(device)
        assert await device.attest_once() == wire.Rejected(code="device_not_active")
        assert scene.knows(device) == before
        assert passes(await others.attest(), other)


async def test_who_is_not_active_learns_nothing_from_other_mistakes(scene: Scene) -> None:
    """Unknown, pending and revoked answer alike, whatever else is wrong with the message."""
    revoked, pending = await scene.enrolled(), scene.device()
    scene.operators.revoke(revoked.device_id)
    await enroll(pending, scene.operators.enrollment_token(needs_approval=True))
    unknown = scene.device(device_id="dev_" + "1" * 32)
    lies = (Lie(signing_key=generate_key()), Lie(payload=lambda _: b"\xff"), Lie(evidence=fields(sequence=9)), HONEST)
    for device in (revoked, pending, unknown):
        for lie in lies:
            async with device.attesting() as stream:
                assert await stream.attest(lie) == wire.Rejected(code="device_not_active")

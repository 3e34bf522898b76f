"""A device changes its key in two steps: both keys sign the proposal, and the new one's first evidence makes it the device's."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from grpc import StatusCode

from server.scene import Scene, enroll, passes
from support.device import Ended, Lie, SimulatedDevice, fields
from support.pki import PrivateKey, generate_key
from support.signing import public_key_der
from watchword.envelope import EVIDENCE_TYPE, KEY_ROTATE_TYPE, key_id
from watchword.v1 import posture_pb2 as wire

# The point of order 1: under it a signature of zeros and the point itself verifies for any message.
_SMALL_ORDER: Final = bytes.fromhex("302a300506032b6570032100" + "01" + "00" * 31)


def with_key(device: SimulatedDevice, key: PrivateKey) -> SimulatedDevice:
    """The same device, signing with another key."""
    return replace(device, key=key, found_for=dict(device.found_for))


@pytest.mark.parametrize("new_key", [generate_key(), ed25519.Ed25519PrivateKey.generate()], ids=["P-256", "Ed25519"])
async def test_the_new_key_is_the_devices_with_its_first_evidence_and_the_old_one_is_none(
    scene: Scene, new_key: PrivateKey
) -> None:
    device = await scene.enrolled()
    async with device.attesting() as stream:
        assert passes(await stream.settle(), device)
        pending = await stream.rotate(new_key)
        assert isinstance(pending, wire.KeyPending)
        assert (pending.key_id, pending.valid_for_seconds) == (key_id(public_key_der(new_key)), 24 * 3600)
        assert passes(await stream.attest(), device), "until then the enrolled key goes on"
        rotated = with_key(device, new_key)
        assert passes(await rotated.attest_once(), rotated)
        assert await device.attest_once() == wire.Rejected(code="envelope_invalid")
    assert passes(await rotated.attest_once(), rotated)


async def test_the_new_key_may_take_over_within_the_session(scene: Scene) -> None:
    device = await scene.enrolled()
    async with device.attesting() as stream:
        assert passes(await stream.settle(), device)
        new_key, old_key = generate_key(), device.key
        await stream.rotate(new_key)
        device.key = new_key
        assert passes(await stream.attest(), device)
        device.key = old_key
        assert await stream.attest() == wire.Rejected(code="envelope_invalid")


async def test_the_same_proposal_may_come_again_and_another_one_replaces_it(scene: Scene) -> None:
    device = await scene.enrolled()
    one, other = generate_key(), generate_key()
    async with device.attesting() as stream:
        await stream.settle()
        for key in (one, one, other):
            assert isinstance(await stream.rotate(key), wire.KeyPending)
    assert await with_key(device, one).attest_once() == wire.Rejected(code="envelope_invalid")
    rotated = with_key(device, other)
    assert passes(await rotated.attest_once(), rotated)


async def test_a_pending_key_may_say_goodbye_and_is_pending_still(scene: Scene) -> None:
    device = await scene.enrolled()
    new_key = generate_key()
    async with device.attesting() as stream:
        await stream.settle()
        await stream.rotate(new_key)
    async with with_key(device, new_key).attesting() as stream:
        assert await stream.goodbye() == wire.Closing(code="goodbye")
    assert passes(await device.attest_once(), device)


async def test_a_pending_key_proposes_no_other(scene: Scene) -> None:
    device = await scene.enrolled()
    new_key = generate_key()
    async with device.attesting() as stream:
        await stream.settle()
        await stream.rotate(new_key)
        device.key = new_key
        assert await stream.rotate(generate_key()) == wire.Rejected(code="envelope_invalid")


async def test_a_key_that_was_not_proposed_is_no_key(scene: Scene) -> None:
    device = await scene.enrolled()
    stranger = with_key(device, generate_key())
    assert await stranger.attest_once() == wire.Rejected(code="envelope_invalid")


async def test_a_pending_key_is_taken_to_whoever_enrolls(scene: Scene) -> None:
    device = await scene.enrolled()
    new_key = generate_key()
    async with device.attesting() as stream:
        await stream.settle()
        await stream.rotate(new_key)
    assert isinstance(await scene.device(key=new_key).enroll(scene.token.text), Ended)
    rotated = with_key(device, new_key)
    assert passes(await rotated.attest_once(), rotated)


async def test_enrolling_anew_drops_the_pending_key(scene: Scene) -> None:
    device = await scene.enrolled()
    new_key = generate_key()
    async with device.attesting() as stream:
        await stream.settle()
        await stream.rotate(new_key)
    again = scene.device()
    await enroll(again, scene.operators.enrollment_token(device_id=device.device_id))
    assert again.device_id == device.device_id
    assert await with_key(device, new_key).attest_once() == wire.Rejected(code="envelope_invalid")


# ---- Lies ---------------------------------------------------------------------------------------------------------------

Tell = Callable[[SimulatedDevice, SimulatedDevice], tuple[PrivateKey, Lie]]


def _swapped(envelope: wire.SignedEnvelope) -> None:
    first, second = [wire.Signature.FromString(signature.SerializeToString()) for signature in envelope.signatures]
    del envelope.signatures[:]
    envelope.signatures.extend([second, first])


def _keyless(envelope: wire.SignedEnvelope) -> None:
    envelope.signatures[1].sig = b"\x01" + bytes(63)


def _padded(rotation: wire.KeyRotate) -> None:
    rotation.new_public_key += b"\x00"


def _by(**lie: Any) -> Tell:
    return lambda *_: (generate_key(), Lie(**lie))


LIES: Final[dict[str, tuple[str, Tell]]] = {
    "signed by another key": ("envelope_invalid", _by(signing_key=generate_key())),
    "signatures swapped": ("envelope_invalid", _by(envelope=_swapped)),
    "signed as evidence": ("envelope_invalid", _by(payload_type=EVIDENCE_TYPE, envelope=fields(payload_type=KEY_ROTATE_TYPE))),
    "with a field it does not have": ("evidence_malformed", _by(payload=lambda payload: payload + b"\x4a\x00")),
    "a key that is too large": ("evidence_malformed", _by(rotation=fields(new_public_key=bytes(1025)))),
    "of another device": ("evidence_foreign", _by(rotation=fields(device_id="dev_2"))),
    "of another key": ("evidence_foreign", _by(rotation=fields(key_id="another"))),
    "of another session": ("evidence_foreign", _by(rotation=fields(session_id=bytes(16)))),
    "to another challenge": ("evidence_foreign", _by(rotation=fields(nonce=bytes(32)))),
    "out of sequence": ("out_of_sequence", _by(rotation=fields(sequence=9))),
    "both signatures by the enrolled key": (
        "new_key_refused",
        lambda device, _: (generate_key(), Lie(new_signing_key=device.key)),
    ),
    "the new key signed by a third": ("new_key_refused", _by(new_signing_key=generate_key())),
    "the enrolled key itself": ("new_key_refused", lambda device, _: (device.key, Lie())),
    "the key of another device": ("new_key_refused", lambda _, other: (other.key, Lie())),
    "a curve that is no device key's": ("new_key_refused", lambda *_: (generate_key("p384"), Lie())),
    "not the canonical encoding": ("new_key_refused", _by(rotation=_padded)),
    "a point of small order": ("new_key_refused", _by(rotation=fields(new_public_key=_SMALL_ORDER), envelope=_keyless)),
    "no key": ("new_key_refused", _by(rotation=fields(new_public_key=b""))),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_is_rejected_with_its_reason_and_changes_nothing(scene: Scene, lie: str) -> None:
    code, tell = LIES[lie]
    device, other = await scene.enrolled(), await scene.enrolled()
    async with device.attesting() as stream:
        assert passes(await stream.settle(), device)
        new_key, told = tell(device, other)
        answer = await stream.rotate(new_key, told)
        assert isinstance(answer, wire.Rejected)
        assert answer.code == code
        assert answer.HasField("next_challenge") == (code == "new_key_refused")
    if new_key not in (device.key, other.key) and not isinstance(await with_key(device, new_key).attest_once(), wire.Rejected):
        pytest.fail("the key that was refused is accepted")
    assert passes(await device.attest_once(), device)


async def test_a_key_that_waits_for_another_device_is_refused(scene: Scene) -> None:
    new_key = generate_key()
    for expected in (wire.KeyPending, wire.Rejected):
        device = await scene.enrolled()
        async with device.attesting() as stream:
            await stream.settle()
            assert isinstance(await stream.rotate(new_key), expected)


async def test_a_revoked_devices_key_is_refused(scene: Scene) -> None:
    revoked, device = await scene.enrolled(), await scene.enrolled()
    scene.operators.revoke(revoked.device_id)
    async with device.attesting() as stream:
        await stream.settle()
        answer = await stream.rotate(revoked.key)
        assert isinstance(answer, wire.Rejected)
        assert answer.code == "new_key_refused"


async def test_a_proposal_is_nothing_to_another_session(scene: Scene) -> None:
    device = await scene.enrolled()
    async with device.attesting() as stream:
        await stream.settle()
        proposal = stream.rotation(generate_key())
    async with device.attesting() as stream:
        await stream.settle()
        await stream.send(wire.AttestRequest(envelope=proposal))
        assert await stream.answer() == wire.Rejected(code="evidence_foreign")


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_any_number_of_signatures_but_two_ends_the_stream(scene: Scene, count: int) -> None:
    def signed_so_often(envelope: wire.SignedEnvelope) -> None:
        signatures = [*envelope.signatures, *envelope.signatures][:count]
        copies = [wire.Signature.FromString(signature.SerializeToString()) for signature in signatures]
        del envelope.signatures[:]
        envelope.signatures.extend(copies)

    device = await scene.enrolled()
    async with device.attesting() as stream:
        await stream.settle()
        answer = await stream.rotate(generate_key(), Lie(envelope=signed_so_often))
        assert isinstance(answer, Ended)
        assert answer.code is StatusCode.INVALID_ARGUMENT


async def test_nothing_is_rotated_before_evidence(scene: Scene) -> None:
    device = await scene.enrolled()
    async with device.attesting() as stream:
        answer = await stream.rotate(generate_key())
        assert isinstance(answer, Ended)
        assert answer.code is StatusCode.INVALID_ARGUMENT

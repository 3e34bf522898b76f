"""A signed goodbye ends everything a device proved; nobody but the device says it, and once."""

from collections.abc import Callable
from typing import Any, Final

import pytest

from server.scene import LAPTOP, Scene, challenge_of, closing_of, passes, rules, twin
from support.device import Lie, SimulatedDevice, fields
from support.pki import generate_key
from watchword.envelope import ENROLL_TYPE, EVIDENCE_TYPE, GOODBYE_TYPE
from watchword.v1 import posture_pb2 as wire

GOODBYE: Final = wire.Closing(code="goodbye")


def _standing(scene: Scene, device: SimulatedDevice) -> tuple[str, str]:
    result = scene.operators.results(device.device_id)[LAPTOP]
    return result["standing"], result["reason"]


async def test_a_goodbye_ends_the_results_and_new_evidence_brings_them_back(scene: Scene) -> None:
    device = await scene.enrolled()
    async with device.attesting() as stream:
        assert passes(await stream.settle(), device)
        assert await stream.goodbye() == GOODBYE
    assert _standing(scene, device) == ("failed", "device_said_goodbye")
    assert passes(await device.attest_once(), device)
    assert _standing(scene, device) == ("passed", "passed")


async def test_a_goodbye_may_be_the_first_message_of_a_session_and_supersedes_the_older_one(scene: Scene) -> None:
    device = await scene.enrolled()
    async with device.attesting() as stream:
        assert passes(await stream.settle(), device)
        async with twin(device).attesting() as leaving:
            assert await leaving.goodbye() == GOODBYE
        assert await closing_of(stream) == "session_superseded"
    assert _standing(scene, device) == ("failed", "device_said_goodbye")


async def test_a_device_without_results_may_leave_too(scene: Scene) -> None:
    device = await scene.enrolled()
    async with device.attesting() as stream:
        assert await stream.goodbye() == GOODBYE
    assert scene.operators.results(device.device_id) == {}


async def test_whoever_holds_the_same_certificate_is_free_when_the_other_leaves(scene: Scene) -> None:
    credential = scene.certificate()
    one, other = [await scene.enrolled(found=(credential,)) for _ in range(2)]
    async with one.attesting() as stream:
        assert passes(await stream.settle(), one)
        await other.attest_once()
        assert _standing(scene, one) == _standing(scene, other) == ("failed", "certificate_cloned")
        assert await stream.goodbye() == GOODBYE
    assert _standing(scene, one) == ("failed", "device_said_goodbye")
    assert _standing(scene, other) == ("passed", "passed")


async def test_a_changed_check_revives_nobody_who_left(scene: Scene) -> None:
    device, stays = await scene.enrolled(), await scene.enrolled()
    assert passes(await stays.attest_once(), stays)
    async with device.attesting() as stream:
        assert passes(await stream.settle(), device)
        await stream.goodbye()
    scene.operators.apply(rules(scene.pki, checks={LAPTOP: {"extended_key_usage": []}}))
    try:
        assert _standing(scene, stays) == ("passed", "passed")
        assert _standing(scene, device) == ("failed", "device_said_goodbye")
    finally:
        scene.operators.apply(rules(scene.pki))
    assert _standing(scene, device) == ("failed", "device_said_goodbye")


LIES: Final[dict[str, tuple[str, Lie]]] = {
    "signed by another key": ("envelope_invalid", Lie(signing_key=generate_key())),
    "unsigned": ("envelope_invalid", Lie(envelope=lambda envelope: fields(sig=b"")(envelope.signatures[0]))),
    "signed as evidence, stated as a goodbye": (
        "envelope_invalid",
        Lie(payload_type=EVIDENCE_TYPE, envelope=fields(payload_type=GOODBYE_TYPE)),
    ),
    "signed as an enrollment": ("envelope_invalid", Lie(payload_type=ENROLL_TYPE)),
    "with a field it does not have": ("evidence_malformed", Lie(payload=lambda payload: payload + b"\x42\x00")),
    "bytes that are no message": ("evidence_malformed", Lie(payload=lambda _: b"\xff" * 20)),
    "of another device": ("evidence_foreign", Lie(goodbye=fields(device_id="dev_2"))),
    "of another session": ("evidence_foreign", Lie(goodbye=fields(session_id=bytes(16)))),
    "of another epoch": ("evidence_foreign", Lie(goodbye=fields(epoch=77))),
    "to another audience": ("evidence_foreign", Lie(goodbye=fields(audience="another"))),
    "to another challenge": ("evidence_foreign", Lie(goodbye=fields(nonce=bytes(32)))),
    "out of sequence": ("out_of_sequence", Lie(goodbye=fields(sequence=9))),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_is_rejected_with_its_reason_and_changes_nothing(scene: Scene, lie: str) -> None:
    code, told = LIES[lie]
    device = await scene.enrolled()
    async with device.attesting() as stream:
        assert passes(await stream.settle(), device)
        before = scene.knows(device)
        async with twin(device).attesting() as other:
            assert await other.goodbye(told) == wire.Rejected(code=code)
        assert scene.knows(device) == before
        assert passes(await stream.attest(), device)


async def test_a_goodbye_that_was_said_once_is_nothing_to_another_session(scene: Scene) -> None:
    device = await scene.enrolled()
    said: list[wire.SignedEnvelope] = []
    async with device.attesting() as stream:
        assert passes(await stream.settle(), device)
        await stream.goodbye(Lie(envelope=_kept(said)))
    assert passes(await device.attest_once(), device)
    async with device.attesting() as stream:
        await stream.send(wire.AttestRequest(envelope=said[0]))
        assert await stream.answer() == wire.Rejected(code="evidence_foreign")
    assert _standing(scene, device) == ("passed", "passed")


async def test_two_goodbyes_in_one_breath_are_one(scene: Scene) -> None:
    device = await scene.enrolled()
    said: list[wire.SignedEnvelope] = []
    async with device.attesting() as stream:
        assert passes(await stream.settle(), device)
        challenge = challenge_of(stream)
        assert await stream.goodbye(Lie(envelope=_kept(said))) == GOODBYE
        await stream.send(wire.AttestRequest(envelope=said[0]))
    assert challenge.nonce
    assert passes(await device.attest_once(), device)


async def test_a_superseded_session_says_no_goodbye_for_the_device(scene: Scene) -> None:
    device = await scene.enrolled()
    async with device.attesting() as stream, twin(device).attesting() as other:
        assert passes(await stream.settle(), device)
        assert await other.goodbye() == wire.Rejected(code="session_superseded")  # its epoch was proposed before
    assert _standing(scene, device) == ("passed", "passed")


def _kept(said: list[wire.SignedEnvelope]) -> Callable[[Any], None]:
    return lambda envelope: said.append(wire.SignedEnvelope.FromString(envelope.SerializeToString()))

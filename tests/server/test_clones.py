"""One certificate's private key alive on two devices: both are flagged, as long as both can prove it."""

import asyncio
from typing import Any, Final

from server.scene import LAPTOP, Scene, enroll, rules, verdicts
from support.device import AttestStream, Lie, SimulatedDevice
from support.pki import Credential, Pki
from watchword.v1 import posture_pb2 as wire

FLAGGED: Final = "flag-only"
UNPROVEN: Final = "without-a-proof"


def rule_document(pki: Pki) -> dict[str, Any]:
    return rules(pki, checks={FLAGGED: {"on_clone": "flag"}, UNPROVEN: {"check_private_key": False}})


async def test_a_certificate_proven_by_two_devices_fails_on_both_at_once(scene: Scene) -> None:
    first, second, credential = await _two(scene)
    async with first.attesting() as firsts, second.attesting() as seconds:
        assert await _told(firsts) == "passed"
        assert await _told(seconds) == "certificate_cloned"
        for device, other in ((first, second), (second, first)):  # the first did not have to say anything
            stored = scene.operators.results(device.device_id)[LAPTOP]
            assert (stored["standing"], stored["reason"]) == ("failed", "certificate_cloned")
            assert stored["received_values"]["also_proven_by"] == [other.device_id]
            assert stored["certificate_sha256"] == credential.sha256
        assert await _told(firsts) == "certificate_cloned"
        assert await _told(seconds) == "certificate_cloned"


async def test_two_devices_that_prove_it_in_the_same_moment_are_both_flagged(scene: Scene) -> None:
    for _ in range(5):
        first, second, _ = await _two(scene)
        async with first.attesting() as firsts, second.attesting() as seconds:
            assert isinstance(await firsts.attest(), wire.Ack)
            assert isinstance(await seconds.attest(), wire.Ack)
            for stream in (firsts, seconds):
                assert isinstance(await stream.receive_until(wire.CheckSet), wire.CheckSet)
            await asyncio.gather(firsts.attest(), seconds.attest())
        assert {_stored(scene, first), _stored(scene, second)} == {"certificate_cloned"}


async def test_whoever_is_left_with_it_passes_again(scene: Scene) -> None:
    first, second, _ = await _two(scene)
    async with first.attesting() as firsts, second.attesting() as seconds:
        assert await _told(firsts) == "passed"
        assert await _told(seconds) == "certificate_cloned"
        second.found_for[LAPTOP] = (scene.certificate(),)
        assert await _told(seconds) == "passed"
        assert _stored(scene, first) == "passed"  # its own evidence is as good as before


async def test_a_revoked_device_holds_nothing(scene: Scene) -> None:
    first, second, _ = await _two(scene)
    async with first.attesting() as firsts:
        assert await _told(firsts) == "passed"
        async with second.attesting() as seconds:
            assert await _told(seconds) == "certificate_cloned"
        assert _stored(scene, first) == "certificate_cloned"
        scene.operators.revoke(second.device_id)
        assert _stored(scene, first) == "passed"
        assert await _told(firsts) == "passed"


async def test_a_picture_of_a_certificate_flags_nobody(scene: Scene) -> None:
    first, second, credential = await _two(scene)
    second.found_for[UNPROVEN] = (credential,)
    async with first.attesting() as firsts, second.attesting() as seconds:
        assert await _told(firsts) == "passed"
        assert await _told(seconds, Lie(possession={"nonce": bytes(32)})) == "possession_invalid"
        assert scene.operators.results(second.device_id)[UNPROVEN]["reason"] == "passed"
        assert _stored(scene, first) == "passed"
        assert await _told(firsts) == "passed"


async def test_evidence_that_is_rejected_flags_nobody(scene: Scene) -> None:
    first, second, _ = await _two(scene)
    pending = scene.device(found_for=dict(first.found_for))
    await enroll(pending, scene.operators.enrollment_token(needs_approval=True))
    async with first.attesting() as firsts:
        assert await _told(firsts) == "passed"
        async with second.attesting() as seconds:
            assert isinstance(await seconds.attest(), wire.Ack)
            assert isinstance(await seconds.receive_until(wire.CheckSet), wire.CheckSet)
            assert await seconds.attest(Lie(signing_key=first.key)) == wire.Rejected(code="envelope_invalid")
        pending.checks = second.checks
        async with pending.attesting() as stream:
            assert await stream.attest() == wire.Rejected(code="device_not_active")
        assert _stored(scene, first) == "passed"
        assert await _told(firsts) == "passed"


async def test_where_the_check_says_flag_both_pass(scene: Scene) -> None:
    first, second, credential = await _two(scene)
    for device in (first, second):
        device.found_for = {FLAGGED: (credential,)}
    async with first.attesting() as firsts, second.attesting() as seconds:
        assert await _told(firsts, check=FLAGGED) == "passed"
        assert await _told(seconds, check=FLAGGED) == "passed"
        assert await _told(firsts, check=FLAGGED) == "passed"
    assert "certificate_cloned" in scene.server.program.stderr()  # told to the operator


async def test_a_device_that_shows_it_for_two_checks_is_no_clone(scene: Scene) -> None:
    credential = scene.certificate()
    device = await scene.enrolled(found_for={LAPTOP: (credential,), FLAGGED: (credential,)})
    async with device.attesting() as stream:
        assert await _told(stream) == "passed"
        assert await _told(stream, check=FLAGGED) == "passed"


async def _two(scene: Scene) -> tuple[SimulatedDevice, SimulatedDevice, Credential]:
    """Two devices with the same certificate and private key for the check `LAPTOP`."""
    credential = scene.certificate()
    first, second = [await scene.enrolled(found_for={LAPTOP: (credential,)}) for _ in range(2)]
    return first, second, credential


async def _told(stream: AttestStream, lie: Lie | None = None, *, check: str = LAPTOP) -> str:
    if stream.device.checks is None:
        assert isinstance(await stream.attest(), wire.Ack)
        assert isinstance(await stream.receive_until(wire.CheckSet), wire.CheckSet)
    return verdicts(await stream.attest(lie or Lie()), stream.device)[check]


def _stored(scene: Scene, device: SimulatedDevice) -> str:
    return str(scene.operators.results(device.device_id)[LAPTOP]["reason"])

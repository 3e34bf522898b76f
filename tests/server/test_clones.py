"""One private key alive twice: a certificate's on two devices, or a device's on two machines. Both are flagged."""

import asyncio
import os
from typing import Any, Final

from server.scene import LAPTOP, Scene, enroll, rules, twin, verdicts
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


async def test_a_key_is_cloned_whatever_certificate_it_comes_with(scene: Scene) -> None:
    credential = scene.certificate()
    first = await scene.enrolled(found_for={LAPTOP: (credential,)})
    for variant in (scene.certificate(key=credential.key), credential.with_rewritten_signature()):
        second = await scene.enrolled(found_for={LAPTOP: (variant,)})
        async with first.attesting() as firsts, second.attesting() as seconds:
            assert await _told(firsts) == "passed"
            assert await _told(seconds) == "certificate_cloned"
            assert _stored(scene, first) == "certificate_cloned"
            assert _known(scene, first)["certificate_cloned_with"] == [second.device_id]
            assert _known(scene, second)["certificate_cloned_with"] == [first.device_id]
            scene.operators.revoke(second.device_id)
        assert _stored(scene, first) == "passed"
        assert _known(scene, first)["certificate_cloned_with"] == []


async def test_a_certificate_renewed_for_its_key_on_one_device_is_no_clone(scene: Scene) -> None:
    credential = scene.certificate()
    device = await scene.enrolled(found_for={LAPTOP: (credential,)})
    async with device.attesting() as stream:
        for shown in (credential, scene.certificate(key=credential.key), credential.with_rewritten_signature()):
            device.found_for[LAPTOP] = (shown,)
            assert await _told(stream) == "passed"


# ---- The device's own key -----------------------------------------------------------------------------------------------


async def test_two_machines_with_one_device_key_fail_when_the_first_comes_back_until_an_operator_clears_it(scene: Scene) -> None:
    original = await scene.enrolled()
    copy = twin(original, boot_id=os.urandom(16))
    assert await _settled(original) == "passed"
    assert await _settled(copy) == "passed"  # so far it could be a reboot
    assert _known(scene, original)["key_cloned_at"] is None
    assert await _settled(original) == "device_key_cloned"
    assert await _settled(copy) == "device_key_cloned"
    assert _known(scene, original)["key_cloned_at"] is not None
    assert "device_key_cloned" in scene.server.program.stderr()  # told to the operator
    scene.operators.clear_clone(original.device_id)
    assert _known(scene, original)["key_cloned_at"] is None
    assert _stored(scene, original) == "passed"
    assert await _settled(original) == "passed"


async def test_the_commands_tell_of_it_and_clear_it(scene: Scene) -> None:
    original = await scene.enrolled()
    copy = twin(original, boot_id=os.urandom(16))
    for machine in (original, copy, original):
        await _settled(machine)
    assert _listed(scene, original).endswith("device key")
    scene.server.command("devices", "clear-clone", original.device_id)
    assert _listed(scene, original).endswith("-")
    refused = scene.server.command("devices", "clear-clone", original.device_id, check=False)
    assert refused.returncode != 0
    assert "nothing to clear" in refused.stderr


async def test_clearing_tells_a_connected_device_to_begin_anew(scene: Scene) -> None:
    original = await scene.enrolled()
    copy = twin(original, boot_id=os.urandom(16))
    for machine in (original, copy, original):
        await _settled(machine)
    async with original.attesting() as stream:
        assert await _told(stream) == "device_key_cloned"
        scene.operators.clear_clone(original.device_id)
        assert isinstance(await stream.receive(), wire.Drain)
        assert await stream.attest() in (wire.Closing(code="session_superseded"), wire.Rejected(code="session_superseded"))


async def test_a_reboot_and_a_restarted_agent_are_one_machine(scene: Scene) -> None:
    device = await scene.enrolled()
    for _ in range(2):
        assert await _settled(device) == "passed"
        assert await _settled(device) == "passed"
        device.boot_id = os.urandom(16)
    assert await _settled(device) == "passed"
    assert _known(scene, device)["key_cloned_at"] is None


def _listed(scene: Scene, device: SimulatedDevice) -> str:
    """The device's line as people see it."""
    lines = scene.server.command("devices", "list").stdout.splitlines()
    return next(line for line in lines if line.startswith(device.device_id))


async def _settled(device: SimulatedDevice) -> str:
    return verdicts(await device.attest_once(), device)[LAPTOP]


def _known(scene: Scene, device: SimulatedDevice) -> dict[str, Any]:
    return scene.operators.devices()[device.device_id]


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

"""Step 7 of verification, what an agent could not look at, and which of several candidates decides."""

import itertools
from collections.abc import Sequence
from typing import Final

import pytest

from server import failing_checks as checks
from server.scene import LAPTOP, Scene, check_named, verdicts
from support.device import Answer, AttestStream, Lie, SimulatedDevice, fields
from support.pki import DAY, HOUR, Credential, generate_key
from watchword.v1 import posture_pb2 as wire
from watchword_server.core.verify import COLLECTION_ERRORS

rule_document = checks.rule_document

# ---- Age ----------------------------------------------------------------------------------------------------------------

_FIVE_MINUTES: Final = 5 * 60 * 1000
_MINUTE: Final = 60 * 1000


@pytest.mark.parametrize(
    ("check", "age_ms", "reason"),
    [
        (LAPTOP, 0, "passed"),
        (LAPTOP, _FIVE_MINUTES, "passed"),
        (LAPTOP, _FIVE_MINUTES + 1, "claim_too_old"),
        (LAPTOP, 365 * 24 * 60 * _MINUTE, "claim_too_old"),
        (checks.EVERY_MINUTE, _MINUTE, "passed"),
        (checks.EVERY_MINUTE, _MINUTE + 1, "claim_too_old"),
    ],
)
async def test_a_claim_is_as_old_as_its_checks_schedule_at_most(scene: Scene, check: str, age_ms: int, reason: str) -> None:
    """The nonce is fresh, the signature is fresh; what they are about is not."""
    device = await scene.enrolled(found_for={check: (scene.certificate(),)})
    async with device.attesting() as stream:
        assert verdicts(await stream.settle(), device)[check] == "passed"
        assert verdicts(await stream.attest(Lie(check=fields(age_ms=age_ms))), device)[check] == reason
        stored = scene.operators.results(device.device_id)[check]
        # What is older than the result would last has expired as it arrives; that it failed, too, is in the reason.
        failed = "failed" if age_ms < 3 * _FIVE_MINUTES else "result_expired"
        assert (stored["standing"], stored["reason"]) == ("passed" if reason == "passed" else failed, reason)
        assert verdicts(await stream.attest(), device)[check] == "passed"


async def test_an_old_claim_expires_earlier_by_its_age(scene: Scene) -> None:
    device = await scene.enrolled()
    async with device.attesting() as stream:
        fresh = _lasts_seconds(await stream.settle(), device)
        assert _lasts_seconds(await stream.attest(Lie(check=fields(age_ms=_MINUTE))), device) <= fresh - 59


def _lasts_seconds(answer: Answer, device: SimulatedDevice) -> int:
    assert isinstance(answer, wire.Ack), answer
    [result] = [result for result in answer.results if result.check_id == check_named(device, LAPTOP).id]
    assert result.passed
    return result.expires_in_seconds


async def test_of_an_old_claim_nothing_else_is_told(scene: Scene) -> None:
    device = await scene.enrolled(found_for={LAPTOP: (scene.pki.web.issue(),)})
    async with device.attesting() as stream:
        assert verdicts(await stream.settle(), device)[LAPTOP] == "certificate_wrong_issuer"
        answer = await stream.attest(Lie(check=fields(age_ms=_FIVE_MINUTES + 1)))
        assert verdicts(answer, device)[LAPTOP] == "claim_too_old"


# ---- Nothing to judge ---------------------------------------------------------------------------------------------------


async def test_no_candidate_is_its_own_reason(scene: Scene) -> None:
    device = await scene.enrolled()
    async with device.attesting() as stream:
        assert verdicts(await stream.settle(), device)[LAPTOP] == "passed"
        device.found_for = {}
        assert verdicts(await stream.attest(), device)[LAPTOP] == "certificate_not_found"
        device.found_for = {LAPTOP: (scene.certificate(),)}
        assert verdicts(await stream.attest(), device)[LAPTOP] == "passed"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        *((code, code) for code in sorted(COLLECTION_ERRORS)),
        pytest.param("", "collection_failed", id="no word"),
        pytest.param("dog_ate_it", "collection_failed", id="a word nobody knows"),
        pytest.param("passed", "collection_failed", id="a word that sounds good"),
    ],
)
async def test_what_kept_an_agent_from_looking_is_the_reason(scene: Scene, code: str, reason: str) -> None:
    device = await scene.enrolled()
    good = device.found_for[LAPTOP]
    async with device.attesting() as stream:
        assert verdicts(await stream.settle(), device)[LAPTOP] == "passed"
        device.found_for[LAPTOP] = wire.CollectionError(code=code, detail="/etc/corp/client.pem")
        answer = await stream.attest()
        assert verdicts(answer, device)[LAPTOP] == reason
        stored = scene.operators.results(device.device_id)[LAPTOP]
        assert (stored["standing"], stored["reason"]) == ("failed", reason)
        assert stored["received_values"] == {reason: "/etc/corp/client.pem"}
        device.found_for[LAPTOP] = good
        assert verdicts(await stream.attest(), device)[LAPTOP] == "passed"


# ---- Several candidates -------------------------------------------------------------------------------------------------


def _candidates(scene: Scene) -> list[tuple[str, Credential]]:
    """From the farthest from passing to the one that passes; all the same to an agent."""
    certificate = scene.certificate()
    return [
        ("certificate_wrong_issuer", scene.pki.web.issue("laptop-1.corp.example")),
        ("certificate_signature_invalid", certificate.with_corrupt_signature()),
        ("certificate_is_a_ca", scene.certificate(ca=True)),
        ("certificate_key_weak", scene.certificate(key="p224")),
        ("certificate_expired", scene.certificate(not_before=-2 * DAY, not_after=-HOUR)),
        ("extended_key_usage_missing", scene.certificate(extended_key_usage=("serverAuth",))),
        ("common_name_mismatch", scene.certificate("laptop-2.corp.example")),
        ("private_key_mismatch", scene.certificate().with_key(generate_key())),
        ("passed", certificate),
    ]


async def test_of_several_candidates_the_nearest_miss_is_the_reason(scene: Scene) -> None:
    candidates = _candidates(scene)
    device = await scene.enrolled(hostname="laptop-1")
    async with device.attesting() as stream:
        assert isinstance(await stream.settle(), wire.Ack)
        for (_, farther), (reason, nearer) in itertools.pairwise(candidates):
            for found in ((farther, nearer), (nearer, farther)):
                assert await _told(stream, device, found) == reason
                stored = scene.operators.results(device.device_id)[checks.BY_HOSTNAME]
                assert stored["certificate_sha256"] == nearer.sha256


async def test_one_candidate_that_passes_is_enough_wherever_it_stands(scene: Scene) -> None:
    *wrong, (_, good) = _candidates(scene)
    misses = [credential for _, credential in wrong][:7]
    device = await scene.enrolled(hostname="laptop-1")
    async with device.attesting() as stream:
        assert isinstance(await stream.settle(), wire.Ack)
        for place in range(8):
            assert await _told(stream, device, [*misses[:place], good, *misses[place:]]) == "passed"
        assert await _told(stream, device, misses) == "common_name_mismatch"


async def _told(stream: AttestStream, device: SimulatedDevice, found: Sequence[Credential]) -> str:
    device.found_for = {checks.BY_HOSTNAME: tuple(found)}
    return verdicts(await stream.attest(), device)[checks.BY_HOSTNAME]

"""Verification, step by step, where a running server cannot be asked: the order of the steps, and the edges of time."""

import itertools
from dataclasses import replace
from typing import Final

import pytest

from core.bench import AUDIENCE, CA, CHECK, CONFIG, DEVICE_ID, NOW, PKI, Bench
from support.device import HONEST, Lie, fields
from support.pki import DAY, HOUR, generate_key
from support.signing import public_key_der
from watchword.v1 import posture_pb2 as wire
from watchword_server.core import keys
from watchword_server.core.certificates.revocation import NOTHING_KNOWN
from watchword_server.core.model.checks import Check, OnClone
from watchword_server.core.model.devices import DeviceState
from watchword_server.core.model.evidence import Claim, Evidence
from watchword_server.core.model.names import DeviceId, Instant
from watchword_server.core.model.results import EvidenceLevel, JudgedClaim
from watchword_server.core.verify import as_cloned, judge_claim, verify_evidence
from watchword_server.doors import codec
from watchword_server.errors import (
    DeviceNotActiveError,
    EnvelopeInvalidError,
    EvidenceMalformedError,
    EvidenceRejectedError,
    ForeignEvidenceError,
    OutOfSequenceError,
    StaleChallengeError,
)

# ---- Steps 1 to 6 -------------------------------------------------------------------------------------------------------


def test_an_honest_message_is_believed_and_its_proofs_are_bound_to_what_was_verified() -> None:
    verified = Bench().verify()
    assert verified.device.id == verified.context.device_id == DEVICE_ID
    assert (verified.context.audience, verified.context.nonce, verified.context.received_at) == (AUDIENCE, bytes(range(32)), NOW)
    assert [claim.check_id for claim in verified.evidence.claims] == [CHECK.id]


# One lie a step, in the order of the steps. A message with two of them is told the earlier one.
LIES: Final[dict[int, tuple[type[EvidenceRejectedError], Lie]]] = {
    1: (DeviceNotActiveError, HONEST),
    2: (EnvelopeInvalidError, Lie(signing_key=generate_key())),
    3: (EvidenceMalformedError, Lie(payload=lambda payload: payload + b"\x0a\x7f")),
    4: (ForeignEvidenceError, Lie(evidence=fields(audience="another"))),
    5: (StaleChallengeError, HONEST),
    6: (OutOfSequenceError, Lie(evidence=fields(sequence=77))),
}


def _told(*steps: int) -> type[EvidenceRejectedError]:
    lies = [LIES[step][1] for step in steps]

    def evidence(message: wire.Evidence) -> None:
        for lie in lies:
            if lie.evidence is not None:
                lie.evidence(message)

    lie = Lie(
        evidence=evidence,
        payload=next((lie.payload for lie in lies if lie.payload is not None), None),
        signing_key=next((lie.signing_key for lie in lies if lie.signing_key is not None), None),
    )
    bench = Bench(state=DeviceState.REVOKED if 1 in steps else DeviceState.ACTIVE)
    with pytest.raises(EvidenceRejectedError) as rejected:
        bench.verify(lie, now=Instant(NOW + 61) if 5 in steps else NOW)
    return type(rejected.value)


@pytest.mark.parametrize("step", LIES)
def test_each_step_rejects_its_lie(step: int) -> None:
    assert _told(step) is LIES[step][0]


@pytest.mark.parametrize(("earlier", "later"), list(itertools.combinations(LIES, 2)))
def test_of_two_lies_the_earlier_step_rejects(earlier: int, later: int) -> None:
    assert _told(earlier, later) is LIES[earlier][0]


@pytest.mark.parametrize("state", [DeviceState.PENDING, DeviceState.REVOKED])
def test_only_an_active_device_is_believed(state: DeviceState) -> None:
    with pytest.raises(DeviceNotActiveError):
        Bench(state=state).verify()


def test_an_unknown_device_is_not_believed() -> None:
    bench = Bench()
    with pytest.raises(DeviceNotActiveError):
        verify_evidence(bench.envelope(), device=None, expected=bench.expected, now=NOW, parse=codec.parse_evidence)


def test_a_pending_key_signs_until_its_time_is_up_and_is_promoted_by_what_it_signs() -> None:
    bench = Bench()
    enrolled, pending = bench.simulated.key, generate_key()
    device = replace(bench.device, pending_key=keys.load_device_key(public_key_der(pending)), pending_until=Instant(NOW + 30))
    assert not bench.verify(device=device).promotes_key
    bench.simulated.key = pending
    assert bench.verify(device=device, now=Instant(NOW + 29)).promotes_key
    with pytest.raises(EnvelopeInvalidError):
        bench.verify(device=device, now=Instant(NOW + 30))
    with pytest.raises(EnvelopeInvalidError):
        bench.verify(device=replace(device, pending_key=None, pending_until=None))
    with pytest.raises(ForeignEvidenceError):  # signed by the one, naming the other
        bench.verify(Lie(evidence=fields(key_id=device.key.key_id)), device=device)
    bench.simulated.key = enrolled
    assert not bench.verify(Lie(envelope=lambda envelope: fields(keyid="")(envelope.signatures[0])), device=device).promotes_key


NAMED_WRONG: Final[dict[str, object]] = {
    "device_id": "dev_2",
    "key_id": "x" * 43,
    "audience": "another",
    "session_id": b"t" * 16,
    "epoch": 4,
    "nonce": bytes(32),
}


@pytest.mark.parametrize(("name", "value"), [pytest.param(*named, id=named[0]) for named in NAMED_WRONG.items()])
def test_evidence_that_names_one_thing_wrong_is_foreign(name: str, value: object) -> None:
    with pytest.raises(ForeignEvidenceError):
        Bench().verify(Lie(evidence=fields(**{name: value})))


def test_only_signed_bytes_reach_a_parser() -> None:
    bench, parsed = Bench(), list[bytes]()

    def parse(payload: bytes) -> Evidence:
        parsed.append(payload)
        return codec.parse_evidence(payload)

    envelope = bench.envelope()
    for unsigned in (replace(envelope, payload=envelope.payload + b"\x00"), replace(envelope, payload_type="text/plain")):
        with pytest.raises(EnvelopeInvalidError):
            verify_evidence(unsigned, device=bench.device, expected=bench.expected, now=NOW, parse=parse)
    assert parsed == []
    verify_evidence(envelope, device=bench.device, expected=bench.expected, now=NOW, parse=parse)
    assert parsed == [envelope.payload]


@pytest.mark.parametrize(("age", "is_stale"), [(0.0, False), (60.0, False), (60.001, True), (86_400.0, True)])
def test_a_challenge_is_answered_within_a_minute_of_our_clock(age: float, is_stale: bool) -> None:
    bench = Bench(issued_at=Instant(NOW - age))
    if is_stale:
        with pytest.raises(StaleChallengeError):
            bench.verify()
    else:
        assert bench.verify().context.received_at == NOW


def test_a_challenge_that_was_spent_is_stale_whatever_nonce_is_named() -> None:
    for lie in (HONEST, Lie(evidence=fields(nonce=b""))):
        with pytest.raises(StaleChallengeError):
            Bench().verify(lie, spent=True)
    with pytest.raises(ForeignEvidenceError):  # all else still has to be right
        Bench().verify(Lie(evidence=fields(epoch=9)), spent=True)


# ---- Step 7, and how long a result lasts --------------------------------------------------------------------------------


def _judged(
    *,
    age_seconds: float = 0.0,
    check: Check = CHECK,
    now: Instant = NOW,
    not_after_hours: int = 24,
    error: str | None = None,
    key_cloned_at: Instant | None = None,
) -> JudgedClaim:
    bench = Bench()
    bench.simulated.found = (PKI.issuing.issue(not_after=not_after_hours * HOUR),)
    verified = bench.verify()
    [claim] = verified.evidence.claims
    claim = replace(claim, age_seconds=age_seconds)
    if error is not None:
        claim = Claim(claim.check_id, claim.check_revision, age_seconds, error_code=error)
    return judge_claim(
        claim,
        verified.context,
        device=replace(verified.device, key_cloned_at=key_cloned_at),
        check=check,
        signing_certificates={CA.id: CA},
        revocation=NOTHING_KNOWN,
        now=now,
    )


@pytest.mark.parametrize(
    ("schedule", "age", "reason"),
    [
        (300, 300.0, "passed"),
        (300, 300.001, "claim_too_old"),
        (60, 60.0, "passed"),
        (60, 60.001, "claim_too_old"),
        (30, 60.0, "passed"),  # a minute at least
        (30, 60.001, "claim_too_old"),
    ],
)
def test_a_claim_is_as_old_as_the_schedule_at_most(schedule: int, age: float, reason: str) -> None:
    judged = _judged(age_seconds=age, check=replace(CHECK, schedule_seconds=schedule))
    assert (judged.result.reason, judged.result.passed) == (reason, reason == "passed")
    assert (judged.proven_certificate is None) == (judged.result.level is EvidenceLevel.SIGNED) == (reason != "passed")


def test_an_error_that_is_too_old_is_told_as_too_old() -> None:
    assert _judged(age_seconds=301, error="path_missing").result.reason == "claim_too_old"


def test_a_result_lasts_from_when_the_agent_looked() -> None:
    assert _judged().result.expires_at == NOW + 900
    assert _judged(age_seconds=100).result.expires_at == NOW + 800
    assert _judged(age_seconds=100, error="path_missing").result.expires_at == NOW + 800


def test_a_result_never_outlives_its_certificate() -> None:
    judged = _judged(not_after_hours=2, check=replace(CHECK, expiration_seconds=7 * 86_400))
    assert judged.result.passed
    assert judged.result.expires_at is not None
    assert NOW < judged.result.expires_at <= NOW + 7200
    never = _judged(not_after_hours=2, check=replace(CHECK, expiration_seconds=None))
    assert never.result.expires_at is not None
    assert never.result.expires_at <= NOW + 7200


def test_judged_again_later_a_claim_is_no_younger() -> None:
    """A change of the check judges what is stored again; the result counts from the old evidence."""
    again = _judged(now=Instant(NOW + 500))
    assert (again.result.evaluated_at, again.result.evidence_at) == (NOW + 500, NOW)
    assert again.result.expires_at == NOW + 900
    expired = _judged(now=Instant(NOW + DAY.total_seconds() + 3600))
    assert expired.result.reason == "certificate_expired"


def test_a_clone_fails_and_its_proof_stays_on_record() -> None:
    result = _judged().result
    cloned = as_cloned(result, [DeviceId("dev_3"), DeviceId("dev_2")], OnClone.FAIL)
    assert (cloned.passed, cloned.reason) == (False, "certificate_cloned")
    assert cloned.received["also_proven_by"] == ["dev_2", "dev_3"]
    assert cloned.proven_key == result.proven_key is not None


def test_where_the_check_only_flags_a_clone_passes_and_tells_of_the_others() -> None:
    flagged = as_cloned(_judged().result, [DeviceId("dev_2")], OnClone.FLAG)
    assert (flagged.passed, flagged.reason) == (True, "passed")
    assert flagged.received["also_proven_by"] == ["dev_2"]


@pytest.mark.parametrize(("on_clone", "reason"), [(OnClone.FAIL, "device_key_cloned"), (OnClone.FLAG, "passed")])
def test_a_key_on_two_machines_fails_what_would_pass_and_the_proof_stays_on_record(on_clone: OnClone, reason: str) -> None:
    check = replace(CHECK, config=replace(CONFIG, on_clone=on_clone))
    cloned = _judged(check=check, key_cloned_at=NOW)
    assert (cloned.result.passed, cloned.result.reason) == (reason == "passed", reason)
    assert cloned.proven_key is not None
    assert cloned.proven_certificate == cloned.result.certificate is not None
    failing = _judged(check=check, key_cloned_at=NOW, error="no_certificate")
    assert failing.result.reason == "no_certificate", "what fails anyway says why"


@pytest.mark.parametrize("check_private_key", [True, False])
def test_only_a_signature_over_our_nonce_makes_a_result_proven(check_private_key: bool) -> None:
    judged = _judged(check=replace(CHECK, config=replace(CONFIG, check_private_key=check_private_key)))
    assert judged.result.passed
    assert (judged.result.level is EvidenceLevel.PROVEN) == (judged.proven_certificate is not None) == check_private_key

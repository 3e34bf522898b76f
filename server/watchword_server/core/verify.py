"""What makes evidence true: an untrusted envelope in, verified evidence and judged claims out.

Steps 1 to 6 decide whether the message is believed at all; a failure rejects it and nothing is stored. Steps 7 to 9 judge each
check; a failure there is a failed result, stored like any other (8 and 9 are in `kinds/client_certificate.py`).
`tools/mutate_verify.py` removes each step in turn and expects the test suite to notice.
"""

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from watchword.envelope import EVIDENCE_TYPE
from watchword_server.core import keys
from watchword_server.core.certificates.revocation import RevocationView
from watchword_server.core.kinds import KINDS
from watchword_server.core.kinds.verdict import JudgingContext, Verdict
from watchword_server.core.model import (
    CertificateId,
    Challenge,
    Check,
    Claim,
    Device,
    DeviceState,
    Envelope,
    Evidence,
    EvidenceLevel,
    Instant,
    JudgedClaim,
    PostureResult,
    ProofContext,
    SessionId,
    SigningCertificate,
)
from watchword_server.errors import (
    DeviceNotActiveError,
    EnvelopeInvalidError,
    ForeignEvidenceError,
    OutOfSequenceError,
    StaleChallengeError,
)

# What an agent may say that kept it from looking (docs/reasons.md); any other word becomes `collection_failed`.
COLLECTION_ERRORS: Final = frozenset(
    {
        "path_missing",
        "path_unreadable",
        "path_invalid",
        "not_a_file",
        "file_too_large",
        "no_certificate",
        "variable_unavailable",
        "variable_unsafe",
        "store_unsupported",
        "kind_unsupported",
        "collection_timeout",
        "evidence_too_large",
    }
)
_MIN_CLAIM_AGE_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the next evidence of a session has to name. `challenge` None: none is outstanding; it was spent."""

    audience: str
    session_id: SessionId
    epoch: int
    challenge: Challenge | None
    sequence: int
    challenge_max_age_seconds: float


@dataclass(frozen=True, slots=True)
class VerifiedEvidence:
    """Evidence that passed steps 1 to 6. Only `verify_evidence` makes one; only this is judged."""

    evidence: Evidence
    device: Device
    context: ProofContext


def verify_evidence(
    envelope: Envelope, *, device: Device | None, expected: Expectation, now: Instant, parse: Callable[[bytes], Evidence]
) -> VerifiedEvidence:
    """Believes an envelope or raises the `EvidenceRejectedError` of the first step that fails.

    `parse` turns the signed payload into evidence and raises `EvidenceMalformedError`; it sees signed bytes only.
    """
    if device is None or device.state is not DeviceState.ACTIVE:  # step 1: the device is enrolled and not revoked
        raise DeviceNotActiveError("unknown device" if device is None else f"`{device.id}` is {device.state}")
    if not keys.envelope_is_signed_by(device.key, envelope, payload_type=EVIDENCE_TYPE):  # step 2: its key signed these bytes
        raise EnvelopeInvalidError(f"not signed by the key of `{device.id}`")
    evidence = parse(envelope.payload)  # step 3: the signed bytes are evidence, within limits
    if not _names(evidence, device, expected):  # step 4: for this device, session, epoch, audience and challenge
        raise ForeignEvidenceError(f"evidence of `{device.id}` names another device, session, epoch, audience or challenge")
    if _is_stale(expected, now):  # step 5: the challenge is young by our clock, and was not answered before
        raise StaleChallengeError(f"the challenge to `{device.id}` was spent or is too old")
    if evidence.sequence != expected.sequence:  # step 6: exactly the next in its session
        raise OutOfSequenceError(f"evidence {evidence.sequence} of `{device.id}` where {expected.sequence} was next")
    context = ProofContext(
        device_id=device.id,
        audience=evidence.audience,
        session_id=evidence.session_id,
        nonce=evidence.nonce,
        received_at=now,
        hostname=evidence.inventory.hostname,
        reported_serial_number=evidence.inventory.serial_number,
    )
    return VerifiedEvidence(evidence=evidence, device=device, context=context)


def judge_claim(
    claim: Claim,
    context: ProofContext,
    *,
    device: Device,
    check: Check,
    signing_certificates: Mapping[CertificateId, SigningCertificate],
    revocation: RevocationView,
    now: Instant,
) -> JudgedClaim:
    """Judges what a device brought for one check: at its arrival, and again when what the judgement rests on changes."""
    evidence_at = Instant(context.received_at - claim.age_seconds)
    expires_at = None if check.expiration_seconds is None else Instant(evidence_at + check.expiration_seconds)
    if claim.error_code is not None:
        reason = claim.error_code if claim.error_code in COLLECTION_ERRORS else "collection_failed"
        verdict = Verdict(reason, received=claim.error_detail)
    else:
        surroundings = JudgingContext(context, device, check, signing_certificates, revocation, now)
        verdict = KINDS[check.kind].judge(claim, surroundings)
    if claim.age_seconds > max(check.schedule_seconds, _MIN_CLAIM_AGE_SECONDS):  # step 7: the claim is young enough
        verdict = Verdict("claim_too_old", expected=f"at most {check.schedule_seconds} s", received=f"{claim.age_seconds:.0f} s")
    if verdict.passed and verdict.not_after is not None:
        expires_at = verdict.not_after if expires_at is None else min(expires_at, verdict.not_after)
    result = PostureResult(
        check_id=check.id,
        check_revision=check.revision,
        passed=verdict.passed,
        reason=verdict.reason,
        level=EvidenceLevel.PROVEN if verdict.proven else EvidenceLevel.SIGNED,
        evaluated_at=now,
        evidence_at=evidence_at,
        expires_at=expires_at,
        certificate=verdict.fingerprint,
        chain=verdict.chain,
        expected={} if verdict.expected is None else {verdict.reason: verdict.expected},
        received=verdict.received_facts(),
    )
    return JudgedClaim(
        claim=claim,
        context=context,
        result=result,
        proven_certificate=verdict.fingerprint if verdict.proven else None,
        proven_key=verdict.key_sha256 if verdict.proven else None,
        serial_number=verdict.serial_number,
    )


def as_cloned(judged: JudgedClaim, other_devices: tuple[str, ...]) -> JudgedClaim:
    """The same claim where its certificate is proven by other live devices too: the result fails, the proof stays on record."""
    result = replace(
        judged.result,
        passed=False,
        reason="certificate_cloned",
        expected={"certificate_cloned": "proven by one device"},
        received={**judged.result.received, "also_proven_by": list(other_devices)},
    )
    return replace(judged, result=result)


def _names(evidence: Evidence, device: Device, expected: Expectation) -> bool:
    nonce = evidence.nonce if expected.challenge is None else expected.challenge.nonce  # none outstanding: step 5 says so
    return (
        evidence.device_id == device.id
        and evidence.key_id == device.key.key_id
        and evidence.audience == expected.audience
        and hmac.compare_digest(evidence.session_id, expected.session_id)
        and evidence.epoch == expected.epoch
        and hmac.compare_digest(evidence.nonce, nonce)
    )


def _is_stale(expected: Expectation, now: Instant) -> bool:
    challenge = expected.challenge
    return challenge is None or now - challenge.issued_at > expected.challenge_max_age_seconds

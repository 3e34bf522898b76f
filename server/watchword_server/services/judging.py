"""Judging claims with everything around them: the rules in force, and who else proves the same certificate."""

from collections.abc import Mapping, Sequence

from watchword_server.core.certificates.revocation import RevocationView
from watchword_server.core.model import (
    Check,
    Device,
    DeviceId,
    EvidenceLevel,
    Fingerprint,
    Instant,
    JudgedClaim,
    OnClone,
    PostureResult,
)
from watchword_server.core.snapshot import RuleSnapshot
from watchword_server.core.times import rfc3339
from watchword_server.core.verify import VerifiedEvidence, as_cloned, judge_claim


def checks_of(device: Device, snapshot: RuleSnapshot) -> tuple[Check, ...]:
    """The checks that concern a device, by its platform, in a stable order."""
    return tuple(check for check in snapshot.rules.checks.values() if not check.platforms or device.platform in check.platforms)


def judge_evidence(
    verified: VerifiedEvidence, snapshot: RuleSnapshot, revocation: RevocationView, *, now: Instant
) -> tuple[JudgedClaim, ...]:
    """Judges each claim of a device's evidence that is about one of its checks; others are nobody's question."""
    checks = {check.id: check for check in checks_of(verified.device, snapshot)}
    return tuple(
        judge_claim(
            claim,
            verified.context,
            device=verified.device,
            check=checks[claim.check_id],
            signing_certificates=snapshot.rules.certificates,
            revocation=revocation,
            now=now,
        )
        for claim in verified.evidence.claims
        if claim.check_id in checks
    )


def proven_by(result: PostureResult | None) -> Fingerprint | None:
    """The certificate whose key a result proves, whether it passes or is held back as a clone."""
    return result.certificate if result is not None and result.level is EvidenceLevel.PROVEN else None


def mark_clone(judged: JudgedClaim, others: Sequence[DeviceId], snapshot: RuleSnapshot) -> JudgedClaim:
    """Fails a claim whose certificate `others` prove too, where its check says so."""
    config = snapshot.rules.checks[judged.result.check_id].config
    if judged.proven_certificate is None or not others or config.on_clone is not OnClone.FAIL:
        return judged
    return as_cloned(judged, tuple(sorted(others)))


def is_live(until: Instant | None, now: Instant) -> bool:
    """Whether something that ends at `until` (None: never) still holds."""
    return until is None or now < until


def posture_event(device: Device, check: Check, judged: JudgedClaim, *, before: PostureResult | None) -> Mapping[str, object]:
    """A line of the posture log: one check judged on one device (docs/logs.md)."""
    result = judged.result
    return {
        "event": "posture_result",
        "at": rfc3339(result.evaluated_at),
        "device_id": device.id,
        "device_name": device.hostname,
        "serial_number": device.serial_number,
        "platform": device.platform,
        "check_id": check.id,
        "check_name": check.name,
        "check_type": check.kind,
        "check_revision": result.check_revision,
        "conditions_met": result.passed,
        "reason": result.reason,
        "changed": before is None or (before.passed, before.reason) != (result.passed, result.reason),
        "evidence_level": result.level.value,
        "evidence_at": rfc3339(result.evidence_at),
        "expires_at": rfc3339(result.expires_at),
        "certificate_sha256": result.certificate.hex() if result.certificate is not None else None,
        "expected_values": dict(result.expected),
        "received_values": dict(result.received),
    }

"""Judging claims with everything around them: the rules in force, and who else proves the same key."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from watchword_server.core.certificates.revocation import RevocationView
from watchword_server.core.certificates.work import Work
from watchword_server.core.model.checks import Check, OnClone
from watchword_server.core.model.devices import Device
from watchword_server.core.model.names import DeviceId, Instant
from watchword_server.core.model.results import JudgedClaim, PostureResult
from watchword_server.core.snapshot import RuleSnapshot
from watchword_server.core.times import rfc3339
from watchword_server.core.verify import VerifiedEvidence, as_cloned, judge_claim


def checks_of(device: Device, snapshot: RuleSnapshot) -> tuple[Check, ...]:
    """The checks that concern a device, by its platform, in a stable order."""
    return tuple(check for check in snapshot.rules.checks.values() if not check.platforms or device.platform in check.platforms)


def judge_evidence(
    verified: VerifiedEvidence, device: Device, snapshot: RuleSnapshot, revocation: RevocationView, *, now: Instant
) -> tuple[JudgedClaim, ...]:
    """Judges each claim of a device's evidence that is about one of its checks; others are nobody's question.

    `device` is the one that was verified, with what this evidence told about it.
    """
    checks = {check.id: check for check in checks_of(device, snapshot)}
    work = Work.of_message()
    return tuple(
        judge_claim(
            claim,
            verified.context,
            device=device,
            check=checks[claim.check_id],
            signing_certificates=snapshot.rules.certificates,
            revocation=revocation,
            work=work.of_claim(),
            now=now,
        )
        for claim in verified.evidence.claims
        if claim.check_id in checks
    )


def mark_clone(judged: JudgedClaim, others: Collection[DeviceId], snapshot: RuleSnapshot) -> JudgedClaim:
    """The claim, flagged where `others` prove its key too; it fails where its check says so."""
    if judged.proven_key is None or not others:
        return judged
    config = snapshot.rules.checks[judged.result.check_id].config
    return replace(judged, result=as_cloned(judged.result, sorted(others), config.on_clone))


def fails_clones(result: PostureResult, snapshot: RuleSnapshot) -> bool:
    """Whether the result's check fails where a key is alive twice."""
    check = snapshot.rules.checks.get(result.check_id)
    return check is not None and check.config.on_clone is OnClone.FAIL


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
        "device_key_cloned_at": rfc3339(device.key_cloned_at),
        "expected_values": dict(result.expected),
        "received_values": dict(result.received),
    }

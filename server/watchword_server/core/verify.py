"""What makes evidence true: an untrusted envelope in, verified evidence and judged claims out.

Steps 1 to 6 decide whether the message is believed at all; a failure rejects it and nothing is stored. Steps 7 to 9 judge each
check; a failure there is a failed result, stored like any other (8 and 9 are in `kinds/client_certificate.py`).
`tools/mutate_verify.py` removes each step in turn and expects the test suite to notice.
"""

import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from watchword.envelope import EVIDENCE_TYPE, GOODBYE_TYPE, KEY_ROTATE_TYPE
from watchword_server.core import keys
from watchword_server.core.certificates.revocation import RevocationView
from watchword_server.core.certificates.work import Work
from watchword_server.core.kinds import KINDS
from watchword_server.core.kinds.verdict import JudgingContext, Verdict
from watchword_server.core.model.checks import Check, OnClone, SigningCertificate
from watchword_server.core.model.devices import Device, DeviceKey, DeviceState, Inventory
from watchword_server.core.model.evidence import (
    Challenge,
    Claim,
    Envelope,
    Evidence,
    Goodbye,
    KeyRotation,
    ProofContext,
    Statement,
)
from watchword_server.core.model.names import CertificateId, DeviceId, Instant, KeyFingerprint, SessionId
from watchword_server.core.model.results import EvidenceLevel, JudgedClaim, PostureResult
from watchword_server.core.times import rfc3339
from watchword_server.errors import (
    DeviceNotActiveError,
    EnvelopeInvalidError,
    ForeignEvidenceError,
    NewKeyRefusedError,
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
        "certificate_unreadable",
        "file_incomplete",
        "password_file_unreadable",
        "store_missing",
        "store_unreadable",
        "store_incomplete",
        "store_corrupt",
        "store_locked",
        "store_legacy",
        "store_denied",
        "store_empty",
        "user_not_signed_in",
        "uri_invalid",
        "library_missing",
        "module_missing",
        "module_not_allowed",
        "module_failed",
        "token_missing",
        "token_not_initialized",
        "helper_unavailable",
        "helper_timeout",
        "helper_crashed",
        "variable_unavailable",
        "variable_unsafe",
        "store_unsupported",
        "kind_unsupported",
        "collection_timeout",
        "evidence_too_large",
    }
)
# A claim that says this is what a goodbye leaves behind: judged again, whenever, it is the same failure.
DEVICE_SAID_GOODBYE: Final = "device_said_goodbye"
_MIN_CLAIM_AGE_SECONDS: Final = 60
_S = TypeVar("_S", bound=Statement)


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
    """Evidence that passed steps 1 to 6. Only `verify_evidence` makes one; only this is judged.

    `promotes_key`: the device's pending key signed it, and becomes the device's with it.
    """

    evidence: Evidence
    device: Device
    context: ProofContext
    promotes_key: bool = False


@dataclass(frozen=True, slots=True)
class VerifiedGoodbye:
    """A goodbye that passed steps 1 to 6. Only `verify_goodbye` makes one."""

    device: Device
    context: ProofContext


@dataclass(frozen=True, slots=True)
class VerifiedKeyRotation:
    """A key that may become the device's unless another device has it. Only `verify_key_rotation` makes one."""

    device: Device
    new_key: DeviceKey


def verify_evidence(
    envelope: Envelope, *, device: Device | None, expected: Expectation, now: Instant, parse: Callable[[bytes], Evidence]
) -> VerifiedEvidence:
    """Believes an envelope or raises the `EvidenceRejectedError` of the first step that fails.

    `parse` turns the signed payload into evidence and raises `EvidenceMalformedError`; it sees signed bytes only.
    """
    evidence, believed, key = _believed(envelope, EVIDENCE_TYPE, device, keys_of, expected=expected, now=now, parse=parse)
    context = _context(evidence, now, evidence.inventory)
    return VerifiedEvidence(evidence=evidence, device=believed, context=context, promotes_key=key == believed.pending_key)


def verify_goodbye(
    envelope: Envelope, *, device: Device | None, expected: Expectation, now: Instant, parse: Callable[[bytes], Goodbye]
) -> VerifiedGoodbye:
    """Believes a goodbye by the same steps. A pending key may say it: it makes nobody the device's key."""
    goodbye, believed, _ = _believed(envelope, GOODBYE_TYPE, device, keys_of, expected=expected, now=now, parse=parse)
    return VerifiedGoodbye(device=believed, context=_context(goodbye, now))


def verify_key_rotation(
    envelope: Envelope, *, device: Device | None, expected: Expectation, now: Instant, parse: Callable[[bytes], KeyRotation]
) -> VerifiedKeyRotation:
    """Believes that a device wants another key: the same steps with its present key; then the new key speaks for itself.

    Raises `NewKeyRefusedError` for that.
    """
    rotation, believed, _ = _believed(
        envelope, KEY_ROTATE_TYPE, device, lambda device, _now: (device.key,), expected=expected, now=now, parse=parse
    )
    try:
        new_key = keys.load_device_key(rotation.new_public_key_der)
    except keys.KeyRefusedError as error:
        raise NewKeyRefusedError(f"the new key of `{believed.id}`: {error}") from error
    if not keys.envelope_is_signed_by_new(new_key, envelope, payload_type=KEY_ROTATE_TYPE):
        raise NewKeyRefusedError(f"the new key of `{believed.id}` did not sign")
    return VerifiedKeyRotation(believed, replace(new_key, protection=rotation.new_key_protection))


def keys_of(device: Device, now: Instant) -> tuple[DeviceKey, ...]:
    """The keys that a device may sign with now: its own, and one that waits for its first evidence until its time is up."""
    if device.pending_key is None or device.pending_until is None or now >= device.pending_until:
        return (device.key,)
    return (device.key, device.pending_key)


def _believed(
    envelope: Envelope,
    payload_type: str,
    device: Device | None,
    accepted_keys: Callable[[Device, Instant], tuple[DeviceKey, ...]],
    *,
    expected: Expectation,
    now: Instant,
    parse: Callable[[bytes], _S],
) -> tuple[_S, Device, DeviceKey]:
    """Steps 1 to 6, the same for whatever a device signs in a session: the statement, whose, and with which key."""
    if device is None or device.state is not DeviceState.ACTIVE:  # step 1: the device is enrolled and not revoked
        raise DeviceNotActiveError("unknown device" if device is None else f"`{device.id}` is {device.state}")
    key = _signer(envelope, payload_type, accepted_keys(device, now))
    if key is None:  # step 2: its key signed these bytes as a message of this kind
        raise EnvelopeInvalidError(f"not signed by the key of `{device.id}`")
    statement = parse(envelope.payload)  # step 3: the signed bytes are such a message, within limits
    if not _names(statement, device, key, expected):  # step 4: for this device, session, epoch, audience and challenge
        raise ForeignEvidenceError(f"evidence of `{device.id}` names another device, session, epoch, audience or challenge")
    if _is_stale(expected, now):  # step 5: the challenge is young by our clock, and was not answered before
        raise StaleChallengeError(f"the challenge to `{device.id}` was spent or is too old")
    if statement.sequence != expected.sequence:  # step 6: exactly the next in its session
        raise OutOfSequenceError(f"evidence {statement.sequence} of `{device.id}` where {expected.sequence} was next")
    return statement, device, key


def _signer(envelope: Envelope, payload_type: str, accepted: Sequence[DeviceKey]) -> DeviceKey | None:
    """Which of these keys signed. The envelope's key id only says which one to try first."""
    hinted_first = accepted if len(accepted) == 1 else sorted(accepted, key=lambda key: key.key_id != envelope.key_id)
    for key in hinted_first:
        if keys.envelope_is_signed_by(key, envelope, payload_type=payload_type):
            return key
    return None


def _context(statement: Statement, now: Instant, inventory: Inventory | None = None) -> ProofContext:
    return ProofContext(
        device_id=statement.device_id,
        audience=statement.audience,
        session_id=statement.session_id,
        nonce=statement.nonce,
        received_at=now,
        hostname=None if inventory is None else inventory.hostname,
        reported_serial_number=None if inventory is None else inventory.serial_number,
    )


def judge_claim(
    claim: Claim,
    context: ProofContext,
    *,
    device: Device,
    check: Check,
    signing_certificates: Mapping[CertificateId, SigningCertificate],
    revocation: RevocationView,
    work: Work | None = None,
    now: Instant,
) -> JudgedClaim:
    """Judges what a device brought for one check: at its arrival, and again when what the judgement rests on changes.

    `work`: what it may cost; None: what one claim may.
    """
    evidence_at = Instant(context.received_at - claim.age_seconds)
    expires_at = None if check.expiration_seconds is None else Instant(evidence_at + check.expiration_seconds)
    if claim.error_code == DEVICE_SAID_GOODBYE:
        expires_at = None  # until the device is back
    if claim.error_code is not None:
        told = claim.error_code in COLLECTION_ERRORS or claim.error_code == DEVICE_SAID_GOODBYE
        reason = claim.error_code if told else "collection_failed"
        verdict = Verdict(reason, received=claim.error_detail)
    else:
        surroundings = JudgingContext(context, device, check, signing_certificates, revocation, now, work or Work())
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
        proven_key=KeyFingerprint(verdict.key_sha256) if verdict.proven and verdict.key_sha256 is not None else None,
    )
    if device.key_cloned_at is not None and check.config.on_clone is OnClone.FAIL:
        result = as_key_cloned(result, device.key_cloned_at)
    return JudgedClaim(
        claim=claim,
        context=context,
        result=result,
        proven_certificate=verdict.fingerprint if verdict.proven else None,
        serial_number=verdict.serial_number,
    )


def as_left(result: PostureResult, goodbye: VerifiedGoodbye) -> JudgedClaim:
    """What stands in for a claim of a device that said goodbye: nothing that could pass again, whenever it is judged."""
    now = goodbye.context.received_at
    return JudgedClaim(
        claim=Claim(result.check_id, result.check_revision, age_seconds=0.0, error_code=DEVICE_SAID_GOODBYE),
        context=goodbye.context,
        result=PostureResult(
            check_id=result.check_id,
            check_revision=result.check_revision,
            passed=False,
            reason=DEVICE_SAID_GOODBYE,
            level=EvidenceLevel.SIGNED,
            evaluated_at=now,
            evidence_at=now,
            expires_at=None,
        ),
        proven_certificate=None,
    )


def as_cloned(result: PostureResult, other_devices: Sequence[DeviceId], on_clone: OnClone) -> PostureResult:
    """The result where its key is proven by other live devices too: it tells so, and with `OnClone.FAIL` it fails.

    The proof stays on record: else two clones would free each other.
    """
    told = replace(result, received={**result.received, "also_proven_by": sorted(other_devices)})
    if on_clone is not OnClone.FAIL:
        return told
    return replace(
        told, passed=False, reason="certificate_cloned", expected={"certificate_cloned": "its key proven by one device"}
    )


def as_key_cloned(result: PostureResult, since: Instant) -> PostureResult:
    """The result where two machines have the device's key: what would pass fails; the proof stays on record."""
    if not result.passed:
        return result
    return replace(
        result,
        passed=False,
        reason="device_key_cloned",
        expected={"device_key_cloned": "one machine with the device's key"},
        received={**result.received, "device_key_cloned": f"two since {rfc3339(since)}"},
    )


def _names(evidence: Statement, device: Device, key: DeviceKey, expected: Expectation) -> bool:
    nonce = evidence.nonce if expected.challenge is None else expected.challenge.nonce  # none outstanding: step 5 says so
    return (
        evidence.device_id == device.id
        and evidence.key_id == key.key_id
        and evidence.audience == expected.audience
        and hmac.compare_digest(evidence.session_id, expected.session_id)
        and evidence.epoch == expected.epoch
        and hmac.compare_digest(evidence.nonce, nonce)
    )


def _is_stale(expected: Expectation, now: Instant) -> bool:
    challenge = expected.challenge
    return challenge is None or now - challenge.issued_at > expected.challenge_max_age_seconds

"""The client certificate check: the best candidate decides, one that passes, else the nearest miss."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from watchword import possession
from watchword_server.core import keys
from watchword_server.core.certificates.conditions import Subject
from watchword_server.core.certificates.parsed import fingerprint, parse
from watchword_server.core.certificates.refusal import CertificateRefusedError
from watchword_server.core.certificates.strength import verification_cost
from watchword_server.core.certificates.verdict import VerifiedCertificate, verify_client_certificate
from watchword_server.core.kinds.verdict import JudgingContext, Verdict
from watchword_server.core.model.evidence import Candidate, Claim, PrivateKeyState

MAX_CANDIDATES: Final = 8
_CANDIDATE_COST: Final = 5  # microseconds, whatever is remembered of it
_POSSESSION_RANK: Final = 1000  # nearer than any failed certificate condition
_PASSED_RANK: Final = 1001


def judge(claim: Claim, context: JudgingContext) -> Verdict:
    """Steps 8 and 9 of verification for every candidate, and the best of their verdicts."""
    config = context.check.config
    if not claim.candidates:
        return Verdict("certificate_not_found", expected=list(config.paths) or list(config.trust_stores) or None)
    verdicts: list[Verdict] = []
    for candidate in claim.candidates[:MAX_CANDIDATES]:
        verdicts.append(_judge_candidate(candidate, context))
        if verdicts[-1].passed:  # none is better
            break
    best = max(range(len(verdicts)), key=lambda place: verdicts[place].rank)
    return _about(verdicts[best], claim.candidates[best])


def _judge_candidate(candidate: Candidate, context: JudgingContext) -> Verdict:
    check, proof = context.check, context.proof
    subject = Subject(
        serial_number=context.device.serial_number,
        hostname=proof.hostname,
        reported_serial_number=proof.reported_serial_number,
    )
    try:
        context.work.spend(_CANDIDATE_COST)
        verified = verify_client_certificate(  # step 8: the certificate verdict
            candidate.chain,
            context.signing_certificates[check.config.certificate_id],
            config=check.config,
            subject=subject,
            revocation=context.revocation,
            stapled=candidate.ocsp_responses,
            work=context.work,
            now=context.now,
        )
        failure = None
        if check.config.check_private_key:  # step 9: its key signed the statement about this challenge
            failure = _possession_failure(candidate, context, verified)
    except CertificateRefusedError as refusal:
        return Verdict(
            refusal.reason,
            rank=refusal.rank,
            location=candidate.location,
            expected=refusal.expected,
            received=refusal.received,
        )
    certificate = verified.certificate
    return Verdict(
        failure or "passed",
        rank=_PASSED_RANK if failure is None else _POSSESSION_RANK,
        passed=failure is None,
        proven=failure is None and check.config.check_private_key,
        fingerprint=certificate.fingerprint,
        chain=(certificate.fingerprint, *map(fingerprint, candidate.chain[1:])) if failure is None else (),
        key_sha256=certificate.public_key_sha256,
        serial_number=certificate.serial_number,
        not_after=verified.valid_until,
        location=candidate.location,
    )


def _about(verdict: Verdict, candidate: Candidate) -> Verdict:
    """The verdict with what names the certificate, which is worth its time only for the one that is told."""
    if verdict.passed:
        return verdict
    chain = tuple(map(fingerprint, candidate.chain))
    serial_number = _serial_number(candidate.chain[0]) if verdict.serial_number is None else verdict.serial_number
    return replace(verdict, fingerprint=chain[0], chain=chain, serial_number=serial_number)


def _serial_number(der: bytes) -> int | None:
    try:
        return parse(der).serial_number
    except CertificateRefusedError:
        return None


def _possession_failure(candidate: Candidate, context: JudgingContext, verified: VerifiedCertificate) -> str | None:
    """Why possession is not proven, or None. The agent's word about the key only names a missing signature."""
    if not candidate.possession_signature:
        return _NO_SIGNATURE.get(candidate.private_key, "possession_missing")
    key = verified.certificate.public_key
    allow_pkcs1 = context.check.config.allow_pkcs1
    scheme = keys.possession_scheme(key, claimed=candidate.possession_scheme, allow_pkcs1=allow_pkcs1)
    if scheme is None:
        return "possession_key_unsupported"
    if scheme != candidate.possession_scheme:
        return "possession_scheme_refused"
    statement = possession.statement(
        nonce=context.proof.nonce,
        audience=context.proof.audience,
        device_id=context.proof.device_id,
        session_id=context.proof.session_id,
        check_id=context.check.id,
        certificate_der=candidate.chain[0],
    )
    cost = verification_cost(verified.certificate)
    context.work.spend(cost)
    if not keys.proves_possession(key, scheme=scheme, statement=statement, signature=candidate.possession_signature):
        return "possession_invalid"
    context.work.give_back(cost)  # at most once for a claim, which passes
    return None


_NO_SIGNATURE: Final[Mapping[PrivateKeyState, str]] = {
    PrivateKeyState.ABSENT: "private_key_absent",
    PrivateKeyState.LOCKED: "private_key_locked",
    PrivateKeyState.MISMATCH: "private_key_mismatch",
    PrivateKeyState.UNSUPPORTED: "possession_key_unsupported",
    PrivateKeyState.UNREADABLE: "private_key_unreadable",
    PrivateKeyState.DENIED: "private_key_denied",
    PrivateKeyState.NEEDS_UI: "private_key_needs_ui",
    PrivateKeyState.WRONG_PASSWORD: "private_key_password_wrong",
    PrivateKeyState.FAILED: "private_key_failed",
}

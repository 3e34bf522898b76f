"""The verdict with everything else that is wrong: for the person who has to mend a certificate."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from watchword_server.core.certificates.conditions import Subject, check_conditions, wanted_usages
from watchword_server.core.certificates.parsed import parse_whole
from watchword_server.core.certificates.path import ValidPath, find_path, issued_by
from watchword_server.core.certificates.refusal import CertificateRefusedError
from watchword_server.core.certificates.revocation import RevocationView
from watchword_server.core.certificates.revocation_check import check_revocation
from watchword_server.core.certificates.verdict import VerifiedCertificate, verify_client_certificate
from watchword_server.core.model.checks import ClientCertificateConfig, SigningCertificate, Trust
from watchword_server.core.model.names import Instant


@dataclass(frozen=True, slots=True)
class Examination:
    """`verified`, or `refusals`: the verdict's own first, then what else would fail if that were mended, each reason once."""

    verified: VerifiedCertificate | None
    refusals: tuple[CertificateRefusedError, ...] = ()


def examine(
    chain: Sequence[bytes],
    signing: SigningCertificate,
    *,
    config: ClientCertificateConfig,
    subject: Subject,
    revocation: RevocationView,
    stapled: Sequence[bytes] = (),
    now: Instant,
) -> Examination:
    """Judges as `verify_client_certificate` does, and does not stop at the first condition that fails."""
    try:
        verified = verify_client_certificate(
            chain, signing, config=config, subject=subject, revocation=revocation, stapled=stapled, now=now
        )
    except CertificateRefusedError as refusal:
        refusals = {refusal.reason: refusal}
        for other in _others(chain, signing, config, subject, revocation, stapled, now):
            refusals.setdefault(other.reason, other)
        return Examination(None, tuple(refusals.values()))
    return Examination(verified)


def _others(
    chain: Sequence[bytes],
    signing: SigningCertificate,
    config: ClientCertificateConfig,
    subject: Subject,
    revocation: RevocationView,
    stapled: Sequence[bytes],
    now: Instant,
) -> Iterator[CertificateRefusedError]:
    """Each condition by itself, where it can be looked at without the others."""
    try:
        certificate = parse_whole(chain[0])
    except CertificateRefusedError:
        return
    for alone in _one_condition_each(config):
        try:
            check_conditions(certificate, alone, subject)
        except CertificateRefusedError as refusal:
            yield refusal
    # The path as it was in the middle of the certificate's life: where only the time is wrong, the rest can be looked at.
    middle = Instant((certificate.not_before + certificate.not_after) / 2)
    try:
        path = _path(chain, signing, config, now=middle)
        check_revocation(path, config.revocation, revocation, stapled=stapled, now=now)
    except CertificateRefusedError as refusal:
        if refusal.reason not in _OF_ANOTHER_TIME:
            yield refusal


_OF_ANOTHER_TIME = frozenset({"issuer_not_valid_now", "certificate_not_yet_valid", "certificate_expired"})


def _one_condition_each(config: ClientCertificateConfig) -> Iterator[ClientCertificateConfig]:
    bare = replace(config, extended_key_usage=(), common_name=None, subject_alternative_names=())
    yield replace(bare, extended_key_usage=config.extended_key_usage)
    yield replace(bare, common_name=config.common_name)
    yield replace(bare, subject_alternative_names=config.subject_alternative_names)


def _path(chain: Sequence[bytes], signing: SigningCertificate, config: ClientCertificateConfig, *, now: Instant) -> ValidPath:
    if config.trust is Trust.CHAIN:
        return find_path(chain, signing.der, intermediates=signing.intermediates, usages=wanted_usages(config), now=now)
    return issued_by(chain[0], signing.der, now=now)

"""The certificate verdict: issued by the uploaded certificate, valid now, as the check's conditions want it, not revoked."""

from collections.abc import Sequence
from dataclasses import dataclass

from watchword_server.core.certificates.conditions import Subject, check_conditions, wanted_usages
from watchword_server.core.certificates.parsed import ParsedCertificate
from watchword_server.core.certificates.path import ValidPath, find_path, issued_by
from watchword_server.core.certificates.revocation import RevocationView
from watchword_server.core.certificates.revocation_check import check_revocation
from watchword_server.core.certificates.work import Work
from watchword_server.core.model.checks import ClientCertificateConfig, SigningCertificate, Trust
from watchword_server.core.model.names import Instant


@dataclass(frozen=True, slots=True)
class VerifiedCertificate:
    """A certificate that passed every condition. `valid_until`: when that stops being true of itself."""

    path: ValidPath
    valid_until: Instant

    @property
    def certificate(self) -> ParsedCertificate:
        """The client certificate."""
        return self.path.leaf


def verify_client_certificate(
    chain: Sequence[bytes],
    signing: SigningCertificate,
    *,
    config: ClientCertificateConfig,
    subject: Subject,
    revocation: RevocationView,
    stapled: Sequence[bytes] = (),
    work: Work | None = None,
    now: Instant,
) -> VerifiedCertificate:
    """The verdict on `chain[0]` for a check; the rest of `chain` are intermediates that the device brought.

    `work`: what it may cost. Raises `CertificateRefusedError` with the first condition that does not hold.
    """
    work = work or Work()
    path = path_of(chain, signing, config=config, work=work, now=now)
    check_conditions(path.leaf, config, subject)
    known_until = check_revocation(path, config.revocation, revocation, stapled=stapled, work=work, now=now)
    valid_until = path.valid_until if known_until is None else min(path.valid_until, known_until)
    return VerifiedCertificate(path, valid_until)


def path_of(
    chain: Sequence[bytes],
    signing: SigningCertificate,
    *,
    config: ClientCertificateConfig,
    work: Work | None = None,
    now: Instant,
) -> ValidPath:
    """The path of `chain[0]` that the verdict rests on; one that was found before is remembered. Raises as the verdict."""
    if config.trust is Trust.CHAIN:
        usages = wanted_usages(config)
        return find_path(chain, signing.der, intermediates=signing.intermediates, usages=usages, work=work, now=now)
    return issued_by(chain[0], signing.der, work=work, now=now)

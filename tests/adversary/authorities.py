"""The authorities of the adversary suite: those the operator uploaded, their revocation lists, and their responders' answers."""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from server.scene import COMMON_NAME
from support.pki import DAY, HOUR, Authority, Credential, Pki, root_authority

# As the operator named them.
DEVICES: Final = "corp-device-ca"
ROOT: Final = "corp-root-ca"
EXPIRED: Final = "expired-ca"
FUTURE: Final = "future-ca"
LISTED: Final = "ca-with-a-list"
STALE: Final = "ca-with-an-old-list"
SILENT: Final = "ca-without-a-list"


@dataclass
class Authorities:
    """All of them. `LISTED` is a root with an intermediate, of which one other is revoked."""

    pki: Pki
    gone: list[Credential] = field(default_factory=list)  # of `listed_issuing`, revoked in the course of the tests

    @classmethod
    def make(cls) -> Self:
        """All new."""
        return cls(Pki.make())

    @cached_property
    def expired(self) -> Authority:
        """It was a CA once."""
        return root_authority("Expired CA", not_before=-2 * DAY, not_after=-DAY)

    @cached_property
    def future(self) -> Authority:
        """It will be a CA."""
        return root_authority("Future CA", not_before=DAY, not_after=2 * DAY)

    @cached_property
    def listed(self) -> Authority:
        """It tells whom it revoked, in a list that is current."""
        return root_authority("Listed CA")

    @cached_property
    def listed_issuing(self) -> Authority:
        """Below `listed`, in good standing."""
        return self.listed.issue_authority("Listed Issuing CA")

    @cached_property
    def revoked_issuing(self) -> Authority:
        """Below `listed`, revoked."""
        return self.listed.issue_authority("Revoked Issuing CA")

    @cached_property
    def revoked(self) -> Credential:
        """Of `listed`, revoked."""
        return self.listed.issue("revoked.corp.example")

    @cached_property
    def stale(self) -> Authority:
        """Its newest list should have been followed by another yesterday."""
        return root_authority("Stale CA")

    @cached_property
    def silent(self) -> Authority:
        """It has no list; its responder answers."""
        return root_authority("Silent CA")

    def uploaded(self) -> dict[str, bytes]:
        """What the operator uploaded: PEM by name."""
        return {
            DEVICES: self.pki.issuing.pem,
            ROOT: self.pki.root.pem,
            EXPIRED: self.expired.pem,
            FUTURE: self.future.pem,
            LISTED: self.listed.pem + self.listed_issuing.pem + self.revoked_issuing.pem,
            STALE: self.stale.pem,
            SILENT: self.silent.pem,
        }

    def lists(self) -> Iterator[tuple[str, bytes]]:
        """The lists that the operator brought: whose, and in DER."""
        gone = [self.revoked, self.revoked_issuing.credential]
        yield LISTED, revocation_list(self.listed, gone)
        yield LISTED, revocation_list(self.listed_issuing, [])
        yield STALE, revocation_list(self.stale, [], this_update=-3 * DAY, next_update=-DAY)

    def honest(self, check: str) -> tuple[Credential, dict[str, Any]]:
        """A certificate that passes a check, and what its device has to say of itself."""
        named: dict[str, Any] = {}
        match check:
            case "named-after-the-serial-number":
                serial = _fresh_serial_number()
                return self.pki.issuing.issue(serial), {"serial_number": serial}
            case "by-an-alternative-name":
                serial = _fresh_serial_number()
                names = (COMMON_NAME, f"urn:corp:{serial}")
                return self.pki.issuing.issue("x", subject_alternative_names=names[:1]), {"serial_number": serial}
            case "of-the-root-itself":
                return self.pki.root.issue(COMMON_NAME), named
            case "below-the-root":
                return self.pki.issuing.issue(COMMON_NAME), named
            case "on-no-list" | "known-to-be-good-or-not-known":
                return self.listed.issue(COMMON_NAME), named
            case "on-no-list-below-the-root":
                return self.listed_issuing.issue(COMMON_NAME), named
            case "of-a-ca-without-a-list":
                return self.silent.issue(COMMON_NAME), named
            case _:
                return self.pki.issuing.issue(COMMON_NAME), named

    def response(
        self,
        credential: Credential,
        *,
        issuer: Authority | None = None,
        responder: Credential | None = None,
        status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
        this_update: dt.timedelta = -HOUR,
        next_update: dt.timedelta | None = HOUR,
        certificates: Sequence[Credential] = (),
    ) -> bytes:
        """An OCSP response about a certificate, by default an honest one of the silent CA's own."""
        now = dt.datetime.now(dt.UTC)
        above = issuer or self.silent
        signer = responder or above.credential
        revoked = status is ocsp.OCSPCertStatus.REVOKED
        builder = (
            ocsp.OCSPResponseBuilder()
            .add_response(
                cert=credential.certificate,
                issuer=above.credential.certificate,
                algorithm=hashes.SHA256(),
                cert_status=status,
                this_update=now + this_update,
                next_update=None if next_update is None else now + next_update,
                revocation_time=now - HOUR if revoked else None,
                revocation_reason=x509.ReasonFlags.key_compromise if revoked else None,
            )
            .responder_id(ocsp.OCSPResponderEncoding.NAME, signer.certificate)
        )
        if certificates:
            builder = builder.certificates([each.certificate for each in certificates])
        return builder.sign(signer.key, hashes.SHA256()).public_bytes(Encoding.DER)


def revocation_list(
    issuer: Authority,
    revoked: Sequence[Credential],
    *,
    signer: Credential | None = None,
    number: int = 1,
    this_update: dt.timedelta = -HOUR,
    next_update: dt.timedelta = DAY,
) -> bytes:
    """A complete list in DER. `signer` signs in place of the issuer, under the issuer's name."""
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.credential.certificate.subject)
        .last_update(now + this_update)
        .next_update(now + next_update)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for credential in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(credential.certificate.serial_number)
        builder = builder.add_revoked_certificate(entry.revocation_date(now - 2 * HOUR).build())
    key = (signer or issuer.credential).key
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def _fresh_serial_number() -> str:
    return f"5CG{x509.random_serial_number() % 10**10:010d}"

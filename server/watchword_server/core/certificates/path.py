"""A certificate's path to a trusted CA (RFC 5280, 6.1): signatures, validity, constraints, keys.

`trust: issuer`: the uploaded certificate signed it directly, as in Cloudflare's client. `trust: chain`: through intermediates.
Conditions run in a fixed order, and the one the certificate stumbles over is the reason.

What the `cryptography` library verifies of an issuer is its name bytes and its signature, nothing else; the rest of RFC 5280
stands here, each condition with its section.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtensionOID

from watchword_server.core.certificates.parsed import ParsedCertificate, parse, parse_issuer
from watchword_server.core.certificates.refusal import CertificateRefusedError
from watchword_server.core.model import Instant

_MAX_RSA_BITS: Final = 8192  # a larger one costs milliseconds to verify
_MAX_RSA_EXPONENT: Final = 2**64  # as above
_CURVES: Final = frozenset({"secp256r1", "secp384r1"})
_HASHES: Final = frozenset({"sha256", "sha384", "sha512"})
# What this module understands and may therefore be critical (RFC 5280, 4.2). Name constraints are not among them yet.
_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    }
)


@dataclass(frozen=True, slots=True)
class ValidPath:
    """A path that holds from `valid_from` to `valid_until`, both included: the client certificate first, the trusted CA last."""

    certificates: tuple[ParsedCertificate, ...]
    valid_from: Instant
    valid_until: Instant

    @property
    def leaf(self) -> ParsedCertificate:
        """The client certificate."""
        return self.certificates[0]


def find_path(chain: Sequence[bytes], anchor: bytes, *, intermediates: Sequence[bytes] = (), now: Instant) -> ValidPath:
    """A valid path from `chain[0]` to the anchor, through the rest of `chain` (in no particular order) and `intermediates`.

    Raises `CertificateRefusedError`.
    """
    raise CertificateRefusedError("chain_incomplete")


def issued_by(der: bytes, issuer_der: bytes, *, now: Instant) -> ValidPath:
    """Whether the issuer signed this end-entity certificate directly and both are valid at `now`.

    Raises `CertificateRefusedError`.
    """
    certificate, issuer = parse(der), parse_issuer(issuer_der)
    if der == issuer_der or certificate.public_key == issuer.public_key:
        # A CA certificate is public: whoever holds it holds nothing.
        raise CertificateRefusedError("certificate_is_the_issuer", received=certificate.subject_text())
    _check_algorithm(certificate)
    _check_signature(certificate, issuer)
    # Only from here on, and so only for certificates that our CA made, is the costly part looked at.
    _check_end_entity(certificate)
    _check_understood(certificate)
    _check_key(certificate)
    _check_issuer(issuer, now=now)
    if now < certificate.not_before:  # RFC 5280, 4.1.2.5
        raise CertificateRefusedError("certificate_not_yet_valid", expected=_moment(now), received=_iso(certificate.not_before))
    if now > certificate.not_after:
        raise CertificateRefusedError("certificate_expired", expected=_moment(now), received=_iso(certificate.not_after))
    return ValidPath(
        (certificate, issuer),
        valid_from=max(certificate.not_before, issuer.not_before),
        valid_until=min(certificate.not_after, issuer.not_after),
    )


def check_signing_certificate(issuer: ParsedCertificate) -> None:
    """Whether a certificate may sign client certificates at all, at whatever time. Raises `CertificateRefusedError`."""
    _check_key(issuer)
    constraints = issuer.extension(x509.BasicConstraints)
    usage = issuer.extension(x509.KeyUsage)
    if constraints is None or not constraints.ca:  # RFC 5280, 6.1.4 (k)
        raise CertificateRefusedError("issuer_not_a_ca", expected="basic constraints `CA:TRUE`")
    if usage is not None and not usage.key_cert_sign:  # RFC 5280, 6.1.4 (n)
        raise CertificateRefusedError("issuer_not_a_ca", expected="key usage `Certificate Sign`")
    if issuer.extension(x509.NameConstraints) is not None:  # they bind what it signs, and are not applied here yet
        raise CertificateRefusedError("issuer_not_a_ca", expected="no name constraints")
    _check_understood(issuer)


def _check_signature(certificate: ParsedCertificate, issuer: ParsedCertificate) -> None:
    try:
        certificate.x509.verify_directly_issued_by(issuer.x509)
    except ValueError as error:
        if "subject does not match" in str(error):  # the library compares the names' bytes before the signature
            raise CertificateRefusedError(
                "certificate_wrong_issuer", expected=issuer.subject_text(), received=certificate.issuer_text()
            ) from error
        raise _signature_invalid(issuer) from error
    except (InvalidSignature, TypeError, UnsupportedAlgorithm) as error:
        raise _signature_invalid(issuer) from error


def _signature_invalid(issuer: ParsedCertificate) -> CertificateRefusedError:
    return CertificateRefusedError(
        "certificate_signature_invalid", expected=issuer.subject_text(), received="a signature by another key"
    )


def _check_algorithm(certificate: ParsedCertificate) -> None:
    try:
        algorithm = certificate.x509.signature_hash_algorithm
    except UnsupportedAlgorithm as error:
        raise CertificateRefusedError("certificate_algorithm_refused") from error
    if algorithm is not None and algorithm.name not in _HASHES:  # None: Ed25519 and Ed448 hash by themselves
        raise CertificateRefusedError("certificate_algorithm_refused", expected=sorted(_HASHES), received=algorithm.name)


def _check_end_entity(certificate: ParsedCertificate) -> None:
    if certificate.x509.version is not x509.Version.v3:
        raise CertificateRefusedError("certificate_malformed", expected="X.509 v3", received=certificate.x509.version.name)
    constraints = certificate.extension(x509.BasicConstraints)
    usage = certificate.extension(x509.KeyUsage)
    if (constraints is not None and constraints.ca) or (usage is not None and usage.key_cert_sign):
        raise CertificateRefusedError("certificate_is_a_ca", received=certificate.subject_text())


def _check_understood(certificate: ParsedCertificate) -> None:
    unknown = [
        extension.oid.dotted_string
        for extension in certificate.extensions
        if extension.critical and extension.oid not in _UNDERSTOOD
    ]
    if unknown:  # RFC 5280, 4.2: reject what is critical and not understood
        raise CertificateRefusedError("certificate_extension_not_understood", received=unknown)


def _check_key(certificate: ParsedCertificate) -> None:
    key = certificate.public_key
    match key:
        case rsa.RSAPublicKey():
            strong = 2048 <= key.key_size <= _MAX_RSA_BITS and key.public_numbers().e <= _MAX_RSA_EXPONENT
        case ec.EllipticCurvePublicKey():
            strong = key.curve.name in _CURVES
        case _:
            strong = isinstance(key, ed25519.Ed25519PublicKey)
    if not strong:
        raise CertificateRefusedError("certificate_key_weak", received=certificate.key_text())


def _check_issuer(issuer: ParsedCertificate, *, now: Instant) -> None:
    check_signing_certificate(issuer)
    if not issuer.not_before <= now <= issuer.not_after:
        raise CertificateRefusedError("issuer_not_valid_now", expected=_moment(now), received=_iso(issuer.not_after))


def _moment(now: Instant) -> str:
    return f"valid at {_iso(now)}"


def _iso(at: Instant) -> str:
    return dt.datetime.fromtimestamp(at, tz=dt.UTC).isoformat(timespec="seconds")

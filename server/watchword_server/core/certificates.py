"""The certificate verdict: whether this is a client certificate of ours, valid now, as the check wants it.

`trust: issuer`: the uploaded certificate signed it directly, as in Cloudflare's client. Paths through intermediates and
revocation are not built yet; a configuration that asks for them is refused when it is loaded. Conditions run in a fixed order,
the one the certificate stumbles over is the reason, and how far it came tells the nearest miss among several candidates.

What the `cryptography` library verifies of an issuer is its name bytes and its signature, nothing else; the rest of RFC 5280
that a direct issuer needs stands here, each with its section.
"""

import datetime as dt
import functools
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from watchword_server.core.model import ClientCertificateConfig, Fingerprint, Instant

_MAX_CERTIFICATE_LENGTH: Final = 8 * 1024  # client certificates have one or two thousand
_MAX_RSA_BITS: Final = 8192  # a larger one costs milliseconds to verify
_MAX_RSA_EXPONENT: Final = 2**64  # as above
_MAX_NAMED_LENGTH: Final = 4 * 1024  # of a larger certificate the names are not worth the time
_MAX_SHOWN: Final = 256  # characters of a text, for logs
_MAX_SHOWN_NAMES: Final = 16
_CURVES: Final = frozenset({"secp256r1", "secp384r1"})
_HASHES: Final = frozenset({"sha256", "sha384", "sha512"})
_EXTENDED_KEY_USAGE: Final = {
    "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "emailProtection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
}
_EXTENDED_KEY_USAGE_NAMES: Final = {oid: name for name, oid in _EXTENDED_KEY_USAGE.items()}
# What this module understands and may therefore be critical (RFC 5280, 4.2). Name constraints are not among them yet.
_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    }
)
# What the library raises for DER that it cannot make sense of; these errors have no base in common.
_UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)

_VARIABLE: Final = re.compile(r"\$\{(serial_number|hostname)\}")

_E = TypeVar("_E", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True)
class Subject:
    """Who the device is said to be, for `${serial_number}` and `${hostname}`; None: not known."""

    serial_number: str | None
    hostname: str | None
    reported_serial_number: str | None = None  # by evidence; another one than the enrollment's fails what uses it


class CertificateRefusedError(Exception):
    """Why a certificate does not pass: `reason` (docs/reasons.md), what was expected and what was received.

    `rank` is how far the certificate came: of several candidates the one with the highest is the nearest miss.
    """

    def __init__(self, reason: str, *, expected: object = None, received: object = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.expected = expected
        self.received = received

    @property
    def rank(self) -> int:
        """The place of `reason` in the order of conditions."""
        return _ORDER.index(self.reason)


_ORDER: Final = (
    "certificate_malformed",
    "certificate_is_the_issuer",
    "certificate_algorithm_refused",
    "certificate_wrong_issuer",
    "certificate_signature_invalid",
    "certificate_is_a_ca",
    "certificate_extension_not_understood",
    "certificate_key_weak",
    "issuer_not_a_ca",
    "issuer_not_valid_now",
    "certificate_not_yet_valid",
    "certificate_expired",
    "extended_key_usage_missing",
    "serial_number_unknown",
    "serial_number_mismatch",
    "hostname_unknown",
    "common_name_mismatch",
    "subject_alternative_name_mismatch",
)
REASONS: Final = frozenset(_ORDER)


@dataclass(frozen=True, slots=True)
class VerifiedCertificate:
    """A certificate that passed every condition at the time asked about. `not_after` is the end of its path's validity."""

    certificate: x509.Certificate
    fingerprint: Fingerprint
    not_after: Instant


def fingerprint(der: bytes) -> Fingerprint:
    """SHA-256 of a certificate's DER encoding."""
    return Fingerprint(hashlib.sha256(der).digest())


def load_certificate(der: bytes) -> x509.Certificate:
    """Parses a certificate whole: names, extensions, dates, key. Raises `CertificateRefusedError`."""
    certificate = _open(der)
    _read_whole(certificate)
    return certificate


def _open(der: bytes) -> x509.Certificate:
    """The part of parsing that costs little whatever is in the certificate: names and extensions are not looked at."""
    if len(der) > _MAX_CERTIFICATE_LENGTH:
        raise CertificateRefusedError(
            "certificate_malformed", expected=f"at most {_MAX_CERTIFICATE_LENGTH} bytes", received=f"{len(der)} bytes"
        )
    try:
        certificate = x509.load_der_x509_certificate(der)
        _ = (certificate.public_key(), certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    except _UNREADABLE as error:
        raise CertificateRefusedError("certificate_malformed") from error
    return certificate


def _read_whole(certificate: x509.Certificate) -> None:
    try:
        _ = (certificate.extensions, certificate.subject, certificate.issuer)
    except _UNREADABLE as error:
        raise CertificateRefusedError("certificate_malformed") from error


# A few signing certificates judge every certificate; to parse them each time would cost as much as the judging.
_load_issuer = functools.lru_cache(maxsize=256)(load_certificate)


def subject_name_der(der: bytes) -> bytes:
    """The DER encoding of a certificate's subject name. Raises `CertificateRefusedError`."""
    return load_certificate(der).subject.public_bytes()


def check_signing_certificate(issuer: x509.Certificate) -> None:
    """Whether a certificate may sign client certificates at all, at whatever time. Raises `CertificateRefusedError`."""
    _check_key(issuer)
    constraints = _extension(issuer, x509.BasicConstraints)
    usage = _extension(issuer, x509.KeyUsage)
    if constraints is None or not constraints.ca:  # RFC 5280, 6.1.4 (k)
        raise CertificateRefusedError("issuer_not_a_ca", expected="basic constraints `CA:TRUE`")
    if usage is not None and not usage.key_cert_sign:  # RFC 5280, 6.1.4 (n)
        raise CertificateRefusedError("issuer_not_a_ca", expected="key usage `Certificate Sign`")
    if _extension(issuer, x509.NameConstraints) is not None:  # they bind what it signs, and are not applied here yet
        raise CertificateRefusedError("issuer_not_a_ca", expected="no name constraints")
    _check_understood(issuer)


def verify_issued_by(der: bytes, issuer_der: bytes, *, now: Instant) -> VerifiedCertificate:
    """Whether the issuer signed this end-entity certificate directly and both are valid at `now`.

    Raises `CertificateRefusedError`.
    """
    certificate, issuer = _open(der), _load_issuer(issuer_der)
    if der == issuer_der or certificate.public_key() == issuer.public_key():
        # A CA certificate is public: whoever holds it holds nothing.
        raise CertificateRefusedError("certificate_is_the_issuer", received=_name_text(certificate, "subject"))
    _check_algorithm(certificate)
    _check_signature(certificate, issuer)
    _read_whole(certificate)  # only now, and so only for certificates that our CA made, is the costly part looked at
    _check_end_entity(certificate)
    _check_understood(certificate)
    _check_key(certificate)
    _check_issuer(issuer, now=now)
    if now < certificate.not_valid_before_utc.timestamp():  # RFC 5280, 4.1.2.5
        raise CertificateRefusedError(
            "certificate_not_yet_valid", expected=_moment(now), received=certificate.not_valid_before_utc.isoformat()
        )
    if now > certificate.not_valid_after_utc.timestamp():
        raise CertificateRefusedError(
            "certificate_expired", expected=_moment(now), received=certificate.not_valid_after_utc.isoformat()
        )
    return VerifiedCertificate(
        certificate=certificate,
        fingerprint=fingerprint(der),
        not_after=Instant(min(certificate.not_valid_after_utc.timestamp(), issuer.not_valid_after_utc.timestamp())),
    )


def verify_client_certificate(
    der: bytes, issuer_der: bytes, *, config: ClientCertificateConfig, subject: Subject, now: Instant
) -> VerifiedCertificate:
    """The whole verdict for a check: issued by the uploaded certificate, valid now, and as the check's conditions want it.

    Raises `CertificateRefusedError` with the first condition that does not hold.
    """
    verified = verify_issued_by(der, issuer_der, now=now)
    _check_extended_key_usage(verified.certificate, config.extended_key_usage)
    if config.common_name is not None:
        expected = substitute(config.common_name, subject)
        names = _common_names(verified.certificate)
        if expected.casefold() not in {name.casefold() for name in names}:
            raise CertificateRefusedError("common_name_mismatch", expected=expected, received=_shown(names))
    if config.subject_alternative_names:
        wanted = [substitute(pattern, subject) for pattern in config.subject_alternative_names]
        found = _alternative_names(verified.certificate)
        if not {name.casefold() for name in wanted} & {name.casefold() for name in found}:
            raise CertificateRefusedError("subject_alternative_name_mismatch", expected=wanted, received=_shown(found))
    return verified


def substitute(pattern: str, subject: Subject) -> str:
    """Replaces `${serial_number}` and `${hostname}`. A value that is not known is a reason of its own, never an empty string.

    Raises `CertificateRefusedError`.
    """
    if "${serial_number}" in pattern:
        if not subject.serial_number:
            raise CertificateRefusedError("serial_number_unknown", expected=pattern)
        if subject.reported_serial_number is not None and subject.reported_serial_number != subject.serial_number:
            raise CertificateRefusedError(
                "serial_number_mismatch", expected=subject.serial_number, received=subject.reported_serial_number
            )
    if "${hostname}" in pattern and not subject.hostname:
        raise CertificateRefusedError("hostname_unknown", expected=pattern)
    values = {"serial_number": subject.serial_number or "", "hostname": subject.hostname or ""}
    # In one pass: a value that reads like a variable is not substituted again.
    return _VARIABLE.sub(lambda variable: values[variable[1]], pattern)


def _check_signature(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    try:
        certificate.verify_directly_issued_by(issuer)
    except ValueError as error:
        if "subject does not match" in str(error):  # the library compares the names' bytes before the signature
            raise CertificateRefusedError(
                "certificate_wrong_issuer", expected=_name_text(issuer, "subject"), received=_name_text(certificate, "issuer")
            ) from error
        raise _signature_invalid(issuer) from error
    except (InvalidSignature, TypeError, UnsupportedAlgorithm) as error:
        raise _signature_invalid(issuer) from error


def _signature_invalid(issuer: x509.Certificate) -> CertificateRefusedError:
    return CertificateRefusedError(
        "certificate_signature_invalid", expected=_name_text(issuer, "subject"), received="a signature by another key"
    )


def _check_algorithm(certificate: x509.Certificate) -> None:
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm as error:
        raise CertificateRefusedError("certificate_algorithm_refused") from error
    if algorithm is not None and algorithm.name not in _HASHES:  # None: Ed25519 and Ed448 hash by themselves
        raise CertificateRefusedError("certificate_algorithm_refused", expected=sorted(_HASHES), received=algorithm.name)


def _check_end_entity(certificate: x509.Certificate) -> None:
    if certificate.version is not x509.Version.v3:
        raise CertificateRefusedError("certificate_malformed", expected="X.509 v3", received=certificate.version.name)
    constraints = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    if (constraints is not None and constraints.ca) or (usage is not None and usage.key_cert_sign):
        raise CertificateRefusedError("certificate_is_a_ca", received=_name_text(certificate, "subject"))


def _check_understood(certificate: x509.Certificate) -> None:
    unknown = [
        extension.oid.dotted_string
        for extension in certificate.extensions
        if extension.critical and extension.oid not in _UNDERSTOOD
    ]
    if unknown:  # RFC 5280, 4.2: reject what is critical and not understood
        raise CertificateRefusedError("certificate_extension_not_understood", received=unknown)


def _check_key(certificate: x509.Certificate) -> None:
    key = certificate.public_key()
    match key:
        case rsa.RSAPublicKey():
            strong = 2048 <= key.key_size <= _MAX_RSA_BITS and key.public_numbers().e <= _MAX_RSA_EXPONENT
        case ec.EllipticCurvePublicKey():
            strong = key.curve.name in _CURVES
        case _:
            strong = isinstance(key, ed25519.Ed25519PublicKey)
    if not strong:
        raise CertificateRefusedError("certificate_key_weak", received=_key_text(certificate))


def _check_issuer(issuer: x509.Certificate, *, now: Instant) -> None:
    check_signing_certificate(issuer)
    if not issuer.not_valid_before_utc.timestamp() <= now <= issuer.not_valid_after_utc.timestamp():
        raise CertificateRefusedError(
            "issuer_not_valid_now", expected=_moment(now), received=issuer.not_valid_after_utc.isoformat()
        )


def _check_extended_key_usage(certificate: x509.Certificate, wanted: tuple[str, ...]) -> None:
    if not wanted:
        return
    usage = _extension(certificate, x509.ExtendedKeyUsage)
    present = set(usage or ())
    missing = [name for name in wanted if _EXTENDED_KEY_USAGE[name] not in present]
    if missing:
        received = [_EXTENDED_KEY_USAGE_NAMES.get(oid, oid.dotted_string) for oid in usage or ()]
        raise CertificateRefusedError("extended_key_usage_missing", expected=list(wanted), received=received)


def _extension(certificate: x509.Certificate, kind: type[_E]) -> _E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _common_names(certificate: x509.Certificate) -> list[str]:
    return [str(attribute.value) for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]


def _alternative_names(certificate: x509.Certificate) -> list[str]:
    names = _extension(certificate, x509.SubjectAlternativeName) or ()
    return [
        str(name.value)
        for name in names
        if isinstance(name, (x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier, x509.IPAddress))
    ]


def _name_text(certificate: x509.Certificate, which: str) -> str | None:
    """A name for people, who read it in a terminal: whoever made the certificate chose its characters. None: not worth it."""
    if len(certificate.tbs_certificate_bytes) > _MAX_NAMED_LENGTH:
        return None
    try:
        name = certificate.subject if which == "subject" else certificate.issuer
        return _plain(name.rfc4514_string())
    except _UNREADABLE:
        return None


def _shown(names: Sequence[str]) -> list[str]:
    return [_plain(name) for name in names[:_MAX_SHOWN_NAMES]]


def _plain(text: str) -> str:
    """Without what a terminal would obey, and no longer than a line of a log is worth."""
    cut = text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"
    return "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in cut)


def _key_text(certificate: x509.Certificate) -> str:
    key = certificate.public_key()
    match key:
        case rsa.RSAPublicKey():
            return f"RSA {key.key_size}"
        case ec.EllipticCurvePublicKey():
            return f"EC {key.curve.name}"
        case _:
            return type(key).__name__


def _moment(now: Instant) -> str:
    return f"valid at {dt.datetime.fromtimestamp(now, tz=dt.UTC).isoformat(timespec='seconds')}"

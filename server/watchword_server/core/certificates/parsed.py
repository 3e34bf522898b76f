"""A certificate once read: the library's object with what is asked of it again and again."""

import functools
import hashlib
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from watchword_server.core.certificates.der import Head, Outline, has_more_attributes, head, outline
from watchword_server.core.certificates.names import CanonicalName, canonical_name, lower_case
from watchword_server.core.certificates.refusal import CertificateRefusedError
from watchword_server.core.model.names import Fingerprint, Instant

MAX_CERTIFICATE_LENGTH: Final = 8 * 1024  # client certificates have one or two thousand
# What the library raises for DER that it cannot make sense of; these errors have no base in common.
UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
_MAX_NAME_LENGTH: Final = 1024  # real ones have a hundred or two
_MAX_ATTRIBUTES: Final = 32
_CERTAINLY_FEW: Final = 128  # bytes of a name that cannot cost much, whatever is in it
_MAX_NAMED_LENGTH: Final = 4 * 1024  # of a larger certificate the names are not worth the time
_COMPARED_NAMES: Final = (x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier, x509.IPAddress)
_MAX_SHOWN: Final = 256  # characters of a text, for logs

_E = TypeVar("_E", bound=x509.ExtensionType)
_T = TypeVar("_T")


class _lazy(Generic[_T]):  # noqa: N801 - used as `property` is
    """A property that is worked out once. `functools.cached_property` holds a lock while it does, before Python 3.12."""

    def __init__(self, read: Callable[[Any], _T]) -> None:
        self._read = read
        self._name = read.__name__
        self.__doc__ = read.__doc__

    def __get__(self, instance: object, owner: type) -> _T:
        value = instance.__dict__[self._name] = self._read(instance)
        return value


class ParsedCertificate:
    """A certificate whose outside was read: dates, key, serial number. Names and extensions are read when asked for.

    Made by `parse` or `parse_whole`. Properties raise `CertificateRefusedError` for what cannot be read.
    """

    def __init__(self, der: bytes, certificate: x509.Certificate) -> None:
        self.der = der
        self.x509 = certificate
        self.public_key: CertificatePublicKeyTypes = certificate.public_key()
        self.serial_number: int = certificate.serial_number
        self.not_before = Instant(certificate.not_valid_before_utc.timestamp())
        self.not_after = Instant(certificate.not_valid_after_utc.timestamp())
        self.may_issue = False  # whether `path_validation.check_issuer` found nothing against it

    @_lazy
    def fingerprint(self) -> Fingerprint:
        """SHA-256 of the DER encoding."""
        return fingerprint(self.der)

    @_lazy
    def public_key_sha256(self) -> bytes:
        """SHA-256 of the DER SubjectPublicKeyInfo: the same for every certificate of this key."""
        return hashlib.sha256(self.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()

    @_lazy
    def head(self) -> Head:
        """The first of its parts as they are encoded."""
        return _readable(lambda: head(self.der))

    @_lazy
    def outline(self) -> Outline:
        """Its parts as they are encoded."""
        return _readable(lambda: outline(self.der))

    @_lazy
    def subject_name(self) -> x509.Name:
        """The subject as it is written."""
        _check_name(self.head.subject)
        return _readable(lambda: self.x509.subject)

    @_lazy
    def issuer_name(self) -> x509.Name:
        """The issuer as it is written."""
        _check_name(self.head.issuer)
        return _readable(lambda: self.x509.issuer)

    @_lazy
    def subject(self) -> CanonicalName:
        """The subject as it is compared (RFC 5280, 7.1)."""
        return canonical_name(self.subject_name)

    @_lazy
    def issuer(self) -> CanonicalName:
        """The issuer as it is compared (RFC 5280, 7.1)."""
        return canonical_name(self.issuer_name)

    @_lazy
    def common_names(self) -> tuple[str, ...]:
        """The subject's, most often one."""
        return tuple(str(attribute.value) for attribute in self.subject_name.get_attributes_for_oid(NameOID.COMMON_NAME))

    @property
    def is_self_issued(self) -> bool:
        """Whether subject and issuer are the same name (RFC 5280, 6.1)."""
        return self.subject == self.issuer

    @_lazy
    def extensions(self) -> x509.Extensions:
        """All of them."""
        return _readable(lambda: self.x509.extensions)

    def extension(self, kind: type[_E]) -> _E | None:
        """The one of this kind; None: there is none."""
        return cast("_E | None", self._values.get(kind))  # by their types

    @_lazy
    def _values(self) -> dict[type, x509.ExtensionType]:
        return {type(extension.value): extension.value for extension in self.extensions}

    def subject_text(self) -> str | None:
        """The subject for people; None: not worth the time."""
        return self._subject_text

    def issuer_text(self) -> str | None:
        """The issuer for people; None: not worth the time."""
        return self._issuer_text

    @property
    def is_read(self) -> bool:
        """Whether the extensions were read already."""
        return "extensions" in self.__dict__

    @_lazy
    def alternative_names(self) -> tuple[tuple[type[x509.GeneralName], str], ...]:
        """The DNS names, mailboxes, URIs and addresses among them, with their type."""
        names = self.extension(x509.SubjectAlternativeName) or ()
        return tuple((type(name), str(name.value)) for name in names if isinstance(name, _COMPARED_NAMES))

    @_lazy
    def lower_case_names(self) -> frozenset[tuple[type[x509.GeneralName], str]]:
        """The alternative names as they are compared."""
        return frozenset((kind, lower_case(text)) for kind, text in self.alternative_names)

    def key_text(self) -> str:
        """The kind and size of the key, for people."""
        match self.public_key:
            case rsa.RSAPublicKey() as key:
                return f"RSA {key.key_size}"
            case ec.EllipticCurvePublicKey() as key:
                return f"EC {key.curve.name}"
            case key:
                return type(key).__name__

    @_lazy
    def _subject_text(self) -> str | None:
        return self._text(lambda: self.subject_name)

    @_lazy
    def _issuer_text(self) -> str | None:
        return self._text(lambda: self.issuer_name)

    def _text(self, name: Callable[[], x509.Name]) -> str | None:
        if len(self.der) > _MAX_NAMED_LENGTH:
            return None
        try:
            return plain(name().rfc4514_string())
        except (CertificateRefusedError, *UNREADABLE):
            return None


def parse(der: bytes) -> ParsedCertificate:
    """The part of parsing that costs little whatever is in the certificate: names and extensions are not looked at.

    Raises `CertificateRefusedError`.
    """
    if len(der) > MAX_CERTIFICATE_LENGTH:
        raise CertificateRefusedError(
            "certificate_malformed", expected=f"at most {MAX_CERTIFICATE_LENGTH} bytes", received=f"{len(der)} bytes"
        )
    return _readable(lambda: ParsedCertificate(der, x509.load_der_x509_certificate(der)))


def parse_whole(der: bytes) -> ParsedCertificate:
    """Parses a certificate with its names and extensions. Raises `CertificateRefusedError`."""
    certificate = parse(der)
    read_whole(certificate)
    return certificate


def read_whole(certificate: ParsedCertificate) -> None:
    """Reads the names and extensions, so that nothing is left that could not be read. Raises `CertificateRefusedError`."""
    _ = (certificate.extensions, certificate.subject_name, certificate.issuer_name)


# A few signing certificates judge every certificate; to parse them each time would cost as much as the judging.
parse_issuer = functools.lru_cache(maxsize=256)(parse_whole)


def fingerprint(der: bytes) -> Fingerprint:
    """SHA-256 of a certificate's DER encoding."""
    return Fingerprint(hashlib.sha256(der).digest())


def plain(text: str) -> str:
    """Without what a terminal would obey, and no longer than a line of a log is worth: others chose these characters."""
    cut = text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"
    return "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in cut)


def _check_name(name: bytes) -> None:
    """Before the library makes objects of it."""
    if len(name) > _MAX_NAME_LENGTH:
        raise CertificateRefusedError(
            "certificate_malformed", expected=f"names of at most {_MAX_NAME_LENGTH} bytes", received=f"{len(name)} bytes"
        )
    if len(name) > _CERTAINLY_FEW and _readable(lambda: has_more_attributes(name, _MAX_ATTRIBUTES)):
        raise CertificateRefusedError("certificate_malformed", expected=f"names of at most {_MAX_ATTRIBUTES} attributes")


def _readable(read: Callable[[], _T]) -> _T:
    try:
        return read()
    except UNREADABLE as error:
        raise CertificateRefusedError("certificate_malformed") from error

"""Uploaded signing certificates, and where it is told which certificates they revoked."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, ClassVar, Final, Self
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from watchword_server.configuration.document.base import Entry, Model, quoted
from watchword_server.configuration.document.durations import Duration, parse_seconds
from watchword_server.core.certificates.parsed import ParsedCertificate, parse_whole
from watchword_server.core.certificates.path import check_signing_certificate
from watchword_server.core.certificates.refusal import CertificateRefusedError

MAX_PEM_CHARACTERS = 1 << 18
_MAX_OTHERS: Final = 8  # certificates behind the first one
_MAX_PLACES: Final = 8
_MIN_REFRESH_SECONDS: Final = 60
_GIVE_THE_CA = "give the one that signs the client certificates"


@dataclass(frozen=True, slots=True)
class Bundle:
    """The certificates of a PEM text: what client certificates have to be signed by, other CAs, and what is no CA."""

    signing: ParsedCertificate
    intermediates: tuple[bytes, ...]
    list_signers: tuple[bytes, ...]


def read_bundle(pem: str) -> Bundle:
    """The certificates of a PEM text; the first is the CA that counts.

    Raises `ValueError` if the text holds a private key, no certificate, one that cannot be parsed, too many, or first one that
    could never pass a client certificate: not a CA's, or with a key or an extension that is refused later on.
    """
    if "PRIVATE KEY-----" in pem:
        raise ValueError(
            "holds a private key: remove it, and replace the key if others could read it; only the certificate belongs here"
        )
    if "-----BEGIN CERTIFICATE-----" not in pem:
        raise ValueError("holds no certificate: give it in PEM, which begins with `-----BEGIN CERTIFICATE-----`")
    try:
        found = [parse_whole(each.public_bytes(Encoding.DER)) for each in x509.load_pem_x509_certificates(pem.encode())]
    except (ValueError, CertificateRefusedError) as error:
        raise ValueError("holds a certificate that cannot be parsed: export it once more, in PEM") from error
    first, *rest = {certificate.der: certificate for certificate in found}.values()
    if len(rest) > _MAX_OTHERS:
        raise ValueError(f"holds {len(rest)} certificates besides the CA's: keep at most {_MAX_OTHERS}, its intermediates")
    try:
        check_signing_certificate(first)
    except CertificateRefusedError as error:
        raise ValueError(_why_not(error)) from error
    return Bundle(
        first,
        intermediates=tuple(certificate.der for certificate in rest if _is_ca(certificate)),
        list_signers=tuple(certificate.der for certificate in rest if not _is_ca(certificate)),
    )


def _is_ca(certificate: ParsedCertificate) -> bool:
    constraints = certificate.extension(x509.BasicConstraints)
    return constraints is not None and constraints.ca


def _why_not(error: CertificateRefusedError) -> str:
    if error.reason == "certificate_key_weak":
        usable = "use RSA 2048, P-256, P-384, P-521 or Ed25519"
        return f"has a key that is too weak or not supported, {quoted(str(error.received))}: {usable}"
    if error.reason == "certificate_extension_not_understood":
        return f"has a critical extension that is not supported, {quoted(str(error.received))}: {_GIVE_THE_CA}"
    return f"is not a CA's certificate, it lacks {error.expected}: {_GIVE_THE_CA}"


def _checked(pem: str) -> str:
    read_bundle(pem)
    return pem


# ---- Where revocation is told ---------------------------------------------------------------------------------------------


def _http_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        well_formed = bool(parts.scheme) and bool(parts.hostname) and parts.port != 0
    except ValueError:
        well_formed = False
    if not well_formed or not text.isprintable() or " " in text:
        raise ValueError(f"{quoted(text)} is not an address: write one like `http://pki.corp.example/device-ca.crl`")
    if parts.scheme not in {"http", "https"}:
        raise ValueError(f"{quoted(text)} has to be http or https")
    if parts.username is not None or parts.password is not None:
        raise ValueError("it has a user name or password in it, which everybody who reads the rules would see: leave it out")
    return text


def _server_path(text: str) -> str:
    if not PurePosixPath(text).is_absolute() or not text.isprintable():
        raise ValueError(f"{quoted(text)} is not an absolute path: write where the file is on the server, from the root")
    return text


def _refresh(text: str) -> str:
    if parse_seconds(text) < _MIN_REFRESH_SECONDS:
        raise ValueError(f"{quoted(text)} is shorter than a minute: write at least `1m`")
    return text


_Url = Annotated[str, Field(max_length=2048), AfterValidator(_http_url)]
_Refresh = Annotated[Duration, AfterValidator(_refresh)]


class RevocationListPlace(Model):
    """Where the CA's list of revoked certificates is: exactly one of `url` and `path`, a file on the server."""

    @classmethod
    def form(cls, value: object) -> str:  # noqa: ARG003 - whatever it was
        """One of the two."""
        return "`{ url: … }` or `{ path: … }`"

    url: _Url | None = None
    path: Annotated[str, Field(max_length=4096), AfterValidator(_server_path)] | None = None
    refresh: _Refresh = "1h"

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if self.url is not None and self.path is not None:
            raise ValueError("it names two places: write `url` and `path` as two items")
        if self.url is None and self.path is None:
            raise ValueError("it names no place: write `url` or `path`")
        return self


class Responder(Model):
    """Whom to ask about single certificates (RFC 6960)."""

    url: _Url
    refresh: _Refresh = "5m"


def _one_or_several(value: object) -> object:
    """Validates a single one here, so that a problem is told where it was written."""
    return [RevocationListPlace.model_validate(value)] if not isinstance(value, list) else value


class Certificate(Entry):
    """A signing certificate, with its intermediates behind it. In a rule file `file` may stand for `pem`."""

    hints: ClassVar = Entry.hints | {"file": "`file` is for rule files: write the certificate as `pem`"}
    reader_keys: ClassVar = ("file",)

    pem: Annotated[str, Field(max_length=MAX_PEM_CHARACTERS), AfterValidator(_checked)]
    crl: Annotated[list[RevocationListPlace], Field(min_length=1, max_length=_MAX_PLACES), BeforeValidator(_one_or_several)] = (
        Field(default_factory=list)
    )
    ocsp: Responder | None = None

    @property
    def list_places(self) -> tuple[RevocationListPlace, ...]:
        """Where its revocation lists are, each once."""
        return tuple({(place.url, place.path): place for place in self.crl}.values())

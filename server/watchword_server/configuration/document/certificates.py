"""Uploaded signing certificates."""

from typing import Annotated, ClassVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import AfterValidator, Field

from watchword_server.configuration.document.base import Entry, not_yet, quoted
from watchword_server.core.certificates.parsed import ParsedCertificate, parse_whole
from watchword_server.core.certificates.path import check_signing_certificate
from watchword_server.core.certificates.refusal import CertificateRefusedError

MAX_PEM_CHARACTERS = 1 << 18
_GIVE_THE_CA = "give the one that signs the client certificates"


def signing_certificate(pem: str) -> ParsedCertificate:
    """The first certificate of a PEM text: what client certificates have to be signed by.

    Raises `ValueError` if the text holds a private key, no certificate, one that cannot be parsed, or one that could never pass
    a client certificate: not a CA's, or with a key or an extension that is refused later on.
    """
    if "PRIVATE KEY-----" in pem:
        raise ValueError(
            "holds a private key: remove it, and replace the key if others could read it; only the certificate belongs here"
        )
    if "-----BEGIN CERTIFICATE-----" not in pem:
        raise ValueError("holds no certificate: give it in PEM, which begins with `-----BEGIN CERTIFICATE-----`")
    try:
        first, *_ = x509.load_pem_x509_certificates(pem.encode())
        certificate = parse_whole(first.public_bytes(Encoding.DER))
    except (ValueError, CertificateRefusedError) as error:
        raise ValueError("holds a certificate that cannot be parsed: export it once more, in PEM") from error
    try:
        check_signing_certificate(certificate)
    except CertificateRefusedError as error:
        raise ValueError(_why_not(error)) from error
    return certificate


def _why_not(error: CertificateRefusedError) -> str:
    if error.reason == "certificate_key_weak":
        return (
            f"has a key that is too weak or not supported, {quoted(str(error.received))}: use RSA 2048, P-256, P-384 or Ed25519"
        )
    if error.reason == "certificate_extension_not_understood":
        return f"has a critical extension that is not supported, {quoted(str(error.received))}: {_GIVE_THE_CA}"
    if error.expected == "no name constraints":
        return "has name constraints, which are not supported yet: use a CA without them"
    return f"is not a CA's certificate, it lacks {error.expected}: {_GIVE_THE_CA}"


def _checked(pem: str) -> str:
    signing_certificate(pem)
    return pem


class Certificate(Entry):
    """A signing certificate; of a bundle, the first one counts. In a rule file `file` may stand for `pem`."""

    hints: ClassVar = Entry.hints | not_yet("crl") | {"file": "`file` is for rule files: write the certificate as `pem`"}
    reader_keys: ClassVar = ("file",)

    pem: Annotated[str, Field(max_length=MAX_PEM_CHARACTERS), AfterValidator(_checked)]

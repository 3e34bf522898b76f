"""Certificates made part by part, for what `support.pki` has no word for: any names, any extensions, any signer."""

import datetime as dt
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from support.pki import KeyKind, PrivateKey, generate_key
from watchword_server.core.model.names import Instant

AT: Final = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
NOW: Final = Instant(AT.timestamp())
DAY: Final = dt.timedelta(days=1)
CA: Final = x509.BasicConstraints(ca=True, path_length=None)
NOT_CA: Final = x509.BasicConstraints(ca=False, path_length=None)

Extension = tuple[x509.ExtensionType, bool]  # and whether it is critical


@dataclass(frozen=True, slots=True)
class Made:
    """A certificate with its key; `subject` as it is written in it."""

    der: bytes
    key: PrivateKey
    subject: x509.Name

    @property
    def x509(self) -> x509.Certificate:
        """Parsed."""
        return x509.load_der_x509_certificate(self.der)


@functools.cache
def pooled_key(kind: KeyKind, number: int) -> PrivateKey:
    """The same key for the same arguments: RSA keys take long to make."""
    del number
    return generate_key(kind)


def name(text: str) -> x509.Name:
    """A common name; empty: the empty name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)] if text else [])


def usage(*, cert_sign: bool) -> x509.KeyUsage:
    """For signing certificates, or for signing what is not a certificate."""
    return x509.KeyUsage(
        digital_signature=not cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=cert_sign,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def make(
    subject: x509.Name | str,
    issuer: Made | None = None,
    *extensions: Extension,
    key: PrivateKey | KeyKind = "p256",
    not_before: dt.timedelta = -DAY,
    not_after: dt.timedelta = DAY,
    issuer_name: x509.Name | None = None,
    signing_key: PrivateKey | None = None,
    digest: hashes.HashAlgorithm | None = None,
    pss: bool = False,
) -> Made:
    """A certificate with these extensions and no others, valid around `AT`. `issuer` None: it signs itself."""
    subject = name(subject) if isinstance(subject, str) else subject
    own_key = generate_key(key) if isinstance(key, str) else key
    signer = signing_key or (own_key if issuer is None else issuer.key)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_name if issuer_name is not None else subject if issuer is None else issuer.subject)
        .public_key(own_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(AT + not_before)
        .not_valid_after(AT + not_after)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    alone = isinstance(signer, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey))
    algorithm = None if alone else digest or hashes.SHA256()
    if pss and isinstance(signer, rsa.RSAPrivateKey) and algorithm is not None:
        scheme = padding.PSS(padding.MGF1(algorithm), padding.PSS.DIGEST_LENGTH)
        certificate = builder.sign(signer, algorithm, rsa_padding=scheme)  # type: ignore[arg-type]  # any digest it knows
    else:
        certificate = builder.sign(signer, algorithm)  # type: ignore[arg-type]  # as above
    return Made(certificate.public_bytes(Encoding.DER), own_key, subject)


def authority(
    subject: x509.Name | str,
    issuer: Made | None = None,
    *extensions: Extension,
    path_length: int | None = None,
    key: PrivateKey | KeyKind = "p256",
    not_before: dt.timedelta = -DAY,
    not_after: dt.timedelta = DAY,
    signing_key: PrivateKey | None = None,
    issuer_name: x509.Name | None = None,
) -> Made:
    """A CA's certificate: basic constraints and key usage, and these extensions."""
    return make(
        subject,
        issuer,
        (x509.BasicConstraints(ca=True, path_length=path_length), True),
        (usage(cert_sign=True), True),
        *extensions,
        key=key,
        not_before=not_before,
        not_after=not_after,
        signing_key=signing_key,
        issuer_name=issuer_name,
    )


def constraints(
    permitted: Sequence[x509.GeneralName] | None = None, excluded: Sequence[x509.GeneralName] | None = None
) -> Extension:
    """Name constraints."""
    return x509.NameConstraints(permitted, excluded), True


def alternative(*names: x509.GeneralName) -> Extension:
    """Subject alternative names."""
    return x509.SubjectAlternativeName(names), False


def ders(*certificates: Made) -> tuple[bytes, ...]:
    """Their encodings."""
    return tuple(certificate.der for certificate in certificates)

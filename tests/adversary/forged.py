"""Certificates in any shape: whatever somebody with a signing key can write down."""

import datetime as dt
from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from support.pki import DAY, HOUR, Authority, Credential, PrivateKey, generate_key

Extension = tuple[x509.ExtensionType, bool]

CA: Final[Extension] = (x509.BasicConstraints(ca=True, path_length=None), True)
SIGNS_CERTIFICATES: Final[Extension] = (
    x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    ),
    True,
)
FOR_CLIENTS: Final[Extension] = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)


def name_of(common_name: str, *more: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    """A distinguished name."""
    pairs = [(NameOID.COMMON_NAME, common_name), *more]
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in pairs])


def certify(
    issuer: Credential,
    subject: str | x509.Name,
    *extensions: Extension,
    key: PrivateKey | None = None,
    not_before: dt.timedelta = -HOUR,
    not_after: dt.timedelta = DAY,
    issuers: Sequence[bytes] | None = None,
) -> Credential:
    """A certificate signed with a credential's key, whether or not it may sign; with these extensions and no others.

    `issuers` None: the issuer and what stands above it.
    """
    own = key or generate_key()
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name_of(subject) if isinstance(subject, str) else subject)
        .issuer_name(issuer.certificate.subject)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + not_before)
        .not_valid_after(now + not_after)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    digest = None if isinstance(issuer.key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    der = builder.sign(issuer.key, digest).public_bytes(Encoding.DER)
    return Credential(der, own, issuers=issuer.chain if issuers is None else tuple(issuers))


def authority(
    issuer: Authority,
    name: str,
    *extensions: Extension,
    not_before: dt.timedelta = -HOUR,
    not_after: dt.timedelta = 365 * DAY,
    basic: Extension = CA,
) -> Authority:
    """A CA below another; `extensions` besides what every CA has."""
    above = () if issuer.is_root else issuer.credential.chain
    credential = certify(
        issuer.credential,
        name,
        basic,
        SIGNS_CERTIFICATES,
        *extensions,
        not_before=not_before,
        not_after=not_after,
        issuers=above,
    )
    return Authority(credential, is_root=False)

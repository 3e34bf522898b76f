"""A public key infrastructure made for one test: authorities, and certificates that are right or wrong in one way.

Everything is made in memory and dated from now; `Credential.write` puts one where a program expects files.
"""

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

KeyKind = Literal["p224", "p256", "p384", "p521", "rsa1024", "rsa2048", "rsa3072", "ed25519", "ed448"]
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey

HOUR: Final = dt.timedelta(hours=1)
DAY: Final = dt.timedelta(days=1)

_CURVES: Final[dict[str, ec.EllipticCurve]] = {
    "p224": ec.SECP224R1(),
    "p256": ec.SECP256R1(),
    "p384": ec.SECP384R1(),
    "p521": ec.SECP521R1(),
}
_EXTENDED_KEY_USAGES: Final = {
    "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "serverAuth": ExtendedKeyUsageOID.SERVER_AUTH,
    "emailProtection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
}
_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # FIPS 186-5, D.1.2.3
_UNKNOWN_EXTENSION: Final = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")


def generate_key(kind: KeyKind = "p256") -> PrivateKey:
    """A fresh private key."""
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind == "ed448":
        return ed448.Ed448PrivateKey.generate()
    if kind.startswith("rsa"):
        return rsa.generate_private_key(public_exponent=65537, key_size=int(kind.removeprefix("rsa")))
    return ec.generate_private_key(_CURVES[kind])


def key_pem(key: PrivateKey, *, password: bytes | None = None) -> bytes:
    """PKCS#8 in PEM, encrypted if there is a password."""
    protection = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)


@dataclass(frozen=True, slots=True)
class CredentialFiles:
    """Where `Credential.write` put it."""

    certificate: Path  # PEM, the issuers behind it
    key: Path


@dataclass(frozen=True, slots=True)
class Credential:
    """A certificate in DER, its private key, and the certificates above it: nearest first, without the root."""

    der: bytes
    key: PrivateKey
    issuers: tuple[bytes, ...] = ()

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate, parsed."""
        return x509.load_der_x509_certificate(self.der)

    @property
    def chain(self) -> tuple[bytes, ...]:
        """DER, the certificate first."""
        return (self.der, *self.issuers)

    @property
    def pem(self) -> bytes:
        """The certificate alone."""
        return _pem(self.der)

    @property
    def chain_pem(self) -> bytes:
        """The chain, the certificate first."""
        return b"".join(map(_pem, self.chain))

    @property
    def sha256(self) -> str:
        """The certificate's fingerprint in lower-case hexadecimal."""
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    def with_key(self, key: PrivateKey) -> Self:
        """The same certificate beside a key that is not its own."""
        return replace(self, key=key)

    def with_corrupt_signature(self) -> Self:
        """The same certificate with one bit of its signature changed."""
        return replace(self, der=self.der[:-1] + bytes([self.der[-1] ^ 1]))

    def with_rewritten_signature(self) -> Self:
        """The same certificate with the other form of its P-256 signature, (r, n - s): as valid, with another fingerprint."""
        certificate = self.certificate
        r, s = decode_dss_signature(certificate.signature)
        signature = encode_dss_signature(r, _P256_ORDER - s)
        to_be_signed = certificate.tbs_certificate_bytes
        start = self.der.index(to_be_signed) + len(to_be_signed)
        algorithm = self.der[start : start + 2 + self.der[start + 1]]
        body = to_be_signed + algorithm + b"\x03" + bytes([len(signature) + 1, 0]) + signature
        return replace(self, der=b"\x30\x82" + len(body).to_bytes(2) + body)

    def write(self, directory: Path, name: str = "client") -> CredentialFiles:
        """Writes `name.pem` (the chain) and `name.key` (mode 0600)."""
        files = CredentialFiles(directory / f"{name}.pem", directory / f"{name}.key")
        files.certificate.write_bytes(self.chain_pem)
        files.key.touch(mode=0o600)
        files.key.write_bytes(key_pem(self.key))
        return files


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority; `credential.issuers` is empty for a root and for an authority directly under one."""

    credential: Credential
    is_root: bool

    @property
    def pem(self) -> bytes:
        """Its certificate."""
        return self.credential.pem

    def issue(
        self,
        common_name: str | None = "laptop-1.corp.example",
        *,
        key: KeyKind | PrivateKey = "p256",
        subject_alternative_names: Sequence[str] = (),
        extended_key_usage: Sequence[str] | None = ("clientAuth",),
        not_before: dt.timedelta = -HOUR,
        not_after: dt.timedelta = DAY,
        ca: bool | None = False,
        key_cert_sign: bool | None = None,
        unknown_critical_extension: bool = False,
        sha1: bool = False,
        signing_key: PrivateKey | None = None,
        version: Literal[1, 3] = 3,
    ) -> Credential:
        """A certificate signed by this authority, an honest client certificate by default.

        Validity is relative to now. `extended_key_usage` None: no such extension. `ca` None: no basic constraints.
        `key_cert_sign` None: no key usage extension. `sha1`: the signature is over that digest. `signing_key`: another key
        signs, under this authority's name. Version 1 has no extensions at all.
        """
        subject_key = generate_key(key) if isinstance(key, str) else key
        signer = signing_key or self.credential.key
        builder = _builder(
            _name(common_name), self.credential.certificate.subject, subject_key, not_before=not_before, not_after=not_after
        )
        if ca is not None:
            builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        if key_cert_sign is not None:
            builder = builder.add_extension(_key_usage(key_cert_sign=key_cert_sign), critical=True)
        if extended_key_usage is not None:
            usages = [_EXTENDED_KEY_USAGES[usage] for usage in extended_key_usage]
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if subject_alternative_names:
            names = [_general_name(name) for name in subject_alternative_names]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if unknown_critical_extension:
            builder = builder.add_extension(_UNKNOWN_EXTENSION, critical=True)
        certificate = builder.sign(signer, _digest_for(signer))
        der = certificate.public_bytes(serialization.Encoding.DER)
        if version == 1 or sha1:
            der = _rewritten(certificate, signer, version=version, sha1=sha1)
        return Credential(der=der, key=subject_key, issuers=self._chain_below_root())

    def issue_authority(
        self,
        name: str = "Issuing CA",
        *,
        key: KeyKind | PrivateKey = "p256",
        not_before: dt.timedelta = -HOUR,
        not_after: dt.timedelta = 365 * DAY,
        ca: bool = True,
    ) -> "Authority":
        """An authority under this one. `ca=False`: one that must not be, but signs all the same."""
        subject_key = generate_key(key) if isinstance(key, str) else key
        credential = _authority_certificate(name, subject_key, self.credential, not_before=not_before, not_after=not_after, ca=ca)
        return Authority(replace(credential, issuers=self._chain_below_root()), is_root=False)

    def _chain_below_root(self) -> tuple[bytes, ...]:
        return () if self.is_root else self.credential.chain


def root_authority(
    name: str = "Root CA",
    *,
    key: KeyKind | PrivateKey = "p256",
    not_before: dt.timedelta = -HOUR,
    not_after: dt.timedelta = 3650 * DAY,
) -> Authority:
    """A self-signed authority."""
    subject_key = generate_key(key) if isinstance(key, str) else key
    credential = _authority_certificate(name, subject_key, None, not_before=not_before, not_after=not_after, ca=True)
    return Authority(credential, is_root=True)


@dataclass(frozen=True, slots=True)
class Pki:
    """What most tests need: a device CA under its root, and another root that signs what servers show."""

    root: Authority
    issuing: Authority
    web: Authority

    @classmethod
    def make(cls) -> Self:
        """All new."""
        root = root_authority("Corp Root CA")
        return cls(root=root, issuing=root.issue_authority("Corp Device CA"), web=root_authority("Web CA"))

    def server(self, *names: str) -> Credential:
        """A server certificate for these DNS names or addresses, signed by `web`."""
        return self.web.issue(names[0], subject_alternative_names=names, extended_key_usage=("serverAuth",))


def _authority_certificate(
    name: str, key: PrivateKey, issuer: Credential | None, *, not_before: dt.timedelta, not_after: dt.timedelta, ca: bool
) -> Credential:
    subject = _name(name)
    issuer_name, signer = (subject, key) if issuer is None else (issuer.certificate.subject, issuer.key)
    certificate = (
        _builder(subject, issuer_name, key, not_before=not_before, not_after=not_after)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(_key_usage(key_cert_sign=ca), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(signer, _digest_for(signer))
    )
    return Credential(certificate.public_bytes(serialization.Encoding.DER), key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PrivateKey, *, not_before: dt.timedelta, not_after: dt.timedelta
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + not_before)
        .not_valid_after(now + not_after)
    )


def _digest_for(signer: PrivateKey) -> hashes.SHA256 | None:
    return None if isinstance(signer, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)) else hashes.SHA256()


def _name(common_name: str | None) -> x509.Name:
    return x509.Name([] if common_name is None else [x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    """An IP address if it reads as one, a URI where there is a scheme, a mailbox where there is an `@`, else a DNS name."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    if ":" in name:
        return x509.UniformResourceIdentifier(name)
    return x509.RFC822Name(name) if "@" in name else x509.DNSName(name)


def _key_usage(*, key_cert_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(der: bytes) -> bytes:
    return x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)


# ---- What the library refuses to make -----------------------------------------------------------------------------------

_ECDSA_WITH_SHA1: Final = bytes.fromhex("300906072a8648ce3d0401")
_RSA_WITH_SHA1: Final = bytes.fromhex("300d06092a864886f70d0101050500")


def _rewritten(certificate: x509.Certificate, signer: PrivateKey, *, version: Literal[1, 3], sha1: bool) -> bytes:
    """The same certificate, changed in its DER and signed again.

    Version 1 has neither the version field [0] nor the extensions [3] (RFC 5280, 4.1).
    """
    _, content = _split(certificate.tbs_certificate_bytes)
    dropped = (0xA0, 0xA3) if version == 1 else ()
    elements = [element for element in _elements(content) if element[0] not in dropped]
    place = 1 if version == 1 else 2  # of the signature algorithm: behind the serial number
    if sha1:
        elements[place] = _RSA_WITH_SHA1 if isinstance(signer, rsa.RSAPrivateKey) else _ECDSA_WITH_SHA1
    to_be_signed = _wrap(0x30, b"".join(elements))
    signature = _sign(signer, to_be_signed, hashes.SHA1() if sha1 else hashes.SHA256())
    return _wrap(0x30, to_be_signed + elements[place] + _wrap(0x03, b"\x00" + signature))


def _sign(key: PrivateKey, message: bytes, digest: hashes.HashAlgorithm) -> bytes:
    match key:
        case rsa.RSAPrivateKey():
            return key.sign(message, padding.PKCS1v15(), digest)
        case ec.EllipticCurvePrivateKey():
            return key.sign(message, ec.ECDSA(digest))
        case _:
            return key.sign(message)


def _elements(content: bytes) -> list[bytes]:
    elements = []
    while content:
        header, body = _split(content)
        elements.append(content[: len(header) + len(body)])
        content = content[len(header) + len(body) :]
    return elements


def _split(der: bytes) -> tuple[bytes, bytes]:
    """The tag and length of the first element, and its content."""
    if der[1] < 0x80:
        length, start = der[1], 2
    else:
        start = 2 + (der[1] & 0x7F)
        length = int.from_bytes(der[2:start], "big")
    return der[:start], der[start : start + length]


def _wrap(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    encoded = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(encoded)]) + encoded + content

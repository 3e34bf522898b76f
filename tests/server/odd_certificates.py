"""Certificates that `support.pki` does not make: authorities that must not be, and DER that no library writes by itself."""

import datetime as dt
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID, ObjectIdentifier

from support.pki import DAY, HOUR, Authority, Credential, PrivateKey, generate_key

UNKNOWN_EXTENSION = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.55555.2"), b"\x05\x00")
NAME_CONSTRAINTS = x509.NameConstraints([x509.DNSName("corp.example")], None)
X400_ADDRESS_AS_ALTERNATIVE_NAME = x509.UnrecognizedExtension(
    ObjectIdentifier("2.5.29.17"), bytes.fromhex("3004a3020500")
)  # x400Address [3] of RFC 5280, 4.2.1.6: the library refuses it with an error that is no ValueError


def authority_with(*extensions: tuple[x509.ExtensionType, bool], name: str = "Odd CA") -> Authority:
    """A self-signed authority with further extensions, each critical or not."""
    key = generate_key()
    credential = _certificate(name, key, name, key, [(x509.BasicConstraints(ca=True, path_length=None), True), *extensions])
    return Authority(credential, is_root=True)


def certificate_with(authority: Authority, *extensions: tuple[x509.ExtensionType, bool], name: str = "odd") -> Credential:
    """A certificate of an authority with these extensions, each critical or not, and no others."""
    issuer = authority.credential.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    return _certificate(name, generate_key(), str(issuer), authority.credential.key, extensions)


def _certificate(
    name: str,
    key: PrivateKey,
    issuer: str,
    signer: PrivateKey,
    extensions: Sequence[tuple[x509.ExtensionType, bool]],
) -> Credential:
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - HOUR)
        .not_valid_after(now + DAY)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return Credential(builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.DER), key)

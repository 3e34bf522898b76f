"""Revocation lists and OCSP responses made for one test, right or wrong in one way."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from support.pki import DAY, HOUR, Authority, Credential, PrivateKey
from watchword_server.core.certificates.parsed import ParsedCertificate, parse_whole
from watchword_server.core.certificates.path import ValidPath
from watchword_server.core.model.names import Instant

Extensions = Iterable[tuple[x509.ExtensionType, bool]]
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")


def parsed(*credentials: Credential | Authority) -> list[ParsedCertificate]:
    """As the server reads them."""
    return [parse_whole(one.credential.der if isinstance(one, Authority) else one.der) for one in credentials]


def path_of(leaf: Credential, *issuers: Authority) -> ValidPath:
    """A path as if it had been found valid."""
    certificates = tuple(parsed(leaf, *issuers))
    return ValidPath(certificates, valid_from=Instant(0), valid_until=max(one.not_after for one in certificates))


def revocation_list(
    authority: Authority | Credential,
    revoked: Mapping[int, x509.ReasonFlags | None] | Sequence[int] = (),
    *,
    number: int | None = 1,
    base: int | None = None,
    this_update: dt.timedelta = -HOUR,
    next_update: dt.timedelta = DAY,
    extensions: Extensions = (),
    entry_extensions: Extensions = (),
    key: PrivateKey | None = None,
    digest: hashes.HashAlgorithm | None = None,
) -> bytes:
    """A list in DER; dates are from now. `base`: a delta list over that number. `key`: another key signs it."""
    credential = authority.credential if isinstance(authority, Authority) else authority
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateRevocationListBuilder(
        credential.certificate.subject, now + this_update, now + next_update, [], entries_of(revoked, entry_extensions)
    )
    if number is not None:
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    if base is not None:
        builder = builder.add_extension(x509.DeltaCRLIndicator(base), critical=True)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    signer = key or credential.key
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else digest or hashes.SHA256()
    return builder.sign(signer, algorithm).public_bytes(Encoding.DER)  # type: ignore[arg-type]  # wider than what signs lists


def entries_of(
    revoked: Mapping[int, x509.ReasonFlags | None] | Sequence[int], extensions: Extensions = ()
) -> list[x509.RevokedCertificate]:
    """Entries dated an hour ago."""
    reasons = revoked if isinstance(revoked, Mapping) else dict.fromkeys(revoked)
    entries = []
    for serial, reason in reasons.items():
        builder = x509.RevokedCertificateBuilder(serial, dt.datetime.now(dt.UTC) - HOUR)
        if reason is not None:
            builder = builder.add_extension(x509.CRLReason(reason), critical=False)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        entries.append(builder.build())
    return entries


def ocsp_response(
    certificate: Credential,
    issuer: Authority,
    status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
    *,
    responder: Credential | None = None,
    shown: Sequence[Credential] | None = None,
    named: Credential | None = None,
    damaged_signature: bool = False,
    digest: hashes.HashAlgorithm | None = None,
    id_digest: hashes.HashAlgorithm | None = None,
    this_update: dt.timedelta = -HOUR,
    next_update: dt.timedelta | None = DAY,
    reason: x509.ReasonFlags | None = None,
    extensions: Extensions = (),
) -> bytes:
    """A response in DER; dates are from now. `responder` None: the issuer itself; `shown`: the certificates in the response."""
    now = dt.datetime.now(dt.UTC)
    revoked = status is ocsp.OCSPCertStatus.REVOKED
    builder = ocsp.OCSPResponseBuilder().add_response(
        certificate.certificate,
        issuer.credential.certificate,
        id_digest or hashes.SHA1(),
        status,
        now + this_update,
        None if next_update is None else now + next_update,
        now - HOUR if revoked else None,
        reason,
    )
    by = responder or issuer.credential
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, (named or by).certificate)
    certificates = shown if shown is not None else [] if responder is None else [responder]
    if certificates:
        builder = builder.certificates([one.certificate for one in certificates])
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    signer = by.key
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else digest or hashes.SHA256()
    der = builder.sign(signer, algorithm).public_bytes(Encoding.DER)
    return der[:-1] + bytes([der[-1] ^ 1]) if damaged_signature else der  # which is last where no certificate is shown


def responder_of(
    issuer: Authority,
    *,
    usage: x509.ObjectIdentifier | None = x509.oid.ExtendedKeyUsageOID.OCSP_SIGNING,
    ca: bool = False,
    digital_signature: bool = True,
    not_before: dt.timedelta = -HOUR,
    not_after: dt.timedelta = DAY,
    extensions: Extensions = (),
    name: str = "Responder",
    key: PrivateKey,
    crl_sign: bool = False,
) -> Credential:
    """A certificate for signing responses (or, with `crl_sign`, lists)."""
    now = dt.datetime.now(dt.UTC)
    usages = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer.credential.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + not_before)
        .not_valid_after(now + not_after)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=digital_signature, key_cert_sign=ca, crl_sign=crl_sign, **usages), critical=True
        )
    )
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    certificate = builder.sign(issuer.credential.key, hashes.SHA256())
    return Credential(certificate.public_bytes(Encoding.DER), key)

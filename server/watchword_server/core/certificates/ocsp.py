"""OCSP (RFC 6960): whether a responder that may speak for an issuer says that a certificate is revoked.

A response is believed in two steps: what is true of its bytes (whose certificate, whose signature), which is remembered by their
digest, and what is true at a time.
"""

import datetime as dt
import hashlib
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, SignatureAlgorithmOID

from watchword_server.core.certificates.parsed import UNREADABLE, ParsedCertificate, parse, read_whole
from watchword_server.core.certificates.refusal import CertificateRefusedError
from watchword_server.core.certificates.remembered import Remembered
from watchword_server.core.certificates.revocation import OcspStatus, RevocationReason, Revoked
from watchword_server.core.certificates.strength import check_key, check_signed, verification_cost
from watchword_server.core.certificates.work import Work
from watchword_server.core.model.names import Instant

MAX_RESPONSE_LENGTH: Final = 16 * 1024
_MAX_SINGLE_RESPONSES: Final = 16
_MAX_CERTIFICATES: Final = 4
_SIGNATURE_HASHES: Final = frozenset({"sha256", "sha384", "sha512"})
_ID_HASHES: Final = frozenset({"sha1", "sha256", "sha384", "sha512"})  # of a certID: an identifier, no proof
# Critical extensions of a responder's certificate that are understood.
_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.OCSP_NO_CHECK,
    }
)
_REMEMBERED: Final = 4096
_RESPONSE_COST: Final = 80  # microseconds to read one, without its signature and what is counted below
_RESPONSE_BYTES: Final = 64  # a microsecond
_RESPONDER_COST: Final = 30  # to read a responder's certificate from outside


class OcspRefusedError(Exception):
    """Why a response is not believed. `reason` is stable; `detail` is for people.

    `too_large`, `malformed`, `not_successful`, `another_certificate`, `algorithm`, `responder`, `responder_not_valid_now`,
    `signature`, `extension_not_understood`, `next_update_missing`, `not_current`, `unknown_status`.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


def ocsp_request(certificate: ParsedCertificate, issuer: ParsedCertificate) -> bytes:
    """A request in DER for the status of one certificate. Its id is over SHA-1, which every responder knows (RFC 5019)."""
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate.x509, issuer.x509, hashes.SHA1())  # noqa: S303 (an id)
    return builder.build().public_bytes(Encoding.DER)


def read_ocsp_response(
    der: bytes, *, certificate: ParsedCertificate, issuer: ParsedCertificate, work: Work | None = None, now: Instant
) -> OcspStatus:
    """What a response says of a certificate at `now`: good or revoked. Raises `OcspRefusedError`.

    Signed by the issuer, or by a responder whose certificate is in the response, comes directly from the issuer and is for
    nothing but this (RFC 6960, 4.2.2.2). Without nextUpdate a response holds for no time at all.
    `work`: what a stranger's response may cost; raises `CertificateRefusedError` where that is spent.
    """
    if len(der) > MAX_RESPONSE_LENGTH:
        raise OcspRefusedError("too_large", f"{len(der)} bytes, at most {MAX_RESPONSE_LENGTH}")
    key = (hashlib.sha256(der).digest(), certificate.fingerprint, issuer.fingerprint)
    read = _read_before.get(key)
    if read is None:
        try:
            read = _read(der, certificate, issuer, work or Work())
        except OcspRefusedError as refused:
            read = _Refused(refused.reason, refused.detail)
        _read_before.put(key, read)
    if isinstance(read, _Refused):
        raise OcspRefusedError(read.reason, read.detail)
    if not read.valid_from <= now <= read.valid_until:
        raise OcspRefusedError("responder_not_valid_now", "the certificate of the responder has expired or is not yet valid")
    if not read.status.this_update <= now <= read.status.next_update:
        raise OcspRefusedError("not_current", f"it holds from {_iso(read.status.this_update)} to {_iso(read.status.next_update)}")
    return read.status._replace(next_update=Instant(min(read.status.next_update, read.valid_until)))


@dataclass(frozen=True, slots=True)
class _Read:
    """A response whose signature was verified. `valid_from` and `valid_until` are the responder's certificate's."""

    status: OcspStatus
    valid_from: Instant
    valid_until: Instant


@dataclass(frozen=True, slots=True)
class _Refused:
    reason: str
    detail: str


_Key = tuple[bytes, bytes, bytes]
_read_before: Remembered[_Key, _Read | _Refused] = Remembered(_REMEMBERED)


def _read(der: bytes, certificate: ParsedCertificate, issuer: ParsedCertificate, work: Work) -> _Read:
    work.spend(_RESPONSE_COST + len(der) // _RESPONSE_BYTES)
    try:
        response = ocsp.load_der_ocsp_response(der)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise OcspRefusedError("not_successful", response.response_status.name.lower())
        single = _single_response(response, certificate, issuer)  # the cheap question first: others' are not verified
        _check_extensions(response)
        responder = _responder(response, issuer, work)
        _check_signature(response, responder or issuer, work)
        status = _status(single)
    except UNREADABLE as error:
        raise OcspRefusedError("malformed") from error
    except CertificateRefusedError as error:
        if error.reason == "chain_too_complex":
            raise
        raise OcspRefusedError("responder", error.reason) from error
    if responder is None:
        return _Read(status, issuer.not_before, issuer.not_after)
    return _Read(status._replace(responder=responder.serial_number), responder.not_before, responder.not_after)


def _single_response(
    response: ocsp.OCSPResponse, certificate: ParsedCertificate, issuer: ParsedCertificate
) -> ocsp.OCSPSingleResponse:
    found: list[ocsp.OCSPSingleResponse] = []
    for number, single in enumerate(response.responses):
        if number >= _MAX_SINGLE_RESPONSES:
            raise OcspRefusedError("malformed", f"more than {_MAX_SINGLE_RESPONSES} statuses")
        if single.serial_number == certificate.serial_number and _names_issuer(single, certificate, issuer):
            found.append(single)
    if not found:
        raise OcspRefusedError("another_certificate", "no status in it is of this serial number and issuer")
    if len(found) > 1:
        raise OcspRefusedError("malformed", "two statuses of one certificate")
    return found[0]


def _names_issuer(single: ocsp.OCSPSingleResponse, certificate: ParsedCertificate, issuer: ParsedCertificate) -> bool:
    algorithm = single.hash_algorithm.name
    if algorithm not in _ID_HASHES:
        return False
    names = {certificate.outline.issuer, issuer.outline.subject}  # the same name, perhaps in other bytes
    return single.issuer_key_hash == hashlib.new(algorithm, _key_bits(issuer)).digest() and single.issuer_name_hash in {
        hashlib.new(algorithm, name).digest() for name in names
    }


def _responder(response: ocsp.OCSPResponse, issuer: ParsedCertificate, work: Work) -> ParsedCertificate | None:
    """The delegated responder; None: the issuer itself."""
    if _is_responder(response, issuer):
        return None
    certificates = response.certificates
    if len(certificates) > _MAX_CERTIFICATES:
        raise OcspRefusedError("malformed", f"more than {_MAX_CERTIFICATES} certificates")
    for candidate in certificates:
        work.spend(_RESPONDER_COST)
        responder = parse(candidate.public_bytes(Encoding.DER))
        if _is_responder(response, responder):
            check_signed(responder, issuer, work)  # first: what a stranger wrote in it is not worth reading
            read_whole(responder)
            _check_responder(responder)
            return responder
    raise OcspRefusedError("responder", "neither the issuer nor in the response")


def _is_responder(response: ocsp.OCSPResponse, certificate: ParsedCertificate) -> bool:
    if response.responder_name is not None:
        return response.responder_name.public_bytes() == certificate.head.subject
    return response.responder_key_hash == hashlib.sha1(_key_bits(certificate), usedforsecurity=False).digest()


def _check_responder(responder: ParsedCertificate) -> None:
    """RFC 6960, 4.2.2.2: the issuer signed it directly, for signing responses."""
    usage, extended = responder.extension(x509.KeyUsage), responder.extension(x509.ExtendedKeyUsage)
    constraints = responder.extension(x509.BasicConstraints)
    if extended is None or ExtendedKeyUsageOID.OCSP_SIGNING not in extended:
        raise OcspRefusedError("responder", "its certificate is not for signing OCSP responses")
    if usage is not None and not usage.digital_signature:
        raise OcspRefusedError("responder", "its certificate is not for signatures")
    if (constraints is not None and constraints.ca) or (usage is not None and usage.key_cert_sign):
        raise OcspRefusedError("responder", "its certificate is a CA's")
    if any(extension.critical and extension.oid not in _UNDERSTOOD for extension in responder.extensions):
        raise OcspRefusedError("responder", "its certificate has a critical extension that is not understood")


def _check_extensions(response: ocsp.OCSPResponse) -> None:
    for extension in (*response.extensions, *_single_extensions(response)):
        if extension.critical and extension.oid != x509.oid.OCSPExtensionOID.NONCE:
            raise OcspRefusedError("extension_not_understood", extension.oid.dotted_string)


def _single_extensions(response: ocsp.OCSPResponse) -> list[x509.Extension[x509.ExtensionType]]:
    try:
        return list(response.single_extensions)
    except ValueError:  # the library tells those of a response with one status only
        return []


def _check_signature(response: ocsp.OCSPResponse, signer: ParsedCertificate, work: Work) -> None:
    check_key(signer)
    work.spend(verification_cost(signer))
    digest = response.signature_hash_algorithm
    if digest is not None and digest.name not in _SIGNATURE_HASHES:
        raise OcspRefusedError("algorithm", f"signed over {digest.name}")
    if response.signature_algorithm_oid == SignatureAlgorithmOID.RSASSA_PSS:  # whose parameters the library does not tell
        raise OcspRefusedError("algorithm", "signed with RSA-PSS")
    signature, signed = response.signature, response.tbs_response_bytes
    try:
        match signer.public_key:
            case rsa.RSAPublicKey() as key if digest is not None:
                key.verify(signature, signed, padding.PKCS1v15(), digest)
            case ec.EllipticCurvePublicKey() as key if digest is not None:
                key.verify(signature, signed, ec.ECDSA(digest))
            case ed25519.Ed25519PublicKey() as key if digest is None:
                key.verify(signature, signed)
            case _:
                raise OcspRefusedError("algorithm", f"not one of the key, {signer.key_text()}")
    except (InvalidSignature, UnsupportedAlgorithm) as error:
        raise OcspRefusedError("signature", "not by the responder's key") from error


def _status(single: ocsp.OCSPSingleResponse) -> OcspStatus:
    if single.next_update_utc is None:
        raise OcspRefusedError("next_update_missing", "it holds for no time")
    if single.certificate_status is ocsp.OCSPCertStatus.UNKNOWN:
        raise OcspRefusedError("unknown_status", "the responder does not know the certificate")
    revoked: Revoked | None = None
    if single.certificate_status is ocsp.OCSPCertStatus.REVOKED and single.revocation_time_utc is not None:
        revoked = Revoked(_instant(single.revocation_time_utc), reason_of(single.revocation_reason))
    return OcspStatus(revoked, _instant(single.this_update_utc), _instant(single.next_update_utc))


def reason_of(flag: x509.ReasonFlags | None) -> RevocationReason:
    """The reason that the library read."""
    return RevocationReason.UNSPECIFIED if flag is None else _REASONS[flag]


_REASONS: Final = {flag: RevocationReason[flag.name.upper()] for flag in x509.ReasonFlags}


def _key_bits(certificate: ParsedCertificate) -> bytes:
    """The key without its algorithm: what RFC 6960, 4.1.1 hashes."""
    key = certificate.public_key
    match key:
        case rsa.RSAPublicKey():
            return key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
        case ec.EllipticCurvePublicKey():
            return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        case ed25519.Ed25519PublicKey():
            return key.public_bytes(Encoding.Raw, PublicFormat.Raw)
        case _:
            raise OcspRefusedError("algorithm", f"a key of the kind {certificate.key_text()}")


def _instant(at: dt.datetime) -> Instant:
    return Instant(at.timestamp())


def _iso(at: Instant) -> str:
    return dt.datetime.fromtimestamp(at, tz=dt.UTC).isoformat(timespec="seconds")

"""Which keys and signatures are strong enough, what it costs to verify one, and whether it is the issuer's."""

from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from watchword_server.core.certificates.parsed import UNREADABLE, ParsedCertificate
from watchword_server.core.certificates.refusal import CertificateRefusedError
from watchword_server.core.certificates.work import Work

_MIN_RSA_BITS: Final = 2048
_MAX_RSA_BITS: Final = 8192  # a larger one costs milliseconds to verify
_MAX_RSA_EXPONENT: Final = 2**64  # as above
_HASHES: Final = frozenset({"sha256", "sha384", "sha512"})
_CURVE_COSTS: Final = {"secp256r1": 55, "secp384r1": 350, "secp521r1": 700}
_ED25519_COST: Final = 70
_RSA_2048_COST: Final = 20
_AROUND_COST: Final = 20  # microseconds of what surrounds a verification
_NAME_BYTES: Final = 2  # of names that are compared and told, in a microsecond


def check_key(certificate: ParsedCertificate) -> None:
    """Whether the certificate's key is RSA of 2048 to 8192 bits, on P-256, P-384 or P-521, or Ed25519.

    Raises `CertificateRefusedError`.
    """
    key = certificate.public_key
    match key:
        case rsa.RSAPublicKey():
            exponent = key.public_numbers().e
            strong = _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS and 3 <= exponent <= _MAX_RSA_EXPONENT and exponent % 2 == 1
        case ec.EllipticCurvePublicKey():
            strong = key.curve.name in _CURVE_COSTS
        case _:
            strong = isinstance(key, ed25519.Ed25519PublicKey)
    if not strong:
        raise CertificateRefusedError("certificate_key_weak", received=certificate.key_text())


def check_algorithm(certificate: ParsedCertificate) -> None:
    """Whether it is signed over SHA-256, SHA-384 or SHA-512, or by Ed25519. Raises `CertificateRefusedError`."""
    try:
        algorithm = certificate.x509.signature_hash_algorithm
        _ = certificate.x509.signature_algorithm_parameters
    except UNREADABLE as error:
        raise CertificateRefusedError("certificate_algorithm_refused") from error
    if algorithm is not None and algorithm.name not in _HASHES:  # None: Ed25519 and Ed448 hash by themselves
        raise CertificateRefusedError("certificate_algorithm_refused", expected=sorted(_HASHES), received=algorithm.name)


def verification_cost(issuer: ParsedCertificate) -> int:
    """About how many microseconds one signature by this issuer takes to verify. Of a key that passes `check_key`."""
    match issuer.public_key:
        case rsa.RSAPublicKey() as key:  # squarings, quadratic in the size
            squarings = max(1, key.public_numbers().e.bit_length() // 17)
            return _RSA_2048_COST * squarings * key.key_size**2 // 2048**2
        case ec.EllipticCurvePublicKey() as key:
            return _CURVE_COSTS[key.curve.name]
        case _:
            return _ED25519_COST


def check_signed(certificate: ParsedCertificate, issuer: ParsedCertificate, work: Work) -> None:
    """As `check_algorithm`, `check_key` of the issuer and `check_signature` say. Raises `CertificateRefusedError`."""
    check_algorithm(certificate)
    if not issuer.may_issue:
        check_key(issuer)  # before it is worked with: a key may be made to cost
    if certificate.head.issuer != issuer.outline.subject:
        work.spend(len(certificate.head.issuer) // _NAME_BYTES)
    pair = (issuer.fingerprint, certificate.fingerprint)
    if pair not in work.signatures:
        work.spend(_AROUND_COST + verification_cost(issuer))
        try:
            check_signature(certificate, issuer)
        except CertificateRefusedError as error:
            if error.reason == "certificate_signature_invalid":
                work.signatures[pair] = error.reason
            raise
        work.signatures[pair] = None
    elif work.signatures[pair] is not None:
        raise _signature_invalid(issuer)


def check_signature(certificate: ParsedCertificate, issuer: ParsedCertificate) -> None:
    """Whether the issuer's name and key are those that the certificate was signed under (RFC 5280, 6.1.3 (a) (1) and (4)).

    The library's own `verify_directly_issued_by` compares names by their bytes, and reads the issuer's key each time anew.
    Raises `CertificateRefusedError`.
    """
    head = certificate.head
    # The same bytes are the same name: most often, and quickly told.
    if head.issuer != issuer.outline.subject and certificate.issuer != issuer.subject:
        raise CertificateRefusedError(
            "certificate_wrong_issuer", expected=issuer.subject_text(), received=certificate.issuer_text()
        )
    if head.signature_algorithm != head.outer_algorithm:  # RFC 5280, 4.1.1.2
        raise CertificateRefusedError(
            "certificate_algorithm_refused", expected="the same algorithm within and without what is signed"
        )
    signed, signature = certificate.x509.tbs_certificate_bytes, certificate.x509.signature
    try:
        digest, parameters = certificate.x509.signature_hash_algorithm, certificate.x509.signature_algorithm_parameters
        match issuer.public_key, parameters:
            case rsa.RSAPublicKey() as key, padding.PKCS1v15() | padding.PSS() if digest is not None:
                key.verify(signature, signed, parameters, digest)
            case ec.EllipticCurvePublicKey() as key, ec.ECDSA():
                key.verify(signature, signed, parameters)
            case ed25519.Ed25519PublicKey() as key, None:
                key.verify(signature, signed)
            case _:  # an algorithm that the issuer's key does not have
                raise _signature_invalid(issuer)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _signature_invalid(issuer) from error


def _signature_invalid(issuer: ParsedCertificate) -> CertificateRefusedError:
    return CertificateRefusedError(
        "certificate_signature_invalid", expected=issuer.subject_text(), received="a signature by another key"
    )

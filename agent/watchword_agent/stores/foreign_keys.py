"""Possession signatures by keys that this process does not hold: the scheme that a certificate has, and whether one is true."""

from collections.abc import Collection

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from watchword import possession
from watchword_agent.stores.base import Possession

_SMALLEST_RSA_BITS = 1024


def scheme_for(der: bytes, offered: Collection[str], *, allow_pkcs1: bool) -> str | None:
    """The scheme of a certificate's key, by its kind, of those that its store offers; None where there is none.

    RSA PKCS #1 v1.5 only where the store has no PSS and the check allows it.
    """
    return next((scheme for scheme in _schemes(_public_key(der), allow_pkcs1=allow_pkcs1) if scheme in offered), None)


def modulus(der: bytes) -> int | None:
    """That of a certificate's RSA key; None for another kind."""
    key = _public_key(der)
    return key.public_numbers().n if isinstance(key, rsa.RSAPublicKey) else None


def is_true(proof: Possession, statement: bytes, der: bytes) -> bool:
    """Whether the certificate's own key signed the statement."""
    key, sha256, sha384 = _public_key(der), hashes.SHA256(), hashes.SHA384()
    try:
        match key, proof.scheme:
            case rsa.RSAPublicKey(), possession.RSA_PSS_SHA256:
                key.verify(proof.signature, statement, padding.PSS(padding.MGF1(sha256), 32), sha256)
            case rsa.RSAPublicKey(), possession.RSA_PKCS1_SHA256:
                key.verify(proof.signature, statement, padding.PKCS1v15(), sha256)
            case ec.EllipticCurvePublicKey(curve=ec.SECP256R1()), possession.ECDSA_P256_SHA256:
                key.verify(proof.signature, statement, ec.ECDSA(sha256))
            case ec.EllipticCurvePublicKey(curve=ec.SECP384R1()), possession.ECDSA_P384_SHA384:
                key.verify(proof.signature, statement, ec.ECDSA(sha384))
            case ed25519.Ed25519PublicKey(), possession.ED25519:
                key.verify(proof.signature, statement)
            case _:
                return False
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        return False
    return True


def _schemes(key: object, *, allow_pkcs1: bool) -> tuple[str, ...]:
    match key:
        case rsa.RSAPublicKey() if key.key_size >= _SMALLEST_RSA_BITS:
            return (possession.RSA_PSS_SHA256, possession.RSA_PKCS1_SHA256) if allow_pkcs1 else (possession.RSA_PSS_SHA256,)
        case ec.EllipticCurvePublicKey(curve=ec.SECP256R1()):
            return (possession.ECDSA_P256_SHA256,)
        case ec.EllipticCurvePublicKey(curve=ec.SECP384R1()):
            return (possession.ECDSA_P384_SHA384,)
        case ed25519.Ed25519PublicKey():
            return (possession.ED25519,)
    return ()


def _public_key(der: bytes) -> object:
    try:
        return x509.load_der_x509_certificate(der).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
        return None

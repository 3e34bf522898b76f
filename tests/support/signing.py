"""Signatures as an honest agent makes them, and as far as a key allows also others."""

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from support.pki import Credential, PrivateKey
from watchword import possession


def public_key_der(key: PrivateKey) -> bytes:
    """A DER SubjectPublicKeyInfo."""
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_belongs(credential: Credential) -> bool:
    """Whether the key is the certificate's own."""
    return credential.certificate.public_key() == credential.key.public_key()


def sign_envelope(key: PrivateKey, message: bytes) -> bytes:
    """A device key's signature: ECDSA in DER, or Ed25519. Keys that no device may have sign as they do by default."""
    match key:
        case rsa.RSAPrivateKey():
            return key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        case ec.EllipticCurvePrivateKey():
            return key.sign(message, ec.ECDSA(hashes.SHA256()))
        case _:
            return key.sign(message)


def possession_scheme(key: PrivateKey) -> str | None:
    """The scheme in which an honest agent proves possession of this key; None: it cannot."""
    match key:
        case rsa.RSAPrivateKey():
            return possession.RSA_PSS_SHA256
        case ec.EllipticCurvePrivateKey():
            return {"secp256r1": possession.ECDSA_P256_SHA256, "secp384r1": possession.ECDSA_P384_SHA384}.get(key.curve.name)
        case ed25519.Ed25519PrivateKey():
            return possession.ED25519
        case _:
            return None


def sign_possession(key: PrivateKey, scheme: str, statement: bytes) -> bytes:
    """A proof of possession. A scheme that is not the key's signs as the key does by default."""
    match key:
        case rsa.RSAPrivateKey() if scheme == possession.RSA_PKCS1_SHA256:
            return key.sign(statement, padding.PKCS1v15(), hashes.SHA256())
        case rsa.RSAPrivateKey():
            return key.sign(statement, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
        case ec.EllipticCurvePrivateKey():
            return key.sign(statement, ec.ECDSA(hashes.SHA384() if key.curve.name == "secp384r1" else hashes.SHA256()))
        case _:
            return key.sign(statement)

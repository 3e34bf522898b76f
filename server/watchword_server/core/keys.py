"""Signatures: device keys and possession of certificate keys. The algorithm always follows from the key, never from a message."""

from functools import lru_cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from watchword import possession
from watchword.envelope import key_id, pre_authentication_encoding
from watchword_server.core.model.devices import DeviceKey, KeyAlgorithm
from watchword_server.core.model.evidence import Envelope

# Ed25519 points of small order, encodings with the sign bit cleared: under these a signature needs no private key.
# Source: the list of RFC 7748 section 6.1 small-order points mapped to Edwards form; see also "Taming the many EdDSAs".
_SMALL_ORDER = frozenset(
    bytes.fromhex(encoding)
    for encoding in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)
_MAX_SIGNATURE_LENGTH = 1024  # RSA-8192
_SHA256 = hashes.SHA256()
_ECDSA_SHA256 = ec.ECDSA(_SHA256)
_ECDSA_SHA384 = ec.ECDSA(hashes.SHA384())
# A salt of exactly 32: the library's "any length" would accept signatures nobody meant for us.
_PSS = padding.PSS(padding.MGF1(_SHA256), 32)
_PKCS1 = padding.PKCS1v15()
# Reading a key costs a third of checking a signature with it.
_public_key = lru_cache(maxsize=16_384)(load_der_public_key)


class KeyRefusedError(ValueError):
    """A public key that cannot be a device key."""


def load_device_key(public_key_der: bytes) -> DeviceKey:
    """A device key from its DER SubjectPublicKeyInfo: P-256, or Ed25519 not of small order.

    Raises `KeyRefusedError`, also for an encoding that is not the canonical one.
    """
    try:
        key = load_der_public_key(public_key_der)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyRefusedError("not a DER public key") from error
    if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != public_key_der:
        raise KeyRefusedError("not the canonical encoding")
    if isinstance(key, ed25519.Ed25519PublicKey):
        raw = bytearray(key.public_bytes_raw())
        raw[31] &= 0x7F
        if bytes(raw) in _SMALL_ORDER:
            raise KeyRefusedError("an Ed25519 point of small order")
        algorithm = KeyAlgorithm.ED25519
    elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        algorithm = KeyAlgorithm.ECDSA_P256_SHA256
    else:
        raise KeyRefusedError("neither P-256 nor Ed25519")
    return DeviceKey(key_id=key_id(public_key_der), public_key_der=public_key_der, algorithm=algorithm)


def envelope_is_signed_by(key: DeviceKey, envelope: Envelope, *, payload_type: str) -> bool:
    """Whether `key` signed exactly these bytes as a message of `payload_type`. The envelope's own key id is not consulted."""
    return _signed(key, envelope, envelope.signature, payload_type)


def envelope_is_signed_by_new(key: DeviceKey, envelope: Envelope, *, payload_type: str) -> bool:
    """As `envelope_is_signed_by`, for the second signature: that of the key which is to be the device's."""
    return envelope.new_key_signature is not None and _signed(key, envelope, envelope.new_key_signature, payload_type)


def _signed(key: DeviceKey, envelope: Envelope, signature: bytes, payload_type: str) -> bool:
    if envelope.payload_type != payload_type:
        return False
    message = pre_authentication_encoding(payload_type, envelope.payload)
    public_key = _public_key(key.public_key_der)
    try:
        match key.algorithm, public_key:
            case KeyAlgorithm.ED25519, ed25519.Ed25519PublicKey():
                public_key.verify(signature, message)
            case KeyAlgorithm.ECDSA_P256_SHA256, ec.EllipticCurvePublicKey():
                public_key.verify(signature, message, _ECDSA_SHA256)
            case _:
                return False
    except InvalidSignature:
        return False
    return True


def possession_scheme(key: CertificatePublicKeyTypes, *, claimed: str, allow_pkcs1: bool) -> str | None:
    """The scheme a certificate's key has to prove itself with; None: a kind of key that is not supported.

    The claim decides only between the two RSA paddings, and only where the check allows the older one.
    """
    if isinstance(key, rsa.RSAPublicKey):
        legacy = allow_pkcs1 and claimed == possession.RSA_PKCS1_SHA256
        return possession.RSA_PKCS1_SHA256 if legacy else possession.RSA_PSS_SHA256
    if isinstance(key, ec.EllipticCurvePublicKey):
        return {"secp256r1": possession.ECDSA_P256_SHA256, "secp384r1": possession.ECDSA_P384_SHA384}.get(key.curve.name)
    if isinstance(key, ed25519.Ed25519PublicKey):
        return possession.ED25519
    return None


def proves_possession(key: CertificatePublicKeyTypes, *, scheme: str, statement: bytes, signature: bytes) -> bool:
    """Whether `signature` is the key's over `statement` in `scheme` (one of `possession_scheme`). ECDSA in DER only."""
    if len(signature) > _MAX_SIGNATURE_LENGTH:
        return False
    try:
        match scheme, key:
            case possession.RSA_PSS_SHA256, rsa.RSAPublicKey():
                key.verify(signature, statement, _PSS, _SHA256)
            case possession.RSA_PKCS1_SHA256, rsa.RSAPublicKey():
                key.verify(signature, statement, _PKCS1, _SHA256)
            case possession.ECDSA_P256_SHA256, ec.EllipticCurvePublicKey():
                key.verify(signature, statement, _ECDSA_SHA256)
            case possession.ECDSA_P384_SHA384, ec.EllipticCurvePublicKey():
                key.verify(signature, statement, _ECDSA_SHA384)
            case possession.ED25519, ed25519.Ed25519PublicKey():
                key.verify(signature, statement)
            case _:
                return False
    except InvalidSignature:
        return False
    return True

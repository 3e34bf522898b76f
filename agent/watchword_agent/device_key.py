"""The device's own key: what it enrolls with and signs every envelope with. Where it lies is `key_files.py`'s."""

from abc import ABC, abstractmethod
from typing import Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from watchword.envelope import key_id, pre_authentication_encoding
from watchword.v1 import posture_pb2 as pb


class DeviceKey(ABC):
    """A P-256 or Ed25519 key. Signs envelopes and nothing else.

    `protection` is what the server is told of where it lies. To make one from its PEM touches no hardware; to sign may.
    """

    protection: pb.KeyProtection

    def __init__(self, public_key_der: bytes) -> None:
        self.public_key_der = public_key_der
        self.key_id = key_id(public_key_der)

    def sign(self, payload_type: str, payload: bytes) -> pb.SignedEnvelope:
        """An envelope around exactly these bytes: ECDSA with SHA-256 in DER, or Ed25519. May take a second in hardware.

        Raises `DeviceKeyError` where the hardware does not sign.
        """
        signature = self._signature(pre_authentication_encoding(payload_type, payload))
        return pb.SignedEnvelope(
            payload=payload, payload_type=payload_type, signatures=[pb.Signature(keyid=self.key_id, sig=signature)]
        )

    def discard(self) -> None:  # noqa: B027 -- most keys are gone with their file
        """Its file is about to go. A key that a store of the system keeps beside the file is removed there; never raises."""

    @abstractmethod
    def _signature(self, message: bytes) -> bytes: ...


class FileKey(DeviceKey):
    """A private key that lies in its file as it is: unencrypted PKCS #8."""

    protection = pb.KEY_PROTECTION_FILE

    def __init__(self, private_key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> None:
        super().__init__(private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        self._private_key = private_key

    @staticmethod
    def new_pem() -> bytes:
        """A new P-256 key."""
        return ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """The key in the file. Raises `ValueError` that says what it is instead."""
        try:
            private_key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ValueError("not an unencrypted PEM private key") from error
        if isinstance(private_key, ed25519.Ed25519PrivateKey):
            return cls(private_key)
        if isinstance(private_key, ec.EllipticCurvePrivateKey) and isinstance(private_key.curve, ec.SECP256R1):
            return cls(private_key)
        raise ValueError("neither P-256 nor Ed25519")

    def _signature(self, message: bytes) -> bytes:
        if isinstance(self._private_key, ec.EllipticCurvePrivateKey):
            return self._private_key.sign(message, ec.ECDSA(hashes.SHA256()))
        return self._private_key.sign(message)

"""The device's own key: what it enrolls with and signs every envelope with. In a file; a TPM or Secure Enclave later."""

import contextlib
import os
import stat
import sys
from pathlib import Path
from typing import Final

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
from watchword_agent.errors import DeviceKeyError
from watchword_agent.state import write_atomically

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_MAX_LENGTH: Final = 16 * 1024


class DeviceKey:
    """A P-256 or Ed25519 private key. Signs envelopes and nothing else."""

    def __init__(self, private_key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> None:
        self._private_key = private_key
        self.public_key_der = private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.key_id = key_id(self.public_key_der)

    def sign(self, payload_type: str, payload: bytes) -> pb.SignedEnvelope:
        """An envelope around exactly these bytes: ECDSA with SHA-256 in DER, or Ed25519."""
        message = pre_authentication_encoding(payload_type, payload)
        if isinstance(self._private_key, ec.EllipticCurvePrivateKey):
            signature = self._private_key.sign(message, ec.ECDSA(hashes.SHA256()))
        else:
            signature = self._private_key.sign(message)
        return pb.SignedEnvelope(
            payload=payload, payload_type=payload_type, signatures=[pb.Signature(keyid=self.key_id, sig=signature)]
        )


def load_or_create(path: Path) -> DeviceKey:
    """The key in the file, or a new P-256 key in a new file of mode 0600. Raises `DeviceKeyError`, `StateDirectoryError`."""
    try:
        return load(path)
    except FileNotFoundError:
        pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with contextlib.suppress(FileExistsError):  # another process was faster: its key is the key
        write_atomically(path, pem, exclusive=True)
    return load(path)


def load(path: Path) -> DeviceKey:
    """The key in the file. Raises `DeviceKeyError` unless the file is ours alone; `FileNotFoundError`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DeviceKeyError(f"cannot read the device key `{path}`: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        _refuse_exposed(path, os.fstat(file.fileno()))
        pem = file.read(_MAX_LENGTH)
    try:
        private_key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise DeviceKeyError(f"`{path}` is not an unencrypted PEM private key; remove it and enroll anew") from error
    if isinstance(private_key, ed25519.Ed25519PrivateKey):
        return DeviceKey(private_key)
    if isinstance(private_key, ec.EllipticCurvePrivateKey) and isinstance(private_key.curve, ec.SECP256R1):
        return DeviceKey(private_key)
    raise DeviceKeyError(f"the key in `{path}` is neither P-256 nor Ed25519; remove it and enroll anew")


def _refuse_exposed(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise DeviceKeyError(f"`{path}` is not a regular file")
    if sys.platform == "win32":
        return  # modes say nothing there; the state directory's access list does
    if found.st_mode & _OTHERS or found.st_uid != os.geteuid():
        raise DeviceKeyError(
            f"others may have read the device key `{path}` (mode {stat.S_IMODE(found.st_mode):04o}, owner {found.st_uid}): "
            f"remove `{path.parent}` and enroll anew, or `chmod 0600` it if you know that nobody did"
        )

"""Private keys at rest: AES-256-GCM (NIST SP 800-38D) under a key of the operator's, which is not in the store.

The key file has one key a line, as 64 hexadecimal digits. The first encrypts, all decrypt: a new key is written above the old.
"""

import base64
import binascii
import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from watchword_server.errors import ConfigurationError, Problem

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_MAX_KEYS: Final = 16
_FORM: Final = "v1"


@dataclass(frozen=True, slots=True)
class KeyEncryption:
    """Key-encryption keys, the one that encrypts first, by their ids."""

    keys: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The keys of a file that nobody but its owner reads. Raises `ConfigurationError`."""
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                lines = file.read(_MAX_KEYS * 80 + 1).split()
        except OSError as error:
            raise _refused(f"`{path}` cannot be read: {error.strerror}") from error
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise _refused(f"`{path}` may be read by others: `chmod 600 {path}`")
        keys: dict[str, bytes] = {}
        for number, line in enumerate(lines, start=1):
            try:
                key = binascii.unhexlify(line)
            except binascii.Error:
                key = b""
            if len(key) != _KEY_BYTES:
                raise _refused(
                    f"`{path}` line {number} is no key: write 64 hexadecimal digits, as `openssl rand -hex 32` makes them"
                )
            keys[hashlib.sha256(b"watchword key id" + key).hexdigest()[:16]] = key
        if not 1 <= len(keys) <= _MAX_KEYS:
            raise _refused(f"`{path}` has {len(keys)} keys: write one a line, at most {_MAX_KEYS}")
        return cls(keys)

    def seal(self, secret: bytes, associated: bytes) -> str:
        """Encrypts under the first key; what is `associated` has to be given again."""
        key_id, key = next(iter(self.keys.items()))
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + AESGCM(key).encrypt(nonce, secret, associated)
        return f"{_FORM}.{key_id}.{base64.b64encode(sealed).decode()}"

    def unseal(self, sealed: str, associated: bytes) -> bytes:
        """What `seal` was given. Raises `ValueError`: another key, or other bytes."""
        form, key_id, text = [*sealed.split(".", 2), "", ""][:3]
        key = self.keys.get(key_id)
        if form != _FORM or key is None:
            raise ValueError(f"it was encrypted under the key `{key_id}`, which is not in the key file")
        data = base64.b64decode(text, validate=True)
        try:
            return AESGCM(key).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], associated)
        except InvalidTag as error:
            raise ValueError("it is not what was encrypted, or belongs to another certificate") from error


def _refused(message: str) -> ConfigurationError:
    return ConfigurationError([Problem(("operators", "key_encryption_key_file"), message)])

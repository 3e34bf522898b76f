"""The bytes a device signs and the server verifies: DSSE v1 pre-authentication encoding, payload types, key ids.

Standard library only; signing and verifying live where the keys live. Source: DSSE specification v1.0.2.
"""

import base64
import hashlib
import re
from typing import Final

ENROLL_TYPE: Final = "application/vnd.watchword.enroll.v1+protobuf"
EVIDENCE_TYPE: Final = "application/vnd.watchword.evidence.v1+protobuf"
GOODBYE_TYPE: Final = "application/vnd.watchword.goodbye.v1+protobuf"
TOKEN_TYPE: Final = "application/vnd.watchword.token.v1+protobuf"  # noqa: S105 - a name of a type
KEY_ROTATE_TYPE: Final = "application/vnd.watchword.keyrotate.v1+protobuf"

_PAYLOAD_TYPE = re.compile(r"[a-z0-9./+;=-]{1,128}")


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """The exact bytes under a signature: `DSSEv1 SP LEN(type) SP type SP LEN(payload) SP payload`.

    Lengths are byte lengths in ASCII decimal. Types are restricted to a lower-case ASCII alphabet, so that character and byte
    lengths agree in every implementation.

    Raises `ValueError` for a payload type outside that alphabet.
    """
    if not _PAYLOAD_TYPE.fullmatch(payload_type):
        raise ValueError("payload type outside `[a-z0-9./+;=-]{1,128}`")
    encoded_type = payload_type.encode("ascii")
    return b"DSSEv1 %d %b %d %b" % (len(encoded_type), encoded_type, len(payload), payload)


def key_id(public_key_der: bytes) -> str:
    """base64url without padding of SHA-256 over a DER SubjectPublicKeyInfo: 43 characters. A lookup hint, never a decision."""
    return base64.urlsafe_b64encode(hashlib.sha256(public_key_der).digest()).rstrip(b"=").decode("ascii")

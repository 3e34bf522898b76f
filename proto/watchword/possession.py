"""Proof of possession: the statement that a client certificate's own key signs.

The agent builds the statement itself from typed fields; it never signs bytes a server chose, so that a hostile server cannot
use a device as an oracle for TLS CertificateVerify, CMS or token signatures. The bytes are frozen by
`tests/vectors/possession.json`. Standard library only: helper processes of the agent import this file alone.
"""

import hashlib
from typing import Final

CONTEXT: Final = b"Watchword client certificate possession v1\x00"
NONCE_LENGTH: Final = 32

RSA_PSS_SHA256: Final = "rsa-pss-sha256-32"  # salt of 32 bytes
RSA_PKCS1_SHA256: Final = "rsa-pkcs1-sha256"  # where a legacy store offers no PSS and the check allows it
ECDSA_P256_SHA256: Final = "ecdsa-p256-sha256"  # DER on the wire
ECDSA_P384_SHA384: Final = "ecdsa-p384-sha384"  # DER on the wire
ED25519: Final = "ed25519"


def statement(*, nonce: bytes, audience: str, device_id: str, session_id: bytes, check_id: str, certificate_der: bytes) -> bytes:
    """The bytes to sign: 64 spaces and a context as in TLS 1.3 (RFC 8446, 4.4.3), then each field after its 2-byte length.

    `nonce` is the server's challenge (32 bytes). Big-endian lengths; text is UTF-8; the certificate enters as the SHA-256 of
    its DER encoding.

    Raises `ValueError` for a nonce of another length, an empty field, or a field over 65,535 bytes.
    """
    if len(nonce) != NONCE_LENGTH:
        raise ValueError(f"a nonce has {NONCE_LENGTH} bytes, not {len(nonce)}")
    fields = (
        nonce,
        audience.encode(),
        device_id.encode(),
        session_id,
        check_id.encode(),
        hashlib.sha256(certificate_der).digest(),
    )
    if not all(0 < len(field) <= 0xFFFF for field in fields):
        raise ValueError("a field of the possession statement is empty or over 65,535 bytes")
    return b"\x20" * 64 + CONTEXT + b"".join(len(field).to_bytes(2, "big") + field for field in fields)

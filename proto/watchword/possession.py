"""Proof of possession: the statement that a client certificate's own key signs.

The agent builds the statement itself from typed fields; it never signs bytes a server chose, so that a hostile server cannot
use a device as an oracle for TLS CertificateVerify, CMS or token signatures. The bytes are frozen by
`tests/vectors/possession.json`. Standard library only: helper processes of the agent import this file alone.
"""

import hashlib
from typing import Final

CONTEXT: Final = b"Watchword client certificate possession v1\x00"
NONCE_LENGTH: Final = 32

_BEGINNING: Final = b"\x20" * 64 + CONTEXT

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
    parts = [_BEGINNING]
    for field in fields:
        if not 0 < len(field) <= 0xFFFF:
            raise ValueError("a field of the possession statement is empty or over 65,535 bytes")
        parts += (len(field).to_bytes(2, "big"), field)
    return b"".join(parts)


def is_statement(message: bytes) -> bool:
    """Whether a message begins as every statement does: what else a key may sign, for TLS or tokens, does not."""
    return message.startswith(_BEGINNING)


def ecdsa_der(raw: bytes, size: int) -> bytes:
    """The DER form of an ECDSA signature that a key store gave as its two numbers side by side, each of `size` bytes.

    Big-endian, as PKCS #11, CNG and JOSE have it. Raises `ValueError` for another length.
    """
    if len(raw) != 2 * size:
        raise ValueError(f"a raw signature has {2 * size} bytes, not {len(raw)}")
    numbers = b"".join(_der_integer(raw[start : start + size]) for start in (0, size))
    length = len(numbers)
    # At most 139 bytes, on P-521: one byte of length, or a byte that says so and one.
    return (b"\x30" + bytes([length]) if length < 0x80 else b"\x30\x81" + bytes([length])) + numbers


def _der_integer(big_endian: bytes) -> bytes:
    number = big_endian.lstrip(b"\x00") or b"\x00"
    if number[0] >= 0x80:  # it would read as negative
        number = b"\x00" + number
    return b"\x02" + bytes([len(number)]) + number

"""Names in certificates as text, and whether two are the same name."""

import functools
from typing import Final

from cryptography import x509

_NAME_CACHE: Final = 1024
# A revocation list that lists nothing, around its issuer's name (RFC 5280, 5.1): the library reads no name by itself.
_BEFORE: Final = bytes.fromhex("300a06082a8648ce3d040302")  # signed by ECDSA with SHA-256, it says
_AFTER: Final = b"\x17\x0d700101000000Z"  # thisUpdate
_SIGNATURE: Final = bytes.fromhex("03020000")


def name_text(der: bytes) -> str:
    """A DER Name as RFC 4514 writes it; hexadecimal for what is no name."""
    name = _read(der)
    return der.hex() if name is None else name.rfc4514_string()


def same_name(der: bytes, other: bytes) -> bool:
    """Whether two DER Names are the same but for types of strings, case and spaces, about as RFC 5280, 7.1 compares them."""
    if der == other:
        return True
    name, wanted = _read(der), _read(other)
    return name is not None and wanted is not None and _comparable(name) == _comparable(wanted)


@functools.lru_cache(_NAME_CACHE)
def _read(der: bytes) -> x509.Name | None:
    to_be_signed = _sequence(_BEFORE + der + _AFTER)
    try:
        return x509.load_der_x509_crl(_sequence(to_be_signed + _BEFORE + _SIGNATURE)).issuer
    except (ValueError, TypeError):
        return None


def _comparable(name: x509.Name) -> list[list[tuple[str, str]]]:
    return [
        sorted((each.oid.dotted_string, " ".join(str(each.value).casefold().split())) for each in relative)
        for relative in name.rdns
    ]


def _sequence(content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return b"\x30" + bytes([length]) + content
    encoded = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return b"\x30" + bytes([0x80 | len(encoded)]) + encoded + content

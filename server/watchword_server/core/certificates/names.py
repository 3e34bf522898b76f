"""Distinguished names as RFC 5280, 7.1 compares them: without regard to string type, letter case and insignificant space.

Every value of a string type is compared this way, `domainComponent` and `emailAddress` included; others by their bytes.
"""

import string
import unicodedata
from typing import Final, NewType

from cryptography import x509

CanonicalName = NewType("CanonicalName", bytes)

_LOWER: Final = {ord(letter): letter.lower() for letter in string.ascii_uppercase}

# RFC 4518, 2.2: what separates words becomes a space, what nobody sees goes.
_SPACES: Final = "\t\n\x0b\x0c\r\x85"
_INVISIBLE: Final = "\u00ad\u034f\u1806\u180b\u180c\u180d\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\ufffc"
_MAPPED: Final[dict[int, str | None]] = {
    **dict.fromkeys((*range(0x20), *range(0x7F, 0xA0))),
    **{ord(character): " " for character in _SPACES},
    **{ord(character): None for character in _INVISIBLE},
    **dict.fromkeys((*range(0x202A, 0x202F), *range(0x2061, 0x2070), *range(0xFE00, 0xFE10))),
}


def lower_case(text: str) -> str:
    """A text as checks and rules compare it: ASCII letters in lower case, all else as it is.

    `str.casefold` and `str.lower` take letters for others that a CA may tell apart: the long s for `s`, the Kelvin sign for `k`.
    """
    return text.translate(_LOWER)


def canonical_name(name: x509.Name) -> CanonicalName:
    """Equal for names that match, different for names that do not."""
    return CanonicalName(b"".join(canonical_rdns(name)))


def canonical_rdns(name: x509.Name) -> tuple[bytes, ...]:
    """The relative names in order, each equal for those that match. A name is within a subtree that this starts with."""
    return tuple(_framed(b"".join(sorted(map(_attribute, rdn)))) for rdn in name.rdns)


def folded(text: str) -> str:
    """A text as LDAP's `caseIgnoreMatch` prepares it (RFC 4518)."""
    if not (text.isascii() and text.isprintable()):
        text = text.translate(_MAPPED)
        # Folding may bring forth what composes, and composing what folds: then it takes both twice.
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text.casefold()).casefold())
    return " ".join(text.casefold().split())


def _attribute(attribute: "x509.NameAttribute[str | bytes]") -> bytes:
    value = attribute.value
    encoded = b"b" + value if isinstance(value, bytes) else b"s" + folded(value).encode("utf-8", "surrogatepass")
    return _framed(attribute.oid.dotted_string.encode()) + _framed(encoded)


def _framed(part: bytes) -> bytes:
    return len(part).to_bytes(4, "big") + part

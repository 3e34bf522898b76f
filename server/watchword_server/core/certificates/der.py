"""Where the parts of a certificate lie in its DER encoding: for the few questions that the library does not answer.

The library has parsed the outside before anything here looks; what is wrong inside raises `ValueError`.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

_VERSION: Final = 0xA0
_EXTENSIONS: Final = 0xA3
_MAX_EXTENSIONS: Final = 64


class Element(NamedTuple):
    """A tag, and where its encoding and its content begin; both end at `end`."""

    tag: int
    start: int
    content: int
    end: int


class Outline(NamedTuple):
    """What a certificate holds, still encoded (RFC 5280, 4.1). `extensions`: the values by object identifier."""

    signature_algorithm: bytes  # inside what is signed
    outer_algorithm: bytes  # beside the signature
    issuer: bytes
    subject: bytes
    extensions: dict[bytes, bytes]


class Head(NamedTuple):
    """What stands first in a certificate, still encoded: all that a signature's check wants, read without the rest."""

    signature_algorithm: bytes  # inside what is signed
    outer_algorithm: bytes  # beside the signature
    issuer: bytes
    subject: bytes


def elements(der: bytes, start: int, end: int) -> Iterator[Element]:
    """The elements one after the other from `start` to `end`. Raises `ValueError`."""
    while start < end:
        element = _element(der, start, end)
        yield element
        start = element.end


def children(der: bytes, parent: Element) -> Iterator[Element]:
    """What an element is made of. Raises `ValueError`."""
    return elements(der, parent.content, parent.end)


def head(der: bytes) -> Head:
    """Raises `ValueError`."""
    certificate = _element(der, 0, len(der))
    signed = _element(der, certificate.content, certificate.end)
    outer = _element(der, signed.end, certificate.end)
    signature = _element(der, outer.end, certificate.end)
    if signature.content == signature.end or der[signature.content] != 0:  # else one certificate has many encodings
        raise ValueError("a signature that is not of whole bytes")
    part = _element(der, signed.content, signed.end)
    if part.tag == _VERSION:
        part = _element(der, part.end, signed.end)
    algorithm = _element(der, part.end, signed.end)  # after the serial number
    issuer = _element(der, algorithm.end, signed.end)
    subject = _element(der, _element(der, issuer.end, signed.end).end, signed.end)  # after the validity
    return Head(
        der[algorithm.start : algorithm.end],
        der[outer.start : outer.end],
        der[issuer.start : issuer.end],
        der[subject.start : subject.end],
    )


def has_more_attributes(name: bytes, limit: int) -> bool:
    """Whether a name has more relative names, or attributes in them, than that. Raises `ValueError`."""
    attributes = 0
    for place, rdn in enumerate(children(name, _element(name, 0, len(name))), 1):
        attributes += sum(1 for _ in children(name, rdn))
        if max(place, attributes) > limit:
            return True
    return False


def outline(der: bytes) -> Outline:
    """Raises `ValueError`."""
    signed, outer, *_ = children(der, _element(der, 0, len(der)))
    parts = list(children(der, signed))
    if parts[0].tag == _VERSION:
        del parts[0]
    _, algorithm, issuer, _, subject, *rest = parts
    extensions: dict[bytes, bytes] = {}
    for part in rest:
        if part.tag == _EXTENSIONS:
            for extension in children(der, next(children(der, part))):
                identifier, *_, value = children(der, extension)
                extensions[der[identifier.content : identifier.end]] = der[value.content : value.end]
                if len(extensions) > _MAX_EXTENSIONS:
                    raise ValueError("too many extensions")
    return Outline(
        signature_algorithm=der[algorithm.start : algorithm.end],
        outer_algorithm=der[outer.start : outer.end],
        issuer=der[issuer.start : issuer.end],
        subject=der[subject.start : subject.end],
        extensions=extensions,
    )


def _element(der: bytes, start: int, end: int) -> Element:
    if start + 2 > end:
        raise ValueError("an element is cut off")
    length, content = der[start + 1], start + 2
    if length >= 0x80:
        size = length & 0x7F
        content += size
        if not 1 <= size <= 4 or content > end:
            raise ValueError("the length of an element is out of bounds")
        length = int.from_bytes(der[start + 2 : content], "big")
    if content + length > end:
        raise ValueError("an element is longer than what holds it")
    return Element(der[start], start, content, content + length)

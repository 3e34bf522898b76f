"""Reads literals at a place in a text: how one is read depends on the type that is expected there.

Each function takes the text and a position and returns the value and the position behind it, or raises `ExpressionError`.
"""

import re
from ipaddress import AddressValueError, IPv6Address
from typing import Final

from watchword_server.errors import ExpressionError

_UNESCAPED: Final = re.compile(r'[^"\\]*')
_HEX_BYTE: Final = re.compile(r"[0-9A-Fa-f]{2}")
_OCTAL_BYTE: Final = re.compile(r"[0-3][0-7]{2}")
_BYTES: Final = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})+")
_HASHES: Final = re.compile(r"#*")
_PATTERN_CHUNK: Final = re.compile(r'[^"\\\[\]]+|\\.?|.', re.DOTALL)
_DIGITS: Final = re.compile(r"(-?)([0-9A-Fa-f]+)")
_ADDRESS: Final = re.compile(r"[0-9A-Fa-f:./]+")
_IPV4: Final = re.compile(r"(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})")
_PREFIX_LENGTH: Final = re.compile(r"[0-9]{1,3}")
_LIST_NAME: Final = re.compile(r"[a-z0-9_.]+")
_DASHED_LIST_NAME: Final = re.compile(r"[a-z0-9_.-]+")
_LIST_NAME_EXPECTED: Final = {
    False: "a list's name is expected: lower-case letters, digits, `_`, and dots inside",
    True: (
        "a list's name is expected: lower-case letters, digits, `_`, and dots and dashes inside; "
        "give the list another name if it has others, or write its id"
    ),
}
_MOST_HASHES: Final = 255
_INT64: Final = 1 << 63


def syntax_error(text: str, position: int, message: str, *, end: int | None = None) -> ExpressionError:
    """A syntax error at `position`, up to `end` or the end of the text."""
    length = (len(text) if end is None else end) - position
    return ExpressionError("syntax", message, text=text, position=position, length=length)


def read_bytes(text: str, position: int) -> tuple[bytes, int]:
    """A quoted string, a raw string, or bytes in hexadecimal."""
    match text[position : position + 1]:
        case '"' | "r":
            return read_string(text, position)
        case "":
            raise syntax_error(text, position, "a string is missing: write it in double quotes")
    found = _BYTES.match(text, position)
    if found is None:
        raise _bad_bytes(text, position)
    if text.startswith(":", found.end()):
        raise _bad_hexadecimal(text, found.end() + 1)
    return bytes.fromhex(found[0].replace(":", "")), found.end()


def read_string(text: str, position: int) -> tuple[bytes, int]:
    """A quoted or a raw string as bytes."""
    match text[position : position + 1]:
        case '"':
            return _read_quoted(text, position + 1)
        case "r":
            raw, end = read_raw(text, position)
            return raw.encode(), end
        case _:
            raise syntax_error(text, position, 'a string in double quotes is expected, "like this"')


def read_raw(text: str, position: int) -> tuple[str, int]:
    """`r"…"`, `r#"…"#`: nothing inside is special."""
    hashes = _HASHES.match(text, position + 1)
    assert hashes is not None  # noqa: S101 - it matches nothing too
    if len(hashes[0]) > _MOST_HASHES:
        raise syntax_error(text, position + 1, f"a raw string has at most {_MOST_HASHES} `#`")
    if not text.startswith('"', hashes.end()):
        raise syntax_error(text, hashes.end(), 'a string is expected: write "…", or r"…" for a raw one')
    end = text.find('"' + hashes[0], hashes.end() + 1)
    if end < 0:
        raise syntax_error(text, position + 1, f'the raw string does not end: add `"{hashes[0]}`')
    return text[hashes.end() + 1 : end], end + 1 + len(hashes[0])


def _read_quoted(text: str, start: int) -> tuple[bytes, int]:
    parts: list[bytes] = []
    position = start
    while True:
        chunk = _UNESCAPED.match(text, position)
        assert chunk is not None  # noqa: S101 - it matches nothing too
        parts.append(chunk[0].encode())
        position = chunk.end()
        stop = text[position : position + 2]
        if stop.startswith('"'):
            return b"".join(parts), position + 1
        if len(stop) < 2:
            raise syntax_error(text, start, 'the string does not end: add `"`')
        if stop in {'\\"', "\\\\"}:
            parts.append(stop[1:].encode())
            position += 2
        else:
            value, position = _read_escape(text, position + 1)
            parts.append(value)


def _read_escape(text: str, position: int) -> tuple[bytes, int]:
    letter = text[position]
    if letter == "x":
        position, digits, read, base = position + 1, 2, _HEX_BYTE, 16
    elif letter in "01234567":
        digits, read, base = 3, _OCTAL_BYTE, 8
    else:
        raise syntax_error(
            text, position, 'after `\\` write `"`, `\\`, `xHH` or three octal digits: a newline is `\\x0a`', end=position + 1
        )
    found = read.match(text, position)
    if found is None:
        kind = "two hexadecimal digits" if base == 16 else "three octal digits up to 377"
        raise syntax_error(text, position, f"the escape needs {kind}", end=min(position + digits, len(text)))
    return bytes((int(found[0], base),)), found.end()


def _bad_bytes(text: str, position: int) -> ExpressionError:
    if _HEX_BYTE.match(text, position) is None:
        return _bad_hexadecimal(text, position)
    if text.startswith(":", position + 2):
        return _bad_hexadecimal(text, position + 3)
    message = "a string needs double quotes, and bytes in hexadecimal are at least two, joined by `:`"
    return syntax_error(text, position + 2, message, end=min(position + 3, len(text)))


def _bad_hexadecimal(text: str, position: int) -> ExpressionError:
    rest = len(text) - position
    return syntax_error(
        text, position, 'a string is expected here: write it in double quotes, "like this"', end=position + min(rest, 2)
    )


def read_pattern(text: str, position: int) -> tuple[str, int, int]:
    r"""A regular expression: its text, where that starts, and the position behind.

    In quotes only `\"` is special, every other escape is the pattern's own; inside `[…]` a quote does not end it.
    """
    if text.startswith("r", position):
        raw, end = read_raw(text, position)
        return raw, text.index('"', position) + 1, end
    if not text.startswith('"', position):
        raise syntax_error(text, position, 'a regular expression in double quotes is expected, "like this"')
    start = position + 1
    parts: list[str] = []
    in_set = False
    for chunk in _PATTERN_CHUNK.finditer(text, start):
        piece = chunk[0]
        if piece == '"' and not in_set:
            return "".join(parts), start, chunk.end()
        if piece == "[":
            in_set = True
        elif piece == "]":
            in_set = False
        elif piece == '\\"' and not in_set:
            piece = '"'
        parts.append(piece)
    raise syntax_error(text, start, 'the regular expression does not end: add `"`; inside `[…]` a quote does not end it')


def read_int(text: str, position: int) -> tuple[int, int]:
    """Decimal, octal after a leading 0, hexadecimal after `0x`; 64 bits, signed."""
    if text.startswith("0x", position):
        found, base = _DIGITS.match(text, position + 2), 16
        if found is None or found[1]:
            raise syntax_error(text, position + 2, "hexadecimal digits are missing after `0x`")
    else:
        found, base = _DIGITS.match(text, position), 8 if text.startswith("0", position) else 10
        if found is None:
            raise syntax_error(text, position + text.startswith("-", position), "a number is expected, without quotes")
    try:
        number = int(found[0], base)
    except ValueError:
        shown = found[0] if len(found[0]) < 40 else "this"
        kind = "an octal number, because it starts with 0" if base == 8 else "a number"
        raise syntax_error(text, found.start(), f"`{shown}` is not {kind}", end=found.end()) from None
    if not -_INT64 <= number < _INT64:
        raise syntax_error(text, found.start(), "the number does not fit in 64 bits", end=found.end())
    return number, found.end()


def read_int_range(text: str, position: int) -> tuple[tuple[int, int], int]:
    """An item of a set of numbers: one, or `first..last`."""
    first, end = read_int(text, position)
    if not text.startswith("..", end):
        return (first, first), end
    last, end = read_int(text, end + 2)
    if last < first:
        raise syntax_error(text, position, "the range ends before it begins", end=end)
    return (first, last), end


def read_address(text: str, position: int) -> tuple[tuple[int, int], int]:
    """An address."""
    found = _ADDRESS.match(text, position)
    if found is None:
        raise syntax_error(text, position, "an address is expected, without quotes")
    if "/" in found[0]:
        raise syntax_error(text, position, f"one address is expected: write `in {{{found[0]}}}` for a network", end=found.end())
    return _address(text, position, found.end()), found.end()


def read_address_range(text: str, position: int) -> tuple[tuple[int, int, int], int]:
    """An item of a set of addresses: one, a network, or `first..last`."""
    found = _ADDRESS.match(text, position)
    if found is None:
        raise syntax_error(text, position, "an address, a network or `}` is expected; items are separated by blanks")
    end = found.end()
    dots = found[0].find("..")
    if dots >= 0:
        family, first = _address(text, position, position + dots)
        last_family, last = _address(text, position + dots + 2, end)
        if family != last_family:
            raise syntax_error(text, position, "the ends of a range must be of one family", end=end)
        if last < first:
            raise syntax_error(text, position, "the range ends before it begins", end=end)
        return (family, first, last), end
    slash = found[0].find("/")
    if slash < 0:
        family, first = _address(text, position, end)
        return (family, first, first), end
    family, first = _address(text, position, position + slash)
    bits = 32 if family == 4 else 128
    length = _PREFIX_LENGTH.fullmatch(text, position + slash + 1, end)
    if length is None or int(length[0]) > 255:
        raise syntax_error(text, position + slash + 1, f"a prefix length of 0 to {bits} is expected", end=end)
    host_bits = bits - int(length[0])
    if host_bits < 0:
        raise syntax_error(text, position, f"the prefix length is more than {bits}", end=end)
    last = first | ((1 << host_bits) - 1)
    if first & ((1 << host_bits) - 1):
        raise syntax_error(text, position, "the network has bits beyond its prefix length: they must be 0", end=position + slash)
    return (family, first, last), end


def _address(text: str, start: int, end: int) -> tuple[int, int]:
    found = _IPV4.fullmatch(text, start, end)
    if found is not None:
        a, b, c, d = map(int, found.groups())
        if max(a, b, c, d) < 256:
            return 4, a << 24 | b << 16 | c << 8 | d
    elif text.find(":", start, end) >= 0:
        try:
            return 6, int(IPv6Address(text[start:end]))
        except AddressValueError:
            pass
    shown = text[start:end] if end - start < 60 else "this"
    raise syntax_error(text, start, f"`{shown}` is not an address: write four numbers, as in 192.0.2.7, or IPv6", end=end)


def read_list_name(text: str, position: int, *, dashed: bool) -> tuple[str, int]:
    """The name of a list, without its `$`."""
    found = (_DASHED_LIST_NAME if dashed else _LIST_NAME).match(text, position)
    if found is None or found[0].startswith((".", "-")) or found[0].endswith((".", "-")):
        raise syntax_error(text, position, _LIST_NAME_EXPECTED[dashed])
    return found[0], found.end()

"""Reads what stands to the right of an operator, for the type of what stands to the left."""

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from watchword_server.core.language.literals import (
    read_address,
    read_address_range,
    read_bytes,
    read_int,
    read_int_range,
    read_list_name,
    read_pattern,
    read_string,
    syntax_error,
)
from watchword_server.core.language.regex import compile_regex
from watchword_server.core.language.scheme import Scheme
from watchword_server.core.language.syntax import ListName, Literal, Pattern, Right, SetItem, SetOf, WildcardPattern
from watchword_server.core.language.types import BYTES, INT, IP, Scalar
from watchword_server.core.language.wildcard import parse_wildcard

_BLANKS: Final = re.compile(r"[ \r\n]*")
_STRING_ITEM: Final = re.compile(r'[ \r\n]*("([^"\\]*)")')
_SIMPLE_STRING: Final = re.compile(r'"([^"\\]*)"')

_ORDER: Final = frozenset({"==", "!=", "<", "<=", ">", ">="})
SUPPORTED: Final[Mapping[Scalar, frozenset[str]]] = {
    INT: _ORDER | {"in", "&"},
    IP: _ORDER | {"in"},
    BYTES: _ORDER | {"in", "contains", "matches", "wildcard", "strict wildcard"},
}

_Literal: TypeAlias = tuple[bytes | int | tuple[int, int], int]
_Item: TypeAlias = tuple[bytes | tuple[int, int] | tuple[int, int, int], int]
_LITERALS: Final[Mapping[Scalar, Callable[[str, int], _Literal]]] = {BYTES: read_bytes, INT: read_int, IP: read_address}
_ITEMS: Final[Mapping[Scalar, Callable[[str, int], _Item]]] = {
    BYTES: read_bytes,
    INT: read_int_range,
    IP: read_address_range,
}


def read_right(text: str, position: int, operator: str, left: Scalar, scheme: Scheme) -> tuple[Right, int]:
    """The right side at `position`, for an operator that `left` supports, and the position behind it."""
    match operator:
        case "in":
            return _read_in(text, position, left, scheme)
        case "matches":
            return _read_regex(text, position, scheme)
        case "wildcard" | "strict wildcard":
            return _read_wildcard(text, position, operator, scheme)
        case _:
            return _read_literal(text, position, left)


def _read_literal(text: str, position: int, left: Scalar) -> tuple[Right, int]:
    if left is BYTES and (simple := _SIMPLE_STRING.match(text, position)):
        return Literal(simple[1].encode(), BYTES, simple.span()), simple.end()
    value, end = _LITERALS[left](text, position)
    return Literal(value, left, (position, end)), end


def _read_in(text: str, position: int, left: Scalar, scheme: Scheme) -> tuple[Right, int]:
    if text.startswith("$", position):
        name, end = read_list_name(text, position + 1, dashed=scheme.gateway)
        key = name.replace("-", "") if scheme.gateway else name
        return ListName(name, key, (position + 1, end)), end
    if not text.startswith("{", position):
        raise syntax_error(text, position, "`in` needs a set or a list: write `in {…}` with blanks between items, or `in $name`")
    items: list[SetItem] = []
    end = position + 1
    read = _ITEMS[left]
    most = scheme.limits.set_items
    while True:
        if left is BYTES and (simple := _STRING_ITEM.match(text, end)):
            items.append(SetItem(simple[2].encode(), simple.span(1)))
            end = simple.end()
        else:
            start = _skip_blanks(text, end)
            if text.startswith("}", start):
                return SetOf(tuple(items), left, (position, start + 1)), start + 1
            _check_separator(text, start)
            value, end = read(text, start)
            items.append(SetItem(value, (start, end)))
        if len(items) > most:
            raise syntax_error(text, position, f"the set has more than {most} items: use a list", end=end)


def _check_separator(text: str, position: int) -> None:
    if text.startswith(",", position):
        raise syntax_error(text, position, "items of a set are separated by blanks, not commas")
    if position >= len(text):
        raise syntax_error(text, position, "the set does not end: add `}`")


def _read_regex(text: str, position: int, scheme: Scheme) -> tuple[Right, int]:
    source, start, end = read_pattern(text, position)
    limits = scheme.limits
    if len(source) > limits.regex_characters:
        raise syntax_error(text, start, f"the regular expression has more than {limits.regex_characters} characters", end=end - 1)
    try:
        regex = compile_regex(source, memory_bytes=limits.regex_memory_bytes)
    except ValueError as error:
        raise syntax_error(text, start, str(error), end=end - 1) from None
    return Pattern(regex, (position, end)), end


def _read_wildcard(text: str, position: int, operator: str, scheme: Scheme) -> tuple[Right, int]:
    value, end = read_string(text, position)
    strict = operator == "strict wildcard"
    try:
        wildcard = parse_wildcard(value, strict=strict, most_stars=scheme.limits.wildcard_stars)
    except ValueError as error:
        raise syntax_error(text, position, str(error), end=end) from None
    return WildcardPattern(wildcard, (position, end)), end


def _skip_blanks(text: str, position: int) -> int:
    found = _BLANKS.match(text, position)
    assert found is not None  # noqa: S101 - it matches nothing too
    return found.end()

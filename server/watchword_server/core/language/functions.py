"""The functions, with what they take and what they do. `any` and `all` are no functions but part of the grammar.

Sources: the Ruleset Engine's functions reference, and the engine for `concat` and `url_decode`. Every one is linear in its
arguments. A missing argument makes the result missing, and the body is not asked; only `concat` skips what is missing.
"""

import binascii
import json
import re
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final, TypeAlias

from watchword_server.core.language.types import BOOL, BYTES, INT, IP, ArrayOf, Type

RuntimeValue: TypeAlias = Any  # of the type that the scheme says; checked when an expression is read, not at run time


@dataclass(frozen=True, slots=True)
class Parameter:
    """What one argument may be: one of `types`, or any array if `arrays`. `literal`: True written out, False not, None either."""

    types: tuple[Type, ...]
    literal: bool | None = None
    described: str = ""
    check: Callable[[RuntimeValue], bool] | None = None  # of a literal's value; `described` says what it must be
    arrays: bool = False

    def takes(self, found: Type) -> bool:
        """Whether a value of this type may be given."""
        return found in self.types or (self.arrays and isinstance(found, ArrayOf))

    def __str__(self) -> str:
        return " or ".join([*map(str, self.types), *(["an array"] if self.arrays else [])])


@dataclass(frozen=True, slots=True)
class Function:
    """A function: `required` of its parameters must be given, and the last may be repeated if it is `repeated`.

    `returns` None: what the first argument is, and every argument must be of that type.
    """

    name: str
    parameters: tuple[Parameter, ...]
    required: int
    returns: Type | None
    body: Callable[..., RuntimeValue | None]
    repeated: bool = False
    skips_missing: bool = False

    def parameter(self, number: int) -> Parameter | None:
        """The parameter of argument `number`, from 0; None if there are too many."""
        if number < len(self.parameters):
            return self.parameters[number]
        return self.parameters[-1] if self.repeated else None

    def result(self, first: Type) -> Type:
        """The type of the result if the first argument is a `first`."""
        return first if self.returns is None else self.returns


_PERCENT: Final = re.compile(rb"\+|%([0-9A-Fa-f]{2})")
_PERCENT_U: Final = re.compile(rb"\+|%(?:[uU]([0-9A-Fa-f]{4})|([0-9A-Fa-f]{2}))")
_MOST_DECODINGS: Final = 10  # the engine's limit for `r`
_MOST_PARTS: Final = 128
_INT64: Final = 1 << 63


def _concat(first: RuntimeValue, *others: RuntimeValue) -> RuntimeValue:
    if isinstance(first, bytes):
        return b"".join((first, *others))
    return [element for array in (first, *others) for element in array]


def _substring(value: bytes, start: int, end: int | None = None) -> bytes:
    return value[start:end]


def _to_string(value: RuntimeValue) -> bytes:
    match value:
        case True:
            return b"true"
        case False:
            return b"false"
        case (4, number):
            return str(IPv4Address(number)).encode()
        case (6, number):
            address = IPv6Address(number)
            mapped = address.ipv4_mapped
            return (str(address) if mapped is None else f"::ffff:{mapped}").encode()
        case _:
            return str(value).encode()


def _url_decode(value: bytes, options: bytes = b"") -> bytes:
    once = _decode_percent_u if b"u" in options else _decode_percent
    decoded = once(value)
    if b"r" in options:
        for _ in range(_MOST_DECODINGS):
            if decoded == value:
                break
            value, decoded = decoded, once(decoded)
        return value
    return decoded


def _decode_percent(value: bytes) -> bytes:
    return _PERCENT.sub(lambda found: b" " if found[0] == b"+" else bytes((int(found[1], 16),)), value)


def _decode_percent_u(value: bytes) -> bytes:
    def decoded(found: re.Match[bytes]) -> bytes:
        if found[0] == b"+":
            return b" "
        if found[1] is None:
            return bytes((int(found[2], 16),))
        number = int(found[1], 16)
        return found[0] if 0xD800 <= number < 0xE000 else chr(number).encode()

    return _PERCENT_U.sub(decoded, value)


def _split(value: bytes, separator: bytes, limit: int) -> list[bytes]:
    return value.split(separator, limit - 1)


def _join(values: Sequence[bytes], separator: bytes) -> bytes:
    return separator.join(values)


def _remove_bytes(value: bytes, unwanted: bytes) -> bytes:
    return value.translate(None, unwanted)


def _decode_base64(value: bytes) -> bytes | None:
    try:
        return b64decode(value, validate=True)
    except binascii.Error:
        return None


def _cidr(address: tuple[int, int], bits4: int, bits6: int) -> tuple[int, int]:
    family, number = address
    host_bits = 32 - bits4 if family == 4 else 128 - bits6
    return family, number >> host_bits << host_bits


def _cidr6(address: tuple[int, int], bits6: int) -> tuple[int, int]:
    return address if address[0] == 4 else _cidr(address, 32, bits6)


def _lookup_json(text: bytes, keys: tuple[bytes | int, ...]) -> object:
    try:
        found: object = json.loads(text)
        for key in keys:
            match found, key:
                case dict(), bytes():
                    found = found.get(key.decode())
                case list(), int():
                    found = found[key] if 0 <= key < len(found) else None
                case _:
                    return None
    except (ValueError, RecursionError):  # no JSON, a key that is no text, or nested too deep
        return None
    return found


def _lookup_json_string(text: bytes, *keys: bytes | int) -> bytes | None:
    match _lookup_json(text, keys):
        case str(found):
            return found.encode(errors="replace")
        case _:
            return None


def _lookup_json_integer(text: bytes, *keys: bytes | int) -> int | None:
    match _lookup_json(text, keys):
        case bool():
            return None
        case int(found):
            return found if -_INT64 <= found < _INT64 else None
        case float(decimal) if decimal.is_integer():
            return int(decimal) if -_INT64 <= decimal < _INT64 else None
        case _:
            return None


def _a_number(most: int) -> Parameter:
    return Parameter((INT,), literal=True, described=f"a number from 1 to {most}", check=lambda bits: 1 <= bits <= most)


_BYTES_FIELD: Final = Parameter((BYTES,), literal=False)
_BYTES: Final = Parameter((BYTES,))
_BYTES_OR_ARRAY: Final = Parameter((BYTES,), arrays=True)
_BYTES_LITERAL: Final = Parameter((BYTES,), literal=True)
_IP_FIELD: Final = Parameter((IP,), literal=False)
_KEY: Final = Parameter((BYTES, INT), literal=True)
_SEPARATOR: Final = Parameter((BYTES,), literal=True, described="at least one character", check=bool)
_LIMIT: Final = _a_number(_MOST_PARTS)

FUNCTIONS: Final[Mapping[str, Function]] = {
    function.name: function
    for function in (
        Function("concat", (_BYTES_OR_ARRAY,) * 2, 2, None, _concat, repeated=True, skips_missing=True),
        Function("lower", (_BYTES_FIELD,), 1, BYTES, bytes.lower),
        Function("upper", (_BYTES_FIELD,), 1, BYTES, bytes.upper),
        Function("len", (Parameter((BYTES,), literal=False, arrays=True),), 1, INT, len),
        Function("starts_with", (_BYTES_FIELD, _BYTES), 2, BOOL, bytes.startswith),
        Function("ends_with", (_BYTES_FIELD, _BYTES), 2, BOOL, bytes.endswith),
        Function("substring", (_BYTES_FIELD, Parameter((INT,)), Parameter((INT,))), 2, BYTES, _substring),
        Function("to_string", (Parameter((INT, BOOL, IP)),), 1, BYTES, _to_string),
        Function("url_decode", (_BYTES_FIELD, _BYTES_LITERAL), 1, BYTES, _url_decode),
        Function("split", (_BYTES_FIELD, _SEPARATOR, _LIMIT), 3, ArrayOf(BYTES), _split),
        Function("join", (Parameter((ArrayOf(BYTES),), literal=False), _BYTES_LITERAL), 2, BYTES, _join),
        Function("remove_bytes", (_BYTES_FIELD, _BYTES_LITERAL), 2, BYTES, _remove_bytes),
        Function("decode_base64", (_BYTES_FIELD,), 1, BYTES, _decode_base64),
        Function("cidr", (_IP_FIELD, _a_number(32), _a_number(128)), 3, IP, _cidr),
        Function("cidr6", (_IP_FIELD, _a_number(128)), 2, IP, _cidr6),
        Function("lookup_json_string", (_BYTES_FIELD, _KEY), 2, BYTES, _lookup_json_string, repeated=True),
        Function("lookup_json_integer", (_BYTES_FIELD, _KEY), 2, INT, _lookup_json_integer, repeated=True),
    )
}

"""The values of fields that an expression is evaluated on."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from types import MappingProxyType
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

from watchword_server.core.language.functions import RuntimeValue
from watchword_server.core.language.names import did_you_mean, unknown_member
from watchword_server.core.language.types import ArrayOf, MapOf, Scalar, Type
from watchword_server.errors import ConfigurationError, Problem

_Path: TypeAlias = tuple[str | int, ...]
_INT64: Final = 1 << 63
_ANY_MEMBERS: Final[Mapping[str, frozenset[str]]] = MappingProxyType({})
_WRITTEN: Final = {
    Scalar.BOOL: "true or false",
    Scalar.INT: "a whole number of 64 bits",
    Scalar.BYTES: "a string, or a list of numbers from 0 to 255",
    Scalar.IP: "an address as a string",
}


class Context(Protocol):
    """What closures read: `context[key]` is a field's value, or None where it is missing. It never raises."""

    def __getitem__(self, key: Hashable, /) -> RuntimeValue: ...


@runtime_checkable
class TellsMembership(Protocol):
    """The key of an array that can tell whether it holds a value without listing all that it holds; as the list would."""

    def holds(self, value: bytes, /) -> Callable[[Any], bool]:
        """Whether it holds the value, as a function of a context."""
        ...


class Facts(dict[Hashable, RuntimeValue]):
    """A context of what is known; everything else is missing."""

    __slots__ = ()

    def __missing__(self, key: Hashable) -> None:
        return None


def read_context(
    document: Mapping[str, object], types: Mapping[str, Type], members: Mapping[str, frozenset[str]] = _ANY_MEMBERS
) -> Facts:
    """Reads a context from JSON: a string is Bytes in UTF-8, a list of numbers is raw Bytes, an address is text, null is missing.

    `members`: as a scheme has them.

    Raises `ConfigurationError` with every value that is not of its field's type.
    """
    facts = Facts()
    problems: list[Problem] = []
    for name, found in document.items():
        kind = types.get(name)
        if kind is None:
            problems.append(Problem((name,), f"unknown field `{name}`{did_you_mean(name, types)}"))
        else:
            facts[name] = _read(found, kind, (name,), problems)
            if name in members and isinstance(found, list):
                problems += _unknown_members(name, found, members[name])
    if problems:
        raise ConfigurationError(problems)
    return facts


def _unknown_members(name: str, records: Iterable[object], known: frozenset[str]) -> Iterator[Problem]:
    for place, record in enumerate(records):
        for member in record if isinstance(record, dict) else ():
            if member not in known:
                yield Problem((name, place, str(member)), unknown_member(str(member), name, known))


def _read(found: object, kind: Type, path: _Path, problems: list[Problem]) -> RuntimeValue:
    """The value, or None if it is null or, with a problem noted, if it is not of the type."""
    match kind, found:
        case _, None:
            return None
        case ArrayOf(element), list():
            return [_read_element(item, element, (*path, place), problems) for place, item in enumerate(found)]
        case MapOf(element), dict():
            items = ((key, _read(item, element, (*path, str(key)), problems)) for key, item in found.items())
            return {str(key).encode(): item for key, item in items if item is not None}
        case Scalar(), _:
            value = _read_scalar(found, kind)
            if value is None:
                problems.append(Problem(path, f"this is no {kind}: write {_WRITTEN[kind]}"))
            return value
        case _:
            written = "a list" if isinstance(kind, ArrayOf) else "an object"
            problems.append(Problem(path, f"this is no {kind}: write {written}"))
            return None


def _read_element(found: object, kind: Type, path: _Path, problems: list[Problem]) -> RuntimeValue:
    if found is None:
        problems.append(Problem(path, "null cannot be an element of a list: leave it out"))
    return _read(found, kind, path, problems)


def _read_scalar(found: object, kind: Scalar) -> RuntimeValue | None:
    match kind, found:
        case Scalar.BOOL, bool():
            return found
        case Scalar.INT, int() if not isinstance(found, bool):
            return found if -_INT64 <= found < _INT64 else None
        case Scalar.BYTES, str():
            return _encoded(found)
        case Scalar.BYTES, list():
            good = all(isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 256 for number in found)
            return bytes(found) if good else None
        case Scalar.IP, str():
            return _address(found)
        case _:
            return None


def _encoded(text: str) -> bytes | None:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return None


def _address(text: str) -> tuple[int, int] | None:
    try:
        if ":" not in text:
            return 4, int(IPv4Address(text))
        return None if "%" in text else (6, int(IPv6Address(text)))
    except AddressValueError:
        return None

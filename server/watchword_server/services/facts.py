"""Facts as JSON: what a caller reports, and what the decision log tells of it again. Types are those of `core/facts.py`."""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import cast

from watchword_server.core.facts import REPORTABLE
from watchword_server.core.language.context import read_context
from watchword_server.core.language.gateway import MEMBERS
from watchword_server.core.language.types import BYTES, IP, ArrayOf, MapOf, Type
from watchword_server.core.model.decisions import Value
from watchword_server.errors import ConfigurationError


def fact_value(fact: str, told: object) -> Value:
    """The value of a fact, as expressions read it. Raises `ValueError` for an unknown fact and for a value of another type."""
    try:
        value = read_context({fact: told}, REPORTABLE, MEMBERS)[fact]
    except ConfigurationError as error:
        raise ValueError(error.problems[0].message) from None
    if value is None:
        raise ValueError("null is no value: leave the fact out")
    return cast("Value", _frozen(value))


def fact_json(fact: str, value: Value) -> object:
    """What `fact_value` reads the same value from."""
    return _json(value, REPORTABLE[fact])


def _frozen(value: object) -> object:
    match value:
        case list():
            return tuple(map(_frozen, value))
        case dict():
            return {key: _frozen(each) for key, each in value.items()}
        case _:
            return value


def _json(value: object, kind: Type) -> object:
    match kind, value:
        case ArrayOf(element), tuple():
            return [_json(each, element) for each in value]
        case MapOf(element), Mapping():
            return {key.decode(): _json(each, element) for key, each in value.items()}
        case _ if kind is BYTES and isinstance(value, bytes):
            return _text(value)
        case _ if kind is IP and isinstance(value, tuple):
            version, number = value
            return str(IPv4Address(number) if version == 4 else IPv6Address(number))
        case _:
            return value


def _text(value: bytes) -> str | list[int]:
    """Text, or numbers for bytes that are none."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return list(value)

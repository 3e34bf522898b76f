"""Facts that a caller reports: one JSON object in a header, read strictly. What it may not report is left out."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from watchword_server.core.facts import REPORTABLE, is_about_the_user
from watchword_server.core.model import Value
from watchword_server.core.rules import Assertion, Caller
from watchword_server.errors import RequestMalformedError
from watchword_server.services.facts import fact_value

_MAX_CHARACTERS: Final = 16 * 1024


def reported_facts(caller: Caller, headers: Mapping[str, Sequence[str]]) -> Mapping[str, Value]:
    """What the caller knows of a request. Facts about the user count only if it may assert identity as well.

    Raises `RequestMalformedError` for what is no JSON object of known facts with values of their types.
    """
    name = caller.facts_header
    if name is None or Assertion.FACTS not in caller.may_assert:
        return {}
    values = headers.get(name, ())
    if not values or list(values) == [""]:
        return {}
    if len(values) != 1 or len(values[0]) > _MAX_CHARACTERS or not values[0].isascii():
        raise RequestMalformedError(f"`{name}` is there twice, is longer than {_MAX_CHARACTERS} characters, or is not ASCII")
    knows_the_user = Assertion.IDENTITY in caller.may_assert
    return {
        fact: _value(name, fact, told)
        for fact, told in _object(name, values[0]).items()
        if knows_the_user or not is_about_the_user(fact)
    }


def _object(header: str, text: str) -> Mapping[str, object]:
    try:
        told = json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_no_number)
    except (ValueError, RecursionError):  # the latter for thousands of brackets
        raise RequestMalformedError(f"`{header}` is not JSON, or has a key twice") from None
    if not isinstance(told, dict):
        raise RequestMalformedError(f"`{header}` is not a JSON object of facts")
    return told


def _value(header: str, fact: str, told: object) -> Value:
    if fact not in REPORTABLE:
        raise RequestMalformedError(f"`{header}` reports `{fact[:64]}`, which is no fact: docs/rules.md lists them")
    try:
        return fact_value(fact, told)
    except ValueError:
        raise RequestMalformedError(f"`{fact}` in `{header}` is not of the type {REPORTABLE[fact]}") from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key is there twice")
    return members


def _no_number(text: str) -> NoReturn:
    """`NaN` and `Infinity`, which Python reads and JSON does not have (RFC 8259, 6)."""
    raise ValueError(f"`{text}` is not JSON")

"""Facts that a caller reports: a JSON object in a header, read strictly, and what a route of Envoy's says of itself."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from watchword_server.core.facts import REPORTABLE, is_about_the_user
from watchword_server.core.language.types import BYTES
from watchword_server.core.model.decisions import Value
from watchword_server.core.rules import Assertion, Caller
from watchword_server.errors import RequestMalformedError
from watchword_server.services.facts import fact_value

_MAX_CHARACTERS: Final = 16 * 1024
_EXTENSIONS: Final = "context_extensions"


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


def facts_of_a_route(caller: Caller, extensions: Mapping[str, str]) -> Mapping[str, Value]:
    """What the caller's own configuration of a route says, as Envoy's `context_extensions` do: facts by their names.

    A fact that is no text is JSON. Names that are no facts are for somebody else. Raises `RequestMalformedError`.
    """
    if Assertion.FACTS not in caller.may_assert:
        return {}
    knows_the_user = Assertion.IDENTITY in caller.may_assert
    return {
        fact: _value(_EXTENSIONS, fact, text if REPORTABLE[fact] is BYTES else _json(_EXTENSIONS, text))
        for fact, text in extensions.items()
        if fact in REPORTABLE and (knows_the_user or not is_about_the_user(fact))
    }


def together(reported: Mapping[str, Value], of_the_route: Mapping[str, Value]) -> Mapping[str, Value]:
    """Both. Raises `RequestMalformedError` where they contradict each other."""
    for fact in reported.keys() & of_the_route.keys():
        if reported[fact] != of_the_route[fact]:
            raise RequestMalformedError(f"`{fact}` is reported twice, and not the same")
    return {**reported, **of_the_route} if of_the_route else reported


def _object(header: str, text: str) -> Mapping[str, object]:
    told = _json(header, text)
    if not isinstance(told, dict):
        raise RequestMalformedError(f"`{header}` is not a JSON object of facts")
    return told


def _json(place: str, text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_no_number)
    except (ValueError, RecursionError):  # the latter for thousands of brackets
        raise RequestMalformedError(f"`{place}` is not JSON, or has a key twice") from None


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

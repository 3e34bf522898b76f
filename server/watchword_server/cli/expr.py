"""`watchword expr`: an expression of the rules language, tried on values without a server."""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TextIO

import click

from watchword_server.cli.settings_file import CONFIG, language_of
from watchword_server.configuration.document.base import did_you_mean
from watchword_server.configuration.document.lists import canonical
from watchword_server.core.gateway import scheme_of
from watchword_server.core.language.analysis import list_uses
from watchword_server.core.language.compile import Matcher, compile_expression
from watchword_server.core.language.context import read_context
from watchword_server.core.language.literals import read_address_range
from watchword_server.core.language.parse import Expression, parse
from watchword_server.core.language.scheme import Limits, Scheme
from watchword_server.core.language.sets import IpRanges
from watchword_server.core.language.types import IP, Type, parse_type
from watchword_server.core.rules import LanguageSettings
from watchword_server.errors import ConfigurationError, ExpressionError

_CASE_LIMITS: Final = Limits(
    expression_characters=1 << 24, regex_characters=1 << 16, regex_memory_bytes=10 << 20, set_items=1 << 20
)
_FILE_TYPES: Final = ("IP", "EMAIL", "DOMAIN", "URL", "SERIAL")  # of lists, as rule files have them
_TYPES: Final = (*_FILE_TYPES, "Ip", "Bytes", "Int")  # and as cases have them
_KEYS: Final[tuple[tuple[str, type, str], ...]] = (
    ("expr", str, "text: write the expression"),
    ("types", dict, "a JSON object: write each field with its type"),
    ("context", dict, "a JSON object: write each field with its value"),
)


@click.command()
@click.argument("expression", required=False)
@click.option(
    "--context", type=click.File(encoding="utf-8"), help="JSON object of field values; - is stdin.  [default: none known]"
)
@click.option("--filter", "filter_name", type=click.Choice(["http", "l4", "dns", "egress"]), default="http", show_default=True)
@click.option("--type", "types", multiple=True, metavar="FIELD=TYPE", help="Another field, as in score=Int or tags=Array<Bytes>.")
@click.option("--lists", type=click.File(encoding="utf-8"), help='JSON object of lists: {"name": {"type": "IP", "items": […]}}.')
@CONFIG
@click.option("--cases", type=click.File(encoding="utf-8"), help="Evaluate a file of cases instead, one JSON object a line.")
def expr(
    expression: str | None,
    context: TextIO | None,
    filter_name: str,
    types: tuple[str, ...],
    lists: TextIO | None,
    config: Path | None,
    cases: TextIO | None,
) -> None:
    """Evaluate EXPRESSION on the values in --context; true or false on stdout.

    A string is Bytes in UTF-8, a list of numbers from 0 to 255 raw Bytes, an address is a string; null and what is not named are
    missing. A list's type is a rule file's (IP, EMAIL, DOMAIN, URL, SERIAL) or the language's (Ip, Bytes, Int). A fault in
    EXPRESSION is on stderr, with its place, and the exit code is 1.

    With --cases each line has an `expr`, `types`, a `context`, and perhaps `lists` and "profile": "gateway"; for each, one line
    with its `id` and `result`, or `error`, `pos` and `message`. A case that cannot be used has the `error` "case".

    \b
    Example:  echo '{"http.request.host": "wiki.corp.example"}' |
                watchword expr 'http.request.host wildcard "*.corp.example"' --context -
    """
    if (expression is None) is (cases is None):
        raise click.UsageError("give either EXPRESSION or --cases FILE")
    if cases is not None:
        if config is not None:
            raise click.UsageError("a case is read as the shared cases are: leave --config out")
        for line in cases:
            if line.strip():
                click.echo(json.dumps(_outcome(line)))
    elif expression is not None:
        scheme = _scheme(filter_name, types, language_of(config))
        click.echo(json.dumps(_value(expression, scheme, _object(context), _object(lists))))


def _value(expression: str, scheme: Scheme, context: Mapping[str, Any], lists: Mapping[str, Any]) -> bool:
    try:
        read = parse(expression, scheme)
        known = _lists(lists, gateway=True)
        _check_lists(read, known)
        condition = compile_expression(read, lists=known)
        return condition(read_context(context, scheme.fields, scheme.members))
    except ExpressionError as error:
        click.echo(error.render(), err=True)
        raise click.exceptions.Exit(1) from None
    except ConfigurationError as error:
        raise click.ClickException("\n".join(f"{_place(p.path)}: {p.message}" for p in error.problems)) from None
    except ListRefusedError as error:
        raise click.ClickException(f"--lists cannot be used: {error}") from None


def _check_lists(expression: Expression, lists: Mapping[str, Matcher]) -> None:
    """Refuses a list that is not there, and one of values that the field never has."""
    for use in list_uses(expression):
        found, start = lists.get(use.key), use.span[0]
        of_addresses = isinstance(found, IpRanges)
        if found is None:
            message = f"no list `{use.name}`: name a file with --lists that has it"
        elif of_addresses != (use.type is IP):
            what = "addresses" if of_addresses else "no addresses"
            message = f"`{use.name}` is a list of {what}, and this is looked up by {use.type}: compare another field or list"
        else:
            continue
        raise ExpressionError("type", message, text=expression.text, position=start, length=use.span[1] - start)


def _place(path: tuple[str | int, ...]) -> str:
    return str(path[0]) + "".join(f"[{json.dumps(step)}]" for step in path[1:])


def _scheme(filter_name: str, types: tuple[str, ...], language: LanguageSettings) -> Scheme:
    scheme = scheme_of(filter_name, "traffic", language)
    more: dict[str, Type] = {}
    for written in types:
        name, separator, kind = written.partition("=")
        try:
            more[name] = parse_type(kind)
        except ValueError as error:
            hint = "" if separator else ", as in score=Int"
            raise click.BadParameter(f"{error}{hint}", param_hint="--type") from None
        if not separator:
            raise click.BadParameter(f"`{written}` has no type: write one like score=Int", param_hint="--type")
    try:
        return replace(scheme, fields={**scheme.fields, **more})
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--type") from None


def _object(file: TextIO | None) -> Mapping[str, Any]:
    if file is None:
        return {}
    try:
        found = json.load(file)
    except (ValueError, RecursionError) as error:
        raise click.ClickException(f"{file.name} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise click.ClickException(f"{file.name} must be a JSON object")
    return found


class ListRefusedError(ValueError):
    """A list that is not what --lists and cases take; the message says what to write instead."""


_FORM: Final = 'write {"name": {"type": "IP", "items": ["192.0.2.0/24"]}}'


def _lists(lists: object, *, gateway: bool) -> Mapping[str, Matcher]:
    """The lists by key. Raises `ListRefusedError`."""
    if not isinstance(lists, dict):
        raise ListRefusedError(f"the lists are no JSON object: {_FORM}")
    return {name.replace("-", "") if gateway else name: _list(name, found) for name, found in lists.items()}


def _list(name: str, found: object) -> Matcher:
    match found:
        case {"type": str(kind), "items": list(items)}:
            pass
        case _:
            raise ListRefusedError(f"`{name}` needs a `type` and `items`: {_FORM}")
    if kind not in _TYPES:
        raise ListRefusedError(f"`{kind}` of `{name}` is no type of a list: {did_you_mean(kind, _TYPES)}")
    told = [(f"item {place} of `{name}`", item) for place, item in enumerate(items)]
    if kind in {"Ip", "IP"}:
        return IpRanges.of_numbers(_addresses(place, item) for place, item in told)
    return frozenset(_item(place, kind, item) for place, item in told)


def _addresses(told: str, item: object) -> tuple[int, int, int]:
    if not isinstance(item, str):
        raise ListRefusedError(f"{told} is no text: write an address, a network or a range")
    try:
        value, end = read_address_range(item, 0)
    except ExpressionError as error:
        raise ListRefusedError(f"{told}: {error.message}") from None
    if end != len(item):
        raise ListRefusedError(f"{told}: `{item}` is not one address, network or range: write each as an item of its own")
    return value


def _item(told: str, kind: str, item: object) -> bytes | int:
    """As a matcher holds it: text in UTF-8, or a number."""
    match kind, item:
        case "Int", int() if not isinstance(item, bool):
            return item
        case "Bytes", str():
            return item.encode()
        case "Bytes", list() if all(isinstance(number, int) and 0 <= number < 256 for number in item):
            return bytes(item)
        case _, str() if kind in _FILE_TYPES:
            try:
                return canonical(kind, item).encode()
            except ValueError as error:
                raise ListRefusedError(f"{told}: {error}") from None
        case _:
            raise ListRefusedError(f"{told} is no {kind}: write {'a whole number' if kind == 'Int' else 'text'}")


def _outcome(line: str) -> dict[str, object]:
    """What comes of one case: whatever it holds, one line is answered."""
    name: object = None
    try:
        case = json.loads(line)
        if not isinstance(case, dict):
            raise ValueError("the case is no JSON object: write one with `expr`, `types` and `context`")  # noqa: TRY004 - as the others
        name = case.get("id")
        return {"id": name, "result": _result(case)}
    except ExpressionError as error:
        return {"id": name, "error": error.kind, "pos": error.position, "message": error.message}
    except json.JSONDecodeError as error:
        return _broken(name, f"the line is no JSON: {error.msg.lower()} at character {error.pos + 1}")
    except ConfigurationError as error:
        return _broken(name, f"`context`: {error.problems[0].message}")
    except ListRefusedError as error:
        return _broken(name, f"`lists`: {error}")
    except ValueError as error:
        return _broken(name, str(error))
    except Exception as error:  # noqa: BLE001 - a case may be broken in any way, and the next ones are still to be answered
        return _broken(name, f"the case cannot be used: {type(error).__name__}; compare it with those that can")


def _broken(name: object, message: str) -> dict[str, object]:
    return {"id": name, "error": "case", "message": message}


def _result(case: Mapping[str, Any]) -> bool:
    for key, kind, what in _KEYS:
        if not isinstance(case.get(key, kind()), kind):
            raise ValueError(f"`{key}` is not {what}")  # noqa: TRY004 - as the others
    if "expr" not in case:
        raise ValueError("`expr` is missing: write the expression")
    if wrong := [name for name, kind in case.get("types", {}).items() if not isinstance(kind, str)]:
        raise ValueError(f"`types` of `{wrong[0]}` is not text: write a type like `Bytes`")
    gateway = case.get("profile") == "gateway"
    types = {name: parse_type(kind) for name, kind in case.get("types", {}).items()}
    reachable = {name: kind for name, kind in types.items() if not name.startswith("not")}
    expression = parse(case["expr"], Scheme(reachable, limits=_CASE_LIMITS, gateway=gateway))
    # The engine asks its host for a list when it needs one: to a case, a list that it does not bring is empty.
    lists: defaultdict[str, Matcher] = defaultdict(frozenset, _lists(case.get("lists", {}), gateway=gateway))
    return compile_expression(expression, lists=lists)(read_context(case.get("context", {}), types))

"""`watchword expr`: an expression of the rules language, tried on values without a server."""

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final, TextIO

import click

from watchword_server.core.language.compile import Matcher, compile_expression
from watchword_server.core.language.context import read_context
from watchword_server.core.language.gateway import gateway_scheme
from watchword_server.core.language.literals import read_address_range
from watchword_server.core.language.parse import parse
from watchword_server.core.language.scheme import Limits, Scheme
from watchword_server.core.language.sets import IpRanges
from watchword_server.core.language.types import Type, parse_type
from watchword_server.errors import ConfigurationError, ExpressionError

_CASE_LIMITS: Final = Limits(
    expression_characters=1 << 24, regex_characters=1 << 16, regex_memory_bytes=10 << 20, set_items=1 << 20
)


@click.command()
@click.argument("expression", required=False)
@click.option(
    "--context", type=click.File(encoding="utf-8"), help="JSON object of field values; - is stdin.  [default: none known]"
)
@click.option("--filter", "filter_name", type=click.Choice(["http", "l4", "dns", "egress"]), default="http", show_default=True)
@click.option("--type", "types", multiple=True, metavar="FIELD=TYPE", help="Another field, as in score=Int or tags=Array<Bytes>.")
@click.option("--lists", type=click.File(encoding="utf-8"), help='JSON object of lists: {"name": {"type": "Ip", "items": […]}}.')
@click.option("--cases", type=click.File(encoding="utf-8"), help="Evaluate a file of cases instead, one JSON object a line.")
def expr(
    expression: str | None,
    context: TextIO | None,
    filter_name: str,
    types: tuple[str, ...],
    lists: TextIO | None,
    cases: TextIO | None,
) -> None:
    """Evaluate EXPRESSION on the values in --context; true or false on stdout.

    A string is Bytes in UTF-8, a list of numbers from 0 to 255 raw Bytes, an address is a string; null and what is not named are
    missing. A fault in EXPRESSION is on stderr, with its place, and the exit code is 1.

    With --cases each line has an `expr`, `types`, a `context`, and perhaps `lists` and "profile": "gateway"; for each, one line
    with its `id` and `result`, or `error`, `pos` and `message`. A case that cannot be used has the `error` "case".

    \b
    Example:  echo '{"http.request.host": "wiki.corp.example"}' |
                watchword expr 'http.request.host wildcard "*.corp.example"' --context -
    """
    if (expression is None) is (cases is None):
        raise click.UsageError("give either EXPRESSION or --cases FILE")
    if cases is not None:
        for line in cases:
            if line.strip():
                click.echo(json.dumps(_outcome(line)))
    elif expression is not None:
        click.echo(json.dumps(_value(expression, _scheme(filter_name, types), _object(context), _object(lists))))


def _value(expression: str, scheme: Scheme, context: Mapping[str, Any], lists: Mapping[str, Any]) -> bool:
    try:
        condition = compile_expression(parse(expression, scheme), lists=_lists(lists, gateway=True))
        return condition(read_context(context, scheme.fields))
    except ExpressionError as error:
        click.echo(error.render(), err=True)
        raise click.exceptions.Exit(1) from None
    except ConfigurationError as error:
        raise click.ClickException("\n".join(f"{_place(p.path)}: {p.message}" for p in error.problems)) from None
    except (TypeError, ValueError, LookupError) as error:
        raise click.ClickException(f"--lists cannot be used: {error}") from None


def _place(path: tuple[str | int, ...]) -> str:
    return str(path[0]) + "".join(f"[{json.dumps(step)}]" for step in path[1:])


def _scheme(filter_name: str, types: tuple[str, ...]) -> Scheme:
    scheme = gateway_scheme(filter_name, "traffic", Limits(), missing_not_equal=True)
    more: dict[str, Type] = {}
    for written in types:
        name, separator, kind = written.partition("=")
        try:
            more[name] = parse_type(kind)
        except ValueError as error:
            hint = "" if separator else ", as in score=Int"
            raise click.BadParameter(f"{error}{hint}", param_hint="--type") from None
    try:
        return Scheme({**scheme.fields, **more}, gateway=True)
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


def _lists(lists: Mapping[str, Any], *, gateway: bool) -> Mapping[str, Matcher]:
    """The lists by key."""
    return {name.replace("-", "") if gateway else name: _items(found["type"], found["items"]) for name, found in lists.items()}


def _items(kind: str, items: list[Any]) -> Matcher:
    if kind == "Ip":
        return IpRanges.of_numbers(read_address_range(item, 0)[0] for item in items)
    return frozenset(
        item.encode() if isinstance(item, str) else bytes(item) if isinstance(item, list) else item for item in items
    )


def _outcome(line: str) -> dict[str, object]:
    """What comes of one case: whatever it holds, one line is answered."""
    name: object = None
    try:
        case = json.loads(line)
        name = case.get("id")
        return {"id": name, "result": _result(case)}
    except ExpressionError as error:
        return {"id": name, "error": error.kind, "pos": error.position, "message": error.message}
    except Exception as error:  # noqa: BLE001 - a case may be broken in any way, and the next ones are still to be answered
        told = error.problems[0].message if isinstance(error, ConfigurationError) else f"{type(error).__name__}: {error}"
        return {"id": name, "error": "case", "message": told}


def _result(case: Mapping[str, Any]) -> bool:
    gateway = case.get("profile") == "gateway"
    types = {name: parse_type(kind) for name, kind in case.get("types", {}).items()}
    reachable = {name: kind for name, kind in types.items() if not name.startswith("not")}
    expression = parse(case["expr"], Scheme(reachable, limits=_CASE_LIMITS, gateway=gateway))
    # The engine asks its host for a list when it needs one: to a case, a list that it does not bring is empty.
    lists: defaultdict[str, Matcher] = defaultdict(frozenset, _lists(case.get("lists", {}), gateway=gateway))
    return compile_expression(expression, lists=lists)(read_context(case.get("context", {}), types))

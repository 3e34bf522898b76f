"""How a decision came about, for people: one line a step, what belongs to it below."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import click

_LEFT_OUT: Final = frozenset({"text", "id", "decision", "action", "policies", "certificate_sha256"})
_WHY_A_CHECK_FAILED: Final = frozenset({"reason", "expected", "received"})


def print_readings(readings: Sequence[Mapping[str, Any]], *, indent: str = "") -> None:
    """Prints the steps of each reading of the path; of a single one without its path."""
    for reading in readings:
        below = indent
        if len(readings) > 1:
            click.echo(f"{indent}read as {reading['path']}")
            below += "  "
        for step in reading["steps"]:
            for line in _lines(step, below):
                click.echo(line)


def _lines(step: Mapping[str, Any], indent: str) -> Iterator[str]:
    details = step["details"]
    text = details.get("text", step["title"])
    title = step["title"] if text == step["title"] else f"{step['title']}: {text}"
    left_out = _LEFT_OUT | (_WHY_A_CHECK_FAILED if step["outcome"] == "passed" else frozenset())
    told = ", ".join(f"{name} {_shown(value)}" for name, value in details.items() if name not in left_out and _says(value))
    what = {"device": "device", "check": f"check {title}", "gateway_rule": f"rule {title}"}.get(step["kind"], "")
    if step["kind"] == "policy" or (step["kind"] == "application" and "unmatched" not in details):
        what = f"{step['kind']} {title}"
    yield f"{indent}{what or title} → {step['outcome']}" + (f"   ({told})" if told else "")
    for inner in step["steps"]:
        yield from _lines(inner, indent + "  ")


def _says(value: object) -> bool:
    return value not in ({}, [])


def _shown(value: object) -> str:
    match value:
        case None:
            return "none"
        case str():
            return value or '""'
        case dict():
            return ", ".join(f"{name} {_shown(inner)}" for name, inner in value.items())
        case _:
            return json.dumps(value, ensure_ascii=False)

"""Ids as names, for people: expressions name checks and lists by id, and nobody knows those."""

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from watchword_server.core.explain import Explanation
from watchword_server.core.rules import RuleSet

_WORD: Final = re.compile(r"[A-Za-z0-9_.-]+")
_TOLD: Final = frozenset({"title", "text", "received", "expected"})


def readings_record(explanation: Explanation, rules: RuleSet) -> list[dict[str, Any]]:
    """The readings of an explanation as JSON, by name."""
    names = names_of(rules)
    return [
        {"path": reading.path, "steps": told_by_name([asdict(step) for step in reading.steps], names)}
        for reading in explanation.readings
    ]


def names_of(rules: RuleSet) -> dict[str, str]:
    """Checks and lists, by id."""
    return {
        **{str(check.id): check.name for check in rules.checks.values()},
        **{one.id: one.name for one in rules.lists.values()},
    }


def told_by_name(steps: list[dict[str, Any]], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """The steps of an explanation as JSON, with names where expressions and their values have ids; what is an `id` stays."""
    return [_step(step, names) for step in steps]


def _step(step: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    told = {key: _named(value, names) if key in _TOLD else value for key, value in step["details"].items()}
    inner = [_step(one, names) for one in step["steps"]]
    return {**step, "title": _named(step["title"], names), "details": told, "steps": inner}


def _named(value: Any, names: Mapping[str, str]) -> Any:  # noqa: ANN401 - JSON
    match value:
        case str():
            return _WORD.sub(lambda word: names.get(word[0], word[0]), value)
        case list() | tuple():
            return [_named(one, names) for one in value]
        case dict():
            return {key: _named(one, names) for key, one in value.items()}
        case _:
            return value

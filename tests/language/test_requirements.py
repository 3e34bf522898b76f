"""What an expression is said to require, it requires: a context without it makes the expression false."""

from collections.abc import Collection
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from language.generating import LISTS, contexts, expressions, scheme
from watchword_server.core.language.analysis import required_lists, required_values
from watchword_server.core.language.compile import compile_expression
from watchword_server.core.language.context import Facts
from watchword_server.core.language.parse import parse


def holds(context: Facts, field: str, values: Collection[Any]) -> bool:
    found = context[field]
    return any(element in values for element in found) if isinstance(found, list | tuple) and field != "ip" else found in values


@settings(max_examples=400, deadline=None)
@given(expressions, st.lists(contexts, min_size=1, max_size=6), st.booleans())
def test_what_is_required_is_there_whenever_the_expression_is_true(
    text: str, found: list[Facts], missing_not_equal: bool
) -> None:
    expression = parse(text, scheme(missing_not_equal=missing_not_equal))
    condition = compile_expression(expression, lists=LISTS)
    for context in [*found, Facts()]:
        if condition(context):
            assert all(holds(context, field, values) for field, values in required_values(expression).items())
            assert all(holds(context, field, LISTS[key]) for field, key in required_lists(expression))


@pytest.mark.parametrize(
    ("text", "required"),
    [
        ('host == "a"', {"host": {b"a"}}),
        ('host in {"a" "b"}', {"host": {b"a", b"b"}}),
        ("port in {1..64}", {"port": set(range(1, 65))}),
        ("port in {1..66}", {}),
        ("ip == 10.0.0.1", {"ip": {(4, 0x0A000001)}}),
        ('any(tags[*] == "a")', {"tags": {b"a"}}),
        ('any(tags[*] in {"a" "b"})', {"tags": {b"a", b"b"}}),
        ('any((tags[*] == "a" and not tags[*] contains "b"))', {"tags": {b"a"}}),
        ('any((tags[*] == "a" or tags[*] == "b"))', {"tags": {b"a", b"b"}}),
        ('all(tags[*] == "a")', {}),
        ('not any(tags[*] == "a")', {}),
        ('not not host == "a"', {"host": {b"a"}}),
        ('host == "a" and path == "b"', {"host": {b"a"}, "path": {b"b"}}),
        ('host in {"a" "b"} and host == "a"', {"host": {b"a"}}),
        ('host == "a" or host == "b"', {"host": {b"a", b"b"}}),
        ('host == "a" or path == "b"', {}),
        ('(host == "a" and path == "c") or host == "b"', {"host": {b"a", b"b"}}),
        ('host == "a" xor host == "b"', {}),
        ('host != "a"', {}),
        ('lower(host) == "a"', {}),
        ("host in {}", {"host": set()}),
        ('labels["k"] == "a" and any(labels[*] == "b")', {}),
    ],
)  # fmt: skip
def test_requirements(text: str, required: dict[str, set[Any]]) -> None:
    assert required_values(parse(text, scheme())) == required


@pytest.mark.parametrize(
    ("text", "required"),
    [
        ("host in $hosts", [("host", "hosts")]),
        ("ip in $nets and any(tags[*] in $hosts)", [("ip", "nets"), ("tags", "hosts")]),
        ('any((tags[*] in $hosts and tags[*] != "x"))', [("tags", "hosts")]),
        ("not host in $hosts", []),
        ("host in $hosts or managed", []),
        ("all(tags[*] in $hosts)", []),
    ],
)
def test_required_lists(text: str, required: list[tuple[str, str]]) -> None:
    assert required_lists(parse(text, scheme())) == required

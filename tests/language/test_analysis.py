"""What an expression speaks of, and rewriting its text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from language.generating import scheme
from watchword_server.core.language.analysis import (
    LiteralUse,
    beyond_gateway,
    fields_used,
    format_node,
    list_uses,
    literal_uses,
    quote,
    replace_spans,
    walk,
)
from watchword_server.core.language.compile import compile_expression, compile_node, value_of
from watchword_server.core.language.context import Facts
from watchword_server.core.language.parse import parse
from watchword_server.core.language.syntax import And, Comparison
from watchword_server.core.language.types import BYTES, IP
from watchword_server.errors import ExpressionError


def test_fields_used_are_all_even_in_arguments() -> None:
    expression = parse(
        'managed or any((lower(tags[*])[*] == "a" and groups[*] != "b")) and len(concat(host, path)) > 1', scheme()
    )
    assert fields_used(expression) == {"managed", "tags", "groups", "host", "path"}


def test_list_uses_tell_where_the_name_is() -> None:
    text = "host in $hosts and any(ips[*] in $a-b)"
    uses = list_uses(parse(text, scheme()))
    assert [(use.name, use.key, use.type, text[slice(*use.span)]) for use in uses] == [
        ("hosts", "hosts", BYTES, "hosts"),
        ("a-b", "ab", IP, "a-b"),
    ]


def test_literal_uses_tell_where_the_literal_is() -> None:
    text = 'any(tags[*] in {"a" r"b" 61:62}) and tags[0] != "c" and host == "d" and any(tags[*] contains "e") and tags[1] > "f"'
    uses = literal_uses(parse(text, scheme()), {"tags"})
    assert [(use.value, use.operator, text[slice(*use.span)]) for use in uses] == [
        (b"a", "in", '"a"'),
        (b"b", "in", 'r"b"'),
        (b"ab", "in", "61:62"),
        (b"c", "!=", '"c"'),
    ]
    assert literal_uses(parse('host == "d"', scheme()), ["host"]) == [LiteralUse("host", b"d", "==", (8, 11))]


def test_replacing_literals_leaves_the_rest() -> None:
    text = 'any(tags[*] in {"old" "kept"}) and not tags[0] == "old"'
    uses = literal_uses(parse(text, scheme()), ["tags"])
    new = replace_spans(text, [(*use.span, quote("new")) for use in uses if use.value == b"old"])
    assert new == 'any(tags[*] in {"new" "kept"}) and not tags[0] == "new"'
    with pytest.raises(ValueError, match="overlaps"):
        replace_spans("abc", [(0, 2, ""), (1, 3, "")])


@given(st.one_of(st.binary(max_size=20), st.text(st.characters(exclude_categories=["Cs"]), max_size=20)))
def test_what_is_quoted_reads_as_it_was(value: bytes | str) -> None:
    text = f"host == {quote(value)}"
    assert literal_uses(parse(text, scheme()), ["host"])[0].value == (value.encode() if isinstance(value, str) else value)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('host == "a" and not path in {"a" "b"} && any(tags[*] matches "a") or port >= 1 || ip in $nets', []),
        ("managed xor managed", ["`xor`"]),
        ("!managed", ["`!`"]),
        ('host eq "a"', ["`eq`"]),
        ('host contains "a" and host wildcard "a"', ["`contains`", "`wildcard`"]),
        ("port & 1", ["`&`"]),
        ('all(tags[*] == "a")', ["`all(…)`"]),
        ('lower(host) == "a"', ["`lower(…)`"]),
        ('host ~ r"a"', ["`~`", "a string without plain quotes"]),
        ('host in {"a" 61:62}', ["a string without plain quotes"]),
        ('tags[0] == "a"', ["an index by number"]),
        ('starts_with(host, r"a")', ["`starts_with(…)`", "a string without plain quotes"]),
    ],
)
def test_what_gateway_does_not_list(text: str, found: list[str]) -> None:
    uses = beyond_gateway(parse(text, scheme()))
    assert [what for _, what in uses] == found
    assert all(0 <= start < end <= len(text) for (start, end), _ in uses)


def test_spans_of_combinations_include_their_parentheses() -> None:
    text = ' (host == "a" or (managed)) and not (path == "b") '
    expression = parse(text, scheme())
    assert isinstance(expression.root, And)
    assert format_node(expression.root, text) == text.strip()
    assert [format_node(operand, text) for operand in expression.root.operands] == [
        'host == "a" or (managed)',
        'not (path == "b")',
    ]


def test_parts_compile_alone() -> None:
    expression = parse('host == "a" and any(lower(tags[*])[*] == "b")', scheme())
    assert isinstance(expression.root, And)
    context = Facts({"host": b"x", "tags": (b"A", b"B")})
    parts = [compile_node(operand, expression.scheme) for operand in expression.root.operands]
    assert [part(context) for part in parts] == [False, True]
    values = [value_of(node.left, expression.scheme)(context) for node in walk(expression.root) if isinstance(node, Comparison)]
    assert values == [b"x", [b"a", b"b"]]
    each = next(node for node in walk(expression.root) if isinstance(node, Comparison) and node.each)
    with pytest.raises(TypeError, match="is no condition"):
        compile_node(each, expression.scheme)


def test_a_list_that_is_not_there_is_refused_when_compiling() -> None:
    expression = parse("managed and host in $hots", scheme())
    with pytest.raises(ExpressionError, match="1:22: no list `hots`") as caught:
        compile_expression(expression, lists={})
    assert caught.value.kind == "unknown_field"
    assert isinstance(expression.root, And)
    with pytest.raises(ExpressionError, match="no list `hots`"):
        compile_node(expression.root.operands[1], expression.scheme)

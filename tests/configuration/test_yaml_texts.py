"""YAML to JSON values with positions."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchword_server.configuration import yaml_text
from watchword_server.configuration.yaml_text import MAX_DEPTH, Position, parse_yaml

INDENT = "indent this line as its neighbours are"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("0o17", 15),
        ("017", 17),
        ("0x1F", 31),
        ("-12", -12),
        ("1_000", "1_000"),
        ("1.5e3", 1500.0),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("12:30:45", "12:30:45"),
        ("2026-11-23", "2026-11-23"),
        ("2026-11-23T12:00:00Z", "2026-11-23T12:00:00Z"),
        ("192.0.2.1", "192.0.2.1"),
        ("'true'", "true"),
        ('"5"', "5"),
        ("!!str 5", "5"),
        ("! 5", "5"),
        ("<<", "<<"),
        ("{<<: {a: 1}}", {"<<": {"a": 1}}),
        ("|\n  a\n  b\n", "a\nb\n"),
        (json.dumps("Büro \U0001f4bb"), "Büro \U0001f4bb"),
        ("[1, [a, {b: }]]", [1, ["a", {"b": None}]]),
    ],
)
def test_yaml_1_2_s_core_schema(text: str, value: object) -> None:
    parsed = parse_yaml(text)
    assert parsed.problems == ()
    assert parsed.value == value
    assert type(parsed.value) is type(value)


def test_every_key_and_item_has_its_place() -> None:
    parsed = parse_yaml("a: 1\nb:\n  - c: x\n    'd': {e: 2}\n  - y\n")
    assert parsed.positions == {
        (): Position(1, 1),
        ("a",): Position(1, 1),
        ("b",): Position(2, 1),
        ("b", 0): Position(3, 5),
        ("b", 0, "c"): Position(3, 5),
        ("b", 0, "d"): Position(4, 5),
        ("b", 0, "d", "e"): Position(4, 11),
        ("b", 1): Position(5, 5),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('a: "\\UFFFFFFFF"', "is not valid YAML: a character that does not exist"),
        ("a: \x07", "is not valid YAML: a control character; remove it, or escape it in double quotes"),
        ("a: [", "is not valid YAML: expected the node content, but found '<stream end>'; a bracket is never closed: close it"),
        ("a: 'b", "is not valid YAML: found unexpected end of stream; a quote is never closed: close it"),
        ("a: @b", "is not valid YAML: found character '@' that cannot start any token; put the value in quotes"),
        (
            "a: * b",
            "is not valid YAML: expected alphabetic or numeric character, but found ' '; put the value in quotes",
        ),
        ("a:\n  - b\n c: d", "is not valid YAML: expected <block end>, but found '<block mapping start>'; " + INDENT),
        (
            "a: [b: c: d]",
            (
                "is not valid YAML: expected ',' or ']', but got ':'; "
                "in brackets, write a comma between items, and a value with `: `, commas or brackets in quotes"
            ),
        ),
        (
            "- a: b\n  c",
            (
                "is not valid YAML: could not find expected ':'; "
                "write a key and its value as `key: value`, and indent what belongs to it"
            ),
        ),
        (
            "a: - b",
            "is not valid YAML: sequence entries are not allowed here; begin a list on the next line, or put the value in quotes",
        ),
        (
            "a: |b",
            (
                "is not valid YAML: expected chomping or indentation indicators, but found 'b'; "
                "begin the text on the line after `|` or `>`"
            ),
        ),
        ("a: *b", "`*b` without quotes is an alias, which is not supported: put it in quotes, or write the value out"),
        ("? {a: b}\n: c", "a key has to be text, not a list or mapping: put it in quotes"),
        ("[" * 100_000, f"is nested more than {MAX_DEPTH} deep: write it flatter"),
        ("{a: " * 1000, f"is nested more than {MAX_DEPTH} deep: write it flatter"),
    ],
)
def test_what_cannot_be_read_at_all(text: str, message: str) -> None:
    parsed = parse_yaml(text)
    assert not parsed.readable
    assert [problem.message for problem in parsed.problems] == [message]


def test_too_many_values_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_text, "MAX_VALUES", 3)
    assert parse_yaml("[1, 2]").readable
    assert [problem.message for problem in parse_yaml("[1, 2, 3]").problems] == ["has more than 3 values: split it"]


def test_half_a_character_is_a_problem_of_its_value() -> None:
    parsed = parse_yaml('a: "\\ud800"\n"\\udfff": 1')
    assert [(problem.path, problem.message) for problem in parsed.problems] == [
        (("a",), "holds half a character: write the whole one, in UTF-8"),
        (("?",), "holds half a character: write the whole one, in UTF-8"),
    ]


def test_the_place_of_a_control_character_is_told() -> None:
    assert parse_yaml("a: b\nc: \x07").positions[()] == Position(2, 4)


def test_an_alias_bomb_costs_nothing() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    assert [problem.message for problem in parse_yaml(bomb).problems] == [
        "`*a0` without quotes is an alias, which is not supported: put it in quotes, or write the value out"
    ]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=50), inner),
    max_leaves=8,
)


@given(_JSON, st.sampled_from([None, 2]))
def test_json_is_yaml(value: object, indent: int | None) -> None:
    parsed = parse_yaml(json.dumps(value, indent=indent))
    assert parsed.problems == ()
    assert parsed.value == value


@given(st.text())
def test_no_text_crashes_it(text: str) -> None:
    parse_yaml(text)


@given(st.text(alphabet=" \n\t-:?,[]{}#&*!|>'\"%@`\\~<0aU=."))
def test_no_text_of_yaml_s_own_characters_crashes_it(text: str) -> None:
    parsed = parse_yaml(text)
    assert parsed.readable or parsed.problems

"""Which way the absence of a field pushes an expression."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from language.generating import LISTS, TYPES, contexts, expressions, scheme, values_of
from watchword_server.core.language.analysis import AbsenceEffect, absence_effects, fields_used, format_node
from watchword_server.core.language.compile import compile_expression
from watchword_server.core.language.context import Facts
from watchword_server.core.language.parse import parse


@settings(max_examples=400, deadline=None)
@given(expressions, contexts, st.booleans(), st.data())
def test_absence_pushes_only_where_it_is_said_to(text: str, context: Facts, missing_not_equal: bool, data: st.DataObject) -> None:
    """Without an effect toward True, what is true without the field is true with any value of it; and so for False."""
    expression = parse(text, scheme(missing_not_equal=missing_not_equal))
    fields = sorted(fields_used(expression) & TYPES.keys())
    assume(fields)
    field = data.draw(st.sampled_from(fields))
    effects = absence_effects(expression, [field])
    assert effects
    condition = compile_expression(expression, lists=LISTS)
    without = condition(Facts({name: value for name, value in context.items() if name != field}))
    present = condition(Facts({**context, field: data.draw(values_of(field))}))
    if without != present:
        assert without in {effect.toward for effect in effects}


WHOLE = 'to_string(not managed and any(flags)) == "true"'
BOTH_OF_MANAGED = [("managed", WHOLE, False), ("managed", WHOLE, True)]
BOTH_OF_FLAGS = [("flags", WHOLE, False), ("flags", WHOLE, True)]


@pytest.mark.parametrize(
    ("text", "effects"),
    [
        ('host == "a"', [("host", 'host == "a"', False)]),
        ('not host == "a"', [("host", 'host == "a"', True)]),
        ('host != "a"', [("host", 'host != "a"', True)]),
        ('any(tags[*] == "a")', [("tags", 'any(tags[*] == "a")', False)]),
        ('not(any(tags[*] == "a"))', [("tags", 'any(tags[*] == "a")', True)]),
        ('all(tags[*] == "a")', [("tags", 'all(tags[*] == "a")', True)]),
        ("any(not flags)", [("flags", "any(not flags)", False)]),
        ("all(flags)", [("flags", "all(flags)", False)]),
        ("managed and port == 1", [("managed", "managed", False), ("port", "port == 1", False)]),
        ("managed xor managed", [("managed", "managed", False), ("managed", "managed", True)] * 2),
        ('concat(host, "x") == "x"', [("host", 'concat(host, "x") == "x"', False), ("host", 'concat(host, "x") == "x"', True)]),
        ('len(tags[*] == "a") == 0', [("tags", 'len(tags[*] == "a") == 0', False), ("tags", 'len(tags[*] == "a") == 0', True)]),
        (WHOLE, [*BOTH_OF_MANAGED, *BOTH_OF_FLAGS]),
        ("all(starts_with(groups[*], host))", [("host", "all(starts_with(groups[*], host))", way) for way in (False, True)]),
        ('path == "a"', []),
    ],
)
def test_effects(text: str, effects: list[tuple[str, str, bool]]) -> None:
    expression = parse(text, scheme())
    found = absence_effects(expression, {"host", "tags", "flags", "managed", "port"})
    assert [(effect.field, text[slice(*effect.span)], effect.toward) for effect in found] == effects


def test_not_equal_follows_the_scheme() -> None:
    expression = parse('host != "a"', scheme(missing_not_equal=False))
    assert absence_effects(expression, {"host"}) == [AbsenceEffect("host", (0, 11), False)]
    assert format_node(expression.root, expression.text) == 'host != "a"'

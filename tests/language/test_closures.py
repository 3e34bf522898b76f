"""The closures say what the plain evaluator says, whatever shape the expression has."""

from hypothesis import given, settings
from hypothesis import strategies as st

from language.generating import LISTS, contexts, expressions, scheme
from language.reference import evaluate
from watchword_server.core.language.compile import compile_expression
from watchword_server.core.language.context import Facts
from watchword_server.core.language.parse import parse
from watchword_server.core.language.scheme import Scheme
from watchword_server.core.language.types import BYTES, ArrayOf, MapOf


@settings(max_examples=400, deadline=None)
@given(expressions, st.lists(contexts, min_size=1, max_size=4), st.booleans())
def test_closures_agree_with_the_plain_evaluator(text: str, found: list[Facts], missing_not_equal: bool) -> None:
    expression = parse(text, scheme(missing_not_equal=missing_not_equal))
    condition = compile_expression(expression, lists=LISTS)
    for context in [*found, Facts()]:
        assert condition(context) is evaluate(expression, context, LISTS)


def test_keys_stand_for_names() -> None:
    expression = parse('host == "a" and any(tags[*] == "b")', scheme())
    condition = compile_expression(expression, keys={"host": 0, "tags": ("x", 1)})
    assert condition(Facts({0: b"a", ("x", 1): (b"b",)}))
    assert not condition(Facts({"host": b"a", "tags": (b"b",)}))


def test_the_empty_expression_is_always_true() -> None:
    assert compile_expression(parse(" ", scheme()))(Facts())


def test_arrays_of_records_are_read_by_member() -> None:
    of = Scheme({"people": ArrayOf(MapOf(BYTES))}, gateway=True)
    context = Facts({"people": [{b"name": b"a"}, {b"email": b"b"}]})
    for text in ('any(people[*].name == "a")', 'any(people.name[*] == "a")', 'any(people[*]["name"] in {"a" "c"})'):
        assert compile_expression(parse(text, of))(context)
    assert not compile_expression(parse('any(people.email[*] == "a")', of))(context)

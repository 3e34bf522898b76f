"""Faults: always an `ExpressionError`, always with a place in the text, and a message that says what to write."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from language.generating import expressions, scheme
from watchword_server.core.language.compile import compile_expression
from watchword_server.core.language.gateway import gateway_scheme
from watchword_server.core.language.parse import parse
from watchword_server.core.language.scheme import Limits, Scheme
from watchword_server.core.language.types import BOOL, BYTES, ArrayOf, parse_type
from watchword_server.errors import ExpressionError, OperatorError

_WORDS = r"""
    host port ip flags tags[*] any( all( lower( concat( ) ( ! || ^^ { } $hosts in{ 0x 10.0.0.1 /8 .. :: , matches
    "a" " \ [ ] [*] ["k"] 1 - "(a" wildcard contains & ~ é r# not 61:62 .
"""
_SPACED = ("not ", " and ", " == ", " in ", "strict wildcard", " ", "\t", "\n", "\x00", "\ud800")
_TOKENS = st.sampled_from([*_WORDS.split(), *_SPACED])


def read(text: str, of: Scheme | None = None) -> ExpressionError | None:
    """The fault of a text; asserts that it is in the text and can be shown."""
    try:
        parse(text, of or scheme())
    except ExpressionError as found:
        error = found
    else:
        return None
    assert 0 <= error.position <= error.position + error.length <= len(text)
    assert error.text == text
    assert error.message
    assert str(error) == f"{error.line}:{error.column}: {error.message}"
    shown = error.render().split("\n")
    assert len(shown) == 3
    assert shown[2].strip().strip("^") == ""
    assert all(character.isprintable() for character in shown[1])
    return error


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=40), st.lists(_TOKENS, max_size=14).map("".join)))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    read(text)


@settings(max_examples=300, deadline=None)
@given(expressions, st.data())
def test_a_mutated_expression_is_read_or_refused_with_a_place(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 4)))
    read(text[:start] + data.draw(st.one_of(st.just(""), _TOKENS)) + text[end:])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('hots == "a"', "1:1: unknown field `hots`: did you mean `host`?"),
        ('Host == "a"', "1:1: unknown field `Host`: did you mean `host`?"),
        ('lover(host) == "a"', "1:1: unknown function `lover`: did you mean `lower`?"),
        ("any == 1", "1:1: `any` needs parentheses: write `any(…)`"),
        ("managed and true", "1:13: unknown field `true`: there is no such value; write a Bool field alone, or `not` before it"),
        ("443 == port", "1:1: unknown field `443`: a value cannot stand on the left; write the field first"),
        ('"a" == host', "1:1: a value cannot stand on the left: write the field first"),
        ("and managed", "1:1: a condition is expected before `and`"),
        ("managed AND managed", "1:8: `AND` is no operator: write `and`"),
        ("managed & managed", "1:8: `&` does not join conditions: write `&&`, or the word"),
        ("managed and\tmanaged", "1:12: a tab is no blank in an expression: use spaces or new lines"),
        ("managed # why", "1:8: there are no comments in an expression: remove it"),
        ('host = "a"', "1:6: `=` is no operator: write `==`"),
        ('host not in {"a"}', "1:6: `not` is no operator: write `not` before the field, as in `not field in {…}`"),
        ('host EQ "a"', "1:6: `EQ` is no operator: write `eq`"),
        ('host like "a"', "1:6: `like` is no operator: write `wildcard`"),
        ('host equals "a"', "1:8: `equals` is no operator: write `==`"),
        ('tags == "a"', "1:6: `==` does not take an Array<Bytes>: compare each element, `any(tags[*] == …)`"),
        ('any(tags[*] == "a" or tags[*] == "b")', "any((… or …))"),
        ('port == "80"', "1:9: a number is expected, without quotes"),
        ('host in {"a", "b"}', "1:13: items of a set are separated by blanks, not commas"),
        ('host in {"a"', "1:13: the set does not end: add `}`"),
        ('host == "\\n"', "a newline is `\\x0a`"),
        ("port == 08", "1:9: `08` is not an octal number, because it starts with 0"),
        ("ip == 10.0.0.0/8", "write `in {10.0.0.0/8}` for a network"),
        ("ip in {10.0.0.1/8}", "the network has bits beyond its prefix length: they must be 0"),
        ('host matches "(?<=a)b"', "look-around is not supported"),
        ("port contains 1", "1:6: Int does not take `contains`: it takes `!=`, `&`, `<`"),
        ("host(1)", "1:5: an operator is expected"),
        ('lower("A") == "a"', "1:7: `lower` takes a field or a function's result here"),
        ("(managed", "1:9: `)` is expected"),
        ("managed)", "1:8: `)` closes nothing"),
        ("not", "1:4: a condition is expected"),
        ('tags[*] == "a"', "write any(…) or all(…) around it"),
        ("len(host, host) == 1", "1:11: `len` takes at most one argument"),
        ('labels[0] == "a"', '1:7: Map<Bytes> has no such element: write `[*]` or `["key"]`'),
        ("labels == 1", "1:8: `==` does not take a Map<Bytes>: take one element by an index"),
        ("disks == 1", "1:7: `==` does not take an Array<Map<Bytes>>: compare a member of each"),
        ("labels", "1:7: an operator is expected; compare each element of Map<Bytes>"),
        ("port[0] == 1", "1:5: Int has no such element: compare it without an index"),
        ('tags[-1] == "a"', "1:6: an index is expected"),
        ('concat(host, port) == "a"', "1:14: `concat` takes Bytes or an array here, not Int"),
        ('concat(host, tags) == "a"', "1:14: `concat` takes arguments of one type: the first is Bytes, this is Array<Bytes>"),
        ('concat(host, tags[*]) == "a"', "1:14: `[*]` may only be in the first argument of a function"),
        ('split(host, "", 2)[0] == "a"', "1:13: `split` needs at least one character here"),
        ("any((switches[*]) )", "1:6: unknown field `switches`"),
        ("host == 61:", "1:12: a string is expected here"),
        ("host ==", "1:8: a string is missing"),
        ("ip in {10.0.0.1..::1}", "1:8: the ends of a range must be of one family"),
        ("ip == 1.2.3.256", "1:7: `1.2.3.256` is not an address"),
        ("ip == 1::2::3", "1:7: `1::2::3` is not an address"),
        ("host in $-", "1:10: a list's name is expected"),
        ("host == r###", "1:13: a string is expected"),
        ("managed and\n  hots == 1", "2:3: unknown field `hots`"),
    ],
)  # fmt: skip
def test_a_message_says_what_to_write(text: str, message: str) -> None:
    error = read(text)
    assert error is not None
    assert message in str(error)


def test_an_error_shows_its_place() -> None:
    error = read('managed and\n  hots == "a"')
    assert error is not None
    assert error.render() == '2:3: unknown field `hots`: did you mean `host`?\n  hots == "a"\n  ^^^^'
    assert isinstance(error, OperatorError)


def test_a_long_line_is_cut_around_the_fault() -> None:
    error = read("managed or " * 50 + "hots" + " or managed" * 50)
    assert error is not None
    _, line, carets = error.render().split("\n")
    assert len(line) < 130
    assert line.startswith("…")
    assert line.endswith("…")
    assert line[carets.index("^") : carets.index("^") + 4] == "hots"


@pytest.mark.parametrize("name", ["not", "notable", "a..b", "", "a-b", "lower"])
def test_a_scheme_refuses_names_that_cannot_be_reached(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a field's name"):
        Scheme({name: BYTES})


def test_the_empty_expression_is_no_condition_for_gateway_only() -> None:
    error = read("  ", Scheme({}))
    assert error is not None
    assert (error.kind, error.position) == ("syntax", 0)
    assert read("  ", Scheme({}, gateway=True)) is None


def test_a_map_of_truths_is_no_condition() -> None:
    of = Scheme({"flags": parse_type("Map<Bool>"), "rows": parse_type("Array<Array<Bool>>")})
    for text in ("flags", "any(not flags)", "any((rows[*]))"):
        error = read(text, of)
        assert error is not None
        assert "is no condition" in error.message
    assert read("any((flags[*]))", of) is None
    assert read("any(rows[0])", of) is None


def test_gateway_reads_members_and_dashed_lists() -> None:
    of = gateway_scheme("http", "identity", Limits(), True)
    assert read('any(identity.groups[*].name in {"a"}) and any(identity.groups.name[*] == "b")', of) is None
    assert read("http.request.host in $01302951-49f9-47c9-a400-0297e60b6a10", of) is None
    assert read('any(tags[*].name == "a")', Scheme({"tags": ArrayOf(BYTES)})) is not None


def test_schemes_of_gateway_know_posture_except_dns() -> None:
    posture = 'any(device_posture.checks.passed[*] == "a")'
    assert all(read(posture, gateway_scheme(name, "traffic", Limits(), True)) is None for name in ("http", "l4", "egress"))
    assert read(posture, gateway_scheme("dns", "traffic", Limits(), True)) is not None
    with pytest.raises(ValueError, match="no filter"):
        gateway_scheme("smtp", "traffic", Limits(), True)


# Each of these would take minutes, or Python's stack, if anything here took more than a step per character.
@pytest.mark.parametrize(
    "text",
    [
        "(" * 10_000 + "managed" + ")" * 10_000,
        "not " * 300_000 + "managed",
        "!" * 1_000_000 + "managed",
        " and ".join(["managed"] * 100_000),
        "lower(" * 10_000,
        "any(" * 10_000,
        "any((" * 10_000,
        "not any((not " * 10_000,
        'host == "' + "a" * 1_000_000,
        'host == "' + "\\x41" * 250_000 + '"',
        "host == r" + "#" * 1_000_000,
        "host == r#" + '"' * 1_000_000,
        "port == " + "1" * 1_000_000,
        "ip == " + "1." * 500_000,
        "ip == " + ":" * 1_000_000,
        "ip in {" + "1..2 " * 100_000 + "}",
        "host in {" + '"a" ' * 250_000 + "}",
        "port in {" + "1..9 " * 200_000 + "}",
        "tags" + "[0]" * 300_000 + ' == "a"',
        "a." * 500_000 + "a == 1",
        "x" * 1_000_000,
        'host matches "' + "(" * 1_000_000 + '"',
        'host matches "' + "[" * 1_000_000 + '"',
        'host wildcard "' + "a*" * 500_000 + '"',
        'labels["' + "k" * 1_000_000,
        " " * 1_000_000 + "managed",
        "managed" + "\n" * 1_000_000 + "x",
        "concat(host" + ", host" * 150_000 + ') == "a"',
    ],
    ids=lambda text: text[:24],
)  # fmt: skip
def test_a_megabyte_is_read_or_refused_at_once(text: str) -> None:
    large = Limits(expression_characters=1 << 21, regex_characters=1 << 21, set_items=1 << 21, wildcard_stars=None)
    read(text, Scheme(scheme().fields, limits=large))
    error = read(text, Scheme(scheme().fields))
    assert error is not None
    assert "longer than 4096 characters" in error.message


def test_nesting_counts_parentheses_negations_quantifiers_and_calls() -> None:
    of = Scheme({"t": BOOL, "host": BYTES, "tags": ArrayOf(BYTES)}, limits=Limits(nesting=3))
    for good, bad in [
        ("(((t)))", "((((t))))"),
        ("!!!t", "!!!!t"),
        ('lower(lower(lower(host))) == "a"', 'lower(lower(lower(lower(host)))) == "a"'),
        ('not any((tags[*] == "a"))', 'not (any((tags[*] == "a")))'),
    ]:
        assert read(good, of) is None
        error = read(bad, of)
        assert error is not None
        assert "nested deeper than 3" in error.message


def test_limits_of_sets_and_regular_expressions() -> None:
    of = Scheme(
        {"host": BYTES, "port": scheme().fields["port"]}, limits=Limits(set_items=2, regex_characters=4, wildcard_stars=1)
    )
    for text in ("port in {1 2 3}", 'host in {"a" "b" "c"}', 'host matches "abcde"', 'host wildcard "*a*"'):
        assert read(text, of) is not None
    for text in ("port in {1 2}", 'host in {"a" "b"}', 'host matches "abcd"', 'host wildcard "a*"'):
        assert read(text, of) is None
    with pytest.raises(ValueError, match="nesting must be"):
        Limits(nesting=1000)


def test_values_as_deep_as_nesting_allows_are_compiled_or_refused() -> None:
    """Whether two sides ask the same elements is found by comparing trees, which takes Python's stack."""
    value = "a[*]"
    for _ in range(123):
        value = f"upper({value})[*]"
    roomy = Scheme({"a": ArrayOf(BYTES)}, limits=Limits(expression_characters=10_000))
    expression = parse(f'any(({value} == "X" or {value} == "Y"))', roomy)

    def compiled(frames: int) -> object:
        if frames:
            return compiled(frames - 1)
        try:
            return compile_expression(expression)({"a": (b"x",)})
        except ExpressionError as error:
            return str(error)

    assert compiled(0) is True
    assert compiled(200) in {True, "1:1: this is nested too deeply to be compiled: write it flatter"}

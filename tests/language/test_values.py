"""Functions, sets, wildcards, types and contexts by their own rules."""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchword_server.core.language.compile import compile_expression, value_of
from watchword_server.core.language.context import Facts, read_context
from watchword_server.core.language.functions import FUNCTIONS
from watchword_server.core.language.parse import parse
from watchword_server.core.language.scheme import Scheme
from watchword_server.core.language.sets import IpRanges, Ranges
from watchword_server.core.language.syntax import Comparison, Truth
from watchword_server.core.language.types import BOOL, BYTES, INT, IP, ArrayOf, MapOf, Type, parse_type
from watchword_server.core.language.wildcard import parse_wildcard
from watchword_server.errors import ConfigurationError, ExpressionError

SCHEME = Scheme({"s": BYTES, "n": INT, "ip": IP, "b": BOOL, "a": ArrayOf(BYTES)})


@pytest.mark.parametrize(
    ("call", "context", "result"),
    [
        ("substring(s, 1, 3)", {"s": b"abcd"}, b"bc"),
        ("substring(s, -3, -1)", {"s": b"abcd"}, b"bc"),
        ("substring(s, 9)", {"s": b"abcd"}, b""),
        ("to_string(n)", {"n": -5}, b"-5"),
        ("to_string(b)", {"b": False}, b"false"),
        ("to_string(ip)", {"ip": (6, 1)}, b"::1"),
        ("to_string(ip)", {"ip": (6, 0xFFFF0A000001)}, b"::ffff:10.0.0.1"),
        ("url_decode(s)", {"s": b"a%20b+c%2x%"}, b"a b c%2x%"),
        ("url_decode(s)", {"s": b"%2520"}, b"%20"),
        ('url_decode(s, "r")', {"s": b"%2520"}, b" "),
        ('url_decode(s, "u")', {"s": b"%u2601%20%ud800"}, "☁ %ud800".encode()),
        ('split(s, ".", 3)[1]', {"s": b"cdn.example.com.x"}, b"example"),
        ('split(s, ".", 2)[1]', {"s": b"a.b.c"}, b"b.c"),
        ('join(a, "-")', {"a": (b"x", b"y")}, b"x-y"),
        ('join(split(s, ".", 9), "-")', {"s": b"a.b"}, b"a-b"),
        ('remove_bytes(s, ".w")', {"s": b"www.a.b"}, b"ab"),
        ("decode_base64(s)", {"s": b"YWI="}, b"ab"),
        ("decode_base64(s)", {"s": b"YWI"}, None),
        ("cidr(ip, 24, 64)", {"ip": (4, 0x0A010203)}, (4, 0x0A010200)),
        ("cidr(ip, 24, 64)", {"ip": (6, (5 << 64) + 7)}, (6, 5 << 64)),
        ("cidr6(ip, 64)", {"ip": (6, (5 << 64) + 7)}, (6, 5 << 64)),
        ("cidr6(ip, 64)", {"ip": (4, 7)}, (4, 7)),
        ('lookup_json_string(s, "a", 1, "b")', {"s": b'{"a": [0, {"b": "x"}]}'}, b"x"),
        ('lookup_json_string(s, "a")', {"s": b'{"a": 1}'}, None),
        ('lookup_json_string(s, "a")', {"s": b"nonsense"}, None),
        ('lookup_json_string(s, "a")', {"s": b"[" * 100_000}, None),
        ('lookup_json_string(s, "\\xff")', {"s": b"{}"}, None),
        ("lookup_json_integer(s, 0)", {"s": b"[42]"}, 42),
        ("lookup_json_integer(s, 0)", {"s": b"[42.0]"}, 42),
        ("lookup_json_integer(s, 0)", {"s": b"[42.5]"}, None),
        ("lookup_json_integer(s, 0)", {"s": b"[true]"}, None),
        ("lookup_json_integer(s, 0)", {"s": b"[9223372036854775808]"}, None),
        ("lookup_json_integer(s, 5)", {"s": b"[1]"}, None),
        ("len(lower(s))", {}, None),
        ("concat(s, s)", {}, None),
        ("starts_with(s, s)", {"s": b"a"}, True),
    ],
)
def test_functions(call: str, context: dict[str, Any], result: object) -> None:
    kind = FUNCTIONS[call.partition("(")[0]].returns
    ends: dict[Type | None, str] = {INT: " == 0", IP: " == ::", BOOL: ""}
    end = ends.get(kind, ' == ""')
    root = parse(call + end, SCHEME).root
    assert isinstance(root, Comparison | Truth)
    value = root.left if isinstance(root, Comparison) else root.value
    assert value_of(value, SCHEME)(Facts(context)) == result


@pytest.mark.parametrize(
    "text",
    ['split(s, "", 3)[0] == "a"', 'split(s, ".", 0)[0] == "a"', "cidr(ip, 0, 1) == ::", "cidr6(ip, 129) == ::", "len(b) == 1"],
)
def test_arguments_that_no_call_may_have(text: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text, SCHEME)
    assert caught.value.kind == "type"


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30))), st.integers(-2, 33))
def test_ranges_hold_what_one_of_them_holds(pairs: list[tuple[int, int]], number: int) -> None:
    ordered = [(min(pair), max(pair)) for pair in pairs]
    ranges = Ranges.of(ordered)
    assert (number in ranges) is any(first <= number <= last for first, last in ordered)
    assert ranges.count() == len(list(ranges)) == len({n for first, last in ordered for n in range(first, last + 1)})


def test_families_of_addresses_never_meet() -> None:
    ranges = IpRanges.of(
        [IPv4Network("10.0.0.0/8"), ip_network("2001:db8::/32"), (IPv4Address("1.1.1.1"), IPv4Address("1.1.1.9"))]
    )
    assert (4, int(IPv4Address("10.9.9.9"))) in ranges
    assert (4, int(IPv4Address("1.1.1.9"))) in ranges
    assert (6, int(IPv6Address("2001:db8::1"))) in ranges
    assert (6, int(IPv6Address("::ffff:10.9.9.9"))) not in ranges
    assert (6, int(IPv4Address("10.9.9.9"))) not in ranges
    assert None not in ranges
    assert b"10.0.0.1" not in ranges
    assert (4, 7) in IpRanges.of([IPv4Address(7)])


def test_the_widest_ranges_are_no_burden() -> None:
    context = Facts({"n": 5, "ip": (6, 5)})
    assert compile_expression(parse("n in {-9223372036854775808..9223372036854775807}", SCHEME))(context)
    assert compile_expression(parse("ip in {::/0}", SCHEME))(context)


@pytest.mark.parametrize("pattern", [b"a**", b"\\a", b"a\\"])
def test_wildcards_that_mean_nothing_are_refused(pattern: bytes) -> None:
    with pytest.raises(ValueError, match=r"star|backslash"):
        parse_wildcard(pattern, strict=True, most_stars=None)


@given(st.lists(st.sampled_from(["a", "B", "*", "ab"]), max_size=6), st.text("abAB", max_size=8), st.booleans())
def test_wildcards_match_as_patterns_would(tokens: list[str], value: str, strict: bool) -> None:
    pattern = re.sub(r"\*+", "*", "".join(tokens))
    flags = re.DOTALL if strict else re.DOTALL | re.IGNORECASE
    expected = re.fullmatch(pattern.replace("*", ".*"), value, flags) is not None
    text = f'host {"strict wildcard" if strict else "wildcard"} "{pattern}"'
    condition = compile_expression(parse(text, Scheme({"host": BYTES})))
    assert condition(Facts({"host": value.encode()})) is expected


def test_stars_of_a_wildcard_are_counted() -> None:
    assert parse_wildcard(b"*A\\*", strict=False, most_stars=1).pieces == (b"", b"a*")
    with pytest.raises(ValueError, match="at most 0 stars"):
        parse_wildcard(b"*", strict=True, most_stars=0)


@pytest.mark.parametrize("text", ["Bytes", "Array<Int>", "Map<Array<Ip>>", "Array<Array<Bool>>"])
def test_types_are_written_as_they_are_read(text: str) -> None:
    assert str(parse_type(text)) == text


@pytest.mark.parametrize("text", ["", "bytes", "Array", "Array<>", "Array<Bytes", "Set<Int>", "Array<" * 99 + "Int" + ">" * 99])
def test_what_is_no_type_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no type"):
        parse_type(text)


def test_a_context_is_read_by_types() -> None:
    types: dict[str, Type] = {
        "s": BYTES,
        "raw": BYTES,
        "n": INT,
        "ip": IP,
        "ip6": IP,
        "b": BOOL,
        "a": ArrayOf(BYTES),
        "m": MapOf(ArrayOf(INT)),
        "no": INT,
    }
    document = {
        "s": "é",
        "raw": [0, 255],
        "n": -1,
        "ip": "10.0.0.1",
        "ip6": "::1",
        "b": True,
        "a": ["x"],
        "m": {"k": [1], "z": None},
    }
    facts = read_context({**document, "no": None}, types)
    assert facts == {
        "s": "é".encode(), "raw": b"\x00\xff", "n": -1, "ip": (4, 0x0A000001), "ip6": (6, 1), "b": True, "a": [b"x"],
        "m": {b"k": [1]}, "no": None,
    }  # fmt: skip
    assert facts["never heard of"] is None


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *(("Bool", 1), ("Int", True), ("Int", 1.0), ("Int", "1"), ("Int", 1 << 63)),
        *(("Bytes", 1), ("Bytes", [256]), ("Bytes", ["a"]), ("Bytes", "\ud800")),
        *(("Ip", "10.0.0"), ("Ip", "fe80::1%1"), ("Ip", "10.0.0.0/8"), ("Ip", 1)),
        *(("Array<Int>", {}), ("Array<Int>", [1, None]), ("Array<Int>", [1, "a"]), ("Map<Int>", []), ("Map<Int>", {"k": "a"})),
    ],
)
def test_a_value_of_another_type_is_refused(kind: str, value: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_context({"field": value}, {"field": parse_type(kind)})
    assert caught.value.problems[0].path[0] == "field"


def test_every_problem_of_a_context_is_told() -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_context({"hots": "a", "n": "x", "a": ["y", 5]}, {"host": BYTES, "n": INT, "a": ArrayOf(BYTES)})
    told = [(problem.path, problem.message) for problem in caught.value.problems]
    assert told == [
        (("hots",), "unknown field `hots`: did you mean `host`?"),
        (("n",), "this is no Int: write a whole number of 64 bits"),
        (("a", 1), "this is no Bytes: write a string, or a list of numbers from 0 to 255"),
    ]

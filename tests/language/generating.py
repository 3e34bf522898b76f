"""Expressions and contexts at random, over a small scheme with a field of every shape."""

from typing import Any

from hypothesis import strategies as st

from watchword_server.core.language.analysis import quote
from watchword_server.core.language.context import Facts
from watchword_server.core.language.scheme import Limits, Scheme
from watchword_server.core.language.sets import IpRanges
from watchword_server.core.language.types import Type, parse_type

TYPES: dict[str, Type] = {
    name: parse_type(kind)
    for name, kind in {
        "host": "Bytes", "path": "Bytes", "port": "Int", "ip": "Ip", "managed": "Bool", "tags": "Array<Bytes>",
        "groups": "Array<Bytes>", "ports": "Array<Int>", "ips": "Array<Ip>", "flags": "Array<Bool>", "labels": "Map<Bytes>",
        "disks": "Array<Map<Bytes>>", "claims": "Map<Array<Bytes>>", "counts": "Map<Int>",
    }.items()
}  # fmt: skip
LISTS: dict[str, Any] = {
    "hosts": frozenset((b"a", b"ab")),
    "nets": IpRanges.of_numbers([(4, 10, 20), (6, 1, 1)]),
    "odd": (1, 3, 5),
}
_WORDS = (b"", b"a", b"b", b"ab", b"A", b"aB\n", b"\xff")
_NUMBERS = (-1, 0, 1, 2, 3, 80)
_ADDRESSES = ((4, 0), (4, 10), (4, 16), (6, 0), (6, 1), (6, 10))
_WRITTEN = {(4, 0): "0.0.0.0", (4, 10): "0.0.0.10", (4, 16): "0.0.0.16", (6, 0): "::", (6, 1): "::1", (6, 10): "::a"}

words, numbers, addresses = st.sampled_from(_WORDS), st.sampled_from(_NUMBERS), st.sampled_from(_ADDRESSES)
_key_bytes = st.sampled_from((b"k", b"l"))
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "Bytes": words,
    "Int": numbers,
    "Ip": addresses,
    "Bool": st.booleans(),
    "Array<Bytes>": st.lists(words, max_size=3),
    "Array<Int>": st.lists(numbers, max_size=3).map(tuple),
    "Array<Ip>": st.lists(addresses, max_size=3),
    "Array<Bool>": st.lists(st.booleans(), max_size=3),
    "Map<Bytes>": st.dictionaries(_key_bytes, words),
    "Map<Int>": st.dictionaries(_key_bytes, numbers),
    "Array<Map<Bytes>>": st.lists(st.dictionaries(_key_bytes, words), max_size=3),
    "Map<Array<Bytes>>": st.dictionaries(_key_bytes, st.lists(words, max_size=2)),
}


def values_of(name: str) -> st.SearchStrategy[Any]:
    return _VALUES[str(TYPES[name])]


contexts = st.fixed_dictionaries({}, optional={name: values_of(name) for name in TYPES}).map(Facts)


def scheme(*, missing_not_equal: bool = True) -> Scheme:
    return Scheme(TYPES, limits=Limits(regex_memory_bytes=1 << 20), missing_not_equal=missing_not_equal, gateway=True)


def _with(pattern: str, *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map(lambda found: pattern.format(*found))


_strings = words.map(quote)
_ints = numbers.map(str)
_ips = addresses.map(_WRITTEN.__getitem__)
_order = st.sampled_from(["==", "!=", "<", "le", ">", "ge", "eq", "ne"])
_regexes = st.sampled_from(
    ['"a"', '"^a"', '"b$"', '"^ab$"', '".*a.*"', '"(?i)^A"', '"^.b"', '"a|b"', '""', r'"\\xff"', r'"\s"', '"(?i)[^B]"']
)
_wildcards = st.sampled_from(['"a"', '"A*"', '"*b"', '"*"', '"a*b"', '"*a*"', '"*a*b*"', '""', r'r"\*"'])

_bytes_tests = st.one_of(
    _with("{} {}", _order, _strings),
    _with("in {{{}}}", st.lists(_strings, max_size=3).map(" ".join)),
    _with("contains {}", _strings),
    _with("matches {}", _regexes),
    _with("wildcard {}", _wildcards),
    _with("strict wildcard {}", _wildcards),
    st.just("in $hosts"),
)
_int_items = st.one_of(_ints, _with("{}..{}", st.sampled_from(["-1", "0"]), st.sampled_from(["1", "90"])))
_int_tests = st.one_of(
    _with("{} {}", _order, _ints),
    _with("& {}", _ints),
    _with("in {{{}}}", st.lists(_int_items, max_size=3).map(" ".join)),
    st.just("in $odd"),
)
_ip_items = st.one_of(_ips, st.sampled_from(["0.0.0.8/29", "0.0.0.0/0", "::/126", "0.0.0.9..0.0.0.11"]))
_ip_tests = st.one_of(
    _with("{} {}", _order, _ips),
    _with("in {{{}}}", st.lists(_ip_items, max_size=3).map(" ".join)),
    st.just("in $nets"),
)
_TESTS = {"Bytes": _bytes_tests, "Int": _int_tests, "Ip": _ip_tests}

_one_bytes = st.one_of(
    st.sampled_from(["host", "path", "tags[0]", "groups[1]", 'labels["k"]', 'claims["k"][0]', 'disks[0]["k"]', "lower(tags[9])"]),
    st.sampled_from(
        ["lower(host)", "upper(path)", "concat(host, path)", 'concat(host, "b")', "substring(host, 1)", "to_string(port)"]
    ),
    st.sampled_from(["lower(lower(host))", "lower(concat(host, path))", "to_string(not managed)", "concat(tags, groups)[1]"]),
)
_one_int = st.sampled_from(["port", "ports[0]", 'counts["k"]', "len(host)", "len(tags)", 'len(tags[*] == "a")', "len(flags)"])
_one_ip = st.sampled_from(["ip", "ips[0]"])
_one_bool = st.sampled_from(
    ["managed", "flags[0]", 'starts_with(host, "a")', "ends_with(path, host)", 'starts_with(lower(host), "a")']
)
_each_bytes = st.sampled_from(
    [
        *["tags[*]", "groups[*]", "labels[*]", "claims[*][*]", "claims[*][0]", "disks[*][*]", "disks[*].l", "lower(tags[*])[*]"],
        *('claims["k"][*]', 'disks[*]["k"]', "concat(tags, groups)[*]", "substring(tags[*], 1)[*]"),
        *("concat(tags[*], host)[*]", "upper(lower(tags[*])[*])[*]"),
    ]
)
_each_int = st.sampled_from(["ports[*]", "counts[*]", "len(tags[*])[*]"])
_each_bool = st.sampled_from(
    ["flags", "(flags[*])", 'starts_with(tags[*], "a")', "ends_with(groups[*], host)", "(starts_with(tags[*], host))"]
)


def _compared(left: st.SearchStrategy[str], kind: str) -> st.SearchStrategy[str]:
    return _with("{} {}", left, _TESTS[kind])


_each_leaf = st.one_of(_compared(_each_bytes, "Bytes"), _compared(_each_int, "Int"), _compared(st.just("ips[*]"), "Ip"))


def _combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = st.sampled_from([" and ", " or ", " xor ", "&&", " || ", "^^"])
    parts = st.lists(inner, min_size=2, max_size=4)
    joined = st.tuples(operators, parts).map(lambda found: "(" + found[0].join(found[1]) + ")")
    return st.one_of(joined, _with("not {}", inner), _with("!{}", inner))


_each = st.recursive(st.one_of(_each_leaf, _each_leaf, _each_bool), _combined, max_leaves=4)
_quantified = st.one_of(
    _with("any(({}))", _each), _with("all(({}))", _each), _with("any({})", _each_leaf), _with("all({})", _each_leaf),
    _with("any({})", _each_bool), _with("all({})", _each_bool),
)  # fmt: skip
_leaf = st.one_of(
    _compared(_one_bytes, "Bytes"), _compared(_one_int, "Int"), _compared(_one_ip, "Ip"), _one_bool, _quantified, _quantified
)  # fmt: skip
expressions = st.recursive(_leaf, _combined, max_leaves=6)

"""Regular expressions: read as Rust reads them, refused where RE2 would read them otherwise, and linear."""

import re

import pytest
import re2  # type: ignore[import-untyped]  # google-re2 ships no stubs
from hypothesis import given, settings
from hypothesis import strategies as st

from watchword_server.core.language.regex import _engine, compile_regex, required_prefixes
from watchword_server.core.language.regex_syntax import translate

MEMORY = 1 << 20


def found(pattern: str, value: bytes) -> bool:
    regex = compile_regex(pattern, memory_bytes=MEMORY)
    return (regex.search or _engine(translate(pattern), MEMORY))(value)


_REFUSED = r"""
    (?=a) (?!a) (?<=a)b (?<!a)b (a)\1 ( ) a) (a *a + ? a|* a** a++ a{2}{3} a*?? a{ { a{,3} a{x} a{1001} a{3,2}
    \p{Greek} \pN \PN \C \Qa\E \Z \0 \123 \< \> \b{start} \B{2} [a [ [] [^] [a\ [[a]b] [a&&b] [a--b] [a~~b] [[:foo:]]
    [\d-z] [a-\d] [z-a] [é] [\b] [\x{e9}] [a-[] (?x)a (?u)a (?R)a (?-u)a (?ii)a (?i-i)a (?) (?-) (?i-) (?>a) (?#a) (?P=a)
    (?P<1>a) (?P<a>x)(?P<a>y) \ a\é \x \xg1 \x{110000} \x{d800} \u12 \e \g ((a{100}){100}){100}
"""


@pytest.mark.parametrize("pattern", [*_REFUSED.split(), "(" * 251 + ")" * 251])
def test_what_the_engines_read_differently_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"[a-z]") as caught:
        compile_regex(pattern, memory_bytes=MEMORY)
    assert str(caught.value)[0].islower() or str(caught.value)[0] == "`"


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        (r"^\s$", b"\v", b"x"),
        (r"^[\s]$", b"\v", b"x"),
        (r"^\S$", b"x", b"\v"),
        (r"^[^\S]$", b"\v", b"x"),
        ("^é+$", "éé".encode(), b"\xc3\xa9\xa9"),
        ("^.{2}$", "é".encode(), b"a"),
        (r"^\xe9$", b"\xe9", "é".encode()),
        (r"^\x{e9}$", "é".encode(), b"\xe9"),
        (r"^\u00e9$", "é".encode(), b"\xe9"),
        ("(?i)^é$", "é".encode(), "É".encode()),
        (r"(?i)^\xe9$", b"\xe9", b"\xc9"),
        (r"(?i)^[\xe0-\xe9k]$", b"K", b"\xc9"),
        ("(?i)^[^k]$", b"x", b"K"),
        ("(?i)^[[:upper:]]$", b"a", b"1"),
        ("(?i)^[[:^upper:]]$", b"1", b"a"),
        ("^(?i:a)b$", b"Ab", b"AB"),
        ("^((?i)a)b$", b"Ab", b"AB"),
        ("(?i)^(?-i:a)b$", b"aB", b"AB"),
        ("(?i)^(?-i)[a]b$", b"ab", b"aB"),
        ("^[]a]$", b"]", b"b"),
        ("^[^]a]$", b"b", b"]"),
        ("^[]-a]$", b"-", b"^"),
        ("^[-a]$", b"-", b"b"),
        ("^[a-]$", b"-", b"b"),
        (r"^[\]\\]$", b"\\", b"b"),
        (r"^[\w.]$", b".", b"-"),
        (r"^[\D]$", b"\xff", b"1"),
        (r"^\W$", b"\xff", b"_"),
        ("^[^a]$", b"\n", b"a"),
        (r"^[^\x00-\xff]?$", b"", b"a"),
        (r"^[\x00-\xff]$", b"\xff", b""),
        ("a$", b"a", b"a\n"),
        ("(?m)^a$", b"x\na\ny", b"xa"),
        ("(?s)^.$", b"\n", b"ab"),
        (r"\bab\b", b"x ab y", b"xaby"),
        (r"\Aa\z", b"a", b"ba"),
        (r"^\.\*\_\-\/$", b".*_-/", b"a"),
        ("^a{2,3}$", b"aaa", b"a"),
        ("^a{2,}?$", b"aaa", b"a"),
        ("^(?:ab|c)*$", b"abc", b"ac"),
        ("^(?P<n>a)(?<m>b)$", b"ab", b"a"),
        ("^}]$", b"}]", b"}"),
        ("(?U)^a*$", b"aa", b"b"),
        (r"^\a\f\n\r\t\v$", b"\x07\x0c\n\r\t\x0b", b"a"),
    ],
)
def test_patterns_match_as_in_rust(pattern: str, matching: bytes, other: bytes) -> None:
    assert found(pattern, matching)
    assert not found(pattern, other)


_PIECES = st.sampled_from(
    ["a", "b", ".", "[ab]", "[^a]", r"\d", r"\.", "(?:a|b)", "(a)", "|", "^", "$", "a*", "b+", "a?", "[a-b]{2}", "x"]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_PIECES, max_size=6).map("".join), st.text("abx1.\n", max_size=8).map(str.encode))
def test_what_python_reads_alike_matches_alike(pattern: str, value: bytes) -> None:
    as_rust = re.compile(pattern.replace("$", r"\Z").encode())
    expected = as_rust.search(value) is not None
    regex = compile_regex(pattern, memory_bytes=MEMORY)
    assert _engine(translate(pattern), MEMORY)(value) is expected
    match regex.shape:
        case "contains":
            assert (regex.literal in value) is expected
        case "prefix":
            assert value.startswith(regex.literal) is expected
        case "suffix":
            assert value.endswith(regex.literal) is expected
        case "equals":
            assert (value == regex.literal) is expected


@pytest.mark.parametrize(
    ("pattern", "shape", "literal"),
    [
        ("", "contains", b""),
        (".*", "contains", b""),
        ("a.*", "contains", b"a"),
        (r".*a\.b.*", "contains", b"a.b"),
        ("^a/b", "prefix", b"a/b"),
        ("^a.*", "prefix", b"a"),
        (".*é$", "suffix", "é".encode()),
        ("^a$", "equals", b"a"),
        ("(?i)^Ab", "prefix", b"ab"),
        ("^a.*$", "search", b""),
        ("^.*a", "search", b""),
        ("ab*", "search", b""),
        ("a|b", "search", b""),
    ],
)
def test_plain_patterns_need_no_engine(pattern: str, shape: str, literal: bytes) -> None:
    regex = compile_regex(pattern, memory_bytes=MEMORY)
    assert (regex.shape, regex.literal) == (shape, literal)
    assert (regex.search is None) is (shape != "search")


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*$", "(a|aa)+$", "(.*)*$x", "(a*)*b", "a?" * 60 + "a" * 60])
def test_searching_is_linear(pattern: str) -> None:
    """Each would take Python's engine longer than the universe has."""
    found(pattern, b"a" * 50_000 + b"!")


def test_a_pattern_that_needs_more_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        compile_regex("((a{30}|b){30}|[a-z]c){30}", memory_bytes=1 << 16)


def test_the_two_ways_into_the_engine_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    direct = _engine(translate("^a.c"), MEMORY)

    class Wrapper:
        """What the package promises, and no more."""

        def __init__(self, pattern: bytes, options: object) -> None:
            self.search = real(pattern, options).search

    real = re2.compile
    monkeypatch.setattr(re2, "compile", Wrapper)
    wrapped = _engine(translate("^a.c"), MEMORY)
    for value in (b"abc", b"xabc", b"", b"a\nc"):
        assert direct(value) is wrapped(value)


@pytest.mark.parametrize(
    ("pattern", "prefixes"),
    [
        ("^/api/v[0-9]+/", (b"/api/v",)),
        (r"^/(wp-admin|\.git|\.env)(/|$)", (b"/wp-admin", b"/.git", b"/.env")),
        ("^/(?:a|b)x+", (b"/a", b"/b")),
        ("^/(a|b)?x+", (b"/",)),
        ("^/a?b+", (b"/",)),
        (r"^/a\.*b", (b"/a",)),
        ("^a{2}x*", ()),
        ("^/a+|b+", ()),
        ("^/(a|b)|c+", ()),
        ("^/(a|b)[|]c+", ()),
        ("^/[(]x+|y+", ()),
        ("/a[0-9]+", ()),
        ("(?i)^/a[0-9]+", ()),
    ],
)
def test_what_a_match_has_to_begin_with(pattern: str, prefixes: tuple[bytes, ...]) -> None:
    assert required_prefixes(pattern) == prefixes


PIECES = st.sampled_from(
    ["^", "a", "b", "/", r"\.", "(a|b)", "(ab|/)", "(?:a|/b)", "a?", "b*", "[ab]", "(a|b)+", "|", "(b|$)", "."]
)


@given(pieces=st.lists(PIECES, min_size=1, max_size=6), value=st.text(alphabet="ab/.", max_size=6).map(str.encode))
def test_looking_at_the_beginning_first_changes_no_answer(pieces: list[str], value: bytes) -> None:
    source = "^" + "".join(pieces)
    try:
        compiled = compile_regex(source, memory_bytes=1 << 20)
    except ValueError:
        return
    if compiled.search is not None:
        assert compiled.search(value) == (re.search(source.replace("$", r"\Z").encode(), value, re.DOTALL) is not None)

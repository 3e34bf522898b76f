"""Regular expressions as Rust's `regex` reads them with Unicode off, run by RE2 in time linear in the value.

What Rust and RE2 would read differently is translated (regex_syntax.py) or refused; nothing differs silently. A pattern that is
no more than a literal, with or without anchors, needs no engine at all.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal, TypeAlias

import re2  # type: ignore[import-untyped]  # google-re2 ships no stubs; this file is all that touches it

from watchword_server.core.language.regex_syntax import translate

Shape: TypeAlias = Literal["contains", "prefix", "suffix", "equals", "search"]

_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_PLAIN: Final = re.compile(
    r"(?P<fold>\(\?i\))?(?P<start>\^|\.\*)?(?P<body>(?:[^\\^$.|?*+()\[\]{}]|\\[!-/:;=?-@\[-^`{-~])*)(?P<end>\$|\.\*)?", re.DOTALL
)
_CHARACTERS: Final = r"(?:[A-Za-z0-9/_ ~,:;=@%&!-]|\\[./_+*?|()\[\]{}$^-])"
_BEGINNING: Final = re.compile(
    rf"\^(?P<literal>{_CHARACTERS}*)(?:\((?:\?:)?(?P<alternatives>{_CHARACTERS}+(?:\|{_CHARACTERS}+)*)\))?"
)
_LAST_CHARACTER: Final = re.compile(rf"{_CHARACTERS}\Z")
_SHAPES: Final[dict[tuple[bool, bool], Shape]] = {
    (False, False): "contains",
    (True, False): "prefix",
    (False, True): "suffix",
    (True, True): "equals",
}


@dataclass(frozen=True, slots=True)
class Regex:
    """A pattern ready to run. `literal` is what the plain shapes look for, in lower case if `fold`; `search` runs an engine."""

    source: str
    shape: Shape
    literal: bytes = b""
    fold: bool = False
    search: Callable[[bytes], bool] | None = field(default=None, compare=False)


@lru_cache(maxsize=4096)
def compile_regex(source: str, *, memory_bytes: int) -> Regex:
    """Compiles a pattern. Raises `ValueError` with what to write instead."""
    plain = _PLAIN.fullmatch(source)
    if plain:
        literal = _ESCAPED.sub(r"\1", plain["body"]).encode()
        fold = plain["fold"] is not None
        shape = _SHAPES[plain["start"] == "^", plain["end"] == "$"]
        return Regex(source, shape, literal.lower() if fold else literal, fold)
    search = _engine(translate(source), memory_bytes)
    prefixes = required_prefixes(source)
    if prefixes:  # a tenth of what the engine costs, and most values are turned away by it
        return Regex(source, "search", search=lambda value: value.startswith(prefixes) and search(value))
    return Regex(source, "search", search=search)


def required_prefixes(source: str) -> tuple[bytes, ...]:
    """Of these, every match begins with one; empty where that is not plain to see. The pattern is a valid one.

    Seen are patterns like `^/api/v[0-9]+` and `^/(admin|debug)(/|$)`: an anchor, plain characters, alternatives of plain ones.
    """
    found = _BEGINNING.match(source)
    if found is None:
        return ()
    rest = source[found.end() :]
    literal, alternatives = found["literal"], found["alternatives"]
    if alternatives is not None and rest[:1] and rest[0] in "*+?{":  # the group may be left out, or come again
        alternatives, rest = None, ""
    elif alternatives is None and rest[:1] and rest[0] in "*+?{":  # and so may the last character
        literal = _LAST_CHARACTER.sub("", literal)
    if not _alternatives_are_inside(source[found.end() :]):
        return ()
    endings = alternatives.split("|") if alternatives is not None else [""]
    return tuple(_ESCAPED.sub(r"\1", literal + ending).encode() for ending in endings) if literal or alternatives else ()


def _alternatives_are_inside(rest: str) -> bool:
    """Whether each `|` is within parentheses; no, too, where a class or an escape makes that hard to tell."""
    if "|" not in rest:
        return True
    if "[" in rest or "\\" in rest:
        return False
    depth = 0
    for character in rest:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "|" and depth == 0:
            return False
    return True


def _engine(pattern: bytes, memory_bytes: int) -> Callable[[bytes], bool]:
    """The engine's search."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # a byte is a character, as in Rust with Unicode off
    options.log_errors = False
    options.never_capture = True
    options.max_mem = memory_bytes
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        told = str(error)
        if "too large" in told or "repetition" in told:
            raise ValueError("the pattern is too large: repeat less, or use a shorter pattern") from None
        raise ValueError(f"the pattern is refused: {told}") from None
    try:
        # Below the wrapper, whose generator and match object cost more than the search. Not promised by the package, hence the
        # other way. (Its `Set` is as fast, but says no when it runs out of memory.)
        match, anywhere = compiled._regexp.Match, re2._Anchor.UNANCHORED  # noqa: SLF001
    except AttributeError:
        return lambda value: compiled.search(value) is not None
    return lambda value: match(anywhere, value, 0, len(value))[0][0] >= 0

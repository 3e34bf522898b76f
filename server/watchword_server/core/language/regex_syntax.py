r"""Rust's regular expressions (Unicode off, bytes in) written as RE2 reads them (Latin-1), so that both accept the same values.

Sets of bytes are worked out here and handed over as plain ranges: the two differ in `\s`, in folding above ASCII, in nested and
combined sets. Refused is what only one of them knows and what has no equal in the other. Groups do not capture and greed does
not matter, since only whether there is a match is asked. Source: the syntax pages of Rust's `regex` 1.x and of RE2.
"""

import re
from typing import Final

_ANY: Final = frozenset(range(256))
_DIGIT: Final = frozenset(b"0123456789")
_UPPER: Final = frozenset(range(ord("A"), ord("Z") + 1))
_LOWER: Final = frozenset(range(ord("a"), ord("z") + 1))
_SPACE: Final = frozenset(b"\t\n\v\f\r ")
_WORD: Final = _DIGIT | _UPPER | _LOWER | {ord("_")}
_GRAPH: Final = frozenset(range(0x21, 0x7F))

_PERL: Final = {"d": _DIGIT, "s": _SPACE, "w": _WORD, "D": _ANY - _DIGIT, "S": _ANY - _SPACE, "W": _ANY - _WORD}
_POSIX: Final = {
    "alnum": _DIGIT | _UPPER | _LOWER, "alpha": _UPPER | _LOWER, "ascii": frozenset(range(128)), "blank": frozenset(b"\t "),
    "cntrl": frozenset(range(32)) | {0x7F}, "digit": _DIGIT, "graph": _GRAPH, "lower": _LOWER, "print": _GRAPH | {0x20},
    "punct": _GRAPH - _WORD | {ord("_")}, "space": _SPACE, "upper": _UPPER, "word": _WORD,
    "xdigit": _DIGIT | frozenset(b"abcdefABCDEF"),
}  # fmt: skip
_CONTROL: Final = {"a": 7, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
_CODE_POINT: Final = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|[xuU]\{([0-9A-Fa-f]{1,8})\}|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8}))")
_POSIX_NAME: Final = re.compile(r"\[:(\^?)([^:\]]*):\]")
_REPEAT: Final = re.compile(r"[*+?]|\{(\d{1,9})(?:(,)(\d{0,9}))?\}")
_GROUP: Final = re.compile(r"\((?:\?(?:P?<([A-Za-z_][A-Za-z0-9_]*)>|([A-Za-z]*)(-[A-Za-z]*)?([:)])))?")
_MOST_REPEATS: Final = 1000  # RE2's limit
_DEEPEST: Final = 250  # Rust's limit


def translate(pattern: str) -> bytes:
    """The same pattern for RE2 in Latin-1. Raises `ValueError` with what to write instead."""
    return _Translation(pattern).run()


class _Translation:
    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._written: list[str] = []
        self._fold = False
        self._groups: list[bool] = []  # for each open group, whether case was folded outside it
        self._names: set[str] = set()

    def run(self) -> bytes:
        while self._at < len(self._pattern):
            if self._piece():
                self._repetition()
        if self._groups:
            raise ValueError("a group is not closed: add `)`, or write `\\(` for the character")
        return "".join(self._written).encode("ascii")

    def _piece(self) -> bool:
        """Reads one piece; True if it may be repeated."""
        character = self._pattern[self._at]
        match character:
            case "\\":
                return self._escape()
            case "[":
                self._write_set(self._set())
                return True
            case "(":
                self._open()
                return False
            case ")":
                if not self._groups:
                    raise ValueError("`)` closes nothing: write `\\)` for the character")
                self._fold = self._groups.pop()
            case "|" | "^" | "$":
                self._write(character, 1)
                return False
            case "*" | "+" | "?" | "{":
                raise ValueError(f"`{character}` repeats nothing: write `\\{character}` for the character")
            case ".":
                pass
            case _:
                self._write_literal(character, 1)
                return True
        self._write(character, 1)
        return True

    def _write(self, text: str, read: int) -> None:
        self._written.append(text)
        self._at += read

    def _write_literal(self, character: str, read: int) -> None:
        if character.isascii():
            self._write(character if character.isalnum() else f"\\x{ord(character):02x}", read)
            return
        # Above ASCII nothing is folded here, while RE2 would fold Latin-1; and a repetition is of the whole character.
        self._write("(?-i:" + "".join(f"\\x{byte:02x}" for byte in character.encode()) + ")", read)

    def _write_set(self, members: frozenset[int]) -> None:
        """Writes a set as ranges, folding no more than it has been already."""
        ranges: list[str] = []
        for low, high in _ranges(sorted(members)):
            ranges.append(f"\\x{low:02x}-\\x{high:02x}" if low < high else f"\\x{low:02x}")
        inside = "".join(ranges) or "^\\x00-\\xff"
        self._written.append(f"(?-i:[{inside}])")

    def _escape(self) -> bool:
        letter = self._pattern[self._at + 1 : self._at + 2]
        if letter in _PERL:
            self._at += 2
            self._write_set(_PERL[letter])
            return True
        if letter in {"b", "B", "A", "z"}:
            if self._pattern.startswith("{", self._at + 2):
                raise ValueError(f"`\\{letter}{{` is not supported: write `\\{letter}`")
            self._write(f"\\{letter}", 2)
            return False
        byte, character, read = self._character()
        if byte is not None:
            self._write(f"(?-i:\\x{byte:02x})" if byte > 0x7F else f"\\x{byte:02x}", read)
        else:
            self._write_literal(character, read)
        return True

    def _character(self) -> tuple[int | None, str, int]:
        """An escaped character: its byte or itself, and how many characters were read."""
        letter = self._pattern[self._at + 1 : self._at + 2]
        if letter in _CONTROL:
            return _CONTROL[letter], "", 2
        if letter and letter in "xuU":
            return self._code_point(letter)
        if letter.isascii() and letter and not letter.isalnum() and letter not in "<>":
            return None, letter, 2
        raise _bad_escape(letter)

    def _code_point(self, letter: str) -> tuple[int | None, str, int]:
        found = _CODE_POINT.match(self._pattern, self._at)
        if not found:
            raise ValueError(f"`\\{letter}` needs hexadecimal digits: write `\\x41` or `\\x{{e9}}`")
        read = found.end() - found.start()
        if found[1]:
            return int(found[1], 16), "", read
        number = int(found[2] or found[3] or found[4], 16)
        if number > 0x10FFFF or 0xD800 <= number < 0xE000:
            raise ValueError(f"`{found[0]}` is not a character")
        return None, chr(number), read

    def _open(self) -> None:
        if self._pattern.startswith(("(?=", "(?!", "(?<=", "(?<!"), self._at):
            raise ValueError("look-around is not supported: a linear-time engine has none; use a second comparison")
        found = _GROUP.match(self._pattern, self._at)
        if not found or (found[4] is None and found[1] is None and self._pattern.startswith("?", found.end())):
            raise ValueError("this kind of group is not supported: write `(…)`, `(?:…)`, `(?i)` or `(?i:…)`")
        name, on, off, end = found.groups()
        if name is not None:
            if name in self._names:
                raise ValueError(f"the group `{name}` is there twice")
            self._names.add(name)
        flags = _flags(on or "", off or "", closed=end == ")")
        if end == ")":
            self._write(f"(?{flags})" if flags else "", len(found[0]))
        else:
            if len(self._groups) >= _DEEPEST:
                raise ValueError(f"groups are nested deeper than {_DEEPEST}")
            self._groups.append(self._fold)
            self._write(f"(?{flags}:", len(found[0]))
        self._fold = "i" not in (off or "") and (self._fold or "i" in (on or ""))

    def _repetition(self) -> None:
        found = _REPEAT.match(self._pattern, self._at)
        if not found:
            if self._pattern.startswith("{", self._at):
                raise ValueError("`{` must be followed by counts, as in `{2,5}`: write `\\{` for the character")
            return
        if found[1]:
            low, high = int(found[1]), int(found[3] or found[1])
            if max(low, high) > _MOST_REPEATS:
                raise ValueError(f"`{found[0]}` repeats more than {_MOST_REPEATS} times")
            if low > high:
                raise ValueError(f"`{found[0]}` is a range that ends before it begins")
        self._write(found[0], len(found[0]))
        if self._pattern.startswith("?", self._at):  # lazy: which match is found does not matter
            self._at += 1
        if _REPEAT.match(self._pattern, self._at):
            raise ValueError("two repetitions in a row: put the first in a group, `(?:…)`")

    def _set(self) -> frozenset[int]:
        """Reads `[…]`."""
        self._at += 1
        negated = self._take("^")
        members: set[int] = {ord("]")} if self._take("]") else set()  # the first may be `]` itself
        while not self._pattern.startswith("]", self._at):
            if self._at >= len(self._pattern):
                raise ValueError("a set is not closed: add `]`, or write `\\[` for the character")
            if self._pattern.startswith(("&&", "--", "~~"), self._at):
                operator = self._pattern[self._at : self._at + 2]
                raise ValueError(f"`{operator}` inside `[…]` is not supported: spell out the set, or escape the characters")
            members |= self._posix() if self._pattern.startswith("[", self._at) else self._range()
        self._at += 1
        if self._fold:
            members = set(_folded(members))
        return _ANY - members if negated else frozenset(members)

    def _take(self, text: str) -> bool:
        taken = self._pattern.startswith(text, self._at)
        self._at += len(text) if taken else 0
        return taken

    def _posix(self) -> frozenset[int]:
        found = _POSIX_NAME.match(self._pattern, self._at)
        if not found:
            raise ValueError("a set inside a set is not supported: spell it out, or write `\\[` for the character")
        members = _POSIX.get(found[2])
        if members is None:
            raise ValueError(f"`{found[0]}` is no class: known are {', '.join(_POSIX)}")
        self._at = found.end()
        members = _folded(members) if self._fold else members
        return _ANY - members if found[1] else members

    def _range(self) -> frozenset[int]:
        low = self._member()
        after = self._pattern[self._at : self._at + 2]
        if not after.startswith("-") or after in {"-", "-]", "--"}:
            return low if isinstance(low, frozenset) else frozenset((low,))
        self._at += 1
        high = 0 if after == "-[" else self._member()
        if after == "-[" or isinstance(low, frozenset) or isinstance(high, frozenset):
            raise ValueError("a range in `[…]` must be between two characters: write `\\-` for a dash")
        if low > high:
            raise ValueError("a range in `[…]` ends before it begins")
        return frozenset(range(low, high + 1))

    def _member(self) -> int | frozenset[int]:
        character = self._pattern[self._at]
        if character == "\\":
            letter = self._pattern[self._at + 1 : self._at + 2]
            if letter in _PERL:
                self._at += 2
                return _PERL[letter]
            byte, character, read = self._character()
        else:
            byte, read = None, 1
        if byte is None:
            if not character.isascii():
                raise ValueError("a set is of bytes, and this character is several: write `(?:é|…)` for characters above ASCII")
            byte = ord(character)
        self._at += read
        return byte


def _flags(on: str, off: str, *, closed: bool) -> str:
    """The flags of a group for RE2. Raises `ValueError` for those that it lacks."""
    letters = on + off.removeprefix("-")
    if (closed and not letters) or off == "-":
        raise ValueError("flags are missing: write `(?i)`, `(?m)` or `(?s)`")
    for letter in letters:
        if letter not in "imsU":
            raise ValueError(f"the flag `{letter}` is not supported: known are i, m, s and U")
    if len(set(letters)) < len(letters):
        raise ValueError("a flag is there twice")
    kept_on, kept_off = on.replace("U", ""), off.removeprefix("-").replace("U", "")  # greed does not matter
    return kept_on + (f"-{kept_off}" if kept_off else "")


def _folded(members: frozenset[int] | set[int]) -> frozenset[int]:
    """With the other case of each ASCII letter."""
    letters = (_UPPER | _LOWER) & members
    return frozenset(members) | {letter ^ 0x20 for letter in letters}


def _ranges(numbers: list[int]) -> list[tuple[int, int]]:
    """Sorted numbers as inclusive ranges."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def _bad_escape(letter: str) -> ValueError:
    if not letter:
        return ValueError("the pattern ends in `\\`: write `\\\\` for the character")
    if letter in "123456789":
        return ValueError("back-references are not supported: a linear-time engine has none")
    if letter in "pP":
        return ValueError(f"`\\{letter}` is not supported: values are bytes, not characters; spell out the set")
    return ValueError(f"`\\{letter}` is no escape: write `\\\\` for a backslash")

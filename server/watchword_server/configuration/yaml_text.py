"""YAML to plain JSON values, with the line and column of each.

Read from the parser's events, not from a loader: nothing is constructed, nothing recurses, an alias cannot multiply (there are
none), and of YAML 1.2's core schema (10.3.2) exactly JSON's types come out.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from watchword_server.configuration.document.base import printable, quoted
from watchword_server.errors import Problem

Path = tuple[str | int, ...]

MAX_DEPTH = 64
MAX_VALUES = 250_000  # ten seconds of reading
_STRING_TAG = "tag:yaml.org,2002:str"

_NULL = re.compile(r"(?:~|null|Null|NULL)?")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_IN_JSON = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_MAX_INTEGER_CHARACTERS = 18  # fits in 63 bits
_MOST = 2**31 - 1  # no number of a rule file may be larger

# What the parser says, as far as it tells mistakes apart, and what to do; the first that fits. Where it stumbles is often behind
# the place of the mistake.
_AFTER_A_BAR = "on a line of its own after `|`"
_REMEDIES = (
    (r"character '\\t'", "indent with blanks; a tab cannot stand here"),
    (
        r"mapping values are not allowed",
        f"write a value with `: ` in it in quotes, or {_AFTER_A_BAR}; else indent this line as its neighbours are",
    ),
    (
        r"but (?:found|got) '<scalar>'",
        f"a quote ended before this: write a value that has quotes itself {_AFTER_A_BAR}, or in quotes of the other kind",
    ),
    (r"escape", f"in double quotes `\\` begins an escape: write the value in single quotes, or {_AFTER_A_BAR}"),
    (r"unexpected end of stream", "a quote is never closed: close it"),
    (r"(?:found|got) '<stream end>'", "a bracket is never closed: close it"),
    (r"expected ',' or '[]}]'", "in brackets, write a comma between items, and a value with `: `, commas or brackets in quotes"),
    (r"could not find expected ':'", "write a key and its value as `key: value`, and indent what belongs to it"),
    (r"expected <block end>", "indent this line as its neighbours are"),
    (r"sequence entries are not allowed", "begin a list on the next line, or put the value in quotes"),
    (r"chomping or indentation", "begin the text on the line after `|` or `>`"),
    (r"cannot start any token|alphabetic or numeric|node content|not allowed here", "put the value in quotes"),
)


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where something is written, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class YamlText:
    """What a text says. With `problems` the value only helps to find further ones; where it is not `readable`, not even that."""

    value: object
    positions: Mapping[Path, Position]  # of keys and list items; () is the first value, or where the text stopped making sense
    problems: tuple[Problem, ...]
    readable: bool = True


def parse_yaml(text: str) -> YamlText:
    """Reads one document. Never raises; what is wrong is in `problems`."""
    builder = _Builder()
    try:
        for event in _events(text):
            builder.take(event)
    except _UnreadableError as error:
        return YamlText(None, {(): error.position}, (Problem((), str(error)),), readable=False)
    return YamlText(builder.root, builder.positions, tuple(builder.problems))


class _UnreadableError(Exception):
    """Nothing behind this position can be read."""

    def __init__(self, position: Position, message: str) -> None:
        super().__init__(message)
        self.position = position


def _events(text: str) -> Iterator[Event]:
    try:
        yield from YAML(typ="safe", pure=True).parse(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = Position(1, 1) if mark is None else Position(mark.line + 1, mark.column + 1)
        raise _UnreadableError(position, f"is not valid YAML: {_told(error)}") from error
    except ReaderError as error:
        before = text[: error.position]
        position = Position(before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise _UnreadableError(
            position, "is not valid YAML: a control character; remove it, or escape it in double quotes"
        ) from error
    except (YAMLError, ValueError, OverflowError) as error:  # the last two: an escape beyond Unicode, `"\UFFFFFFFF"`
        raise _UnreadableError(Position(1, 1), "is not valid YAML: a character that does not exist") from error


def _told(error: MarkedYAMLError) -> str:
    problem = printable(" ".join(str(error.problem or "it cannot be read").split()).rstrip("."))
    remedy = next(
        (remedy for fault, remedy in _REMEDIES if re.search(fault, problem)), "look at the quotes and indents before here"
    )
    return f"{problem}; {remedy}"


@dataclass(slots=True)
class _Open:
    """A mapping or list that is being read; `key` waits for its value."""

    value: dict[str, object] | list[object]
    path: Path
    key: str | None = None


@dataclass(slots=True)
class _Builder:
    """Puts values where they belong, and remembers where they stood."""

    root: object = None
    positions: dict[Path, Position] = field(default_factory=lambda: {(): Position(1, 1)})
    problems: list[Problem] = field(default_factory=list)
    _open: list[_Open] = field(default_factory=list)
    _documents: int = 0
    _values: int = 0

    def take(self, event: Event) -> None:
        position = Position(event.start_mark.line + 1, event.start_mark.column + 1)
        match event:
            case DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise _UnreadableError(position, "a second document begins here: write one a file")
            case AliasEvent():
                written = quoted(f"*{event.anchor}")
                message = (
                    f"{written} without quotes is an alias, which is not supported: put it in quotes, or write the value out"
                )
                raise _UnreadableError(position, message)
            case ScalarEvent():
                self._take_scalar(event, position)
            case MappingStartEvent() | SequenceStartEvent():
                self._take_start(event, position)
            case MappingEndEvent() | SequenceEndEvent():
                self._open.pop()

    def _take_start(self, event: MappingStartEvent | SequenceStartEvent, position: Position) -> None:
        if self._expects_key:
            raise _UnreadableError(position, "a key has to be text, not a list or mapping: put it in quotes")
        if len(self._open) >= MAX_DEPTH:
            raise _UnreadableError(position, f"is nested more than {MAX_DEPTH} deep: write it flatter")
        value: dict[str, object] | list[object] = {} if isinstance(event, MappingStartEvent) else []
        path = self._place(value, position)
        if event.tag is not None:
            self._report(path, f"the tag {quoted(str(event.tag))} is not supported: remove it, or put the whole value in quotes")
        self._open.append(_Open(value, path))

    def _take_scalar(self, event: ScalarEvent, position: Position) -> None:
        if self._expects_key:
            self._take_key(event, position)
            return
        value, fault = _scalar(event)
        path = self._place(value, position)
        if fault is not None:
            self._report(path, fault)

    @property
    def _expects_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1].value, dict) and self._open[-1].key is None

    def _take_key(self, event: ScalarEvent, position: Position) -> None:
        value, fault = _scalar(event)
        parent = self._open[-1]
        parent.key = _whole(str(event.value)) or ("" if not event.value else "?")
        path = (*parent.path, parent.key)
        if parent.key in parent.value:
            self._report(path, f"is written twice, first in line {self.positions[path].line}: remove one")
        elif fault is not None or not isinstance(value, str):
            self._report(path, fault or f"{quoted(parent.key)} is no text, but a key has to be: put it in quotes")
        self.positions[path] = position

    def _place(self, value: object, position: Position) -> Path:
        """Into what is open, or as the root; the path it then has."""
        self._values += 1
        if self._values > MAX_VALUES:
            raise _UnreadableError(position, f"has more than {MAX_VALUES} values: split it")
        if not self._open:
            self.root = value
            self.positions[()] = position
            return ()
        parent = self._open[-1]
        if isinstance(parent.value, list):
            parent.value.append(value)
            path = (*parent.path, len(parent.value) - 1)
            self.positions[path] = position
            return path
        key, parent.key = str(parent.key), None
        parent.value[key] = value
        return (*parent.path, key)

    def _report(self, path: Path, message: str) -> None:
        self.problems.append(Problem(path, message))


def _scalar(event: ScalarEvent) -> tuple[object, str | None]:
    """The value, and what is wrong with it. Only a plain scalar without a tag is anything but text."""
    text = _whole(str(event.value))
    if text is None:
        return "", "holds half a character: write the whole one, in UTF-8"
    plain, _ = event.implicit
    if event.tag not in (None, "!", _STRING_TAG):
        return text, f"the tag {quoted(str(event.tag))} is not supported: remove it, or put the whole value in quotes"
    return _plain(text) if plain and event.tag is None else (text, None)


def _plain(text: str) -> tuple[object, str | None]:
    """YAML 1.2, 10.3.2 Tag Resolution."""
    if _NULL.fullmatch(text):
        return None, None
    if _TRUE.fullmatch(text) or _FALSE.fullmatch(text):
        return _TRUE.fullmatch(text) is not None, None
    if _INTEGER.fullmatch(text):
        if len(text) > _MAX_INTEGER_CHARACTERS:
            return 0, f"{quoted(text)} is too large a number: write at most {_MOST}, or put it in quotes if it is text"
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10)), None
    number = float(text) if _FLOAT.fullmatch(text) else math.inf if _NOT_IN_JSON.fullmatch(text) else None
    if number is not None and not math.isfinite(number):
        return 0, f"{quoted(text)} is no number that JSON knows: put it in quotes if it is text"
    if number is not None:
        return number, None
    return text, None


def _whole(text: str) -> str | None:
    """The text with surrogate pairs joined, for JSON escapes them one by one; None with half a pair, which nothing can encode."""
    try:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        return None

"""Reads a Caddyfile: directives with their blocks and lines, imports in their places. Caddy's own reader is a part of Caddy."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from watchword_server.inspection.findings import Place

_MAX_IMPORTS: Final = 1000
_ESCAPED: Final = re.compile(r'\\(["\\])')


class CaddyfileError(Exception):
    """Something cannot be read; `place` says where."""

    def __init__(self, place: Place, why: str) -> None:
        super().__init__(why)
        self.place = place


@dataclass(frozen=True, slots=True)
class Directive:
    """A name with arguments, and perhaps a block."""

    name: str
    args: tuple[str, ...]
    place: Place
    block: "tuple[Directive, ...]" = ()

    def own(self, *names: str) -> "list[Directive]":
        """Those of these names in its block."""
        return [each for each in self.block if each.name in names]


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    place: Place
    quoted: bool = False

    def is_(self, brace: str) -> bool:
        return self.text == brace and not self.quoted


@dataclass(slots=True)
class Caddyfile:
    """What a file and its imports say. `problems` are imports that could not be read."""

    options: tuple[Directive, ...] = ()
    sites: list[Directive] = field(default_factory=list)  # its name is the first address
    problems: list[CaddyfileError] = field(default_factory=list)
    _snippets: dict[str, tuple[Directive, ...]] = field(default_factory=dict)
    _imports: int = 0

    @classmethod
    def read(cls, file: Path) -> "Caddyfile":
        """Raises `CaddyfileError` where the file itself makes no sense."""
        found = cls()
        for each in found._top(file):
            if each.name == "{":
                found.options = each.block
            elif re.fullmatch(r"&?\(.*\)", each.name):
                found._snippets[each.name.strip("&()")] = each.block
            else:
                found.sites.append(each)
        return found

    def _top(self, file: Path) -> Iterator[Directive]:
        """Sites, snippets and the options: what stands outside of braces."""
        tokens = _tokens(file)
        if tokens and not any(token.is_("{") for token in tokens):  # one site, without braces
            line = tokens[0].place
            addresses = [token for token in tokens if token.place == line]
            yield Directive(addresses[0].text, (), line, tuple(self._directives(tokens[len(addresses) :], file)))
            return
        at = 0
        while at < len(tokens):
            opened = at
            while opened < len(tokens) and not tokens[opened].is_("{"):
                opened += 1
            if tokens[at].text == "import" and (opened == len(tokens) or tokens[opened].place != tokens[at].place):
                end = next((i for i in range(at, len(tokens)) if tokens[i].place != tokens[at].place), len(tokens))
                yield from self._imported(tuple(token.text for token in tokens[at + 1 : end]), tokens[at].place, file, top=True)
                at = end
                continue
            if opened == len(tokens):
                raise CaddyfileError(tokens[at].place, "a block is missing here")
            closed = _closing(tokens, opened)
            block = tuple(self._directives(tokens[opened + 1 : closed], file))
            yield Directive(tokens[at].text, tuple(token.text for token in tokens[at + 1 : opened]), tokens[at].place, block)
            at = closed + 1

    def _directives(self, tokens: list[_Token], file: Path) -> Iterator[Directive]:
        at = 0
        while at < len(tokens):
            name, args = tokens[at], []
            at += 1
            while at < len(tokens) and tokens[at].place == name.place and not tokens[at].is_("{"):
                args.append(tokens[at].text)
                at += 1
            block: tuple[Directive, ...] = ()
            if at < len(tokens) and tokens[at].is_("{") and tokens[at].place == name.place:
                closed = _closing(tokens, at)
                block = tuple(self._directives(tokens[at + 1 : closed], file))
                at = closed + 1
            if name.text == "import":
                yield from self._imported(tuple(args), name.place, file, top=False)
            else:
                yield Directive(name.text, tuple(args), name.place, block)

    def _imported(self, args: tuple[str, ...], place: Place, file: Path, *, top: bool) -> Iterator[Directive]:
        """A snippet, or files: `*` is a pattern in the last part."""
        self._imports += 1
        if not args or self._imports > _MAX_IMPORTS:
            self.problems.append(CaddyfileError(place, "this import leads nowhere"))
            return
        if args[0] in self._snippets:
            yield from self._snippets[args[0]]
            return
        path = file.parent / args[0]
        files = sorted(path.parent.glob(path.name)) if "*" in path.name else [path]
        for each in files:
            try:
                yield from self._top(each) if top else self._directives(_tokens(each), each)
            except CaddyfileError as error:
                where = place if error.place.line == 0 else error.place
                self.problems.append(CaddyfileError(where, str(error)))


def _closing(tokens: list[_Token], opened: int) -> int:
    depth = 0
    for at in range(opened, len(tokens)):
        depth += tokens[at].is_("{") - tokens[at].is_("}")
        if depth == 0:
            return at
    raise CaddyfileError(tokens[opened].place, "this brace is never closed")


_TOKEN: Final = re.compile(
    r"""(?P<space>[^\S\n]+|\\\n)
      | (?P<newline>\n)
      | (?P<comment>\#[^\n]*)
      | "(?P<double>(?:\\.|[^"\\])*)"
      | `(?P<raw>[^`]*)`
      | <<(?P<marker>[A-Za-z0-9_-]+)\n(?P<here>.*?)\n[^\S\n]*(?P=marker)(?=\s|$)
      | (?P<plain>[^\s]+)
    """,
    re.VERBOSE | re.DOTALL,
)


def _tokens(file: Path) -> list[_Token]:
    try:
        text = file.read_text()
    except (OSError, ValueError) as error:
        raise CaddyfileError(Place(file, 0), f"{file}: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from None
    tokens: list[_Token] = []
    line = at = 0
    written = 0  # the line that the tokens count for: a backslash joins two
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise CaddyfileError(Place(file, line + 1), "a quote is never closed")
        groups: Mapping[str, str | None] = found.groupdict()
        for kind in ("double", "raw", "here", "plain"):
            if (word := groups[kind]) is not None:
                told = _ESCAPED.sub(r"\1", word) if kind == "double" else word
                tokens.append(_Token(told, Place(file, written + 1), quoted=kind != "plain"))
        line += found[0].count("\n")
        if groups["newline"] is not None:
            written = line
        at = found.end()
    return tokens

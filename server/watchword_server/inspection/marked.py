"""YAML (and JSON, which is YAML) with the line of each value, read as programs in Go and C++ read it: names in any style."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from watchword_server.inspection.findings import Place


class UnreadableError(Exception):
    """The file says nothing that can be understood."""

    def __init__(self, place: Place, why: str) -> None:
        super().__init__(why)
        self.place = place


@dataclass(frozen=True, slots=True)
class Marked:
    """A value and its place. What is not there is `None` at the place of what surrounds it."""

    value: object
    place: Place

    def __bool__(self) -> bool:
        return self.value is not None

    def __getitem__(self, path: str) -> "Marked":
        """`a.b` is the value of `b` in that of `a`; `failure_mode_allow` and `failureModeAllow` are one name."""
        found = self
        for name in path.split("."):
            found = next((value for key, value in found.items() if _plain(key) == _plain(name)), Marked(None, found.place))
        return found

    @property
    def text(self) -> str:
        """Empty where there is none."""
        return "" if self.value is None else str(self.value)

    @property
    def says_yes(self) -> bool:
        """Whether a program would take it for true."""
        return self.value is True or self.text.lower() in {"true", "yes", "on", "y"}

    def items(self) -> "Iterator[tuple[str, Marked]]":
        """Of a mapping; else nothing."""
        if isinstance(self.value, CommentedMap):
            for key, value in self.value.items():
                yield str(key), Marked(value, Place(self.place.file, self.value.lc.key(key)[0] + 1))

    def each(self) -> "Iterator[Marked]":
        """Of a list; else nothing."""
        if isinstance(self.value, CommentedSeq):
            for index, value in enumerate(self.value):
                yield Marked(value, Place(self.place.file, self.value.lc.item(index)[0] + 1))

    def everywhere(self, name: str) -> "Iterator[Marked]":
        """The values of this name, however deep."""
        for key, value in self.items():
            if _plain(key) == _plain(name):
                yield value
            yield from value.everywhere(name)
        for value in self.each():
            yield from value.everywhere(name)


def read_marked(file: Path) -> Marked:
    """The file's one document. Raises `UnreadableError`."""
    try:
        value = YAML(typ="rt", pure=True).load(file.read_text())
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        raise UnreadableError(Place(file, line), f"this is not YAML: {' '.join(str(error.problem).split())}") from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise UnreadableError(Place(file, 1), f"this is not YAML: {' '.join(str(error).split())}") from None
    except OSError as error:
        raise UnreadableError(Place(file, 1), str(error.strerror)) from None
    return Marked(value, Place(file, 1))


def _plain(name: str) -> str:
    return name.replace("_", "").lower()

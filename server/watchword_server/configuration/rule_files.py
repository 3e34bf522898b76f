"""Several rule files read as one document, each problem told with the file that has it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path as FilePath
from typing import Any

from watchword_server.configuration.document.base import Section
from watchword_server.configuration.document.sections import NAME_OF_ANOTHER, UNMATCHED, Document, validate_document
from watchword_server.configuration.yaml_file import RuleFile, read_rule_file
from watchword_server.configuration.yaml_text import Path, Position
from watchword_server.core.rules import LanguageSettings
from watchword_server.errors import ConfigurationError, Problem

_SECTIONS = frozenset(section.value for section in Section)


@dataclass(frozen=True, slots=True)
class RuleFiles:
    """Rule files, in the order given: the entries of a section stand one after the other.

    Paths are those of the whole; one that begins with a number is of the file of that number.
    """

    files: tuple[RuleFile, ...]

    def document(self, *, language: LanguageSettings) -> Document:
        """What they say together. Raises `ConfigurationError` with every problem found, of all files."""
        if len(self.files) == 1:
            return self.files[0].document(language=language)
        problems: list[Problem] = []
        for place, file in enumerate(self.files):
            if file.text.problems or not _is_mergeable(file.text.value):
                try:
                    file.document(language=language)
                except ConfigurationError as error:
                    problems += [self._of_the_whole(place, problem) for problem in error.problems]
        if problems:
            raise ConfigurationError(problems)
        contradictions = self._contradictions()
        try:
            document = validate_document(self.merged, language=language)
        except ConfigurationError as error:
            raise ConfigurationError([*contradictions, *self._told_with_both_places(error.problems)]) from None
        if contradictions:
            raise ConfigurationError(contradictions)
        return document

    @property
    def merged(self) -> object:
        """What they say together, as plain JSON; it has a meaning once `document` did not raise."""
        if len(self.files) == 1:
            return self.files[0].text.value
        merged: dict[str, object] = {}
        for file in self.files:
            value = file.text.value
            for key, found in value.items() if isinstance(value, dict) else ():
                known = merged.get(key)
                merged[key] = [*known, *found] if isinstance(known, list) and isinstance(found, list) else found
        return merged

    def place(self, path: Path) -> tuple[int, Path]:
        """Which file has it, and where in that."""
        match path:
            case (str(section), int(index), *rest):
                counts = [_count(file.text.value, section) for file in self.files]
                starts = [0, *accumulate(counts)]
                for number, count in enumerate(counts):
                    if index < starts[number] + count:
                        return number, (section, index - starts[number], *rest)
            case (int(number), *own):
                return number, tuple(own)
            case (str(key), *_):
                return next((place for place, file in enumerate(self.files) if _has(file.text.value, key)), 0), path
        return 0, path

    def position(self, path: Path) -> tuple[str, Position | None]:
        """The file that has it, by name, and where it is written there."""
        number, own = self.place(path)
        file = self.files[number]
        return file.name, file.position(file.written_as.get(own, own))

    def order(self, path: Path) -> tuple[int, Position]:
        """The order of files, and in a file that of its lines."""
        return self.place(path)[0], self.position(path)[1] or Position(0, 0)

    def explain(self, error: ConfigurationError) -> list[str]:
        """As `RuleFile.explain`, one file after the other."""
        own: dict[int, list[Problem]] = {number: [] for number in range(len(self.files))}
        for problem in error.problems:
            number, path = self.place(problem.path)
            own[number].append(replace(problem, path=path))
        return [line for number, problems in own.items() for line in self.files[number].explain(ConfigurationError(problems))]

    def _told_with_both_places(self, problems: Sequence[Problem]) -> list[Problem]:
        """A name that is written twice is told with the place of the first one: it may stand in another file."""
        first: dict[tuple[str, str], Path] = {}
        again: dict[Path, Path] = {}
        merged = self.merged
        for section in _SECTIONS:
            entries = merged.get(section) if isinstance(merged, dict) else None
            for index, entry in enumerate(entries if isinstance(entries, list) else []):
                name = entry.get("name") if isinstance(entry, dict) else None
                path: Path = (section, index, "name")
                if isinstance(name, str) and first.setdefault((section, name), path) != path:
                    again[path] = first[section, name]
        return [replace(problem, message=self._message(problem, again.get(problem.path))) for problem in problems]

    def _message(self, problem: Problem, first: Path | None) -> str:
        if first is None or NAME_OF_ANOTHER not in problem.message:
            return problem.message
        name, position = self.position(first)
        told, _, remedy = problem.message.rpartition(": ")
        return f"{told}, in `{name}`{'' if position is None else f' line {position.line}'}: {remedy}"

    def _of_the_whole(self, place: int, problem: Problem) -> Problem:
        match problem.path:
            case (str(section), int(index), *rest):
                before = sum(_count(file.text.value, section) for file in self.files[:place])
                return replace(problem, path=(section, before + index, *rest))
            case path:
                return replace(problem, path=(place, *path))

    def _contradictions(self) -> list[Problem]:
        values: list[Any] = [file.text.value for file in self.files]
        having = [place for place, value in enumerate(values) if isinstance(value, dict) and UNMATCHED in value]
        if len({str(values[place][UNMATCHED]) for place in having}) <= 1:
            return []
        message = f"`{UNMATCHED}` is in another file too, and not the same: leave it in one"
        return [Problem((place, UNMATCHED), message) for place in having]


def read_rule_files(paths: Sequence[FilePath]) -> RuleFiles:
    """Reads them and the files they name. Never raises."""
    return RuleFiles(tuple(map(read_rule_file, paths)))


def _is_mergeable(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(found, list) for key, found in value.items() if key in _SECTIONS)


def _count(value: object, section: str) -> int:
    found = value.get(section) if isinstance(value, dict) else None
    return len(found) if isinstance(found, list) else 0


def _has(value: object, key: str) -> bool:
    return isinstance(value, dict) and key in value

"""A rule file: read once, files it names put in their place, every problem told with its line."""

from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath

from watchword_server.configuration.document.base import printable
from watchword_server.configuration.document.expressions import DEFAULT_LANGUAGE
from watchword_server.configuration.document.sections import Document, validate_document
from watchword_server.configuration.inlining import Inlining, NotReadError, read_bytes
from watchword_server.configuration.yaml_text import Path, Position, YamlText, parse_yaml
from watchword_server.core.rules import LanguageSettings
from watchword_server.errors import ConfigurationError, Problem

_INDENT = "    "
MAX_FILE_BYTES = 4 << 20  # some ten thousand entries; a second or two of reading a megabyte


@dataclass(frozen=True, slots=True)
class RuleFile:
    """A rule file as read. Nothing is raised for what it says until `document` is asked for; `explain` can then place it."""

    name: str
    text: YamlText  # `value` is plain JSON without file references; a caller's secret is in it only as SHA-256
    written_as: dict[Path, Path] = field(default_factory=dict)  # what the reader put in place → what was written

    def document(self, *, language: LanguageSettings = DEFAULT_LANGUAGE) -> Document:
        """What it says. Raises `ConfigurationError` with every problem found, in the order of the lines."""
        problems = list(self.text.problems)
        told = {problem.path for problem in problems}
        document = None
        try:
            document = validate_document(self.text.value, language=language) if self.text.readable else None
        except ConfigurationError as error:
            problems += [problem for problem in map(self._as_written, error.problems) if problem.path not in told]
        if problems or document is None:
            raise ConfigurationError(sorted(problems, key=self._order)) from None
        return document

    def position(self, path: Path) -> Position | None:
        """Where it is written, or what it would be in; None: nothing of it is in this file."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.text.positions:
                return self.text.positions[path[:length]]
        return None if path else self.text.positions.get(())

    def explain(self, error: ConfigurationError) -> list[str]:
        """A text a problem, as compilers and editors write them: `rules.yaml:12:5: checks.managed-laptop.input.cn: message`.

        Of an expression, indented lines follow: the source around the fault and a caret.
        """
        return [self._text(problem) for problem in sorted(map(self._as_written, error.problems), key=self._order)]

    def _as_written(self, problem: Problem) -> Problem:
        return replace(problem, path=self.written_as.get(problem.path, problem.path))

    def _order(self, problem: Problem) -> tuple[bool, Position]:
        position = self.position(problem.path)
        return position is None, position or Position(0, 0)

    def _text(self, problem: Problem) -> str:
        position = self.position(problem.path)
        place = [self.name] if position is None else [self.name, str(position.line), str(position.column)]
        label = self._label(problem.path)
        told = f"{':'.join(place)}: {label + ': ' if label else ''}{problem.message}"
        return "\n".join([told, *(_INDENT + line for line in problem.excerpt)])

    def _label(self, path: Path) -> str:
        """Keys joined by dots, an entry by its name, other indexes in brackets."""
        label = ""
        for depth, step in enumerate(path):
            shown = self._entry_name(path[:2]) if depth == 1 else None
            if shown is None and isinstance(step, int):
                label += f"[{step}]"
            else:
                label += f"{'.' if label else ''}{printable(shown or str(step))}"
        return label

    def _entry_name(self, path: Path) -> str | None:
        match self.text.value, path:
            case dict() as document, (str(section), int(index)):
                match document.get(section):
                    case list() as entries if index < len(entries) and isinstance(entries[index], dict):
                        name = entries[index].get("name")
                        return name if isinstance(name, str) and name else None
        return None


def read_rule_file(path: FilePath, *, max_bytes: int = MAX_FILE_BYTES) -> RuleFile:
    """Reads it and the files it names, which are relative to it. Never raises; see `RuleFile.document`."""
    name = str(path)
    try:
        raw = read_bytes(path, max_bytes)
        text = parse_yaml(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        return _unreadable(name, Position(line, error.start - raw.rfind(b"\n", 0, error.start)), "is not UTF-8: save it as UTF-8")
    except NotReadError as error:
        return _unreadable(name, Position(1, 1), str(error))
    inlining = Inlining(text.value, path.parent)
    inlining.run()
    return RuleFile(name, replace(text, problems=(*text.problems, *inlining.problems)), inlining.written_as)


def _unreadable(name: str, position: Position, message: str) -> RuleFile:
    return RuleFile(name, YamlText(None, {(): position}, (Problem((), message),), readable=False))

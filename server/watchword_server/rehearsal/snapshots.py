"""A rule file made ready to decide, as `watchword apply` would make it, with nothing stored before."""

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from watchword_server.configuration.book import RuleBook
from watchword_server.configuration.document.base import Section
from watchword_server.configuration.document.expressions import DEFAULT_LANGUAGE
from watchword_server.configuration.document.sections import Document
from watchword_server.configuration.plan import plan_changes
from watchword_server.configuration.rule_files import RuleFiles, read_rule_files
from watchword_server.core.rules import LanguageSettings
from watchword_server.core.snapshot import RuleSnapshot, compile_rules
from watchword_server.core.statistics import statistics_of
from watchword_server.errors import ConfigurationError

_IDS = uuid.UUID("5b0c6f2e-6a54-5e0b-9c49-6f1f0a0c7e55")
_REVISION = 1


class RefusedFileError(Exception):
    """A file that is refused; `lines` tell every problem with its place, as `watchword apply` prints them."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


@dataclass(frozen=True, slots=True)
class LoadedRules:
    """Rule files, what they say together, and the snapshot that decides by it."""

    files: RuleFiles
    document: Document
    snapshot: RuleSnapshot


def load_rules(*paths: Path, language: LanguageSettings = DEFAULT_LANGUAGE) -> LoadedRules:
    """Reads rule files as one, and the files they name. Raises `RefusedFileError` with every problem found."""
    files = read_rule_files(paths)
    try:
        document = files.document(language=language)
        return LoadedRules(files, document, snapshot_of(document, language))
    except ConfigurationError as error:
        raise RefusedFileError(files.explain(error)) from None


def snapshot_of(document: Document, language: LanguageSettings = DEFAULT_LANGUAGE) -> RuleSnapshot:
    """The document alone, compiled. Its entries' ids follow from their names. Raises `ConfigurationError`."""
    ids = [entry_id(section, entry.name) for section, index, entry in document.entries() if index is not None]
    plan = plan_changes(document, RuleBook.read((), _REVISION, language), new_id=partial(next, iter(ids)), prune=False)
    return compile_rules(plan.book.rules)


def statistics_record(loaded: LoadedRules) -> dict[str, Any]:
    """What the rules come to, as JSON; the server tells the same at `/api/v1/rules/stats`."""
    disabled = sum(not rule.enabled for rule in loaded.document.gateway_rules)
    return asdict(statistics_of(loaded.snapshot, disabled=disabled))


def entry_id(section: Section, name: str) -> str:
    """The same for the same name in every file, and fit to stand wherever an id may."""
    return str(uuid.uuid5(_IDS, f"{section.value}/{name}"))

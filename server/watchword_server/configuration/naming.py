"""Stored entries as a document says them: with names in place of ids, and without what is no document's business."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from watchword_server.configuration.book import RuleBook
from watchword_server.configuration.document.base import Section
from watchword_server.configuration.document.expressions import Reading
from watchword_server.configuration.document.lists import fits_behind_a_dollar_sign, like_a_list_name
from watchword_server.configuration.document.sections import body_of, read_entry
from watchword_server.configuration.document.service_tokens import CREDENTIAL
from watchword_server.configuration.references import Reference, references, with_ids
from watchword_server.ports.rules import StoredObject

API: Final = "api"  # the member of a body that tells what an entry was said to be through the Cloudflare API
_UNTOLD: Final = frozenset({API, CREDENTIAL})
_MOST_SHOWN: Final = 100  # characters of a value
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Difference:
    """A place in an entry where two versions differ; None: it is not there. Values are JSON, shortened where they are long."""

    path: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        return (
            f"{self.path}: {'(none)' if self.before is None else self.before} → {'(none)' if self.after is None else self.after}"
        )


@dataclass(slots=True)
class Naming:
    """What the entries of a book are called in a document."""

    book: RuleBook
    _reading: Reading = field(init=False)
    _list_references: dict[str, str] | None = None

    def __post_init__(self) -> None:
        self._reading = Reading(self.book.rules.language, stored=True)

    def entry(self, section: Section, stored: StoredObject) -> dict[str, object]:
        """The entry as a document says it: its name first, keys in the order of the models, whoever wrote them in which."""
        body = {key: value for key, value in stored.body.items() if key not in _UNTOLD}
        entry = read_entry(section, stored.name, body, self._reading)
        told = with_ids(body_of(entry), [(reference, self._name(reference)) for reference in references(entry)])
        named = {"name": stored.name}
        if section is Section.LISTS and not fits_behind_a_dollar_sign(stored.name):
            named["reference"] = self.list_references[stored.id]
        first = {key: told.pop(key) for key in ("description",) if key in told}
        return {**named, **first, **told}

    @property
    def list_references(self) -> Mapping[str, str]:
        """What stands behind `$` for each list, by id: its name, or for one that cannot stand there something like it."""
        if self._list_references is None:
            lists = sorted((page.stored for page in self.book.pages[Section.LISTS].values()), key=lambda stored: stored.name)
            fitting = {stored.id: stored.name for stored in lists if fits_behind_a_dollar_sign(stored.name)}
            self._list_references, taken = fitting, set(fitting.values())
            for stored in lists:
                if stored.id not in fitting:
                    like = like_a_list_name(stored.name)[:300] or "list"
                    fitting[stored.id] = next(name for name in _numbered(like) if name not in taken)
                    taken.add(fitting[stored.id])
        return self._list_references

    def _name(self, reference: Reference) -> str:
        page = self.book.page(reference.section, reference.value)
        if page is None:
            return reference.value
        if reference.within is not None and reference.section is Section.LISTS:
            return self.list_references[page.stored.id]
        return page.stored.name


def naming_differences(
    section: Section, before: StoredObject, after: StoredObject, naming: tuple[Naming, Naming]
) -> tuple[Difference, ...]:
    """Where two versions of an entry differ, each told with the names of its own time."""
    old, new = naming[0].entry(section, before), naming[1].entry(section, after)
    return tuple(_differences("", old, new))


def _differences(path: str, before: object, after: object) -> Iterator[Difference]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from _differences(f"{path}.{key}" if path else str(key), before.get(key, _ABSENT), after.get(key, _ABSENT))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _differences(f"{path}[{index}]", old, new)
    elif before != after:
        yield Difference(path, _shown(before), _shown(after))


def _shown(value: object) -> str | None:
    if value is _ABSENT:
        return None
    text = json.dumps(value, ensure_ascii=False)
    text = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1

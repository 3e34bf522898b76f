"""All stored entries at one revision, in the form a change is planned against, and the rule set they come to.

Of an entry the book keeps what others have to know of it and the value that decisions read, once; a new book shares with the last
one all that a change leaves alone, so that changing one rule among ten thousand costs what it costs among ten.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any, Final

from watchword_server.configuration.bodies import CompactBody
from watchword_server.configuration.build import build_entry
from watchword_server.configuration.consistency import Claims, Page, inconsistencies, page_of, read_objects
from watchword_server.configuration.document.base import Section
from watchword_server.configuration.document.expressions import DEFAULT_LANGUAGE
from watchword_server.core.model.decisions import Outcome
from watchword_server.core.model.names import Instant
from watchword_server.core.rules import EMPTY_RULE_SET, LanguageSettings, RuleSet
from watchword_server.errors import ConfigurationError, Problem
from watchword_server.ports.rules import StoredObject

Pages = Mapping[Section, Mapping[str, Page]]

_NEED_THEIR_ENTRY: Final = frozenset({Section.CHECKS, Section.GROUPS})  # to be built, or checked, again when others change
_NO_PAGES: Final[Pages] = {section: {} for section in Section}


@dataclass(frozen=True, slots=True)
class RuleBook:
    """Entries that hold together, by section and id, and their rule set; `ids` are those of each name in each section."""

    pages: Pages
    ids: Mapping[tuple[Section, str], tuple[str, ...]]
    claims: Claims
    rules: RuleSet

    @classmethod
    def read(
        cls, objects: Iterable[StoredObject], revision: int = 0, language: LanguageSettings = DEFAULT_LANGUAGE
    ) -> "RuleBook":
        """The book of all stored entries. Raises `ConfigurationError` if one is not valid, or if they do not hold together."""
        empty = cls(_NO_PAGES, {}, {}, replace(EMPTY_RULE_SET, revision=revision, language=language))
        placed = read_objects(objects, language=language)
        placed.reverse()
        pages: list[Page] = []
        while placed:  # popped, here and below: freeing ten thousand models in one go would hold up all other threads
            pages.append(page_of(placed.pop()))
        book, problems = empty.changed(pages)
        if problems:
            raise ConfigurationError(problems)
        while pages:
            pages.pop()
        return book

    def objects(self) -> Iterable[StoredObject]:
        """Every entry as it is stored."""
        return (page.stored for pages in self.pages.values() for page in pages.values())

    def all_pages(self) -> list[object]:
        """Every page."""
        return [page for pages in self.pages.values() for page in pages.values()]

    def page(self, section: Section, entry_id: str) -> Page | None:
        """One entry."""
        return self.pages[section].get(entry_id)

    def named(self, section: Section, name: str) -> list[Page]:
        """The entries of this name."""
        return [self.pages[section][entry_id] for entry_id in self.ids.get((section, name), ())]

    def changed(
        self, written: Sequence[Page], removed: AbstractSet[tuple[Section, str]] = frozenset()
    ) -> tuple["RuleBook", list[Problem]]:
        """The book with these entries in place of those of the same ids, and without those; or all that would be wrong with it.

        Only what the change can have broken is looked at. With problems the book is this one.
        """
        touched = {page.section for page in written} | {section for section, _ in removed}
        pages: dict[Section, dict[str, Page]] = {section: dict(self.pages[section]) for section in touched}
        ids, claims = dict(self.ids), dict(self.claims)
        for section, entry_id in [*removed, *((page.section, page.stored.id) for page in written)]:
            earlier = pages[section].pop(entry_id, None) if (section, entry_id) in removed else pages[section].get(entry_id)
            if earlier is not None:
                _forget(earlier, ids, claims)
        for page in written:
            pages[page.section][page.stored.id] = page
            key = (page.section, page.stored.name)
            ids[key] = (*ids.get(key, ()), page.stored.id)
        after: Pages = {**self.pages, **pages}
        problems = inconsistencies(written, after, before=self.pages, claims=claims, removed=removed)
        if problems:
            return self, problems
        return _built(RuleBook(after, ids, claims, self.rules), written, touched), []

    def committed(self, keys: Iterable[tuple[str, str]], before: "RuleBook", *, revision: int, now: Instant) -> "RuleBook":
        """The book once the entries of these kinds and ids were stored at this revision; `before`, the book that was in force."""
        pages: dict[Section, dict[str, Page]] = {}
        written: list[Page] = []
        for kind, entry_id in keys:
            section = Section(kind)
            if section not in pages:
                pages[section] = dict(self.pages[section])
            page, earlier = pages[section][entry_id], before.page(section, entry_id)
            created_at = now if earlier is None else earlier.stored.created_at
            stored = replace(page.stored, revision=revision, created_at=created_at, updated_at=now)
            pages[section][entry_id] = replace(page, stored=stored)
            written.append(pages[section][entry_id])
        book = replace(self, pages={**self.pages, **pages}, rules=replace(self.rules, revision=revision))
        return _built(book, [page for page in written if page.section is Section.CHECKS], {page.section for page in written})


def _forget(page: Page, ids: dict[tuple[Section, str], tuple[str, ...]], claims: dict[tuple[str, str], str]) -> None:
    key = (page.section, page.stored.name)
    others = tuple(entry_id for entry_id in ids.get(key, ()) if entry_id != page.stored.id)
    if others:
        ids[key] = others
    else:
        ids.pop(key, None)
    for claim in page.claims:
        if claims.get(claim.key) == page.stored.id:
            del claims[claim.key]


def _part(section: Section, pages: Iterable[Page]) -> list[tuple[str, Any]]:
    """What of the rule set a section is."""
    values = [page.value for page in pages if page.value is not None]
    if section is Section.SETTINGS:
        return [("unmatched", next((value for value in values if isinstance(value, Outcome)), Outcome.DENY))]
    if section in {Section.APPLICATIONS, Section.GATEWAY_RULES, Section.CALLERS}:
        return [(section.value, tuple(values))]
    return [(section.value, {value.id: value for value in values})]  # type: ignore[attr-defined]  # every other value has an id


def _built(book: RuleBook, written: Iterable[Page], touched: Iterable[Section]) -> RuleBook:
    """With the values of what was written, and of the checks whose certificate was; unwritten sections stay the same."""
    pages = {section: dict(book.pages[section]) for section in {*touched, Section.CHECKS}}
    again = list(written)
    if Section.CERTIFICATES in touched:
        told = {page.stored.id for page in again}
        again += [page for page in pages[Section.CHECKS].values() if page.stored.id not in told]
    revisions = {entry_id: page.stored.revision for entry_id, page in book.pages[Section.CERTIFICATES].items()}
    for page in again:
        entry = page.entry if page.section in _NEED_THEIR_ENTRY else None
        body = page.stored.body if isinstance(page.stored.body, CompactBody) else CompactBody(page.stored.body)
        value = build_entry(page, revisions)
        pages[page.section][page.stored.id] = replace(page, stored=replace(page.stored, body=body), entry=entry, value=value)
    after = {**book.pages, **pages}
    sections = {*touched, *(page.section for page in again)}
    parts = {name: value for section in sections for name, value in _part(section, after[section].values())}
    return replace(book, pages=after, rules=replace(book.rules, **parts))


EMPTY_BOOK: Final = RuleBook.read(())

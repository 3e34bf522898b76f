"""What applying a document changes: names become ids, and the result has to hold together before anything is written."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from enum import StrEnum

from watchword_server.configuration.book import RuleBook
from watchword_server.configuration.consistency import Page, Placed, page_of
from watchword_server.configuration.document.base import Entry, Section, did_you_mean, quoted
from watchword_server.configuration.document.expressions import Reading
from watchword_server.configuration.document.gateway import GatewayRule
from watchword_server.configuration.document.lists import GatewayList
from watchword_server.configuration.document.sections import UNMATCHED, Document, body_of, read_entry
from watchword_server.configuration.document.service_tokens import CREDENTIAL
from watchword_server.configuration.naming import API, Difference, Naming, naming_differences
from watchword_server.configuration.references import BodyPath, Reference, references, with_ids
from watchword_server.core.gateway import PARTS
from watchword_server.core.model.names import Instant
from watchword_server.core.rules import LanguageSettings
from watchword_server.errors import ConfigurationError, ConflictError, NotFoundError, Problem
from watchword_server.ports.rules import RulesChange, StoredObject

_NOT_YET = Instant(0.0)
_MADE_BY_THE_SERVER: Mapping[Section, frozenset[str]] = {Section.SERVICE_TOKENS: frozenset({CREDENTIAL})}
_UNDASHED = re.compile(r"([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})", re.IGNORECASE)


class NameTakenError(ConflictError):
    """Another entry of the section has the name."""

    code = "name_taken"

    def __init__(self, kind: str, other: StoredObject) -> None:
        super().__init__(f"{quoted(other.name)} is the name of another {kind}, `{other.id}`: choose another, or change that one")
        self.other = other


class InUseError(ConflictError):
    """Another entry names the one that was to go."""

    code = "in_use"

    def __init__(self, kind: str, entry: StoredObject, other_kind: str, other: StoredObject) -> None:
        used = f"{other_kind} {quoted(other.name)} (`{other.id}`)"
        super().__init__(f"{kind} {quoted(entry.name)} is in use by {used}: change or delete that one first")


class Action(StrEnum):
    """What happens to an entry."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class PlannedEntry:
    """One entry and what happens to it; of an updated one, what differs. `by_api`: it was written through the Cloudflare API."""

    action: Action
    section: Section
    id: str
    name: str
    differences: tuple[Difference, ...] = ()
    by_api: bool = False

    def __str__(self) -> str:
        return f"{self.action:<9} {self.section}.{self.name}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The change, entry by entry in the order of the document, what is removed last; and the state it leads to.

    What is written has no meaningful revision or times yet. `only_stored` are the entries that stay, and that the document
    does not name.
    """

    change: RulesChange
    entries: tuple[PlannedEntry, ...]
    book: RuleBook
    only_stored: tuple[PlannedEntry, ...] = ()

    @property
    def result(self) -> tuple[StoredObject, ...]:
        """Every entry of the state it leads to."""
        return tuple(self.book.objects())

    @property
    def changes_nothing(self) -> bool:
        """Whether everything is as the document has it."""
        return not self.change.upserts and not self.change.deletes

    @property
    def summary(self) -> tuple[str, ...]:
        """A line an entry, for people: `created   checks.managed-laptop`."""
        return tuple(map(str, self.entries))


def plan_changes(document: Document, book: RuleBook, *, new_id: Callable[[], str], prune: bool) -> Plan:
    """Plans to make what the document says true, and with `prune` nothing else.

    An entry keeps its id as long as its name, and what the server made of it: a service token its credential.
    Raises `ConfigurationError` with every reference that leads nowhere, and with all that would not hold together afterwards.
    Problems of entries of the document have their path in the document; of others, their section and name.
    """
    drafts = _drafts(document, book, new_id)
    others = _others(drafts, book)
    removed = others if prune else []
    gone = frozenset((page.section, page.stored.id) for page in removed)
    names = _Names(drafts, book, gone)
    outcomes = [names.resolve(draft) for draft in drafts]
    told = {problem.path for problem in names.problems}
    planned, problems = _planned(outcomes, book, gone, told)
    if names.problems or problems:
        raise ConfigurationError([*names.problems, *problems])
    naming = Naming(book), Naming(planned)
    entries = [_told(outcome, naming) for outcome in outcomes]
    entries += [_as_stored(Action.REMOVED, page) for page in removed]
    change = RulesChange(
        upserts=tuple(outcome.stored for outcome in outcomes if outcome.action is not Action.UNCHANGED),
        deletes=tuple((page.section.value, page.stored.id) for page in removed),
    )
    kept = () if prune else tuple(_as_stored(Action.UNCHANGED, page) for page in others)
    return Plan(change, tuple(entries), planned, kept)


def plan_entry(
    section: Section,
    name: str,
    body: Mapping[str, object],
    book: RuleBook,
    *,
    entry_id: str | None,
    new_id: Callable[[], str],
) -> Plan:
    """Plans to make one entry what is said, by name and body: that of the id, whatever its name was, or a new one.

    Raises `ConfigurationError` as `plan_changes`, `NotFoundError` without an entry of the id, `NameTakenError`.
    """
    page = None if entry_id is None else book.page(section, entry_id)
    if entry_id is not None and page is None:
        raise NotFoundError(f"{quoted(entry_id)} is no {section.singular}")
    entry = read_entry(section, name, body, Reading(book.rules.language, stored=section is Section.LISTS))
    others = [other.stored for other in book.named(section, entry.name) if other.stored.id != entry_id]
    if others:
        raise NameTakenError(section.singular, others[0])
    before = None if page is None else page.stored
    draft = _Draft(section, None, entry, entry_id or new_id(), before, at=(section.value, entry.name))
    names = _Names([draft], book, frozenset())
    resolved = names.resolve(draft)
    planned, problems = _planned([resolved], book, frozenset(), {problem.path for problem in names.problems})
    if names.problems or problems:
        raise ConfigurationError([*names.problems, *problems])
    change = RulesChange(upserts=() if resolved.action is Action.UNCHANGED else (resolved.stored,), deletes=())
    return Plan(change, (PlannedEntry(resolved.action, section, draft.id, entry.name),), planned)


def plan_removal(section: Section, entry_id: str, book: RuleBook) -> Plan:
    """Plans to remove one entry. Raises `NotFoundError`, `InUseError` with the first entry that names it."""
    page = book.page(section, entry_id)
    if page is None:
        raise NotFoundError(f"{quoted(entry_id)} is no {section.singular}")
    for pages in book.pages.values():
        for other in pages.values():
            if any((reference.section, reference.value) == (section, entry_id) for reference in other.references):
                raise InUseError(section.singular, page.stored, other.section.singular, other.stored)
    planned, problems = book.changed([], frozenset({(section, entry_id)}))
    if problems:
        raise ConfigurationError(problems)
    entry = PlannedEntry(Action.REMOVED, section, entry_id, page.stored.name)
    return Plan(RulesChange(upserts=(), deletes=((section.value, entry_id),)), (entry,), planned)


# ---- Entries of the document ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Draft:
    """An entry of the document beside the stored one of the same name, if there is one."""

    section: Section
    index: int | None
    entry: Entry
    id: str
    before: StoredObject | None
    at: BodyPath | None = None

    @property
    def path(self) -> BodyPath:
        if self.at is not None:
            return self.at
        return (UNMATCHED,) if self.index is None else (self.section.value, self.index)

    def stored(self, body: Mapping[str, object]) -> StoredObject:
        if self.before is not None:
            made = _MADE_BY_THE_SERVER.get(self.section, frozenset())
            whole = {**body, **{key: self.before.body[key] for key in made if key in self.before.body}}
            said = whole if API in whole else {**whole, API: self.before.body.get(API)}
            if self.before.body in (whole, said) and self.before.name == self.entry.name:
                return self.before
            return replace(self.before, name=self.entry.name, body=whole, revision=0)
        return StoredObject(self.section.value, self.id, self.entry.name, body, 0, _NOT_YET, _NOT_YET)


def _drafts(document: Document, book: RuleBook, new_id: Callable[[], str]) -> list[_Draft]:
    drafts: list[_Draft] = []
    problems: list[Problem] = []
    for section, index, entry in document.entries():
        same = [page.stored for page in book.named(section, entry.name)]
        entry_id = same[0].id if same else UNMATCHED if index is None else new_id()
        draft = _Draft(section, index, entry, entry_id, same[0] if same else None)
        drafts.append(draft)
        if len(same) > 1:
            ids = " and ".join(quoted(stored.id) for stored in same)
            problems.append(
                Problem((*draft.path, "name"), f"{quoted(entry.name)} is the name of {ids}: rename or remove one of them")
            )
    if problems:
        raise ConfigurationError(problems)
    return drafts


def _others(drafts: Iterable[_Draft], book: RuleBook) -> list[Page]:
    """The entries that the document does not name."""
    kept = {(draft.section, draft.id) for draft in drafts}
    pages = [page for pages in book.pages.values() for page in pages.values()]
    return [page for page in pages if (page.section, page.stored.id) not in kept]


def _as_stored(action: Action, page: Page) -> PlannedEntry:
    return PlannedEntry(action, page.section, page.stored.id, page.stored.name, by_api=API in page.stored.body)


def _told(outcome: "_Resolved", naming: tuple[Naming, Naming]) -> PlannedEntry:
    section, before, after = outcome.draft.section, outcome.draft.before, outcome.stored
    differences = (
        () if outcome.action is not Action.UPDATED or before is None else naming_differences(section, before, after, naming)
    )
    by_api = before is not None and API in before.body
    return PlannedEntry(outcome.action, section, after.id, after.name, differences, by_api)


class _Names:
    """Leads names to ids: those of the document, then the names of what is kept, then its ids. Collects `problems`."""

    def __init__(self, drafts: Sequence[_Draft], book: RuleBook, gone: AbstractSet[tuple[Section, str]]) -> None:
        self.problems: list[Problem] = []
        self._book = book
        self._gone = gone
        self._written = {(draft.section, draft.entry.name): draft.id for draft in drafts}
        self._written_ids = {(draft.section, draft.id) for draft in drafts}
        for draft in drafts:
            if isinstance(draft.entry, GatewayList) and draft.entry.reference is not None:
                self._refer(draft, draft.entry.reference)

    def _refer(self, draft: _Draft, reference: str) -> None:
        """One more name for a list, in this document alone."""
        if self._written.setdefault((draft.section, reference), draft.id) != draft.id:
            message = f"{quoted(reference)} is the name or `reference` of another list: write another"
            self.problems.append(Problem((*draft.path, "reference"), message))

    def resolve(self, draft: _Draft) -> "_Resolved":
        """The entry with ids; a reference that leads nowhere stays as it is, and is told."""
        found = [(reference, self._id(draft, reference)) for reference in references(draft.entry)]
        renamed = [(reference, entry_id) for reference, entry_id in found if reference.value != entry_id]
        body = body_of(draft.entry)
        return _Resolved(
            draft=draft,
            stored=draft.stored(with_ids(body, renamed) if renamed else body),
            renamed=bool(renamed),
            references=[reference.resolved(entry_id) for reference, entry_id in found],
        )

    def _id(self, draft: _Draft, reference: Reference) -> str:
        section = reference.section
        written = self._written.get((section, reference.value))
        if written is not None:
            return written
        found = [page.stored.id for page in self._book.named(section, reference.value) if self._stays(section, page.stored.id)]
        if len(found) == 1:
            return found[0]
        if not found:
            for entry_id in (reference.value, _dashed(reference.value)):
                if self._stays(section, entry_id):
                    return entry_id
        self.problems.append(reference.problem(draft.path, self._message(reference, ambiguous=bool(found))))
        return reference.value

    def _stays(self, section: Section, entry_id: str) -> bool:
        if (section, entry_id) in self._written_ids:
            return True
        return (section, entry_id) not in self._gone and self._book.page(section, entry_id) is not None

    def _message(self, reference: Reference, *, ambiguous: bool) -> str:
        section = reference.section
        written, kind = quoted(reference.value), section.singular
        if ambiguous:
            return f"{written} is the name of more than one {kind}: write its id"
        if self._book.named(section, reference.value) or self._book.page(section, reference.value) is not None:
            return f"{written} is a {kind} that is not in this file and would be removed: add it here, or do not prune"
        kept = [page.stored.name for page in self._book.pages[section].values() if self._stays(section, page.stored.id)]
        known = [*kept, *(name for of_section, name in self._written if of_section is section)]
        if not known:
            return f"{written} is no {kind}, there is none at all: add it under `{section}`"
        return f"{written} is no {kind}: {did_you_mean(reference.value, known)}"


@dataclass(frozen=True, slots=True)
class _Resolved:
    """An entry of the document as it will be stored."""

    draft: _Draft
    stored: StoredObject
    renamed: bool  # whether an id took the place of a name
    references: Sequence[Reference]

    @property
    def action(self) -> Action:
        """What happens to it."""
        before = self.draft.before
        if before is None:
            return Action.CREATED
        return Action.UNCHANGED if self.stored is before else Action.UPDATED

    def page(self, reading: Reading) -> Page:
        """It, as a page. Raises `ConfigurationError` if it has become invalid by ids in place of names."""
        entry = self.draft.entry
        if self.renamed and not self._is_still_an_expression(reading.language):
            entry = read_entry(self.draft.section, self.stored.name, self.stored.body, reading)
        elif self.renamed:
            entry = entry.model_copy(update={part: self.stored.body[part] for part in PARTS if part in self.stored.body})
        return page_of(Placed(self.stored, self.draft.section, entry, self.references))

    def _is_still_an_expression(self, language: LanguageSettings) -> bool:
        """Ids make expressions longer and nothing else, so that they need not be parsed again."""
        parts = (self.stored.body.get(part, "") for part in PARTS)
        return isinstance(self.draft.entry, GatewayRule) and all(
            isinstance(text, str) and len(text) <= language.max_expression_characters for text in parts
        )


# ---- The result -------------------------------------------------------------------------------------------------------


def _planned(
    outcomes: Sequence[_Resolved], book: RuleBook, gone: AbstractSet[tuple[Section, str]], told: AbstractSet[BodyPath]
) -> tuple[RuleBook, list[Problem]]:
    """The book as it would be, or all that would be wrong with it and is not told yet."""
    reading = Reading(book.rules.language, stored=True)
    paths: dict[BodyPath, BodyPath] = {
        (outcome.draft.section.value, outcome.draft.entry.name): outcome.draft.path for outcome in outcomes
    }
    pages: list[Page] = []
    problems: list[Problem] = []
    for outcome in outcomes:
        try:
            if outcome.action is not Action.UNCHANGED:
                pages.append(outcome.page(reading))
        except ConfigurationError as error:
            problems += error.problems
    planned, wrong = book.changed(pages, gone)
    placed = [
        replace(problem, path=(*paths.get(problem.path[:2], problem.path[:2]), *problem.path[2:]))
        for problem in [*problems, *wrong]
    ]
    return planned, [problem for problem in placed if problem.path not in told]


def _dashed(entry_id: str) -> str:
    """A UUID as the store has it: lists may be named without dashes."""
    match = _UNDASHED.fullmatch(entry_id)
    return "-".join(match.groups()).lower() if match else entry_id

"""What applying a document changes: names become ids, and the result has to hold together before anything is written."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from watchword_server.configuration.consistency import Placed, inconsistencies, read_objects
from watchword_server.configuration.document.base import Entry, Section, did_you_mean, quoted
from watchword_server.configuration.document.sections import UNMATCHED, Document, body_of, validate_entry
from watchword_server.configuration.references import BodyPath, Reference, references, with_ids
from watchword_server.core.model import Instant
from watchword_server.errors import ConfigurationError, Problem
from watchword_server.ports import RulesChange, StoredObject

_NOT_YET = Instant(0.0)


class Action(StrEnum):
    """What happens to an entry."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class PlannedEntry:
    """One entry and what happens to it."""

    action: Action
    section: Section
    id: str
    name: str

    def __str__(self) -> str:
        return f"{self.action:<9} {self.section}.{self.name}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The change, entry by entry in the order of the document, what is removed last; and the state it leads to.

    What is written has no meaningful revision or times yet.
    """

    change: RulesChange
    entries: tuple[PlannedEntry, ...]
    result: tuple[StoredObject, ...]

    @property
    def changes_nothing(self) -> bool:
        """Whether everything is as the document has it."""
        return not self.change.upserts and not self.change.deletes

    @property
    def summary(self) -> tuple[str, ...]:
        """A line an entry, for people: `created   checks.managed-laptop`."""
        return tuple(map(str, self.entries))


def plan_changes(document: Document, existing: Sequence[StoredObject], *, new_id: Callable[[], str], prune: bool) -> Plan:
    """Plans to make what the document says true, and with `prune` nothing else. An entry keeps its id as long as its name.

    Raises `ConfigurationError` with every reference that leads nowhere, and with all that would not hold together afterwards.
    Problems of entries of the document have their path in the document; of others, their section and name.
    """
    drafts = _drafts(document, existing, new_id)
    kept = [stored for stored in existing if not prune or stored.kind not in set(Section)]
    names = _Names(drafts, kept=kept, existing=existing)
    written = [draft.stored(names.resolve(draft)) for draft in drafts]
    told = {problem.path for problem in names.problems}
    found = [problem for problem in _inconsistencies(drafts, written, kept) if problem.path not in told]
    if names.problems or found:
        raise ConfigurationError([*names.problems, *found])
    return _plan(written, existing, kept=kept)


# ---- Entries of the document ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Draft:
    """An entry of the document beside the stored one of the same name, if there is one."""

    section: Section
    index: int | None
    entry: Entry
    id: str
    before: StoredObject | None

    @property
    def path(self) -> BodyPath:
        return (UNMATCHED,) if self.index is None else (self.section.value, self.index)

    def stored(self, body: Mapping[str, object]) -> StoredObject:
        if self.before is not None:
            return self.before if self.before.body == body else replace(self.before, body=body, revision=0)
        return StoredObject(self.section.value, self.id, self.entry.name, body, 0, _NOT_YET, _NOT_YET)


def _drafts(document: Document, existing: Sequence[StoredObject], new_id: Callable[[], str]) -> list[_Draft]:
    by_name: dict[tuple[str, str], list[StoredObject]] = defaultdict(list)
    for stored in existing:
        by_name[stored.kind, stored.name].append(stored)
    drafts: list[_Draft] = []
    problems: list[Problem] = []
    for section, index, entry in document.entries():
        same = by_name[section.value, entry.name]
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


class _Names:
    """Leads names to ids: those of the document, then the names of what is kept, then its ids. Collects `problems`."""

    def __init__(self, drafts: Iterable[_Draft], *, kept: Iterable[StoredObject], existing: Iterable[StoredObject]) -> None:
        self.problems: list[Problem] = []
        self._ids: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._by_id = {(stored.kind, stored.id) for stored in kept}
        self._removed = {(stored.kind, key) for stored in existing for key in (stored.name, stored.id)}
        for draft in drafts:
            self._ids[draft.section.value, draft.entry.name] = {draft.id}
            self._by_id.add((draft.section.value, draft.id))
        written = set(self._ids)
        for stored in kept:
            if (stored.kind, stored.name) not in written:
                self._ids[stored.kind, stored.name].add(stored.id)

    def resolve(self, draft: _Draft) -> dict[str, object]:
        """The body with ids; a reference that leads nowhere stays as it is, and is told."""
        return with_ids(body_of(draft.entry), {found.path: self._id(draft, found) for found in references(draft.entry)})

    def _id(self, draft: _Draft, reference: Reference) -> str:
        key = (reference.section.value, reference.value)
        found = self._ids.get(key, set())
        if len(found) == 1:
            return next(iter(found))
        if not found and key in self._by_id:
            return reference.value
        self.problems.append(Problem((*draft.path, *reference.path), self._message(reference, ambiguous=bool(found))))
        return reference.value

    def _message(self, reference: Reference, *, ambiguous: bool) -> str:
        written, kind = quoted(reference.value), reference.section.singular
        if ambiguous:
            return f"{written} is the name of more than one {kind}: write its id"
        if (reference.section.value, reference.value) in self._removed:
            return f"{written} is a {kind} that is not in this file and would be removed: add it here, or do not prune"
        known = [name for section, name in self._ids if section == reference.section.value]
        if not known:
            return f"{written} is no {kind}, there is none at all: add it under `{reference.section}`"
        return f"{written} is no {kind}: {did_you_mean(reference.value, known)}"


# ---- The result -------------------------------------------------------------------------------------------------------


def _inconsistencies(drafts: Sequence[_Draft], written: Sequence[StoredObject], kept: Sequence[StoredObject]) -> list[Problem]:
    """What the document says comes last, so that of two entries that clash the one with a line is told."""
    names = {(draft.section.value, draft.entry.name) for draft in drafts}
    others = read_objects(stored for stored in kept if stored.kind in set(Section) and (stored.kind, stored.name) not in names)
    ours = [
        Placed(stored, draft.section, validate_entry(draft.section, stored.name, stored.body))
        for draft, stored in zip(drafts, written, strict=True)
    ]
    paths: dict[BodyPath, BodyPath] = {(draft.section.value, draft.entry.name): draft.path for draft in drafts}
    return [
        Problem((*paths.get(problem.path[:2], problem.path[:2]), *problem.path[2:]), problem.message)
        for problem in inconsistencies([*others, *ours])
    ]


def _plan(written: Sequence[StoredObject], existing: Sequence[StoredObject], *, kept: Sequence[StoredObject]) -> Plan:
    before = {(stored.kind, stored.id): stored for stored in existing}
    after = {(stored.kind, stored.id): stored for stored in (*kept, *written)}
    entries = [PlannedEntry(_action(stored, before), Section(stored.kind), stored.id, stored.name) for stored in written]
    removed = [stored for key, stored in before.items() if key not in after]
    entries += [PlannedEntry(Action.REMOVED, Section(stored.kind), stored.id, stored.name) for stored in removed]
    change = RulesChange(
        upserts=tuple(stored for stored in written if _action(stored, before) is not Action.UNCHANGED),
        deletes=tuple((stored.kind, stored.id) for stored in removed),
    )
    return Plan(change, tuple(entries), tuple(after.values()))


def _action(stored: StoredObject, before: Mapping[tuple[str, str], StoredObject]) -> Action:
    earlier = before.get((stored.kind, stored.id))
    if earlier is None:
        return Action.CREATED
    return Action.UNCHANGED if earlier.body == stored.body else Action.UPDATED

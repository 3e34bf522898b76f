"""Rules and their revisions, kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from watchword_server.core.model.names import Instant
from watchword_server.core.revisions import EntryChange, Revision, State


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One entry of the rules as it was configured. `kind` is the section of the rule file; `body` is JSON with references as ids.

    `revision` is the store revision at which the body last changed.
    """

    kind: str
    id: str
    name: str
    body: Mapping[str, object]
    revision: int
    created_at: Instant
    updated_at: Instant


@dataclass(frozen=True, slots=True)
class RulesChange:
    """Entries to write and to remove, in one transaction; `upserts` carry no meaningful revision or times yet."""

    upserts: tuple[StoredObject, ...]
    deletes: tuple[tuple[str, str], ...]  # (kind, id)
    rolls_back_to: int | None = None  # the revision whose rules it brings back


class RuleStore(Protocol):
    """The operators' entries."""

    async def load_rules(self) -> tuple[Sequence[StoredObject], int]:
        """All entries, and the rules revision."""
        ...

    async def rules_revision(self) -> int:
        """The rules revision alone."""
        ...

    async def commit_rules(self, change: RulesChange, *, expected_revision: int, now: Instant) -> int:
        """Writes a change if the rules revision is still `expected_revision`; returns the new rules revision (a store revision).

        Every entry whose name or body changed gets the new revision as its own; without a change the revision stays. Raises
        `ConflictError` if somebody else was first.
        """
        ...

    async def revisions(self, *, before: int | None, limit: int) -> Sequence[Revision]:
        """Changes of the rules that are kept, the newest first; with `before`, those of lower numbers."""
        ...

    async def revision(self, number: int) -> tuple[Revision, Sequence[EntryChange]]:
        """A change of the rules with what it did, without secrets. Raises `NotFoundError`."""
        ...

    async def states_at(self, number: int) -> Mapping[tuple[str, str], State | None]:
        """What each entry that was changed since a revision was then, by kind and id; None: it was not there.

        Raises `NotFoundError` for a revision that is not kept.
        """
        ...

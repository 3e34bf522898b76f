"""Who changed what, kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from watchword_server.core.audit import Act, Link
from watchword_server.core.model.names import Instant


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Which records. `actor` and `target`: an id or a kind; `action`: one, or the word before the point of several.

    Behind `after` (a number) the oldest first; else the newest first, below `before`.
    """

    limit: int
    after: int | None = None
    before: int | None = None
    actor: str | None = None
    action: str | None = None
    target: str | None = None
    since: Instant | None = None
    until: Instant | None = None


@dataclass(frozen=True, slots=True)
class Retention:
    """What of the past is kept: at least so many, and all that is not older; of revisions, so many bytes at most."""

    audit_records: int
    audit_seconds: float
    revisions: int
    revision_seconds: float
    revision_bytes: int


class AuditStore(Protocol):
    """Who changed what. A change is recorded by the store's method that makes it, in its transaction."""

    async def audit_records(self, query: AuditQuery) -> Sequence[Mapping[str, object]]:
        """Records with their hashes, as `core.audit` has them."""
        ...

    async def audit_head(self) -> Link:
        """The place of the last record."""
        ...

    async def record(self, acts: Sequence[Act]) -> None:
        """Writes records of what changed nothing in the store."""
        ...

    async def trim_history(self, retention: Retention, *, now: Instant) -> None:
        """Removes what is not to be kept, and records through where."""
        ...

"""How devices stood with their checks over time, kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from watchword_server.core.model.names import DeviceId, Instant
from watchword_server.core.model.results import PostureResult


@dataclass(frozen=True, slots=True)
class PostureQuery:
    """Which entries of the posture log, the newest first. `since` and `until`: they held at some time between."""

    limit: int
    before: int | None = None
    device_id: str | None = None
    check_id: str | None = None
    passed: bool | None = None
    reason: str | None = None
    since: Instant | None = None
    until: Instant | None = None


@dataclass(frozen=True, slots=True)
class PostureEntry:
    """What a check on a device came to, for as long as it stayed the same. `result` is the newest that said so.

    `ended_at`: when another result took its place or the device left; None: it is the newest.
    """

    number: int
    device_id: DeviceId
    hostname: str | None  # the newest that the device signed
    result: PostureResult
    since: Instant
    evaluations: int
    ended_at: Instant | None


class PostureLogStore(Protocol):
    """What checks came to, in the past as well. The store's methods that keep results write it, in their transactions."""

    async def posture_entries(self, query: PostureQuery) -> Sequence[PostureEntry]:
        """Entries of the posture log."""
        ...

    async def trim_posture_log(self, *, rows: int, older_than: Instant) -> None:
        """Removes entries that ended or were last confirmed before `older_than`, and the oldest above `rows`."""
        ...

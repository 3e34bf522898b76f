"""What the audit log hears of beside changes: failures to authenticate, in bounded numbers, and acts that change nothing here."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog

from watchword_server import events
from watchword_server.acting import current_actor
from watchword_server.core.audit import Act, Action, Actor, Detail, Target
from watchword_server.core.model.names import Instant
from watchword_server.core.times import rfc3339
from watchword_server.errors import ServiceError
from watchword_server.ports.audit import AuditStore, Retention
from watchword_server.ports.machine import Clock

_log = structlog.get_logger(__name__)

WINDOW_SECONDS: Final = 60.0
MAX_WINDOWS: Final = 120  # so many records a minute at most, whoever asks from wherever
TRIM_SECONDS: Final = 3600.0
_API: Final = Target("api")
_ELSEWHERE: Final = Actor("nobody", name="further addresses")


_Key = tuple[Action, Actor, Target]


@dataclass(slots=True)
class _Window:
    """Failures of one address and actor that have no record yet."""

    started: Instant
    details: Mapping[str, Detail]
    count: int = 0
    since: Instant | None = None


@dataclass(slots=True)
class Auditing:
    """Records failures: the first of an address at once, those that follow as one record a minute with their number."""

    store: AuditStore
    clock: Clock
    retention: Retention
    _windows: dict[_Key, _Window] = field(default_factory=dict)
    _trimmed_at: Instant | None = None
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def act(self, action: Action, target: Target, details: Mapping[str, Detail] | None = None) -> None:
        """Records what whoever acts is about to do that the store takes no part in. Raises `StoreUnavailableError`."""
        await self.store.record([Act(self.clock.now(), current_actor(), action, target, None, details or {})])

    async def failed(self, action: Action, actor: Actor, **details: Detail) -> None:
        """Records, or counts, a failure. Never raises: whoever failed is refused all the same."""
        now, key = self.clock.now(), (action, actor, _API)
        if self._counted(key, now):
            return
        self._windows[key] = window = _Window(now, details)
        if not await self._written([_act(key, window, now, 1)]):
            window.count, window.since = window.count + 1, now

    def notice(self, action: Action, actor: Actor, target: Target, **details: Detail) -> None:
        """As `failed`, for whoever does not wait: the first is recorded with the next `flush`."""
        now, key = self.clock.now(), (action, actor, target)
        if not self._counted(key, now):
            self._windows[key] = _Window(Instant(now - WINDOW_SECONDS), details, 1, now)

    async def flush(self, *, all_of_them: bool = False) -> None:
        """Writes what was counted in minutes that are over, or until now."""
        async with self._one_at_a_time:
            now = self.clock.now()
            over = {key: each for key, each in self._windows.items() if all_of_them or now - each.started >= WINDOW_SECONDS}
            counted = {key: (each, each.count) for key, each in over.items() if each.count}
            if counted and not await self._written([_act(key, each, now, count) for key, (each, count) in counted.items()]):
                return
            for key, window in over.items():
                count = counted[key][1] if key in counted else 0
                window.count -= count
                if count or window.count:  # it goes on, and has no other record for a minute
                    window.started, window.since = now, now if window.count else None
                else:
                    del self._windows[key]

    async def trim(self) -> None:
        """Now and then, lets go what is not to be kept of the past."""
        now = self.clock.now()
        if self._trimmed_at is None or now - self._trimmed_at >= TRIM_SECONDS:
            self._trimmed_at = now
            await self.store.trim_history(self.retention, now=now)

    def _counted(self, key: _Key, now: Instant) -> bool:
        """Whether it needs no record of its own."""
        window = self._windows.get(key)
        if window is None and len(self._windows) >= MAX_WINDOWS:
            action, _, target = key
            window = self._windows.setdefault((action, _ELSEWHERE, target), _Window(now, {"reason": "several"}))
        if window is None:
            return False
        window.since = window.since or now
        window.count += 1
        return True

    async def _written(self, acts: list[Act]) -> bool:
        try:
            await self.store.record(acts)
        except ServiceError as error:
            _log.error(events.AUDIT_FAILED, records=len(acts), error=str(error))
            return False
        return True


def _act(key: _Key, window: _Window, now: Instant, count: int) -> Act:
    action, actor, target = key
    details: dict[str, Detail] = {**window.details, "count": count}
    if window.since is not None:
        details["since"] = rfc3339(window.since)
    return Act(now, actor, action, target, None, details)

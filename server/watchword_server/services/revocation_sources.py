"""Where operators say that revocation lists are: URLs are asked again and again, files are read when they change."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from watchword_server import events
from watchword_server.core.model.checks import SigningCertificate
from watchword_server.core.model.names import Instant
from watchword_server.errors import WatchwordError
from watchword_server.ports.machine import Clock
from watchword_server.ports.revocation import ListSource
from watchword_server.services.revocation import Revocation
from watchword_server.services.revocation_places import Slot, signers_of
from watchword_server.services.rules_in_force import RulesInForce

_log = structlog.get_logger(__name__)

_LOOK_SECONDS: Final = 1.0  # at the file of a path
_JITTER: Final = 0.1  # servers that were started together should not ask together
_BEFORE_THE_END: Final = 0.1  # of a list's life, it is asked for the next
_SHORTEST_SECONDS: Final = 1.0
_FIRST_RETRY_SECONDS: Final = 5.0
_LONGEST_WAIT_SECONDS: Final = 50.0  # of who asked for a reading: less than the command waits for its answer


@dataclass(eq=False, slots=True)
class Source:
    """A place that is followed, and how that goes."""

    slot: Slot
    refresh_seconds: int
    signers: tuple[bytes, ...]
    fetched_at: Instant | None = None
    error: str | None = None  # of the last try; None: it went well
    failures: int = 0  # in a row
    etag: str | None = None
    last_modified: str | None = None
    task: "asyncio.Task[None] | None" = None
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: "list[asyncio.Future[None]]" = field(default_factory=list)  # for a reading that has not begun yet

    @property
    def same_as(self) -> tuple[Slot, int, tuple[bytes, ...]]:
        """What another entry says if nothing has changed."""
        return self.slot, self.refresh_seconds, self.signers


@dataclass(slots=True)
class RevocationSources:
    """Follows the places that the rules in force name. A place that fails keeps its last list."""

    revocation: Revocation
    rules: RulesInForce
    clock: Clock
    jitter: Callable[[], float] = lambda: random.uniform(-_JITTER, _JITTER)  # noqa: S311 - nobody gains by guessing it
    _sources: dict[Slot, Source] = field(default_factory=dict)
    _retiring: "asyncio.Task[None] | None" = None

    def follow(self) -> None:
        """Follows what the rules say now, and nothing else."""
        wanted = {source.slot: source for each in self.rules.current.rules.certificates.values() for source in _sources(each)}
        for slot, source in tuple(self._sources.items()):
            if slot not in wanted or wanted[slot].same_as != source.same_as:
                del self._sources[slot]
                if source.task is not None:
                    source.task.cancel()
                _end(source.waiting)
        for slot, source in wanted.items():
            if slot not in self._sources:
                self._sources[slot] = source
                source.task = asyncio.ensure_future(self._follow(source))
        self._retiring = asyncio.ensure_future(self._retire())

    async def stop(self) -> None:
        """Follows nothing any more."""
        tasks = [task for task in (*(source.task for source in self._sources.values()), self._retiring) if task is not None]
        for task in tasks:
            task.cancel()
        for source in self._sources.values():
            _end(source.waiting)
        await asyncio.gather(*tasks, return_exceptions=True)
        self._sources.clear()
        await self.revocation.stop()

    def of(self, signing: SigningCertificate) -> Sequence[Source]:
        """The places of an uploaded CA that are followed."""
        return [source for slot, source in self._sources.items() if slot.certificate_id == signing.id]

    async def read_now(self, signing: SigningCertificate) -> Sequence[tuple[Source, str | None]]:
        """Has all places of a CA read, and waits for it as long as one may take; each with why it failed."""
        read = {source: asyncio.get_running_loop().create_future() for source in self.of(signing)}
        for source, future in read.items():
            source.waiting.append(future)
            source.hurry.set()
        if read:
            await asyncio.wait(read.values(), timeout=min(self.revocation.fetch_timeout_seconds, _LONGEST_WAIT_SECONDS))
        return [(source, _why_not(source, future)) for source, future in read.items()]

    async def _retire(self) -> None:
        try:
            await self.revocation.retire()
        except WatchwordError as error:
            _log.warning(events.REVOCATION_LIST_REFUSED, error=str(error))

    async def _follow(self, source: Source) -> None:
        seen: object = None
        while True:
            stamp = None if source.slot.source is ListSource.URL else await asyncio.to_thread(_stamp, source.slot.place)
            if stamp is None or stamp != seen or source.failures or source.hurry.is_set():
                source.hurry.clear()
                waiting, source.waiting = source.waiting, []
                try:
                    await self._read(source)
                finally:
                    _end(waiting)
                seen = stamp
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(source.hurry.wait(), self._pause(source))

    async def _read(self, source: Source) -> None:
        try:
            read = await self.revocation.refresh(source.slot, etag=source.etag, last_modified=source.last_modified)
        except Exception as error:  # noqa: BLE001 - whatever it is, this place is asked again
            source.failures += 1
            known = isinstance(error, WatchwordError)
            if str(error) != source.error or not known:
                _log.warning(
                    events.REVOCATION_LIST_REFUSED, place=source.slot.place, error=str(error), exc_info=None if known else error
                )
            source.error = str(error) if known else "something went wrong here; the server's log has it"
            return
        source.failures, source.error, source.fetched_at = 0, None, self.clock.now()
        if read is not None:
            source.etag, source.last_modified = read.etag, read.last_modified

    def _pause(self, source: Source) -> float:
        """Seconds until the place is looked at again: often enough, and before the list in force ends."""
        if source.failures:
            return float(min(source.refresh_seconds, _FIRST_RETRY_SECONDS * 2 ** min(source.failures - 1, 10))) * (
                1 + self.jitter()
            )
        if source.slot.source is ListSource.PATH:
            return _LOOK_SECONDS
        pause = source.refresh_seconds * (1 + self.jitter())
        kept = self.revocation.list_at(source.slot)
        if kept is None:
            return pause
        this_update, next_update = kept.revocation_list.this_update, kept.revocation_list.next_update
        left = next_update - _BEFORE_THE_END * max(0.0, next_update - this_update) - self.clock.now()
        # A list that has ended already, or soon will, and is offered all the same: as often as after a failure.
        return min(pause, left) if left > _SHORTEST_SECONDS else min(pause, _FIRST_RETRY_SECONDS)


def _sources(signing: SigningCertificate) -> Iterable[Source]:
    signers = signers_of(signing)
    for place in signing.list_places:
        source, where = (ListSource.PATH, place.path) if place.url is None else (ListSource.URL, place.url)
        yield Source(Slot(signing.id, source, str(where)), place.refresh_seconds, signers)


def _end(waiting: "Iterable[asyncio.Future[None]]") -> None:
    for future in waiting:
        if not future.done():  # who waited may be gone
            future.set_result(None)


def _why_not(source: Source, future: "asyncio.Future[None]") -> str | None:
    if not future.done():
        return "not read yet: `watchword certificate list` shows what comes of it"
    if source.task is None or source.task.done() or source.task.cancelling():
        return "the rules do not name this place any more"
    return source.error


def _stamp(path: str) -> tuple[int, int, int] | str:
    """What changes when a file does."""
    try:
        found = Path(path).stat()
    except OSError as error:
        return str(error)
    return found.st_mtime_ns, found.st_size, found.st_ino

"""Noticing at once that a watched file came, went or changed, also by way of a directory or a symbolic link above it.

And that a store without files did, by a helper process that tells.
"""

import asyncio
import contextlib
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from watchword_agent import log
from watchword_agent.file_events import Change, FileEvents, open_file_events
from watchword_agent.helper_process import Helpers
from watchword_agent.store_events import StoreEvents
from watchword_agent.stores.base import Watched
from watchword_agent.worker import Worker

_DEBOUNCE_SECONDS: Final = 0.01  # at most this long for what belongs together; a removal waits for nothing
_LOOK_AGAIN_SECONDS: Final = 15.0  # for what raises no event: mounts, network file systems
_POLL_SECONDS: Final = 1.0  # where the system grants no watches
_MAX_LINKS: Final = 40  # as the kernel


@dataclass(frozen=True, slots=True)
class View:
    """Everything on the way to the watched files: the directories to watch, and what each name in them is now."""

    directories: Mapping[str, tuple[int, int]]
    marks: Mapping[str, tuple[object, ...]]


class StoreWatch:
    """Watches a set of absolute paths, whether they exist or not, and stores that helpers tell of."""

    def __init__(self, helpers: Helpers | None = None) -> None:
        self._stores = StoreEvents(helpers or Helpers(), self._store_changed)
        self._store_told = False
        self._worker = Worker("survey")
        self._paths: frozenset[str] = frozenset()
        self._seen: Mapping[str, tuple[object, ...]] | None = {}  # None: an event counts even if nothing looks different
        self._names: frozenset[str] = frozenset()  # what events are of interest
        self._due: asyncio.TimerHandle | None = None
        self._disturbed = asyncio.Event()  # ends the wait

    async def update(self, watched: Watched) -> None:
        """Watches these from now on: every change of a file after this returns is noticed.

        A store of a helper is watched as soon as that runs; this is told as a change, for what happened before is not known.
        """
        await self._stores.follow(watched.stores)
        paths = watched.files
        if paths == self._paths:
            return
        view = await self._survey(paths)
        self._paths, self._seen = paths, view.marks
        self._disturbed.set()

    async def run(self, changed: Callable[[], None]) -> NoReturn:
        """Calls `changed` after each change; several at once may be one call."""
        events: FileEvents | None = None
        armed: Mapping[str, tuple[int, int]] = {}
        try:
            while True:
                self._disturbed.clear()
                if self._store_told:
                    self._store_told = False
                    changed()
                paths = self._paths
                view = await self._survey(paths)
                if paths is not self._paths:
                    continue
                if view.marks != self._seen:
                    self._seen = view.marks
                    changed()
                self._names = frozenset(view.marks)
                if view.directories != armed or (events is not None and events.broken):
                    if events is not None:
                        await events.close()
                    events, armed = self._open_events(view.directories), view.directories
                    continue  # what happened before it was armed raised no event
                await self._wait(_POLL_SECONDS if armed and events is None else _LOOK_AGAIN_SECONDS)
        finally:
            if self._due is not None:
                self._due.cancel()
            if events is not None:
                await events.close()
            await self._stores.close()

    async def _survey(self, paths: frozenset[str]) -> View:
        return await self._worker.run(lambda: survey(paths))

    def _open_events(self, directories: Mapping[str, tuple[int, int]]) -> FileEvents | None:
        if not directories:
            return None
        try:
            return open_file_events(directories, self._noticed)
        except OSError as error:
            log.warning(log.Event.WATCH_DEGRADED, error=error, poll_seconds=_POLL_SECONDS)
            return None

    def _noticed(self, changes: Sequence[Change]) -> None:
        """An event counts even if nothing looks different then: clocks of file systems are coarse."""
        ours = [change for change in changes if change.path is None or change.path in self._names]
        if not ours:
            return
        self._seen = None
        if any(change.removal for change in ours):
            self._disturbed.set()
        elif self._due is None or self._due.when() < asyncio.get_running_loop().time():
            self._due = asyncio.get_running_loop().call_later(_DEBOUNCE_SECONDS, self._disturbed.set)

    def _store_changed(self) -> None:
        self._store_told = True
        self._disturbed.set()

    async def _wait(self, seconds: float) -> None:
        """Until it is disturbed, or for so long if there is anything to look at."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds if self._paths else None):
                await self._disturbed.wait()


def survey(paths: frozenset[str]) -> View:
    """Looks at the paths, following symbolic links as the kernel does. Blocking."""
    directories: dict[str, tuple[int, int]] = {}
    marks: dict[str, tuple[object, ...]] = {}
    for path in paths:
        _walk(path, directories, marks)
    return View(directories, marks)


def _walk(path: str, directories: dict[str, tuple[int, int]], marks: dict[str, tuple[object, ...]]) -> None:
    """Every directory on the way is watched, not the last one alone: any of them may be renamed or replaced."""
    (directory, names), links = _rooted(path), 0
    while names:
        name = names.pop(0)
        if name == "..":  # in the target of a link
            directory = directory.parent
            continue
        here = directory / name
        try:
            above = directory.stat()
            directories[str(directory)] = (above.st_dev, above.st_ino)
            found = here.lstat()
            target = str(here.readlink()) if stat.S_ISLNK(found.st_mode) else None
        except OSError as error:
            marks[str(here)] = ("missing", error.errno)
            return
        owner = (found.st_mode, found.st_uid, found.st_gid)
        if target is not None:
            marks[str(here)] = ("link", target)
            links += 1
            if links > _MAX_LINKS:
                return
            root, further = _rooted(target)
            directory = root if root.is_absolute() else directory
            names = further + names
        elif stat.S_ISDIR(found.st_mode):
            marks[str(here)] = ("directory", found.st_dev, found.st_ino, *owner)
            directory = here
        else:
            times = (found.st_mtime_ns, found.st_ctime_ns)
            marks[str(here)] = ("file", found.st_dev, found.st_ino, *owner, found.st_size, *times)
            return


def _rooted(path: str) -> tuple[Path, list[str]]:
    """Where a path begins, `.` if it is relative, and the names from there on."""
    pure = Path(path.removeprefix("\\\\?\\") if sys.platform == "win32" else path)  # as Windows tells the target of a link
    return Path(pure.anchor), [name for name in pure.parts if name != pure.anchor]

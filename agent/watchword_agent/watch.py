"""Noticing at once that a watched file came, went or changed, also by way of a directory or a symbolic link above it."""

import asyncio
import contextlib
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError  # documented; awatch does not say when it is armed

from watchword_agent import log
from watchword_agent.stores.base import Watched

_DEBOUNCE_MS: Final = 10  # at most this long for what belongs together
_STEP_MS: Final = 5  # it polls: 2 ms would cost twice as much of a core, and save 5 ms
_LOOK_AGAIN_MS: Final = 5_000  # for what raises no event: mounts, network file systems
_POLL_SECONDS: Final = 1.0  # where the system grants no watches
_MAX_LINKS: Final = 40  # as the kernel


@dataclass(frozen=True, slots=True)
class View:
    """Everything on the way to the watched files: the directories to watch, and what each name in them is now."""

    directories: Mapping[str, tuple[int, int]]
    marks: Mapping[str, tuple[object, ...]]


class StoreWatch:
    """Watches a set of absolute paths, whether they exist or not."""

    def __init__(self) -> None:
        self._paths: frozenset[str] = frozenset()
        self._seen: Mapping[str, tuple[object, ...]] | None = {}
        self._disturbed = asyncio.Event()  # ends the wait for events

    async def update(self, watched: Watched) -> None:
        """Watches these from now on: every change after this returns is noticed."""
        paths = watched.files
        if paths == self._paths:
            return
        view = await asyncio.to_thread(survey, paths)
        self._paths, self._seen = paths, view.marks
        self._disturbed.set()

    async def run(self, changed: Callable[[], None]) -> NoReturn:
        """Calls `changed` after each change; several at once may be one call."""
        notify: RustNotify | None = None
        armed: Mapping[str, tuple[int, int]] = {}
        try:
            while True:
                self._disturbed.clear()
                paths = self._paths
                view = await asyncio.to_thread(survey, paths)
                if paths is not self._paths:
                    continue
                if view.marks != self._seen:
                    self._seen = view.marks
                    changed()
                if view.directories != armed:
                    if notify is not None:
                        notify.close()
                    notify, armed = await self._arm(view.directories), view.directories
                    continue  # what happened before it was armed raised no event
                if await self._names_with_events(notify) & view.marks.keys():
                    self._seen = None  # an event counts even if nothing looks different: clocks of file systems are coarse
        finally:
            if notify is not None:
                notify.close()

    async def _arm(self, directories: Mapping[str, tuple[int, int]]) -> RustNotify | None:
        if not directories:
            return None
        try:
            return await asyncio.to_thread(RustNotify, list(directories), False, False, 0, False, True)  # noqa: FBT003 -- by position
        except (OSError, WatchfilesRustInternalError) as error:
            log.warning(log.Event.WATCH_DEGRADED, error=error, poll_seconds=_POLL_SECONDS)
            return None

    async def _names_with_events(self, notify: RustNotify | None) -> set[str]:
        """The paths that events named; none after a while, or when disturbed."""
        if notify is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_SECONDS if self._paths else None):
                    await self._disturbed.wait()
            return set()
        waiting = asyncio.ensure_future(asyncio.to_thread(notify.watch, _DEBOUNCE_MS, _STEP_MS, _LOOK_AGAIN_MS, self._disturbed))
        try:
            events = await asyncio.shield(waiting)
        except asyncio.CancelledError:
            self._disturbed.set()
            await waiting  # one step; closing the watch under its thread would not do
            raise
        return {path for _, path in events} if isinstance(events, set) else set()


def survey(paths: frozenset[str]) -> View:
    """Looks at the paths, following symbolic links as the kernel does. Blocking."""
    directories: dict[str, tuple[int, int]] = {}
    marks: dict[str, tuple[object, ...]] = {}
    for path in paths:
        _walk(path, directories, marks)
    return View(directories, marks)


def _walk(path: str, directories: dict[str, tuple[int, int]], marks: dict[str, tuple[object, ...]]) -> None:
    """Every directory on the way is watched, not the last one alone: any of them may be renamed or replaced."""
    directory, names, links = Path("/"), _components(path), 0
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
            directory = Path("/") if target.startswith("/") else directory
            names = _components(target) + names
        elif stat.S_ISDIR(found.st_mode):
            marks[str(here)] = ("directory", found.st_dev, found.st_ino, *owner)
            directory = here
        else:
            times = (found.st_mtime_ns, found.st_ctime_ns)
            marks[str(here)] = ("file", found.st_dev, found.st_ino, *owner, found.st_size, *times)
            return


def _components(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]

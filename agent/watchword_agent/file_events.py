"""Events of names in directories: by inotify on Linux, which costs nothing while nothing happens; elsewhere by `watchfiles`."""

import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from watchword_agent.inotify import Event, Inotify, Mask

_STEP_MS: Final = 50  # of watchfiles, which polls: a hundredth of the core at 5 ms, a thousandth at 50
_FOREVER_MS: Final = 3_600_000
_DELETED: Final = 3  # watchfiles.Change.deleted
_REMOVALS: Final = Mask.DELETE | Mask.MOVED_FROM | Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.UNMOUNT
_GONE: Final = Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.UNMOUNT | Mask.IGNORED
# Without CLOSE_WRITE: a database that was opened and closed has not changed.
_WATCHED: Final = Mask.MODIFY | Mask.ATTRIB | Mask.CREATE | Mask.MOVED_TO | _REMOVALS | Mask.ONLYDIR


@dataclass(frozen=True, slots=True)
class Change:
    """Something happened to an absolute path; None: to whatever it may be, as events were lost."""

    path: str | None
    removal: bool


Notice = Callable[[Sequence[Change]], None]


class FileEvents(Protocol):
    """Tells what happens in the directories that it was made for, from then on, in the event loop it was made in."""

    @property
    def broken(self) -> bool:
        """Whether it no longer tells everything: one of its directories has gone, even if another one has its name now."""
        ...

    async def close(self) -> None:
        """Tells nothing any more."""
        ...


def open_file_events(directories: Iterable[str], notice: Notice) -> FileEvents:
    """The way of this platform. Directories that may not be watched are left out.

    Raises `OSError` where the system grants no watches.
    """
    return InotifyEvents(directories, notice) if sys.platform == "linux" else WatchfilesEvents(directories, notice)


class InotifyEvents:
    """See `FileEvents`."""

    def __init__(self, directories: Iterable[str], notice: Notice) -> None:
        self.broken = False
        self._notice = notice
        self._inotify = Inotify()
        self._directories: dict[int, set[str]] = {}
        try:
            for directory in directories:
                with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):  # whoever looks again finds out
                    self._directories.setdefault(self._inotify.add(directory, _WATCHED), set()).add(directory)
        except OSError:
            self._inotify.close()
            raise
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._inotify.descriptor, self._read)

    async def close(self) -> None:
        """See `FileEvents`."""
        self._loop.remove_reader(self._inotify.descriptor)
        self._inotify.close()

    def _read(self) -> None:
        changes = [change for event in self._inotify.read() for change in self._changes(event)]
        if changes:
            self._notice(changes)

    def _changes(self, event: Event) -> Iterable[Change]:
        if event.mask & Mask.Q_OVERFLOW:
            return [Change(None, removal=False)]
        if event.mask & _GONE:  # a directory that was moved away is still watched, under a name that another may have now
            self.broken = True
        removal = bool(event.mask & (_REMOVALS | Mask.IGNORED))
        directories = self._directories.get(event.watch, set())
        return [Change(f"{each.rstrip('/')}/{event.name}" if event.name else each, removal) for each in directories]


class WatchfilesEvents:
    """See `FileEvents`; a thread of its own, as the library can only be polled."""

    broken = False

    def __init__(self, directories: Iterable[str], notice: Notice) -> None:
        # Imported where it is used: Linux is without it. Documented; `awatch` does not say when it is armed.
        from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError  # noqa: PLC0415

        try:
            self._notify = RustNotify(list(directories), False, False, 0, False, True)  # noqa: FBT003 -- by position
        except WatchfilesRustInternalError as error:
            raise OSError(str(error)) from error
        self._notice = notice
        self._loop = asyncio.get_running_loop()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="file events", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """See `FileEvents`."""
        self._ending.set()
        await asyncio.to_thread(self._thread.join)  # one step; closing the watch under its thread would not do
        self._notify.close()

    def _follow(self) -> None:
        while not self._ending.is_set():
            events = self._notify.watch(_STEP_MS, _STEP_MS, _FOREVER_MS, self._ending)
            if isinstance(events, set):
                changes = [Change(path, kind == _DELETED) for kind, path in events]
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    self._loop.call_soon_threadsafe(self._notice, changes)

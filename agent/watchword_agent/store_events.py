"""Changes of stores without files: a helper process each, which waits in the store's own way and tells."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Final

from watchword_agent import log
from watchword_agent.backoff import Backoff, Uniform, system_uniform
from watchword_agent.errors import CollectionFailedError
from watchword_agent.helper_process import HelperProcess, Helpers
from watchword_agent.identity import monotonic_seconds

_RESTART_BASE_SECONDS: Final = 2.0
_RESTART_CAP_SECONDS: Final = 600.0
_LASTED_SECONDS: Final = 60.0  # a helper that lived as long has not failed at once

Store = tuple[str, str]
"""A helper and the place that it is to watch."""


class StoreEvents:
    """Follows a set of stores. `changed` is called in the event loop, also when a store is watched, be it again."""

    def __init__(self, helpers: Helpers, changed: Callable[[], None]) -> None:
        self._helpers = helpers
        self._changed = changed
        self._followers: dict[Store, _Follower] = {}

    async def follow(self, stores: frozenset[Store]) -> None:
        """Follows these from now on, and no others."""
        gone = [self._followers.pop(store) for store in self._followers.keys() - stores]
        loop = asyncio.get_running_loop()
        for store in stores - self._followers.keys():
            self._followers[store] = _Follower(
                self._helpers, store, lambda: loop.call_soon_threadsafe(self._changed), system_uniform
            )
        for follower in gone:
            await asyncio.to_thread(follower.end)

    async def close(self) -> None:
        """Ends all helpers."""
        await self.follow(frozenset())


class _Follower:
    """A thread and the helper that it waits for, started again whenever it ends, ever more rarely."""

    def __init__(self, helpers: Helpers, store: Store, tell: Callable[[], object], uniform: Uniform) -> None:
        self._helpers = helpers
        self._helper, self._place = store
        self._tell = tell
        self._backoff = Backoff(_RESTART_BASE_SECONDS, _RESTART_CAP_SECONDS, uniform)
        self._ending = threading.Event()
        self._process: HelperProcess | None = None
        self._thread = threading.Thread(target=self._run, name=f"watch {self._helper}", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Ends the helper and the thread. Blocking."""
        self._ending.set()
        if (process := self._process) is not None:
            process.end()
        self._thread.join()

    def _run(self) -> None:
        logged = False
        while not self._ending.is_set():
            started = monotonic_seconds()
            try:
                self._watch()
            except CollectionFailedError as failure:
                if self._ending.is_set():
                    return
                if monotonic_seconds() - started > _LASTED_SECONDS:
                    self._backoff.reset()
                    logged = False
                if not logged:  # once: the checks' schedule does without
                    log.warning(log.Event.STORE_NOT_WATCHED, store=self._helper, code=failure.code, detail=failure.detail)
                    logged = True
                if failure.code == "store_unsupported":
                    return
            self._ending.wait(_RESTART_BASE_SECONDS / 2 + self._backoff.next())

    def _watch(self) -> None:
        """Does not return. Raises `CollectionFailedError` when the helper does not watch, or ends."""
        with self._helpers.start(self._helper) as process:
            self._process = process
            if self._ending.is_set():
                return
            process.ask({"op": "watch", "place": self._place})
            self._told()
            while True:
                if "changed" in (process.next() or {}):
                    self._told()

    def _told(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._tell()

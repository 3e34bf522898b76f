"""A thread beside the event loop for what may hang: a dead network file system, a TPM. It keeps nobody from ending."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

_T = TypeVar("_T")


class Worker:
    """One thread, and so one thing at a time: while one hangs, no other starts.

    A daemon, unlike the threads of `concurrent.futures`, which the interpreter waits for when it ends: for ever, where one hangs.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    async def run(self, use: Callable[[], _T]) -> _T:
        """What `use` returns or raises. Who stops waiting stops nothing that has begun; what has not begun then never does."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()

        def work() -> None:
            if future.cancelled():
                return
            try:
                result = use()
            except BaseException as error:  # noqa: BLE001 -- whatever it is, it belongs to who waits
                tell(future.set_exception, error)
            else:
                tell(future.set_result, result)

        def tell(settle: Callable[[Any], None], outcome: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is gone, and so is who waited
                loop.call_soon_threadsafe(lambda: None if future.done() else settle(outcome))

        self._work.put(work)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        return await future

    def _run(self) -> None:
        while True:
            self._work.get()()

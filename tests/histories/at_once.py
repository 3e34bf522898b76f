"""An event loop for code that never waits, because nobody it asks takes time."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


class AtOnce(asyncio.SelectorEventLoop):
    """Does what would be done beside the one task that runs within it: a history is the same whenever it is played, and cheap.

    What the services make a task of is done when somebody asks for it, what they give to a thread at once. Raises `RuntimeError`
    for what would have to wait.
    """

    def time(self) -> float:
        """Always the same: who makes way for others after a while of work never does."""
        return 0.0

    def create_task(self, coro: Any, **options: Any) -> Any:
        """The outcome, or while the loop does not run yet, the task that is to run in it."""
        if not self.is_running():
            return super().create_task(coro, **options)
        return _WhenAsked(coro, loop=self)

    # The stub says it with type variables; and nobody else is to do the work.
    def run_in_executor(self, executor: Any, func: Callable[..., _T], *args: Any) -> "asyncio.Future[_T]":  # type: ignore[override]  # noqa: ARG002
        """The outcome."""
        outcome: asyncio.Future[_T] = self.create_future()
        try:
            outcome.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the caller's
            outcome.set_exception(error)
        return outcome


class _WhenAsked(asyncio.Future[Any]):
    """Work that is done when somebody first asks whether it is: `await` and `asyncio.shield` do."""

    def __init__(self, work: Coroutine[Any, Any, Any], *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._work: Coroutine[Any, Any, Any] | None = work
        loop.call_soon(self.done)  # nobody may

    def done(self) -> bool:
        work, self._work = self._work, None
        if work is not None:
            try:
                work.send(None)
            except StopIteration as end:
                self.set_result(end.value)
            except Exception as error:  # noqa: BLE001 - as above
                self.set_exception(error)
            else:
                self.set_exception(RuntimeError(f"`{work}` waits"))
        return super().done()

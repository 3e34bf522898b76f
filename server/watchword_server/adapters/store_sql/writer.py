"""The one writer: a thread that commits what arrives together in one transaction (group commit).

Every operation runs in its own savepoint: what one is refused does not touch the others. An operation's caller hears of success
only after the commit that made it durable.
"""

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from watchword_server.acting import current_actor
from watchword_server.adapters.store_sql import audit_log
from watchword_server.adapters.store_sql.engine import fault
from watchword_server.adapters.store_sql.schema import ChangeKind, changes, meta
from watchword_server.core.audit import SERVER, Act, Action, Actor, Detail, Link, Target
from watchword_server.core.model.names import Instant
from watchword_server.errors import ConflictError, OverloadedError, StoreUnavailableError

_T = TypeVar("_T")

_STANDING = select(meta.c.revision, meta.c.clock_floor)
_SET_STANDING = update(meta).values(revision=bindparam("new_revision"), clock_floor=bindparam("new_clock_floor"))


class WriteTransaction:
    """What one write operation works with. `revision` is the store's, with this operation's change if it made one."""

    def __init__(
        self,
        connection: Connection,
        *,
        revision: int,
        clock_floor: Instant,
        actor: Actor = SERVER,
        audit_head: Link | None = None,
    ) -> None:
        self.connection = connection
        self.revision = revision
        self.clock_floor = clock_floor
        self.actor = actor
        self.audit_head = audit_head  # None: not looked up yet
        self._changes: dict[tuple[ChangeKind, str], Instant] = {}

    def changed(self, kind: ChangeKind, key: str, *, at: Instant) -> int:
        """Records a change and returns its revision: one for all changes of an operation."""
        if not self._changes:
            self.revision += 1
        self._changes[kind, key] = at
        self.saw(at)
        return self.revision

    def recorded(
        self,
        action: Action,
        target: Target,
        *,
        at: Instant,
        actor: Actor | None = None,
        details: Mapping[str, Detail] | None = None,
        of_a_change: bool = True,
    ) -> int:
        """Writes a record of the audit log, and returns its number; by whoever asked for this operation, or another `actor`.

        It is written with the change or not at all. `of_a_change`: it names the revision, so that `changed` comes first.
        """
        act = Act(at, actor or self.actor, action, target, self.revision if of_a_change else None, details or {})
        self.audit_head = audit_log.append(self.connection, act, self.audit_head or audit_log.head(self.connection))
        return self.audit_head.number

    def saw(self, instant: Instant) -> None:
        """Makes `instant` one that no later clock of this store goes behind."""
        self.clock_floor = max(self.clock_floor, instant)

    def change_rows(self) -> list[dict[str, object]]:
        """The recorded changes as rows of the change log."""
        return [
            {"revision": self.revision, "kind": kind.value, "key": key, "at": at} for (kind, key), at in self._changes.items()
        ]


@dataclass(slots=True)
class _Job(Generic[_T]):
    """An operation, whom to tell, and what to say."""

    operation: Callable[[WriteTransaction], _T]
    future: asyncio.Future[_T]
    actor: Actor
    value: _T | None = None
    error: Exception | None = None


class Writer:
    """Runs write operations in order of arrival, at most `batch_size` in one commit.

    Belongs to the event loop it is made in. `max_pending` bounds what waits; `kept_changes` revisions stay in the change log.
    """

    def __init__(self, engine: Engine, *, max_pending: int, batch_size: int, kept_changes: int) -> None:
        self._engine = engine
        self._max_pending = max_pending
        self._batch_size = batch_size
        self._kept_changes = kept_changes
        self._trimmed_at = 0
        self._connection: Connection | None = None
        self._loop = asyncio.get_running_loop()
        self._pending: deque[_Job[Any]] = deque()
        self._closing = False
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)
        self._thread.start()

    async def submit(self, operation: Callable[[WriteTransaction], _T]) -> _T:
        """Runs an operation and returns what it returned, once that is durable.

        A caller that stops waiting does not stop the operation. Raises what the operation raised, `OverloadedError`,
        `StoreUnavailableError`.
        """
        future: asyncio.Future[_T] = self._loop.create_future()
        with self._wake:
            if self._closing:
                raise StoreUnavailableError("the store is closed")
            if len(self._pending) >= self._max_pending:
                raise OverloadedError(f"the store has {self._max_pending} writes waiting: try again later")
            self._pending.append(_Job(operation, future, current_actor()))
            self._wake.notify()
        return await future

    async def close(self) -> None:
        """Takes no more, finishes what waits, and closes the connection."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        await asyncio.to_thread(self._thread.join)
        self._engine.dispose()

    # ---- In the writer's thread -----------------------------------------------------------------------------------------

    def _work(self) -> None:
        while jobs := self._next_jobs():
            try:
                self._commit(jobs)
            except Exception as error:  # noqa: BLE001 - whatever it is, the callers hear of it and the writer goes on
                self._disconnect()  # a fresh connection knows nothing of this one's trouble; what was open is rolled back
                for job in jobs:
                    job.error = StoreUnavailableError(f"the store did not take it: {fault(error)}")
                    job.error.__cause__ = error
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(_answer, jobs)
        self._disconnect()

    def _next_jobs(self) -> list[_Job[Any]]:
        with self._wake:
            self._wake.wait_for(lambda: self._pending or self._closing)
            return [self._pending.popleft() for _ in range(min(len(self._pending), self._batch_size))]

    def _commit(self, jobs: Sequence[_Job[Any]]) -> None:
        if self._connection is None:
            self._connection = self._engine.connect()
        connection = self._connection
        with connection.begin():
            before = connection.execute(_STANDING).one()
            revision, clock_floor = before
            log: list[dict[str, object]] = []
            head: Link | None = None
            for job in jobs:
                transaction = WriteTransaction(
                    connection, revision=revision, clock_floor=clock_floor, actor=job.actor, audit_head=head
                )
                if _run(job, transaction):
                    head = transaction.audit_head
                    revision, clock_floor = transaction.revision, transaction.clock_floor
                    log += transaction.change_rows()
            if (revision, clock_floor) != tuple(before):
                connection.execute(_SET_STANDING, {"new_revision": revision, "new_clock_floor": clock_floor})
            if log:
                connection.execute(insert(changes), log)
                self._trim(connection, revision)

    def _trim(self, connection: Connection, revision: int) -> None:
        if revision - self._trimmed_at >= max(1, self._kept_changes // 10):  # now and then
            connection.execute(delete(changes).where(changes.c.revision <= revision - self._kept_changes))
            self._trimmed_at = revision

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError, sqlite3.Error):
                connection.invalidate()
                connection.close()


def _run(job: _Job[Any], transaction: WriteTransaction) -> bool:
    """Runs one operation in a savepoint; False: it was refused and left no trace. A failure of the store itself is raised."""
    connection = transaction.connection
    connection.exec_driver_sql("SAVEPOINT operation")
    try:
        job.value = job.operation(transaction)
    except IntegrityError as error:
        job.error = ConflictError("the store holds something that excludes this")
        job.error.__cause__ = error
    except SQLAlchemyError:
        raise
    except Exception as error:  # noqa: BLE001 - a refusal, or a fault of this operation alone: its caller's to handle
        job.error = error
    if job.error is not None:
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT operation")
    connection.exec_driver_sql("RELEASE SAVEPOINT operation")
    return job.error is None


def _answer(jobs: Sequence[_Job[Any]]) -> None:
    for job in jobs:
        if job.future.done():  # its caller stopped waiting
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.value)

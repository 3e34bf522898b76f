"""Looking into an SQLite store, and getting in its way."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from sqlalchemy import Engine, event, select

from watchword_server.adapters.store_sql.schema import changes, meta
from watchword_server.adapters.store_sql.store import SqlStore
from watchword_server.adapters.store_sql.writer import WriteTransaction

_T = TypeVar("_T")
PATIENCE_SECONDS = 30


async def change_log(store: SqlStore) -> list[tuple[int, str, str]]:
    """(revision, kind, key), oldest first."""
    statement = select(changes.c.revision, changes.c.kind, changes.c.key).order_by(
        changes.c.revision, changes.c.kind, changes.c.key
    )
    return [tuple(row) for row in await store._reader.run(lambda connection: connection.execute(statement).all())]


async def revision(store: SqlStore) -> int:
    return await store._reader.run(lambda connection: connection.execute(select(meta.c.revision)).scalar_one())


async def clock_floor(store: SqlStore) -> float:
    return await store._reader.run(lambda connection: connection.execute(select(meta.c.clock_floor)).scalar_one())


@asynccontextmanager
async def busy_writer(store: SqlStore) -> AsyncIterator[None]:
    """Inside, the writer is in the middle of a commit of its own; what is asked of it waits."""
    started, go_on = threading.Event(), threading.Event()

    def wait(_: WriteTransaction) -> None:
        started.set()
        assert go_on.wait(PATIENCE_SECONDS)

    blocker = asyncio.create_task(store._writer.submit(wait))
    assert await asyncio.to_thread(started.wait, PATIENCE_SECONDS)
    try:
        yield
    finally:
        go_on.set()
        await blocker


async def queue(store: SqlStore, operations: Iterable[Coroutine[Any, Any, _T]]) -> list[asyncio.Task[_T]]:
    """Starts operations and returns once all of them wait for the busy writer."""
    before = len(store._writer._pending)
    tasks = [asyncio.create_task(operation) for operation in operations]
    await asyncio.sleep(0)  # each runs up to where it waits
    assert len(store._writer._pending) == before + len(tasks)
    return tasks


class Commits:
    """Counts the commits of the writer."""

    def __init__(self, store: SqlStore) -> None:
        self.count = 0
        event.listen(store._writer._engine, "commit", self._committed)

    def _committed(self, _: Any) -> None:
        self.count += 1


class FullDisk:
    """While `full`, the writer's connections cannot make the database file longer (SQLITE_FULL)."""

    def __init__(self, store: SqlStore) -> None:
        self.full = False
        engine: Engine = store._writer._engine
        event.listen(engine, "begin", self._began)

    def _began(self, connection: Any) -> None:
        driver: sqlite3.Connection = connection.connection.dbapi_connection
        (pages,) = driver.execute("PRAGMA page_count").fetchone()
        driver.execute(f"PRAGMA max_page_count = {pages if self.full else 2**31 - 1}").fetchall()

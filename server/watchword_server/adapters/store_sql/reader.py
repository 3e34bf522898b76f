"""Reads: a few threads, each query in one short read transaction, so that what it returns belongs together."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from watchword_server.adapters.store_sql.codec import DecodeError
from watchword_server.adapters.store_sql.engine import fault
from watchword_server.errors import OverloadedError, StoreUnavailableError

_T = TypeVar("_T")


class Reader:
    """Runs queries on `threads` connections; at most `max_pending` run or wait."""

    def __init__(self, engine: Engine, *, threads: int, max_pending: int) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="store-reader")
        self._max_pending = max_pending
        self._pending = 0
        self._closed = False

    async def run(self, query: Callable[[Connection], _T]) -> _T:
        """What a query returned. It fetches all it needs: an open cursor would hold up checkpoints.

        Raises `StoreUnavailableError`, `OverloadedError`.
        """
        if self._closed:
            raise StoreUnavailableError("the store is closed")
        if self._pending >= self._max_pending:
            raise OverloadedError(f"the store has {self._max_pending} reads waiting: try again later")
        self._pending += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, query)
        finally:
            self._pending -= 1

    async def close(self) -> None:
        """Takes no more, finishes what waits, and closes the connections."""
        self._closed = True
        await asyncio.to_thread(self._threads.shutdown)
        self._engine.dispose()

    def _run(self, query: Callable[[Connection], _T]) -> _T:
        try:
            with self._engine.connect() as connection:
                try:
                    with connection.begin():
                        return query(connection)
                except SQLAlchemyError:
                    connection.invalidate()  # the next query opens a fresh one
                    raise
        except SQLAlchemyError as error:
            raise StoreUnavailableError(f"the store did not answer: {fault(error)}") from error
        except DecodeError as error:
            raise StoreUnavailableError(f"the store holds what this version cannot read: {error}") from error

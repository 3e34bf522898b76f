"""Connections to SQLite: how the database is opened, and when its transactions begin.

The driver's own transaction handling is off (`isolation_level=None`): a transaction begins where SQLAlchemy says so, and with the
statement given here. https://docs.sqlalchemy.org/en/21/dialects/sqlite.html#enabling-non-legacy-sqlite-transactional-modes
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, NullPool, QueuePool, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError

from watchword_server.errors import ConfigurationError, Problem

BUSY_TIMEOUT_SECONDS: Final = 5.0
_WAL_PAGES_BEFORE_CHECKPOINT: Final = 1000
_WAL_BYTES_KEPT: Final = 64 * 1024 * 1024


def sqlite_url(path: Path) -> URL:
    """The URL of a database file."""
    return URL.create("sqlite", database=str(path.absolute()))


def database_path(url: str | URL) -> Path:
    """The file behind a URL. Raises `ConfigurationError` for any other kind of database."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        shown = parsed.render_as_string(hide_password=True)
        raise ConfigurationError([Problem(("store",), f"`{shown}` is not an SQLite file: write `sqlite:////path/to/file`")])
    return Path(parsed.database)


def migration_engine(path: Path) -> Engine:
    """Creates the file if need be. Foreign keys are off: a migration may rebuild a table."""
    return _engine(lambda: _create(path), begin="BEGIN IMMEDIATE", poolclass=NullPool)


def writer_engine(path: Path) -> Engine:
    """For the one connection that writes, and alone checkpoints the write-ahead log.

    With a single writer the corruption that SQLite before 3.51.3 risks cannot arise (https://sqlite.org/wal.html#walresetbug).
    """
    return _engine(lambda: _open_writable(path), begin="BEGIN IMMEDIATE", poolclass=NullPool)


def reader_engine(path: Path, *, connections: int) -> Engine:
    """For at most `connections` that cannot write."""
    return _engine(lambda: _open_readable(path), begin="BEGIN", poolclass=QueuePool, pool_size=connections, max_overflow=0)


def fault(error: Exception) -> str:
    """What went wrong in the database's own words, without the statement or the values in it."""
    return str(error.orig) if isinstance(error, DBAPIError) else f"{type(error).__name__}: {error}"


def _engine(connect: Callable[[], sqlite3.Connection], *, begin: str, **pool: object) -> Engine:
    engine = create_engine("sqlite://", creator=connect, hide_parameters=True, **pool)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _connect(path: Path, mode: str, *pragmas: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_SECONDS,
        isolation_level=None,
        check_same_thread=False,  # the pool hands a connection to one thread at a time
    )
    try:
        for pragma in pragmas:
            with closing(connection.execute(f"PRAGMA {pragma}")) as cursor:
                answer = cursor.fetchone()
            if pragma == "journal_mode = WAL" and answer != ("wal",):
                raise sqlite3.OperationalError("no write-ahead log on this file system")
    except BaseException:
        connection.close()
        raise
    return connection


def _create(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600)  # SQLite would obey the umask alone; its -wal and -shm files take this mode over
    return _connect(path, "rwc", "journal_mode = WAL", "synchronous = FULL")


def _open_writable(path: Path) -> sqlite3.Connection:
    return _connect(
        path,
        "rw",  # never a new, empty file in the place of one that was lost
        "journal_mode = WAL",
        "synchronous = FULL",  # what was acknowledged survives a power failure
        "foreign_keys = ON",
        f"wal_autocheckpoint = {_WAL_PAGES_BEFORE_CHECKPOINT}",
        f"journal_size_limit = {_WAL_BYTES_KEPT}",
    )


def _open_readable(path: Path) -> sqlite3.Connection:
    return _connect(path, "ro", "query_only = ON")

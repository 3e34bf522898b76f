"""What lies in an NSS database, read from its files in this process: certificates, and which have a private key.

No password is needed for either, and nothing is written: no file appears, not even beside a database that a crash left behind.
A row that says that a key is there is a claim; a signature proves it.
"""

import contextlib
import os
import sqlite3
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from watchword_agent.errors import CollectionFailedError

# PKCS #11 attributes are columns named after their number in hex; object classes are four bytes.
_LABEL, _VALUE, _ID = "a3", "a11", "a102"
_CERTIFICATES: Final = bytes.fromhex("00000001")
_PRIVATE_KEYS: Final = bytes.fromhex("00000003")
_EMPTY: Final = bytes.fromhex("a5005a")  # how NSS writes an attribute without a value
_MAGIC: Final = b"SQLite format 3\0"
_BUSY_SECONDS: Final = 1.0
_MAX_BYTES: Final = 64 * 2**20
_MAX_CERTIFICATE_BYTES: Final = 32 * 1024
_CONVERT: Final = "certutil -K -X -d sql:{0}"  # `--upgrade-merge` from the same directory loses what is there


@dataclass(frozen=True, slots=True)
class StoredCertificate:
    """A certificate of the database. `has_key` None: the keys could not be looked at."""

    der: bytes
    nickname: str
    has_key: bool | None


@dataclass(frozen=True, slots=True)
class DatabaseContents:
    """`key_trouble`: why the keys could not be looked at."""

    certificates: tuple[StoredCertificate, ...]
    key_trouble: str = ""


def read_database(directory: str) -> DatabaseContents:
    """The certificates of the database in a directory.

    Raises `CollectionFailedError`: `store_missing`, `store_unreadable`, `store_incomplete`, `store_legacy`, `store_corrupt`,
    `store_locked`, `store_empty`.
    """
    place, certificates, keys = Path(directory), Path(directory) / "cert9.db", Path(directory) / "key4.db"
    try:
        names = {entry.name for entry in place.iterdir()}
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CollectionFailedError("store_missing", f"there is no NSS database at `{directory}`") from error
    except OSError as error:
        raise CollectionFailedError("store_unreadable", f"`{directory}`: {error.strerror}") from error
    if certificates.name not in names:
        if names & {"cert8.db", "key3.db"}:
            raise CollectionFailedError(
                "store_legacy", f"`{directory}` has the old format: convert it with `{_CONVERT.format(directory)}`"
            )
        if keys.name in names:
            raise CollectionFailedError("store_incomplete", f"`{directory}` holds keys and no `cert9.db`")
        raise CollectionFailedError(
            "store_missing", f"`{directory}` is no NSS database: `certutil -N -d sql:{directory}` makes one"
        )
    ids, trouble = set[bytes](), ""
    try:
        if keys.name not in names:
            raise CollectionFailedError("store_incomplete", f"`{keys}` is missing: restore it, or make the database anew")
        ids = {row[0] for row in _rows(keys, "nssPrivate", (_ID,), _PRIVATE_KEYS)}
    except CollectionFailedError as failure:
        trouble = failure.detail
    found = tuple(
        StoredCertificate(der, label.decode("utf-8", "replace"), None if trouble else bool(key_id) and key_id in ids)
        for label, der, key_id in _rows(certificates, "nssPublic", (_LABEL, _VALUE, _ID), _CERTIFICATES)
        if 0 < len(der) <= _MAX_CERTIFICATE_BYTES
    )
    if not found:
        raise CollectionFailedError("store_empty", f"the NSS database `{directory}` holds no certificate")
    return DatabaseContents(found, trouble)


def _rows(path: Path, table: str, columns: tuple[str, ...], kind: bytes) -> list[tuple[bytes, ...]]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a FIFO would wait for somebody to write into it
            raise CollectionFailedError("store_corrupt", f"`{path}` is not a file")
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise CollectionFailedError("store_corrupt", f"`{path}` is damaged: it is no SQLite database")
        if path.stat().st_size > _MAX_BYTES:
            raise CollectionFailedError("file_too_large", f"`{path}` has more than {_MAX_BYTES} bytes")
        question = f"SELECT {', '.join(columns)} FROM {table} WHERE a0 = ?"  # noqa: S608 -- names of ours
        uri = f"file:{quote(str(path))}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS)) as connection:
            connection.execute("PRAGMA query_only = 1")
            return [tuple(_value(cell) for cell in row) for row in connection.execute(question, (kind,))]
    except OSError as error:
        raise CollectionFailedError("store_unreadable", f"`{path}`: {error.strerror}") from error
    except sqlite3.OperationalError as error:
        raise _failure(path, error) from error
    except sqlite3.DatabaseError as error:
        raise CollectionFailedError("store_corrupt", f"`{path}` is damaged") from error


def _failure(path: Path, error: sqlite3.OperationalError) -> CollectionFailedError:
    match error.sqlite_errorcode & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return CollectionFailedError("store_locked", f"another program holds `{path}`")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_IOERR:
            # Half a transaction of a program that crashed: NSS itself refuses it, too, until somebody opens it for writing.
            return CollectionFailedError("store_unreadable", f"`{path}` cannot be opened for reading alone")
        case _:
            return CollectionFailedError("store_corrupt", f"`{path}` is damaged")


def _value(cell: object) -> bytes:
    return bytes(cell) if isinstance(cell, bytes) and cell != _EMPTY else b""

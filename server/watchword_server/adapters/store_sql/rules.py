"""The operators' entries, changed as a whole and only by who saw the newest."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, tuple_, update

from watchword_server.adapters.store_sql import revisions
from watchword_server.adapters.store_sql.codec import decode_body, encode_body
from watchword_server.adapters.store_sql.schema import ChangeKind, meta, objects
from watchword_server.adapters.store_sql.writer import WriteTransaction
from watchword_server.core.model.names import Instant
from watchword_server.core.revisions import State, change_of
from watchword_server.errors import ConflictError
from watchword_server.ports.rules import RulesChange, StoredObject

_Key = tuple[str, str]  # kind and id, or kind and name
_KEYS_AT_ONCE: Final = 200  # two parameters each, and old SQLite takes 999


def load(connection: Connection) -> tuple[Sequence[StoredObject], int]:
    """All entries by kind and name, and the rules revision."""
    rows = connection.execute(select(objects).order_by(objects.c.kind, objects.c.name)).all()
    entries = [
        StoredObject(
            kind=row.kind,
            id=row.id,
            name=row.name,
            body=decode_body(row.body),
            revision=row.revision,
            created_at=Instant(row.created_at),
            updated_at=Instant(row.updated_at),
        )
        for row in rows
    ]
    return entries, revision(connection)


def commit(transaction: WriteTransaction, change: RulesChange, *, expected_revision: int, now: Instant) -> int:
    """Deletes, then writes those entries whose name or body differs. A change that changes nothing leaves the revision alone."""
    connection = transaction.connection
    stored_revision = revision(connection)
    if stored_revision != expected_revision:
        raise ConflictError(f"the rules are at revision {stored_revision}, not {expected_revision}: load them and try again")
    stored = _concerned(connection, change)
    removed = [row for key in change.deletes if (row := stored.pop(key, None)) is not None]
    entries = [change_of(row.kind, row.id, _state(row), None) for row in removed]
    written: list[tuple[StoredObject, str, Instant]] = []  # entry, body, created at
    for entry in change.upserts:
        body, before = encode_body(entry.body), stored.get((entry.kind, entry.id))
        if before is None or (before.name, before.body) != (entry.name, body):
            written.append((entry, body, now if before is None else Instant(before.created_at)))
            earlier = None if before is None else _state(before)
            entries.append(change_of(entry.kind, entry.id, earlier, State(entry.name, decode_body(body))))
            stored.pop((entry.kind, entry.id), None)
    _refuse_taken_names({(row.kind, row.name): row.id for row in stored.values()}, [entry for entry, _, _ in written])
    if not removed and not written:
        return stored_revision
    new_revision = transaction.changed(ChangeKind.RULES, "", at=now)
    _delete(
        connection, [*((row.kind, row.id) for row in removed), *((entry.kind, entry.id) for entry, _, _ in written)]
    )  # first all: two may swap names
    if written:
        connection.execute(
            insert(objects),
            [
                {
                    "kind": entry.kind,
                    "id": entry.id,
                    "name": entry.name,
                    "body": body,
                    "revision": new_revision,
                    "created_at": created_at,
                    "updated_at": now,
                }
                for entry, body, created_at in written
            ],
        )
    connection.execute(update(meta).values(rules_revision=new_revision))
    revisions.record(transaction, new_revision, entries, rolls_back_to=change.rolls_back_to, at=now)
    return new_revision


def revision(connection: Connection) -> int:
    """The rules revision."""
    return int(connection.execute(select(meta.c.rules_revision)).scalar_one())


def _state(row: Row[Any]) -> State:
    return State(row.name, decode_body(row.body))


def _concerned(connection: Connection, change: RulesChange) -> dict[_Key, Row[Any]]:
    """The stored entries that the change names, by id or by a name it gives: a small change reads little, whatever is stored."""
    keys = [*change.deletes, *((entry.kind, entry.id) for entry in change.upserts)]
    names = [(entry.kind, entry.name) for entry in change.upserts]
    found: dict[_Key, Row[Any]] = {}
    for column, wanted in ((objects.c.id, keys), (objects.c.name, names)):
        for some in _batched(wanted):
            query = select(objects).where(tuple_(objects.c.kind, column).in_(some))
            found.update(((row.kind, row.id), row) for row in connection.execute(query))
    return found


def _refuse_taken_names(taken: dict[_Key, str], entries: Sequence[StoredObject]) -> None:
    for entry in entries:
        if taken.setdefault((entry.kind, entry.name), entry.id) != entry.id:
            raise ConflictError(f"`{entry.name}` exists already in {entry.kind}: choose another name")


def _delete(connection: Connection, keys: Sequence[_Key]) -> None:
    one = delete(objects).where(objects.c.kind == bindparam("of_kind"), objects.c.id == bindparam("with_id"))
    connection.execute(one, [{"of_kind": kind, "with_id": id_} for kind, id_ in keys])


def _batched(keys: Sequence[_Key]) -> Iterator[list[_Key]]:
    remaining = iter(keys)
    while some := list(islice(remaining, _KEYS_AT_ONCE)):
        yield some

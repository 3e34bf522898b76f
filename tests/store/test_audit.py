"""Contract: a record is written with its change or not at all, and the chain holds whatever is committed together."""

import asyncio
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from store.builders import NOW, a_token, an_api_token, later
from watchword_server.acting import acting
from watchword_server.adapters.store_sql.migrate import migrate
from watchword_server.adapters.store_sql.store import SqlStore
from watchword_server.adapters.store_sql.writer import WriteTransaction
from watchword_server.core.audit import Action, Actor, Target, Verification
from watchword_server.errors import ConflictError, NotFoundError
from watchword_server.ports.audit import AuditQuery

EVERYTHING = AuditQuery(limit=1000, after=0)


def member(record: Mapping[str, object], name: str) -> object:
    """The id of its actor or its target."""
    part = record[name]
    assert isinstance(part, dict)
    return part["id"]


async def verified(store: SqlStore) -> list[str]:
    """The actions of a log that is whole."""
    verification, records = Verification(), await store.audit_records(EVERYTHING)
    for record in records:
        verification.take(record)
    assert verification.finish() == []
    return [str(record["action"]) for record in records]


async def test_a_log_begins_with_its_store(store: SqlStore) -> None:
    [record] = await store.audit_records(EVERYTHING)
    assert (record["action"], record["target"]) == ("audit.began", {"kind": "store", "id": store.identity.store_id, "name": None})
    assert store.identity.clock_floor == 0.0  # nobody's clock but the log's


async def test_a_refused_operation_leaves_no_record_among_others_of_its_commit(store: SqlStore) -> None:
    def refused(transaction: WriteTransaction) -> None:
        transaction.recorded(Action.DEVICE_REVOKED, Target("device", "d"), at=NOW)
        raise ConflictError("on second thoughts, no")

    outcomes = await asyncio.gather(
        *(store.add_enrollment_token(a_token(f"t{number}")) for number in range(5)),
        store._writer.submit(refused),
        store.add_enrollment_token(a_token("t0")),  # it is there already
        store.revoke_token("nothing", now=NOW),
        *(store.revoke_token(f"t{number}", now=later(1)) for number in range(5)),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes if outcome is not None] == [ConflictError, ConflictError, NotFoundError]
    assert await verified(store) == ["audit.began"] + ["enrollment_token.created"] * 5 + ["enrollment_token.revoked"] * 5


async def test_each_operation_of_a_commit_is_by_whoever_asked_for_it(store: SqlStore) -> None:
    async def as_(name: str) -> None:
        with acting(Actor("api_token", name, name, "192.0.2.1")):
            await store.add_api_token(an_api_token(f"made-by-{name}"))

    names = [f"n{number}" for number in range(50)]
    await asyncio.gather(*map(as_, names), store.add_api_token(an_api_token("made-by-None")))
    records = (await store.audit_records(EVERYTHING))[1:]
    found = [(str(member(record, "actor")), member(record, "target")) for record in records]
    assert sorted(found) == sorted((name, f"made-by-{name}") for name in [*names, "None"])


@pytest.mark.parametrize("name", ["half a \ud83d character", "\u0000", "\U0001f511"])
async def test_what_somebody_is_called_does_not_break_the_chain(store: SqlStore, name: str) -> None:
    with acting(Actor("oidc", name, name, "192.0.2.1")):
        await store.add_enrollment_token(a_token("t"))
    assert await verified(store) == ["audit.began", "enrollment_token.created"]


async def test_a_store_of_before_keeps_its_tokens_and_begins_its_log(tmp_path: Path) -> None:
    store = await SqlStore.open(tmp_path / "data")
    await store.add_api_token(an_api_token("old"))
    await store.close()
    database = tmp_path / "data" / "watchword.db"
    with closing(sqlite3.connect(database)) as connection, connection:
        for table in ("audit", "revisions", "revision_entries", "posture_log"):
            connection.execute(f"DROP TABLE {table}")
        for column in ("locked_at", "lock_reason", "owner"):
            connection.execute(f"ALTER TABLE devices DROP COLUMN {column}")
        connection.execute("ALTER TABLE enrollment_tokens DROP COLUMN owner")
        connection.execute("ALTER TABLE api_tokens DROP COLUMN last_used_at")
        connection.execute("UPDATE alembic_version SET version_num = '0002'")
    migrate(f"sqlite:///{database}")
    store = await SqlStore.open(tmp_path / "data")
    assert await store.api_token("old") == an_api_token("old")
    assert await verified(store) == ["audit.began"]
    await store.close()

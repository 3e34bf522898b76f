"""SQLite: when the disk is full or the file fails, nothing is acknowledged, nothing is half done, and work goes on after."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from store.builders import NOW, a_commit, a_judged_claim, a_token, an_api_token, an_enrollment, an_entry, an_upsert, enroll, uses
from store.sqlite import FullDisk, busy_writer, change_log, queue, revision
from watchword_server.adapters.store_sql.store import SqlStore
from watchword_server.adapters.store_sql.writer import WriteTransaction
from watchword_server.core.model.names import DeviceId
from watchword_server.errors import StoreUnavailableError

_LARGE: dict[str, object] = {"text": "x" * 200_000}  # more pages than are free


async def test_a_full_disk_takes_nothing_of_the_commit_it_happens_in(store: SqlStore) -> None:
    await store.add_enrollment_token(a_token())
    before = await change_log(store)
    disk = FullDisk(store)
    async with busy_writer(store):
        disk.full = True
        tasks: list[asyncio.Task[object]] = await queue(
            store,
            [
                store.enroll(an_enrollment("d"), now=NOW),
                store.commit_rules(an_upsert(an_entry("p", body=_LARGE)), expected_revision=0, now=NOW),
                store.revoke_token("nothing", now=NOW),
            ],
        )
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailableError] * 3
    assert all("full" in str(outcome) for outcome in outcomes)
    assert await store.devices() == []
    assert await store.load_rules() == ([], 0)
    assert await uses(store, "token") == 0
    assert await change_log(store) == before


async def test_work_goes_on_when_there_is_room_again(store: SqlStore) -> None:
    disk = FullDisk(store)
    disk.full = True
    change = an_upsert(an_entry("p", body=_LARGE))
    for _ in range(3):
        with pytest.raises(StoreUnavailableError):
            await store.commit_rules(change, expected_revision=0, now=NOW)
    disk.full = False
    assert await store.commit_rules(change, expected_revision=0, now=NOW) == 1, "and no revision was lost"


async def test_reads_and_what_needs_no_room_go_on_while_the_disk_is_full(store: SqlStore) -> None:
    await store.add_api_token(an_api_token())
    disk = FullDisk(store)
    disk.full = True
    with pytest.raises(StoreUnavailableError):
        await store.commit_rules(an_upsert(an_entry("p", body=_LARGE)), expected_revision=0, now=NOW)
    await store.revoke_token("api", now=NOW)
    token = await store.api_token("api")
    assert token is not None
    assert token.revoked


async def test_evidence_that_was_not_taken_can_be_sent_again(store: SqlStore) -> None:
    """The epoch was not claimed by what was rolled back."""
    await enroll(store, "d")
    disk = FullDisk(store)
    disk.full = True
    large = a_judged_claim("d", reason="x" * 200_000)
    commit = a_commit("d", large, claims_epoch=True)
    with pytest.raises(StoreUnavailableError):
        await store.commit_evidence(commit)
    disk.full = False
    await store.commit_evidence(commit)
    posture = await store.posture(DeviceId("d"))
    assert posture is not None
    assert posture.device.epoch == 1


async def test_a_connection_that_broke_is_replaced(store: SqlStore) -> None:
    def break_it(transaction: WriteTransaction) -> None:
        connection = transaction.connection.connection.dbapi_connection
        assert connection is not None
        connection.close()

    with pytest.raises(StoreUnavailableError, match="closed database"):
        await store._writer.submit(break_it)
    await store.add_api_token(an_api_token())
    assert await revision(store) == 1


async def test_a_failure_tells_neither_statement_nor_values(store: SqlStore) -> None:
    statement = text("INSERT INTO nowhere VALUES (:value)")
    with pytest.raises(StoreUnavailableError) as caught:
        await store._writer.submit(lambda transaction: transaction.connection.execute(statement, {"value": "a secret"}))
    assert str(caught.value) == "the store did not take it: no such table: nowhere"
    assert "a secret" not in str(caught.value.__cause__)


async def test_a_commit_that_fails_acknowledges_nothing(store: SqlStore) -> None:
    """A deferred constraint makes COMMIT itself fail."""

    def defer_a_violation(transaction: WriteTransaction) -> None:
        transaction.connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        columns = "id, secret_sha256, max_uses, uses, created_at, expires_at, revoked, needs_approval, device_id"
        transaction.connection.exec_driver_sql(
            f"INSERT INTO enrollment_tokens ({columns}) VALUES ('t', x'00', 1, 0, 0, 0, 0, 0, 'nobody')"
        )

    async with busy_writer(store):
        tasks: list[asyncio.Task[None]] = await queue(
            store, [store.add_api_token(an_api_token()), store._writer.submit(defer_a_violation)]
        )
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailableError] * 2
    assert await store.api_tokens() == []
    await store.add_api_token(an_api_token())
    assert await revision(store) == 1


async def test_stored_text_that_cannot_be_read_is_no_answer(store: SqlStore) -> None:
    await enroll(store, "d")
    await store.commit_evidence(a_commit("d", a_judged_claim("d"), claims_epoch=True))
    damage = text("UPDATE results SET result = '{}'")
    await store._writer.submit(lambda transaction: transaction.connection.execute(damage))
    with pytest.raises(StoreUnavailableError, match="cannot read"):
        await store.posture(DeviceId("d"))
    assert await store.posture(DeviceId("nobody")) is None


# ---- Death --------------------------------------------------------------------------------------------------------------

_ENROLLS_UNTIL_KILLED = """
import asyncio, os, sys
from pathlib import Path
from store.builders import NOW, a_commit, a_judged_claim, a_token, an_enrollment, CERTIFICATE
from watchword_server.adapters.store_sql.store import SqlStore

async def main():
    store = await SqlStore.open(Path(sys.argv[1]))
    await store.add_enrollment_token(a_token(max_uses=1_000_000))
    acknowledged = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def work(lane):
        number = 0
        while True:
            name = f"{lane}-{number}"
            await store.enroll(an_enrollment(name), now=NOW)
            revision = await store.commit_evidence(a_commit(name, a_judged_claim(name, proves=CERTIFICATE), claims_epoch=True))
            os.write(acknowledged, f"{name} {revision}\\n".encode())
            os.write(1, b".")
            number += 1

    await asyncio.gather(*(work(lane) for lane in range(8)))

asyncio.run(main())
"""


def _run_until_killed(data_dir: Path, journal: Path, *, after: int) -> dict[str, int]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", _ENROLLS_UNTIL_KILLED, str(data_dir), str(journal)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None
        alive = child.stdout.read(after)
        child.send_signal(signal.SIGKILL)
        child.stdout.read()
        assert child.wait() == -signal.SIGKILL
    assert len(alive) == after
    lines = journal.read_text().splitlines(keepends=True)
    return {name: int(revision) for name, revision in (line.split() for line in lines if line.endswith("\n"))}


@pytest.mark.parametrize("after", [1, 57, 200])
async def test_what_was_acknowledged_before_a_kill_is_there_after_it(tmp_path: Path, after: int) -> None:
    data_dir = tmp_path / "data"
    acknowledged = await asyncio.to_thread(_run_until_killed, data_dir, tmp_path / "journal", after=after)
    assert len(acknowledged) >= after
    store = await SqlStore.open(data_dir)  # the kernel let the lock go
    postures = {posture.device.id: posture for posture in await store.devices()}
    assert acknowledged.keys() <= postures.keys()
    assert all(postures[DeviceId(name)].results for name in acknowledged)
    logged = {number for number, _, _ in await change_log(store)}
    assert logged == set(range(1, await revision(store) + 1))
    assert set(acknowledged.values()) <= logged
    assert await uses(store, "token") == len(postures), "what was not acknowledged is there whole or not at all"
    check = text("PRAGMA integrity_check")
    assert await store._reader.run(lambda connection: connection.execute(check).scalar_one()) == "ok"
    await store.close()

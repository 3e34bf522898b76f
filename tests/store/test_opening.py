"""SQLite: a store is created, found again, and refused where this version must not touch it."""

import asyncio
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from store.builders import NOW, an_api_token, later
from watchword_server.adapters.store_sql import migrate as migrate_module
from watchword_server.adapters.store_sql.data_directory import DataDirectory, file_system_of
from watchword_server.adapters.store_sql.engine import migration_engine, sqlite_url
from watchword_server.adapters.store_sql.migrate import Migration, migrate
from watchword_server.adapters.store_sql.schema import metadata
from watchword_server.adapters.store_sql.store import SqlStore
from watchword_server.errors import ConfigurationError, DataDirectoryBusyError, StoreUnavailableError

MIGRATIONS = Path(migrate_module.__file__).parent / "migrations"
HEAD = "0005"
LATER = f"{int(HEAD) + 1:04}"

_A_LATER_STEP = """
import sqlalchemy as sa
from alembic import op

revision = "{later}"
down_revision = "{head}"


def upgrade():
    op.add_column("devices", sa.Column("asset_tag", sa.Text))
    {more}
"""


def execute(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement).fetchall()


def definitions(path: Path) -> dict[object, set[str]]:
    """Each table's and index's SQL as a set of lines: their order does not matter, nor quotes that a name does not need."""
    rows = execute(path, "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {name: {line.strip(" \t,") for line in str(sql).replace('"', "").splitlines()} for name, sql in rows}


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def with_a_later_step(tmp_path: Path, more: str = "") -> Path:
    """This version's migrations and one that does not exist yet."""
    migrations = tmp_path / "100% later"
    shutil.copytree(MIGRATIONS, migrations, ignore=shutil.ignore_patterns("__pycache__"))
    (migrations / "versions" / "later.py").write_text(_A_LATER_STEP.format(head=HEAD, later=LATER, more=more))
    return migrations


# ---- Migrations ---------------------------------------------------------------------------------------------------------


def test_migrating_from_nothing_makes_the_tables_the_code_works_with(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    assert migrate(sqlite_url(path)) == Migration(None, HEAD)
    assert migrate(str(sqlite_url(path))) == Migration(HEAD, HEAD)
    fresh = tmp_path / "fresh.db"
    engine = migration_engine(fresh)
    metadata.create_all(engine)
    engine.dispose()
    execute(path, "DROP TABLE alembic_version")
    assert definitions(path) == definitions(fresh), "checks and partial indexes too"


async def test_a_new_store_has_an_identity_and_keeps_it(tmp_path: Path) -> None:
    store = await SqlStore.open(tmp_path / "a")
    first = store.identity
    assert len(first.store_id) == 36
    assert len(bytes.fromhex(first.account_id)) == 16
    assert first.clock_floor == 0.0
    await store.add_api_token(an_api_token(created_at=NOW))
    await store.save_clock_floor(later(60))
    await store.save_clock_floor(later(30))
    await store.close()
    store = await SqlStore.open(tmp_path / "a")
    assert (store.identity.store_id, store.identity.account_id) == (first.store_id, first.account_id)
    assert store.identity.clock_floor == later(60)
    await store.close()
    other = await SqlStore.open(tmp_path / "b")
    assert {other.identity.store_id, other.identity.account_id}.isdisjoint({first.store_id, first.account_id})
    await other.close()


async def test_a_store_of_an_older_version_waits_for_the_operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await (await SqlStore.open(tmp_path / "data")).close()
    migrations = with_a_later_step(tmp_path)
    monkeypatch.setattr(migrate_module, "_MIGRATIONS", migrations)
    with pytest.raises(
        ConfigurationError, match=f"has schema `{HEAD}`, this version needs `{LATER}`: back it up and run `watchword migrate`"
    ):
        await SqlStore.open(tmp_path / "data")
    url = sqlite_url(tmp_path / "data" / "watchword.db")
    assert migrate(url, migrations=migrations) == Migration(HEAD, LATER)
    await (await SqlStore.open(tmp_path / "data")).close()


async def test_a_store_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    database = tmp_path / "data" / "watchword.db"
    database.parent.mkdir()
    migrate(sqlite_url(database), migrations=with_a_later_step(tmp_path))
    with pytest.raises(ConfigurationError, match=f"has schema `{LATER}`, newer than this version's `{HEAD}`"):
        await SqlStore.open(tmp_path / "data")
    with pytest.raises(ConfigurationError, match="newer"):
        migrate(sqlite_url(database))
    assert execute(database, "SELECT version_num FROM alembic_version") == [(LATER,)]


def test_a_migration_that_fails_leaves_everything_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    migrate(sqlite_url(path))
    before = execute(path, "SELECT name, sql FROM sqlite_master ORDER BY name")
    with pytest.raises(StoreUnavailableError, match="no such table: nowhere"):
        migrate(sqlite_url(path), migrations=with_a_later_step(tmp_path, "op.execute('DELETE FROM nowhere')"))
    assert execute(path, "SELECT name, sql FROM sqlite_master ORDER BY name") == before
    assert execute(path, "SELECT version_num FROM alembic_version") == [(HEAD,)]


def test_a_migration_that_breaks_references_is_undone(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    migrate(sqlite_url(path))
    orphan = "op.execute(\"INSERT INTO certificate_bindings VALUES (x'00', 'nobody', 'check', NULL, NULL)\")"
    with pytest.raises(StoreUnavailableError, match="would have broken references"):
        migrate(sqlite_url(path), migrations=with_a_later_step(tmp_path, orphan))
    assert execute(path, "SELECT version_num FROM alembic_version") == [(HEAD,)]


@pytest.mark.parametrize("content", [b"", None])
async def test_an_empty_file_is_a_new_store(tmp_path: Path, content: bytes | None) -> None:
    """So a crash before the first commit is no trouble."""
    if content is not None:
        (tmp_path / "watchword.db").write_bytes(content)
    await (await SqlStore.open(tmp_path)).close()


async def test_somebody_elses_database_is_left_alone(tmp_path: Path) -> None:
    execute(tmp_path / "watchword.db", "CREATE TABLE theirs (x)")
    with pytest.raises(ConfigurationError, match="is not a Watchword store"):
        await SqlStore.open(tmp_path)
    assert execute(tmp_path / "watchword.db", "SELECT name FROM sqlite_master") == [("theirs",)]


async def test_what_is_no_database_is_unavailable_and_leaves_the_directory_free(tmp_path: Path) -> None:
    (tmp_path / "watchword.db").write_bytes(b"no database at all" * 100)
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match="not a database"):
            await SqlStore.open(tmp_path)


@pytest.mark.parametrize("url", ["postgresql://user:secret@host/name", "sqlite://", "sqlite:///:memory:"])
def test_only_an_sqlite_file_is_a_store_yet(url: str) -> None:
    with pytest.raises(ConfigurationError, match="is not an SQLite file") as caught:
        migrate(url)
    assert "secret" not in str(caught.value)


async def test_a_path_may_have_any_characters(tmp_path: Path) -> None:
    odd = tmp_path / "a?b#c%20 ü"
    await (await SqlStore.open(odd)).close()
    assert (odd / "watchword.db").stat().st_size > 0


async def test_commits_survive_a_power_failure_by_their_settings(tmp_path: Path) -> None:
    store = await SqlStore.open(tmp_path)

    def pragma(name: str) -> object:
        return store._writer.submit(lambda transaction: transaction.connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())

    full = 2
    wanted = {"journal_mode": "wal", "synchronous": full, "foreign_keys": 1}
    assert {name: await pragma(name) for name in wanted} == wanted  # type: ignore[misc]  # awaits what `submit` returns
    await store.close()
    assert not (tmp_path / "watchword.db-wal").exists(), "closing checkpoints"


# ---- The data directory -------------------------------------------------------------------------------------------------


async def test_a_data_directory_is_the_owners_alone(tmp_path: Path) -> None:
    await (await SqlStore.open(tmp_path / "new" / "data")).close()
    assert stat.S_IMODE((tmp_path / "new" / "data").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "new" / "data" / "watchword.db").stat().st_mode) == 0o600


async def test_one_store_at_a_time_has_the_data_directory(tmp_path: Path) -> None:
    first = await SqlStore.open(tmp_path)
    with pytest.raises(DataDirectoryBusyError, match=f"held by process {os.getpid()}: stop that one first"):
        await SqlStore.open(tmp_path)
    await first.add_api_token(an_api_token())
    await first.close()
    second = await SqlStore.open(tmp_path)
    assert len(await second.api_tokens()) == 1
    await second.close()


def test_another_process_is_kept_out_and_let_in_after(tmp_path: Path) -> None:
    module = DataDirectory.__module__
    code = f"import sys; from pathlib import Path; from {module} import DataDirectory; DataDirectory(Path(sys.argv[1]))"
    attempt = [sys.executable, "-c", code, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with DataDirectory(tmp_path):
        kept_out = subprocess.run(attempt, env=environment, capture_output=True, text=True, check=False)
    assert kept_out.returncode != 0
    assert "DataDirectoryBusyError" in kept_out.stderr
    subprocess.run(attempt, env=environment, check=True)


def test_a_data_directory_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "lock").symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "data"):
        with pytest.raises(ConfigurationError, match="cannot be used"):
            DataDirectory(path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mountinfo"
    monkeypatch.setattr("watchword_server.adapters.store_sql.data_directory._MOUNTS", mounts)
    mounts.write_text(f"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:5 / {tmp_path} rw shared:7 - nfs4 server:/export rw\n")
    with pytest.raises(ConfigurationError, match=r"network file system \(`nfs4`\)"):
        DataDirectory(tmp_path / "data")


@pytest.mark.parametrize(
    ("path", "want"),
    [("/", "ext4"), ("/srv", "xfs"), ("/srv/x", "xfs"), ("/srvx", "ext4"), ("/with space/x", "nfs"), ("/over", "tmpfs")],
)
def test_the_deepest_and_last_mount_tells_the_file_system(tmp_path: Path, path: str, want: str) -> None:
    lines = [
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw",
        "2 1 8:2 / /srv rw shared:1 master:2 - xfs /dev/sdb1 rw",
        r"3 1 0:5 / /with\040space rw - nfs server:/export rw",
        "4 1 0:6 / /over rw - nfs server:/export rw",
        "5 1 0:7 / /over rw - tmpfs none rw",
    ]
    (tmp_path / "mountinfo").write_text("\n".join(lines))
    assert file_system_of(Path(path), mounts=tmp_path / "mountinfo") == want


def test_without_a_list_of_mounts_the_file_system_is_not_known(tmp_path: Path) -> None:
    assert file_system_of(tmp_path, mounts=tmp_path / "none") is None


def test_releasing_twice_is_releasing_once(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    directory.release()
    directory.release()
    DataDirectory(tmp_path).release()


async def test_a_store_that_does_not_open_leaves_nothing_open(tmp_path: Path) -> None:
    for name, statement in (("theirs", "CREATE TABLE theirs (x)"), ("lost", "DELETE FROM meta")):
        (tmp_path / name).mkdir()
        if name == "lost":
            migrate(sqlite_url(tmp_path / name / "watchword.db"))
        execute(tmp_path / name / "watchword.db", statement)
    holder = DataDirectory(tmp_path / "busy")
    await asyncio.to_thread(len, ())  # the pool's own thread is there before we count
    before = open_descriptors()
    for name, error in (("theirs", ConfigurationError), ("lost", StoreUnavailableError), ("busy", DataDirectoryBusyError)):
        with pytest.raises(error):
            await SqlStore.open(tmp_path / name)
        assert not any(thread.name.startswith("store-") for thread in threading.enumerate())
        assert open_descriptors() == before
    holder.release()

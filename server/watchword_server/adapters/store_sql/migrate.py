"""Brings a database to this version's schema, and refuses to work on any other.

All steps of one call run in one transaction: a crash leaves the schema as it was.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, inspect
from sqlalchemy.exc import SQLAlchemyError

from watchword_server.adapters.store_sql.engine import database_path, fault, migration_engine
from watchword_server.errors import ConfigurationError, Problem, StoreUnavailableError

_MIGRATIONS: Final = Path(__file__).parent / "migrations"


@dataclass(frozen=True, slots=True)
class Migration:
    """What a migration did; `before` None: there was nothing. The same twice: nothing to do."""

    before: str | None
    after: str


def migrate(url: str | URL, *, migrations: Path = _MIGRATIONS) -> Migration:
    """Creates the schema or brings it up to date. The caller holds the data directory.

    Raises `ConfigurationError` for a database that is newer than this version or not ours, `StoreUnavailableError`.
    """
    return _migrate(url, migrations, existing=True)


def prepare(url: str | URL) -> None:
    """Creates the schema in an empty database; leaves one of this version alone.

    Raises `ConfigurationError` for a database that is older, newer or not ours, `StoreUnavailableError`.
    """
    _migrate(url, _MIGRATIONS, existing=False)


def _migrate(url: str | URL, migrations: Path, *, existing: bool) -> Migration:
    path = database_path(url)
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    head = scripts.get_current_head() or ""
    engine = migration_engine(path)
    try:
        with engine.begin() as connection:
            before = _version(connection, path)
            if before is not None and before not in {script.revision for script in scripts.walk_revisions()}:
                raise _refused(
                    path, f"has schema `{before}`, newer than this version's `{head}`: install the version that wrote it"
                )
            if before not in (None, head) and not existing:
                raise _refused(
                    path, f"has schema `{before}`, this version needs `{head}`: back it up and run `watchword migrate`"
                )
            if before != head:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
                _check_foreign_keys(connection, path)
            return Migration(before, head)
    except (SQLAlchemyError, OSError) as error:
        raise StoreUnavailableError(f"`{path}` cannot be opened: {fault(error)}") from error
    finally:
        engine.dispose()


def _version(connection: Connection, path: Path) -> str | None:
    version = MigrationContext.configure(connection).get_current_revision()
    if version is None and inspect(connection).get_table_names():
        raise _refused(path, "is not a Watchword store: choose another data directory")
    return version


def _check_foreign_keys(connection: Connection, path: Path) -> None:
    if connection.exec_driver_sql("PRAGMA foreign_key_check").all():
        raise StoreUnavailableError(f"`{path}` was left as it was: the migration would have broken references between its rows")


def _refused(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError([Problem(("store",), f"`{path}` {why}")])

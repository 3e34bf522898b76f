"""A store's audit log looked at without a server: of a copy, or beside a server that runs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from watchword_server.adapters.store_sql import audit_log
from watchword_server.adapters.store_sql.engine import fault, reader_engine
from watchword_server.adapters.store_sql.revisions import lines
from watchword_server.adapters.store_sql.schema import audit, revisions
from watchword_server.core.audit import Action, Fault, Verification
from watchword_server.core.revisions import difference_sha256
from watchword_server.core.times import rfc3339
from watchword_server.errors import StoreUnavailableError


def verify_store(path: Path, verification: Verification) -> list[Fault]:
    """All that does not fit: in the log, and between it and the revisions that are kept. Raises `StoreUnavailableError`."""
    engine = reader_engine(path, connections=1)
    try:
        with engine.connect() as connection, connection.begin():
            if not inspect(connection).has_table(audit.name):
                raise StoreUnavailableError(f"`{path}` has no audit log: it is older than this version, or no Watchword store")
            recorded = _Recorded()
            for record, agrees in audit_log.lines(connection):
                verification.take(record, in_one_form=agrees)
                recorded.take(record)
            faults = verification.finish()
            first = 0 if verification.first is None else verification.first.number
            return [*faults, *_revision_faults(connection, recorded, first=first)]
    except SQLAlchemyError as error:
        raise StoreUnavailableError(f"`{path}` cannot be read: {fault(error)}") from error
    finally:
        engine.dispose()


@dataclass(slots=True)
class _Recorded:
    """What the log says of revisions."""

    changes: dict[int, Mapping[str, object]] = field(default_factory=dict)  # by revision, as `_told` has it
    trimmed: int = 0

    def take(self, record: Mapping[str, object]) -> None:
        """The next record."""
        details, number, revision = record.get("details"), record.get("number"), record.get("revision")
        if not isinstance(details, dict) or not isinstance(number, int):
            return
        if isinstance(revision, int) and "difference_sha256" in details:
            told = {name: details.get(name) for name in ("difference_sha256", "entries", "rolls_back_to")}
            seen = {name: record.get(name) for name in ("number", "at", "actor", "address")}
            self.changes[revision] = {**told, **seen}
        if record.get("action") == Action.REVISIONS_TRIMMED and isinstance(details.get("through"), int):
            self.trimmed = max(self.trimmed, details["through"])


def _revision_faults(connection: Connection, recorded: _Recorded, *, first: int) -> list[Fault]:
    """`first`: the number of the first record there is; what happened before may have lost its record."""
    found: list[Fault] = []
    kept: set[int] = set()
    for row in connection.execute(select(revisions).order_by(revisions.c.number)).all():
        kept.add(row.number)
        known = recorded.changes.get(row.number)
        if known is None and row.audit_number >= first:
            found.append(Fault(row.audit_number, f"revision {row.number} is kept, and no record says that there was one"))
        elif difference_sha256(lines(connection, row.number)) != row.difference_sha256 or known not in (None, _told(row)):
            found.append(Fault(row.audit_number, f"revision {row.number} is not what it was recorded as: it was changed"))
    for revision, known in recorded.changes.items():
        if revision not in kept and revision > recorded.trimmed:
            message = f"revision {revision} of record {known['number']} is missing, and no record says that it was trimmed"
            found.append(Fault(None, message))
    return found


def _told(row: Row[Any]) -> Mapping[str, object]:
    """What the record of a revision says as well."""
    try:
        actor = json.loads(row.actor)
        address = actor.pop("address")
    except (ValueError, AttributeError, KeyError):
        return {}
    return {
        "difference_sha256": row.difference_sha256,
        "entries": row.entries,
        "rolls_back_to": row.rolls_back_to,
        "number": row.audit_number,
        "at": rfc3339(row.at),
        "actor": actor,
        "address": address,
    }

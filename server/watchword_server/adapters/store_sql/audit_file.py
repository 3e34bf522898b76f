"""A store's audit log looked at without a server: of a copy, or beside a server that runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from watchword_server.adapters.store_sql import audit_log
from watchword_server.adapters.store_sql.engine import fault, reader_engine
from watchword_server.adapters.store_sql.revisions import lines
from watchword_server.adapters.store_sql.schema import audit, revisions
from watchword_server.core.audit import Action, Fault, Verification
from watchword_server.core.revisions import difference_sha256
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

    differences: dict[int, tuple[int, object]] = field(default_factory=dict)  # of a revision: its record's number, and the hash
    trimmed: int = 0

    def take(self, record: Mapping[str, object]) -> None:
        """The next record."""
        details, number, revision = record.get("details"), record.get("number"), record.get("revision")
        if not isinstance(details, dict) or not isinstance(number, int):
            return
        if isinstance(revision, int) and "difference_sha256" in details:
            self.differences[revision] = (number, details["difference_sha256"])
        if record.get("action") == Action.REVISIONS_TRIMMED and isinstance(details.get("through"), int):
            self.trimmed = max(self.trimmed, details["through"])


def _revision_faults(connection: Connection, recorded: _Recorded, *, first: int) -> list[Fault]:
    """`first`: the number of the first record there is; what happened before may have lost its record."""
    found: list[Fault] = []
    kept: set[int] = set()
    columns = (revisions.c.number, revisions.c.audit_number, revisions.c.difference_sha256)
    for number, audit_number, stated in connection.execute(select(*columns).order_by(revisions.c.number)).all():
        kept.add(number)
        known = recorded.differences.get(number)
        if known is None and audit_number >= first:
            found.append(Fault(audit_number, f"revision {number} is kept, and no record says that there was one"))
        elif difference_sha256(lines(connection, number)) != stated or known not in (None, (audit_number, stated)):
            found.append(Fault(audit_number, f"what revision {number} did is not what it was recorded with: it was changed"))
    for revision, (audit_number, _) in recorded.differences.items():
        if revision not in kept and revision > recorded.trimmed:
            found.append(Fault(audit_number, f"revision {revision} is missing, and no record says that it was trimmed"))
    return found

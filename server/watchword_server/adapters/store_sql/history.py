"""The beginning of the audit log, records of what changed nothing, and what is kept of the past."""

import time
from collections.abc import Sequence

from watchword_server.adapters.store_sql import audit_log, revisions
from watchword_server.adapters.store_sql.writer import WriteTransaction
from watchword_server.core.audit import NOTHING_YET, SERVER, Act, Action, Target
from watchword_server.core.model.names import Instant
from watchword_server.ports.audit import Retention


def begin(transaction: WriteTransaction, store_id: str) -> None:
    """Writes the first record, which says whose log it is, where there is none."""
    if audit_log.head(transaction.connection) == NOTHING_YET:
        now = Instant(max(time.time(), transaction.clock_floor))  # there is no clock yet: it begins at this store's floor
        transaction.recorded(Action.LOG_BEGAN, Target("store", store_id), at=now, actor=SERVER, of_a_change=False)


def record(transaction: WriteTransaction, acts: Sequence[Act]) -> None:
    """Writes records as they are."""
    for act in acts:
        transaction.recorded(act.action, act.target, at=act.at, actor=act.actor, details=act.details, of_a_change=False)


def trim(transaction: WriteTransaction, retention: Retention, *, now: Instant) -> None:
    """Removes what is not to be kept. What the log says of it is kept with it: where it begins now can be checked."""
    connection = transaction.connection
    through = revisions.trim(
        connection,
        keep=retention.revisions,
        older_than=now - retention.revision_seconds,
        max_length=retention.revision_bytes,
    )
    if through is not None:
        target, details = Target("revisions"), {"through": through}
        transaction.recorded(Action.REVISIONS_TRIMMED, target, at=now, actor=SERVER, details=details, of_a_change=False)
    link = audit_log.trim(connection, keep=retention.audit_records, older_than=now - retention.audit_seconds)
    if link is not None:
        transaction.recorded(
            Action.LOG_TRIMMED,
            Target("audit"),
            at=now,
            actor=SERVER,
            details={"through": link.number, "hash": link.hash},
            of_a_change=False,
        )

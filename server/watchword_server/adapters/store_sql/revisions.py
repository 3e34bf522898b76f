"""Revisions of the rules: written with the change, read in pages, trimmed from the beginning."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select

from watchword_server.adapters.store_sql.schema import revision_entries, revisions
from watchword_server.adapters.store_sql.writer import WriteTransaction
from watchword_server.core.audit import Action, Actor, Detail, Target
from watchword_server.core.model.names import Instant
from watchword_server.core.revisions import EntryChange, Revision, State, change_from, difference_sha256, line_of
from watchword_server.errors import NotFoundError

_ACTIONS = {"created": Action.ENTRY_CREATED, "updated": Action.ENTRY_UPDATED, "removed": Action.ENTRY_REMOVED}


def record(
    transaction: WriteTransaction, number: int, entries: Iterable[EntryChange], *, rolls_back_to: int | None, at: Instant
) -> None:
    """Writes down what a change did, here and in the audit log."""
    found = sorted(entries, key=lambda change: (change.kind, change.id))
    written = [line_of(change) for change in found]
    digest = difference_sha256(written)
    if len(found) == 1 and rolls_back_to is None:
        [change] = found
        action, target = _ACTIONS[change.action], Target(change.kind, change.id, change.name)
    else:
        action, target = Action.RULES_CHANGED, Target("rules")
    details: dict[str, Detail] = {"entries": len(found), "difference_sha256": digest}
    if rolls_back_to is not None:
        details["rolls_back_to"] = rolls_back_to
    audit_number = transaction.recorded(action, target, at=at, details=details)
    transaction.connection.execute(
        insert(revisions).values(
            number=number,
            at=at,
            actor=json.dumps(asdict(transaction.actor), ensure_ascii=False).encode("utf-8", "replace").decode(),
            rolls_back_to=rolls_back_to,
            entries=len(found),
            length=sum(map(len, written)),  # they are ASCII
            difference_sha256=digest,
            audit_number=audit_number,
        )
    )
    lines = [{"revision": number, "place": place, "line": line} for place, line in enumerate(written)]
    transaction.connection.execute(insert(revision_entries), lines)


def page(connection: Connection, *, before: int | None, limit: int) -> Sequence[Revision]:
    """The newest first."""
    found = select(revisions).order_by(revisions.c.number.desc()).limit(limit)
    if before is not None:
        found = found.where(revisions.c.number < before)
    return [_revision(row) for row in connection.execute(found)]


def one(connection: Connection, number: int) -> tuple[Revision, Sequence[EntryChange]]:
    """A revision with what it did. Raises `NotFoundError`."""
    row = connection.execute(select(revisions).where(revisions.c.number == number)).one_or_none()
    if row is None:
        raise NotFoundError(f"no revision `{number}`: `watchword revisions list` shows those that are kept")
    return _revision(row), [change_from(line) for line in lines(connection, number)]


def lines(connection: Connection, number: int) -> Sequence[str]:
    """What was stored of a revision."""
    entries = revision_entries
    found = select(entries.c.line).where(entries.c.revision == number).order_by(entries.c.place)
    return connection.execute(found).scalars().all()


def states_at(connection: Connection, number: int) -> dict[tuple[str, str], State | None]:
    """Of each entry that was changed since a revision, what it was then, by kind and id; None: it was not there.

    Raises `NotFoundError` for a revision that is not kept.
    """
    one(connection, number)
    entries = revision_entries
    since = select(entries.c.line).where(entries.c.revision > number).order_by(entries.c.revision.desc(), entries.c.place)
    found: dict[tuple[str, str], State | None] = {}
    for line in connection.execute(since).scalars():
        change = change_from(line)
        found[change.kind, change.id] = change.before
    return found


def trim(connection: Connection, *, keep: int, older_than: float, max_length: int) -> int | None:
    """Removes revisions, but the newest `keep` and those not older; through which, or None.

    Of those, the oldest go as well until all that are left have `max_length` bytes at most; the newest stays.
    """
    newest_first = revisions.c.number.desc()
    ranked = select(
        revisions.c.number,
        revisions.c.at,
        func.row_number().over(order_by=newest_first).label("place"),
        func.sum(revisions.c.length).over(order_by=newest_first).label("length"),
    ).subquery()
    many_and_old = (ranked.c.place > keep) & (ranked.c.at < older_than)
    too_long = (ranked.c.place > 1) & (ranked.c.length > max_length)
    through = connection.execute(select(func.max(ranked.c.number)).where(many_and_old | too_long)).scalar_one()
    if through is None:
        return None
    connection.execute(delete(revision_entries).where(revision_entries.c.revision <= through))
    connection.execute(delete(revisions).where(revisions.c.number <= through))
    return int(through)


def _revision(row: Row[Any]) -> Revision:
    return Revision(
        number=row.number,
        at=Instant(row.at),
        actor=Actor(**json.loads(row.actor)),
        rolls_back_to=row.rolls_back_to,
        entries=row.entries,
        difference_sha256=row.difference_sha256,
        audit_number=row.audit_number,
    )

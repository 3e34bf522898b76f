"""The audit log: a record behind the last one, records in pages, and the beginning trimmed."""

import json
from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import Connection, bindparam, delete, func, insert, or_, select

from watchword_server.adapters.store_sql.schema import audit
from watchword_server.core.audit import NOTHING_YET, Act, Link, canonical, linked
from watchword_server.core.times import rfc3339
from watchword_server.ports.audit import AuditQuery

_HEAD = select(audit.c.number, audit.c.hash).order_by(audit.c.number.desc()).limit(1)
_APPEND = insert(audit)
_AT = select(audit.c.number, audit.c.hash).where(audit.c.number == bindparam("of_number"))
_READ_AT_ONCE = 1000


def head(connection: Connection) -> Link:
    """The last record's place."""
    row = connection.execute(_HEAD).one_or_none()
    return NOTHING_YET if row is None else Link(row.number, row.hash)


def append(connection: Connection, act: Act, after: Link) -> Link:
    """Writes a record behind another, and returns its place."""
    record, link = linked(act, after)
    number, actor_kind, actor_id, action, target_kind, target_id = _columns(record)
    connection.execute(
        _APPEND,
        {
            "number": number,
            "at": act.at,
            "actor_kind": actor_kind,
            "actor_id": actor_id,
            "action": action,
            "target_kind": target_kind,
            "target_id": target_id,
            "record": canonical(record),
            "hash": link.hash,
        },
    )
    return link


def records(connection: Connection, query: AuditQuery) -> Sequence[Mapping[str, object]]:
    """Records with their hashes: behind `after`, the oldest first; else the newest first."""
    found = select(audit.c.record, audit.c.hash).limit(query.limit)
    if query.after is not None:
        found = found.where(audit.c.number > query.after).order_by(audit.c.number)
    else:
        found = found.order_by(audit.c.number.desc())
    if query.before is not None:
        found = found.where(audit.c.number < query.before)
    if query.actor is not None:
        found = found.where(or_(audit.c.actor_id == query.actor, audit.c.actor_kind == query.actor))
    if query.action is not None:
        found = found.where(or_(audit.c.action == query.action, audit.c.action.startswith(f"{query.action}.", autoescape=True)))
    if query.target is not None:
        found = found.where(or_(audit.c.target_id == query.target, audit.c.target_kind == query.target))
    if query.since is not None:
        found = found.where(audit.c.at >= query.since)
    if query.until is not None:
        found = found.where(audit.c.at < query.until)
    return [_told(row.record, row.hash) for row in connection.execute(found)]


def lines(connection: Connection) -> Iterator[tuple[Mapping[str, object], bool]]:
    """Every record in order with its hash, and whether its text is the canonical one and agrees with the columns beside it."""
    rows = connection.execute(select(audit).order_by(audit.c.number).execution_options(yield_per=_READ_AT_ONCE))
    for row in rows:
        try:
            record = _told(row.record, row.hash)
            without_hash = {name: value for name, value in record.items() if name != "hash"}
            agrees = (
                canonical(without_hash) == row.record
                and record["at"] == rfc3339(row.at)
                and _columns(record)
                == (
                    row.number,
                    row.actor_kind,
                    row.actor_id,
                    row.action,
                    row.target_kind,
                    row.target_id,
                )
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            record, agrees = {"number": row.number}, False
        yield record, agrees


def trim(connection: Connection, *, keep: int, older_than: float) -> Link | None:
    """Removes records from the beginning, but the newest `keep` and those not older; where the log now begins, or None."""
    last = head(connection).number
    oldest_kept = connection.execute(select(func.min(audit.c.number)).where(audit.c.at >= older_than)).scalar_one()
    through = min(last - keep, last if oldest_kept is None else oldest_kept - 1)
    row = connection.execute(_AT, {"of_number": through}).one_or_none()
    if row is None:
        return None
    connection.execute(delete(audit).where(audit.c.number <= through))
    return Link(row.number, row.hash)


def _told(text: str, digest: str) -> Mapping[str, object]:
    record = json.loads(text)
    return {**record, "hash": digest}


def _columns(record: Mapping[str, object]) -> tuple[object, ...]:
    actor, target = record["actor"], record["target"]
    if not isinstance(actor, dict) or not isinstance(target, dict):
        raise TypeError("it is no record")
    return record["number"], actor["kind"], actor["id"], record["action"], target["kind"], target["id"]

"""The posture log: what checks came to, written with the results. What stays the same costs one update of one row."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, bindparam, delete, func, insert, or_, select, update

from watchword_server.adapters.store_sql.codec import decode_result, encode_body, encode_result
from watchword_server.adapters.store_sql.schema import devices, posture_log
from watchword_server.core.model.names import DeviceId, Instant
from watchword_server.core.model.results import PostureResult
from watchword_server.ports.posture_log import PostureEntry, PostureQuery

_newest_of_device = (posture_log.c.device_id == bindparam("of_device")) & posture_log.c.ended_at.is_(None)
_newest = _newest_of_device & (posture_log.c.check_id == bindparam("of_check"))
_CONFIRM = (
    update(posture_log)
    .where(_newest, posture_log.c.digest == bindparam("same_digest"))
    .values(
        last_at=bindparam("at"),
        evaluations=posture_log.c.evaluations + 1,
        evidence_at=bindparam("seen_at"),
        expires_at=bindparam("until"),
    )
)
_END = update(posture_log).where(_newest).values(ended_at=bindparam("at"))
_END_ALL = update(posture_log).where(_newest_of_device).values(ended_at=bindparam("at"))
_ADD = insert(posture_log)


def add(connection: Connection, device_id: DeviceId, result: PostureResult) -> None:
    """A result that is stored now: it confirms the newest entry of its check, or ends it and begins another."""
    digest = _digest(result)
    of_check = {"of_device": device_id, "of_check": result.check_id, "at": result.evaluated_at}
    confirmed = {**of_check, "same_digest": digest, "seen_at": result.evidence_at, "until": result.expires_at}
    if connection.execute(_CONFIRM, confirmed).rowcount == 1:
        return
    connection.execute(_END, of_check)
    connection.execute(
        _ADD,
        {
            "device_id": device_id,
            "check_id": result.check_id,
            "passed": result.passed,
            "reason": result.reason,
            "digest": digest,
            "since": result.evaluated_at,
            "last_at": result.evaluated_at,
            "evaluations": 1,
            "evidence_at": result.evidence_at,
            "expires_at": result.expires_at,
            "body": encode_result(result),
        },
    )


def end_all(connection: Connection, device_id: DeviceId, *, at: Instant) -> None:
    """The device has no results any more, or none that count."""
    connection.execute(_END_ALL, {"of_device": device_id, "at": at})


def entries(connection: Connection, query: PostureQuery) -> Sequence[PostureEntry]:
    """Entries, the newest first."""
    log = posture_log.c
    found = (
        select(posture_log, devices.c.hostname)
        .join(devices, devices.c.id == log.device_id, isouter=True)
        .order_by(log.number.desc())
        .limit(query.limit)
    )
    if query.before is not None:
        found = found.where(log.number < query.before)
    if query.device_id is not None:
        found = found.where(log.device_id == query.device_id)
    if query.check_id is not None:
        found = found.where(log.check_id == query.check_id)
    if query.passed is not None:
        found = found.where(log.passed == query.passed)
    if query.reason is not None:
        found = found.where(log.reason == query.reason)
    if query.until is not None:
        found = found.where(log.since < query.until)
    if query.since is not None:
        found = found.where(
            or_(log.ended_at >= query.since, log.ended_at.is_(None)), or_(log.expires_at >= query.since, log.expires_at.is_(None))
        )
    return [
        PostureEntry(
            number=row.number,
            device_id=DeviceId(row.device_id),
            hostname=row.hostname,
            result=replace(
                decode_result(row.body),
                evaluated_at=Instant(row.last_at),
                evidence_at=Instant(row.evidence_at),
                expires_at=None if row.expires_at is None else Instant(row.expires_at),
            ),
            since=Instant(row.since),
            evaluations=row.evaluations,
            ended_at=None if row.ended_at is None else Instant(row.ended_at),
        )
        for row in connection.execute(found)
    ]


def trim(connection: Connection, *, rows: int, older_than: Instant) -> None:
    """Removes what is too old, and the oldest above `rows`."""
    connection.execute(delete(posture_log).where(posture_log.c.last_at < older_than))
    # Numbers have gaps where a write was taken back: at most `rows` stay, at times fewer.
    last = connection.execute(select(func.max(posture_log.c.number))).scalar_one()
    if last is not None:
        connection.execute(delete(posture_log).where(posture_log.c.number <= last - rows))


def _digest(result: PostureResult) -> bytes:
    """Of what a reader of two entries would call the same."""
    said = {
        "check_revision": result.check_revision,
        "reason": result.reason,
        "level": result.level.value,
        "certificate": None if result.certificate is None else result.certificate.hex(),
        "expected": dict(result.expected),
        "received": dict(result.received),
    }
    return hashlib.sha256(encode_body(said).encode()).digest()

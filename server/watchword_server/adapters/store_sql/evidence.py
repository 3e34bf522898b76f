"""Judged claims: committing a session's, judging stored ones again."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, bindparam, delete, exists, or_, select, update

from watchword_server.adapters.store_sql import posture_log
from watchword_server.adapters.store_sql.bindings import end_all, follow
from watchword_server.adapters.store_sql.codec import (
    decode_claim,
    decode_context,
    decode_result,
    encode_boots,
    encode_claim,
    encode_context,
    encode_result,
)
from watchword_server.adapters.store_sql.device_keys import promote
from watchword_server.adapters.store_sql.devices import device_from_row
from watchword_server.adapters.store_sql.schema import ChangeKind, devices, results
from watchword_server.adapters.store_sql.upsert import Upsert
from watchword_server.adapters.store_sql.writer import WriteTransaction
from watchword_server.core.audit import Action, Actor, Target
from watchword_server.core.model.devices import DeviceState
from watchword_server.core.model.names import CheckId, DeviceId, KeyFingerprint
from watchword_server.core.model.results import JudgedClaim
from watchword_server.errors import DeviceNotActiveError, SupersededError
from watchword_server.ports.devices import EvidenceCommit, Rejudgement, StoredClaim

_NUMBERS_AT_ONCE = 500  # old SQLite takes 999 parameters

_active = devices.c.state == DeviceState.ACTIVE.value
_TAKE_EPOCH = (
    update(devices)
    .where(devices.c.id == bindparam("of_device"), _active, devices.c.epoch == bindparam("expected_epoch"))
    .values(
        epoch=bindparam("new_epoch"),
        hostname=bindparam("new_hostname"),
        last_seen_at=bindparam("seen_at"),
        boots=bindparam("new_boots"),
        key_cloned_at=bindparam("new_key_cloned_at"),
    )
)
_STATE = select(devices.c.state).where(devices.c.id == bindparam("of_device"))
_ROWS = Upsert(results)
_REJUDGE = (
    update(results)
    .where(
        results.c.device_id == bindparam("of_device"),
        results.c.check_id == bindparam("of_check"),
        results.c.received_at == bindparam("received"),
        exists().where(devices.c.id == results.c.device_id, _active),
    )
    .values(
        result=bindparam("new_result"),
        proven_certificate=bindparam("new_certificate"),
        proven_key=bindparam("new_key"),
        certificate_serial=bindparam("new_serial_number"),
    )
)


def commit_evidence(transaction: WriteTransaction, commit: EvidenceCommit) -> int:
    """Fences the session, then stores what it brought."""
    _take_epoch(transaction.connection, commit)
    if commit.promotes_key is not None:
        promote(transaction, commit.device_id, commit.promotes_key, at=commit.seen_at)
    if commit.leaves:
        transaction.connection.execute(delete(results).where(results.c.device_id == commit.device_id))
        end_all(transaction, commit.device_id, at=commit.seen_at)
        posture_log.end_all(transaction.connection, commit.device_id, at=commit.seen_at)
    for judged in commit.judged:
        _ROWS.put(
            transaction.connection,
            {"device_id": commit.device_id, "check_id": judged.result.check_id},
            {
                "received_at": judged.context.received_at,
                "proven_certificate": judged.proven_certificate,
                "proven_key": judged.proven_key,
                "certificate_serial": serial_number_bytes(judged.serial_number),
                "result": encode_result(judged.result),
                "context": encode_context(judged.context),
                "claim": encode_claim(judged.claim),
            },
        )
        follow(transaction, commit.device_id, judged, ended_at=commit.seen_at)
        posture_log.add(transaction.connection, commit.device_id, judged.result)
    revision = transaction.changed(ChangeKind.DEVICE, commit.device_id, at=commit.seen_at)
    _record(transaction, commit)
    return revision


def _record(transaction: WriteTransaction, commit: EvidenceCommit) -> None:
    """What a device does to itself beside proving things."""
    actor = Actor("device", commit.device_id, commit.hostname, transaction.actor.address)
    target = Target("device", commit.device_id, commit.hostname)
    if commit.promotes_key is not None:
        details = {"key_id": commit.promotes_key}
        transaction.recorded(Action.DEVICE_KEY_ROTATED, target, at=commit.seen_at, actor=actor, details=details)
    if commit.leaves:
        transaction.recorded(Action.DEVICE_LEFT, target, at=commit.seen_at, actor=actor)


def commit_rejudged(transaction: WriteTransaction, rejudged: Sequence[Rejudgement]) -> int:
    """Replaces the results whose claims are still the stored ones."""
    for rejudgement in rejudged:
        device_id, judged = rejudgement.device_id, rejudgement.judged
        evaluated_at = judged.result.evaluated_at
        values = {
            "of_device": device_id,
            "of_check": judged.result.check_id,
            "received": rejudgement.claim_received_at,
            "new_result": encode_result(judged.result),
            "new_certificate": judged.proven_certificate,
            "new_key": judged.proven_key,
            "new_serial_number": serial_number_bytes(judged.serial_number),
        }
        if transaction.connection.execute(_REJUDGE, values).rowcount == 1:
            follow(transaction, device_id, judged, ended_at=evaluated_at)
            posture_log.add(transaction.connection, device_id, judged.result)
            transaction.changed(ChangeKind.DEVICE, device_id, at=evaluated_at)
    return transaction.revision


def claims(
    connection: Connection,
    *,
    check_ids: frozenset[CheckId] | None,
    key: KeyFingerprint | None,
    device_id: DeviceId | None,
    serial_numbers: frozenset[int] | None,
) -> Sequence[StoredClaim]:
    """Claims of active devices for any of the checks, or that prove the key, or of one device, or about such a serial number.

    With none given, all.
    """
    wanted: list[ColumnElement[bool]] = []
    if check_ids is not None:
        wanted.append(results.c.check_id.in_(check_ids))
    if key is not None:
        wanted.append(results.c.proven_key == key)
    if device_id is not None:
        wanted.append(results.c.device_id == device_id)
    if serial_numbers is None:
        return _claims(connection, wanted)
    found = {(claim.device.id, claim.judged.claim.check_id): claim for claim in (_claims(connection, wanted) if wanted else ())}
    numbers = sorted(filter(None, map(serial_number_bytes, serial_numbers)))
    for start in range(0, len(numbers), _NUMBERS_AT_ONCE):
        some = results.c.certificate_serial.in_(numbers[start : start + _NUMBERS_AT_ONCE])
        found |= {(claim.device.id, claim.judged.claim.check_id): claim for claim in _claims(connection, [some])}
    return list(found.values())


def _claims(connection: Connection, wanted: Sequence[ColumnElement[bool]]) -> Sequence[StoredClaim]:
    statement = (
        select(
            devices,
            *(results.c[name] for name in ("claim", "context", "result", "proven_certificate", "certificate_serial")),
        )
        .join(results, results.c.device_id == devices.c.id)
        .where(_active)
        .order_by(devices.c.id, results.c.check_id)
    )
    if wanted:
        statement = statement.where(or_(*wanted))
    return [
        StoredClaim(
            device_from_row(row),
            JudgedClaim(
                claim=decode_claim(row.claim),
                context=decode_context(row.context),
                result=decode_result(row.result),
                proven_certificate=row.proven_certificate,
                serial_number=None if row.certificate_serial is None else int.from_bytes(row.certificate_serial),
            ),
        )
        for row in connection.execute(statement).all()
    ]


def serial_number_bytes(serial_number: int | None) -> bytes | None:
    """A certificate's serial number as the store compares it: 20 bytes (RFC 5280, 4.1.2.2), more for one that is longer.

    None for one that is not positive: no list names it.
    """
    if serial_number is None or serial_number <= 0:
        return None
    return serial_number.to_bytes(max(20, (serial_number.bit_length() + 7) // 8))


def _take_epoch(connection: Connection, commit: EvidenceCommit) -> None:
    """The fence: one conditional update, so that of two sessions only the one that holds the epoch gets through."""
    values = {
        "of_device": commit.device_id,
        "expected_epoch": commit.epoch - 1 if commit.claims_epoch else commit.epoch,
        "new_epoch": commit.epoch,
        "new_hostname": commit.hostname,
        "seen_at": commit.seen_at,
        "new_boots": encode_boots(commit.boots),
        "new_key_cloned_at": commit.key_cloned_at,
    }
    if connection.execute(_TAKE_EPOCH, values).rowcount == 1:
        return
    state = connection.execute(_STATE, {"of_device": commit.device_id}).scalar_one_or_none()
    if state != DeviceState.ACTIVE.value:
        raise DeviceNotActiveError(f"device `{commit.device_id}` is {state or 'unknown'}")
    raise SupersededError(f"device `{commit.device_id}`: a newer session holds the epoch, this one's is {commit.epoch}")

"""Devices and their results: reading them, approving and revoking."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select, tuple_, update

from watchword_server.adapters.store_sql import posture_log
from watchword_server.adapters.store_sql.codec import decode_boots, decode_result
from watchword_server.adapters.store_sql.device_keys import NO_PENDING_KEY
from watchword_server.adapters.store_sql.schema import ChangeKind, devices, meta, results
from watchword_server.adapters.store_sql.writer import WriteTransaction
from watchword_server.core.audit import Action, Target
from watchword_server.core.model.devices import Device, DeviceKey, DeviceState, KeyAlgorithm, KeyProtection, Lock
from watchword_server.core.model.names import CheckId, DeviceId, Instant
from watchword_server.core.model.results import DevicePosture, PostureResult
from watchword_server.errors import ConflictError, NotFoundError

_WITH_ID = select(devices).where(devices.c.id == bindparam("device_id"))
_RESULTS_OF = select(results.c.result).where(results.c.device_id == bindparam("device_id"))
_REVISION = select(meta.c.revision)


def posture(connection: Connection, device_id: DeviceId) -> DevicePosture | None:
    """One device with its results."""
    device = find(connection, device_id)
    if device is None:
        return None
    rows = connection.execute(_RESULTS_OF, {"device_id": device_id}).scalars().all()
    return DevicePosture(device, _by_check(decode_result(row) for row in rows), revision(connection))


def all_postures(connection: Connection) -> Sequence[DevicePosture]:
    """All devices with their results, by time of enrollment."""
    as_of = revision(connection)
    found: dict[DeviceId, list[PostureResult]] = {}
    for device_id, result in connection.execute(select(results.c.device_id, results.c.result)).all():
        found.setdefault(device_id, []).append(decode_result(result))
    rows = connection.execute(select(devices).order_by(devices.c.enrolled_at, devices.c.id)).all()
    return [DevicePosture(device_from_row(row), _by_check(found.get(row.id, ())), as_of) for row in rows]


def page(connection: Connection, *, after: DeviceId | None, limit: int, without_revoked: bool = False) -> Sequence[DevicePosture]:
    """The next devices with their results, by time of enrollment."""
    wanted = select(devices).order_by(devices.c.enrolled_at, devices.c.id).limit(limit)
    if without_revoked:
        wanted = wanted.where(devices.c.state != DeviceState.REVOKED.value)
    if after is not None:
        last = find(connection, after)
        if last is None:
            raise NotFoundError(f"no device `{after}` to go on after")
        wanted = wanted.where(tuple_(devices.c.enrolled_at, devices.c.id) > tuple_(last.enrolled_at, after))
    as_of, rows = revision(connection), connection.execute(wanted).all()
    found: dict[DeviceId, list[PostureResult]] = {}
    of_these = select(results.c.device_id, results.c.result).where(results.c.device_id.in_([row.id for row in rows]))
    for device_id, result in connection.execute(of_these).all():
        found.setdefault(device_id, []).append(decode_result(result))
    return [DevicePosture(device_from_row(row), _by_check(found.get(row.id, ())), as_of) for row in rows]


def set_state(transaction: WriteTransaction, device_id: DeviceId, state: DeviceState, *, now: Instant) -> int:
    """Approves a pending device, revokes any that is not revoked yet."""
    device = find(transaction.connection, device_id)
    if device is None:
        raise NotFoundError(f"no device `{device_id}`")
    match device.state, state:
        case DeviceState.PENDING, DeviceState.ACTIVE:
            _revoke_others_with_serial_number(transaction, device, now=now)
        case ((DeviceState.ACTIVE | DeviceState.PENDING), DeviceState.REVOKED):
            pass
        case _:
            raise ConflictError(f"device `{device_id}` is {device.state}: it does not become {state}")
    transaction.connection.execute(update(devices).where(devices.c.id == device_id).values(state=state.value, **NO_PENDING_KEY))
    if state is DeviceState.REVOKED:
        posture_log.end_all(transaction.connection, device_id, at=now)
    revision = transaction.changed(ChangeKind.DEVICE, device_id, at=now)
    action = Action.DEVICE_REVOKED if state is DeviceState.REVOKED else Action.DEVICE_APPROVED
    transaction.recorded(action, _target(device), at=now)
    return revision


def set_lock(transaction: WriteTransaction, device_id: DeviceId, reason: str | None, *, now: Instant) -> int:
    """Locks a device, or unlocks it (`reason` None). A locked one may be locked again, with another reason."""
    device = find(transaction.connection, device_id)
    if device is None:
        raise NotFoundError(f"no device `{device_id}`")
    if device.state is DeviceState.REVOKED:
        raise ConflictError(f"device `{device_id}` is revoked, which is final: it is neither locked nor unlocked")
    if reason is None and device.lock is None:
        raise ConflictError(f"device `{device_id}` is not locked")
    values = {"locked_at": None if reason is None else now, "lock_reason": reason}
    transaction.connection.execute(update(devices).where(devices.c.id == device_id).values(**values))
    revision = transaction.changed(ChangeKind.DEVICE, device_id, at=now)
    if reason is None:
        transaction.recorded(Action.DEVICE_UNLOCKED, _target(device), at=now)
    else:
        transaction.recorded(Action.DEVICE_LOCKED, _target(device), at=now, details={"reason": reason})
    return revision


def set_owner(transaction: WriteTransaction, device_id: DeviceId, owner: str | None, *, now: Instant) -> int:
    """Whose the device is; None: nobody's. Saying the same again is no change, and none is recorded."""
    device = find(transaction.connection, device_id)
    if device is None:
        raise NotFoundError(f"no device `{device_id}`")
    if device.state is DeviceState.REVOKED:
        raise ConflictError(f"device `{device_id}` is revoked, which is final: whose it was stays as it is")
    if device.owner == owner:
        return revision(transaction.connection)
    transaction.connection.execute(update(devices).where(devices.c.id == device_id).values(owner=owner))
    changed = transaction.changed(ChangeKind.DEVICE, device_id, at=now)
    details = {"owner": owner, "owner_before": device.owner}
    transaction.recorded(Action.DEVICE_OWNER_CHANGED, _target(device), at=now, details=details)
    return changed


def clear_key_clone(transaction: WriteTransaction, device_id: DeviceId, *, now: Instant) -> int:
    """Forgets what was seen of a second machine. The epoch goes up: what is being committed now was judged with it."""
    device = find(transaction.connection, device_id)
    if device is None:
        raise NotFoundError(f"no device `{device_id}`")
    if device.key_cloned_at is None:
        raise ConflictError(f"the key of device `{device_id}` was not seen on two machines: there is nothing to clear")
    transaction.connection.execute(
        update(devices).where(devices.c.id == device_id).values(boots=None, key_cloned_at=None, epoch=devices.c.epoch + 1)
    )
    revision = transaction.changed(ChangeKind.DEVICE, device_id, at=now)
    transaction.recorded(Action.DEVICE_CLONE_CLEARED, _target(device), at=now)
    return revision


def find(connection: Connection, device_id: DeviceId) -> Device | None:
    """The device with this id."""
    row = connection.execute(_WITH_ID, {"device_id": device_id}).one_or_none()
    return None if row is None else device_from_row(row)


def device_from_row(row: Row[Any]) -> Device:
    """A row of `devices`."""
    return Device(
        id=DeviceId(row.id),
        key=DeviceKey(row.key_id, row.public_key_der, KeyAlgorithm(row.algorithm), _protection(row.key_protection)),
        state=DeviceState(row.state),
        platform=row.platform,
        hostname=row.hostname,
        serial_number=row.serial_number,
        epoch=row.epoch,
        enrolled_at=Instant(row.enrolled_at),
        last_seen_at=None if row.last_seen_at is None else Instant(row.last_seen_at),
        boots=() if row.boots is None else decode_boots(row.boots),
        key_cloned_at=None if row.key_cloned_at is None else Instant(row.key_cloned_at),
        pending_key=_pending_key(row),
        pending_until=None if row.pending_until is None else Instant(row.pending_until),
        lock=None if row.locked_at is None else Lock(Instant(row.locked_at), row.lock_reason),
        owner=row.owner,
    )


def revision(connection: Connection) -> int:
    """The store's revision, as this transaction sees it."""
    return int(connection.execute(_REVISION).scalar_one())


def _pending_key(row: Row[Any]) -> DeviceKey | None:
    if row.pending_key_id is None:
        return None
    protection = _protection(row.pending_key_protection)
    return DeviceKey(row.pending_key_id, row.pending_public_key_der, KeyAlgorithm(row.pending_algorithm), protection)


def _protection(text: str | None) -> KeyProtection | None:
    return None if text is None else KeyProtection(text)


def _revoke_others_with_serial_number(transaction: WriteTransaction, device: Device, *, now: Instant) -> None:
    if device.serial_number is None:
        return
    others = (devices.c.serial_number == device.serial_number) & (devices.c.state == DeviceState.ACTIVE.value)
    replaced = transaction.connection.execute(
        update(devices)
        .where(others, devices.c.id != device.id)
        .values(state=DeviceState.REVOKED.value, **NO_PENDING_KEY)
        .returning(devices.c.id, devices.c.hostname)
    )
    for other_id, hostname in replaced.all():
        posture_log.end_all(transaction.connection, other_id, at=now)
        transaction.changed(ChangeKind.DEVICE, other_id, at=now)
        target = Target("device", other_id, hostname)
        transaction.recorded(Action.DEVICE_REVOKED, target, at=now, details={"replaced_by": device.id})


def _target(device: Device) -> Target:
    return Target("device", device.id, device.hostname)


def _by_check(found: Iterable[PostureResult]) -> Mapping[CheckId, PostureResult]:
    return MappingProxyType({result.check_id: result for result in found})

"""The key that is to be a device's next one: proposed, promoted, dropped."""

from typing import Final

from sqlalchemy import bindparam, exists, or_, select, update

from watchword_server.adapters.store_sql.schema import ChangeKind, devices
from watchword_server.adapters.store_sql.writer import WriteTransaction
from watchword_server.core.model.devices import DeviceState
from watchword_server.core.model.names import DeviceId, Instant
from watchword_server.errors import EnvelopeInvalidError, NewKeyRefusedError, SupersededError
from watchword_server.ports.devices import KeyRotationCommit

# The columns of a device whose pending key is dropped, or that has none.
NO_PENDING_KEY: Final = {
    "pending_key_id": None,
    "pending_public_key_der": None,
    "pending_algorithm": None,
    "pending_key_protection": None,
    "pending_until": None,
}
_IS_TAKEN = select(
    exists().where(
        or_(
            devices.c.key_id == bindparam("new_key_id"),
            (devices.c.pending_key_id == bindparam("new_key_id")) & (devices.c.id != bindparam("of_device")),
        )
    )
)
_PROPOSE = update(devices).where(
    devices.c.id == bindparam("of_device"),
    devices.c.state == DeviceState.ACTIVE.value,
    devices.c.epoch == bindparam("expected_epoch"),
)
_PROMOTE = (
    update(devices)
    .where(
        devices.c.id == bindparam("of_device"),
        devices.c.pending_key_id == bindparam("new_key_id"),
        devices.c.pending_until > bindparam("at"),
    )
    .values(
        key_id=devices.c.pending_key_id,
        public_key_der=devices.c.pending_public_key_der,
        algorithm=devices.c.pending_algorithm,
        key_protection=devices.c.pending_key_protection,
        **NO_PENDING_KEY,
    )
)


def propose(transaction: WriteTransaction, commit: KeyRotationCommit) -> int:
    """Keeps a new key beside the device's own, unless any device has or awaits it."""
    key, values = commit.new_key, {"new_key_id": commit.new_key.key_id, "of_device": commit.device_id}
    if transaction.connection.execute(_IS_TAKEN, values).scalar_one():
        raise NewKeyRefusedError(f"the new key of `{commit.device_id}` is a device's already, or waits to be one's")
    proposed = transaction.connection.execute(
        _PROPOSE.values(
            pending_key_id=key.key_id,
            pending_public_key_der=key.public_key_der,
            pending_algorithm=key.algorithm.value,
            pending_key_protection=key.protection,
            pending_until=commit.pending_until,
            last_seen_at=commit.seen_at,
        ),
        {"of_device": commit.device_id, "expected_epoch": commit.epoch},
    )
    if proposed.rowcount != 1:
        raise SupersededError(f"device `{commit.device_id}`: epoch {commit.epoch} is not the newest, or it is not active")
    return transaction.changed(ChangeKind.DEVICE, commit.device_id, at=commit.seen_at)


def promote(transaction: WriteTransaction, device_id: DeviceId, key_id: str, *, at: Instant) -> None:
    """Makes the pending key the device's. Raises `EnvelopeInvalidError` if it is not pending any more: then it signed nothing."""
    values = {"of_device": device_id, "new_key_id": key_id, "at": at}
    if transaction.connection.execute(_PROMOTE, values).rowcount != 1:
        raise EnvelopeInvalidError(f"the key that signed is not pending for `{device_id}` any more")

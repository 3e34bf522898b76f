"""Which certificate, and so which key, was proved by which device, for which check, and until when."""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, bindparam, case, func, or_, select, update

from watchword_server.adapters.store_sql.devices import revision
from watchword_server.adapters.store_sql.schema import ChangeKind, certificate_bindings, devices
from watchword_server.adapters.store_sql.upsert import Upsert
from watchword_server.adapters.store_sql.writer import WriteTransaction
from watchword_server.core.model.devices import DeviceState
from watchword_server.core.model.names import DeviceId, Fingerprint, Instant, KeyFingerprint
from watchword_server.core.model.results import CertificateBinding, JudgedClaim

_bound = certificate_bindings.c
_is_endless = func.count() > func.count(_bound.proven_until)
_OF_KEY = (
    select(_bound.fingerprint, devices.c.id, devices.c.state, case((_is_endless, None), else_=func.max(_bound.proven_until)))
    .select_from(certificate_bindings.join(devices))
    .where(_bound.key_sha256 == bindparam("key"))
    .group_by(_bound.fingerprint, devices.c.id, devices.c.state)
    .order_by(devices.c.id, _bound.fingerprint)
)
_ROWS = Upsert(certificate_bindings)
_END_OF_DEVICE = (
    update(certificate_bindings)
    .where(_bound.device_id == bindparam("of_device"))
    .where(or_(_bound.proven_until.is_(None), _bound.proven_until > bindparam("at")))
    .values(proven_until=bindparam("at"))
    .returning(_bound.key_sha256)
)
_END_OF_CHECK = _END_OF_DEVICE.where(_bound.check_id == bindparam("of_check"))


def bindings(connection: Connection, key: KeyFingerprint) -> tuple[Sequence[CertificateBinding], int]:
    """One entry a device and certificate, proven until the last of its checks' proofs ends; and the revision."""
    found = [
        CertificateBinding(Fingerprint(certificate), DeviceId(id_), DeviceState(state), until, key)
        for certificate, id_, state, until in connection.execute(_OF_KEY, {"key": key}).all()
    ]
    return found, revision(connection)


def follow(transaction: WriteTransaction, device_id: DeviceId, judged: JudgedClaim, *, ended_at: Instant) -> None:
    """Binds what the claim proves until its result expires; what this check bound before and is not proved any more ends."""
    check_id, proven = judged.result.check_id, judged.proven_certificate
    ended = transaction.connection.execute(_END_OF_CHECK, {"of_device": device_id, "of_check": check_id, "at": ended_at})
    _log(transaction, ended.scalars().all(), at=ended_at)
    if proven is not None:
        row = {"fingerprint": proven, "device_id": device_id, "check_id": check_id}
        _ROWS.put(transaction.connection, row, {"proven_until": judged.result.expires_at, "key_sha256": judged.proven_key})
        _log(transaction, [judged.proven_key], at=ended_at)


def end_all(transaction: WriteTransaction, device_id: DeviceId, *, at: Instant) -> None:
    """Ends all proofs of a device; those that ended before keep their end."""
    ended = transaction.connection.execute(_END_OF_DEVICE, {"of_device": device_id, "at": at})
    _log(transaction, ended.scalars().all(), at=at)


def _log(transaction: WriteTransaction, keys: Iterable[bytes | None], *, at: Instant) -> None:
    for key in keys:
        if key is not None:  # nobody finds a row of before this column: nobody remembers it either
            transaction.changed(ChangeKind.CERTIFICATE, key.hex(), at=at)

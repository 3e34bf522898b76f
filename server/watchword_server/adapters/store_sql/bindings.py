"""Which certificate was proved by which device, for which check, and until when."""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, case, func, or_, select, update

from watchword_server.adapters.store_sql.devices import revision
from watchword_server.adapters.store_sql.schema import ChangeKind, certificate_bindings, devices
from watchword_server.adapters.store_sql.upsert import Upsert
from watchword_server.adapters.store_sql.writer import WriteTransaction
from watchword_server.core.model import CertificateBinding, DeviceId, DeviceState, Fingerprint, Instant, JudgedClaim

_bound = certificate_bindings.c
_is_endless = func.count() > func.count(_bound.proven_until)
_OF_CERTIFICATE = (
    select(devices.c.id, devices.c.state, case((_is_endless, None), else_=func.max(_bound.proven_until)))
    .select_from(certificate_bindings.join(devices))
    .where(_bound.fingerprint == bindparam("certificate"))
    .group_by(devices.c.id, devices.c.state)
    .order_by(devices.c.id)
)
_ROWS = Upsert(certificate_bindings)
_END_OF_DEVICE = (
    update(certificate_bindings)
    .where(_bound.device_id == bindparam("of_device"))
    .where(or_(_bound.proven_until.is_(None), _bound.proven_until > bindparam("at")))
    .values(proven_until=bindparam("at"))
    .returning(_bound.fingerprint)
)
_END_OF_CHECK = _END_OF_DEVICE.where(_bound.check_id == bindparam("of_check"))


def bindings(connection: Connection, certificate: Fingerprint) -> tuple[Sequence[CertificateBinding], int]:
    """One entry a device, proven until the last of its checks' proofs ends; and the revision."""
    rows = connection.execute(_OF_CERTIFICATE, {"certificate": certificate}).all()
    found = [CertificateBinding(certificate, DeviceId(id_), DeviceState(state), until) for id_, state, until in rows]
    return found, revision(connection)


def follow(transaction: WriteTransaction, device_id: DeviceId, judged: JudgedClaim, *, ended_at: Instant) -> None:
    """Binds what the claim proves until its result expires; what this check bound before and is not proved any more ends."""
    check_id, proven = judged.result.check_id, judged.proven_certificate
    ended = transaction.connection.execute(_END_OF_CHECK, {"of_device": device_id, "of_check": check_id, "at": ended_at})
    _log(transaction, ended.scalars().all(), at=ended_at)
    if proven is not None:
        key = {"fingerprint": proven, "device_id": device_id, "check_id": check_id}
        _ROWS.put(transaction.connection, key, {"proven_until": judged.result.expires_at, "key_sha256": judged.proven_key})
        _log(transaction, [proven], at=ended_at)


def end_all(transaction: WriteTransaction, device_id: DeviceId, *, at: Instant) -> None:
    """Ends all proofs of a device; those that ended before keep their end."""
    ended = transaction.connection.execute(_END_OF_DEVICE, {"of_device": device_id, "at": at})
    _log(transaction, ended.scalars().all(), at=at)


def _log(transaction: WriteTransaction, certificates: Sequence[bytes], *, at: Instant) -> None:
    for certificate in certificates:
        transaction.changed(ChangeKind.CERTIFICATE, certificate.hex(), at=at)

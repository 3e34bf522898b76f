"""Certificates that a responder called revoked: a row for each and each uploaded CA whose entry named the responder."""

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, delete, or_, select

from watchword_server.adapters.store_sql.schema import ChangeKind, ocsp_revocations
from watchword_server.adapters.store_sql.upsert import Upsert
from watchword_server.adapters.store_sql.writer import WriteTransaction
from watchword_server.core.certificates.names import CanonicalName
from watchword_server.core.certificates.revocation import IssuerKey, OcspStatus, RevocationReason, Revoked
from watchword_server.core.model.names import CertificateId, Instant
from watchword_server.ports.revocation import StoredOcspRevocation

_UPSERT: Final = Upsert(ocsp_revocations)


def all_revocations(connection: Connection) -> Sequence[StoredOcspRevocation]:
    """All of them, the earliest answers first."""
    table = ocsp_revocations
    rows = connection.execute(select(table).order_by(table.c.this_update, table.c.certificate_id, table.c.serial_number))
    return [
        StoredOcspRevocation(
            certificate_id=CertificateId(row.certificate_id),
            issuer=IssuerKey(CanonicalName(row.issuer_name), row.issuer_key_sha256),
            serial_number=int(row.serial_number, 16),
            status=OcspStatus(
                revoked=Revoked(Instant(row.revoked_at), RevocationReason(row.reason)),
                this_update=Instant(row.this_update),
                next_update=Instant(row.next_update),
                responder=None if row.responder is None else int(row.responder, 16),
            ),
            not_after=Instant(row.not_after),
        )
        for row in rows
    ]


def commit(transaction: WriteTransaction, stored: StoredOcspRevocation, *, now: Instant) -> int:
    """Puts a revocation in the place of the one that was there."""
    status = stored.status
    if status.revoked is None:
        raise ValueError("only what is revoked is kept")
    _UPSERT.put(
        transaction.connection,
        {
            "certificate_id": stored.certificate_id,
            "issuer_name": stored.issuer.name,
            "issuer_key_sha256": stored.issuer.public_key_sha256,
            "serial_number": f"{stored.serial_number:x}",
        },
        {
            "revoked_at": status.revoked.revoked_at,
            "reason": status.revoked.reason.value,
            "this_update": status.this_update,
            "next_update": status.next_update,
            "responder": None if status.responder is None else f"{status.responder:x}",
            "not_after": stored.not_after,
        },
    )
    return transaction.changed(ChangeKind.REVOCATION, stored.certificate_id, at=now)


def remove(transaction: WriteTransaction, issuer: IssuerKey, serial_number: int, *, before: Instant, now: Instant) -> int:
    """Forgets what was said of a certificate before an instant."""
    columns = ocsp_revocations.c
    about = and_(
        columns.issuer_name == issuer.name,
        columns.issuer_key_sha256 == issuer.public_key_sha256,
        columns.serial_number == f"{serial_number:x}",
        columns.this_update < before,
    )
    return _delete(transaction, about, now=now)


def retire(transaction: WriteTransaction, certificate_ids: Collection[CertificateId], *, now: Instant) -> int:
    """Forgets what is there for other CAs, and of certificates that have ended."""
    columns = ocsp_revocations.c
    return _delete(transaction, or_(columns.certificate_id.not_in(sorted(certificate_ids)), columns.not_after < now), now=now)


def _delete(transaction: WriteTransaction, which: ColumnElement[bool], *, now: Instant) -> int:
    table = ocsp_revocations
    for certificate_id in transaction.connection.execute(select(table.c.certificate_id).distinct().where(which)).scalars().all():
        transaction.changed(ChangeKind.REVOCATION, certificate_id, at=now)
    transaction.connection.execute(delete(table).where(which))
    return transaction.revision

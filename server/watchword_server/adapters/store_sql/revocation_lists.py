"""Revocation lists: what is known of them, and their bytes in pieces."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Connection, and_, delete, insert, select
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from watchword_server.adapters.store_sql.schema import ChangeKind, revocation_list_pieces, revocation_lists
from watchword_server.adapters.store_sql.writer import WriteTransaction
from watchword_server.core.audit import Action, Detail, Target
from watchword_server.core.model.names import CertificateId, Instant
from watchword_server.errors import NotFoundError
from watchword_server.ports.revocation import ListSource, StoredRevocationList

_MAX_PIECE: Final = 1 << 20


def all_lists(connection: Connection) -> Sequence[StoredRevocationList]:
    """All of them, in a stable order."""
    table = revocation_lists
    rows = connection.execute(select(table).order_by(table.c.certificate_id, table.c.source, table.c.place)).all()
    return [
        StoredRevocationList(
            certificate_id=CertificateId(row.certificate_id),
            source=ListSource(row.source),
            place=row.place,
            sha256=row.sha256,
            length=row.length,
            received_at=Instant(row.received_at),
        )
        for row in rows
    ]


def read(connection: Connection, stored: StoredRevocationList, take: Callable[[bytes], None]) -> None:
    """Hands over the pieces in order. Raises `NotFoundError` if this very list is not kept any more."""
    known = select(revocation_lists.c.sha256).where(_at(revocation_lists.c, stored))
    if connection.execute(known).scalar_one_or_none() != stored.sha256:
        raise NotFoundError(f"the list of `{stored.place}` is another one by now")
    pieces = revocation_list_pieces
    rows = select(pieces.c.data).where(_at(pieces.c, stored)).order_by(pieces.c.number)
    for data in connection.execute(rows.execution_options(yield_per=1)).scalars():
        take(data)


def commit(transaction: WriteTransaction, stored: StoredRevocationList, pieces: Iterable[bytes]) -> int:
    """Puts a list in the place of the one that was there."""
    _delete(transaction.connection, stored)
    row = {
        "certificate_id": stored.certificate_id,
        "source": stored.source.value,
        "place": stored.place,
    }
    described = {"sha256": stored.sha256, "length": stored.length, "received_at": stored.received_at}
    transaction.connection.execute(insert(revocation_lists), {**row, **described})
    for number, data in enumerate(pieces):
        if len(data) > _MAX_PIECE:
            raise ValueError(f"a piece is at most {_MAX_PIECE} bytes, not {len(data)}")
        transaction.connection.execute(insert(revocation_list_pieces), {**row, "number": number, "data": data})
    revision = transaction.changed(ChangeKind.REVOCATION, stored.certificate_id, at=stored.received_at)
    if stored.source is ListSource.UPLOAD:
        details: dict[str, Detail] = {"sha256": stored.sha256.hex(), "length": stored.length}
        target = Target("certificates", stored.certificate_id)
        transaction.recorded(Action.REVOCATION_LIST_UPLOADED, target, at=stored.received_at, details=details)
    return revision


def remove(transaction: WriteTransaction, lists: Sequence[StoredRevocationList], *, now: Instant) -> int:
    """Forgets lists; one that another has replaced meanwhile stays."""
    for stored in lists:
        known = select(revocation_lists.c.sha256).where(_at(revocation_lists.c, stored))
        if transaction.connection.execute(known).scalar_one_or_none() == stored.sha256:
            _delete(transaction.connection, stored)
            transaction.changed(ChangeKind.REVOCATION, stored.certificate_id, at=now)
    return transaction.revision


def _delete(connection: Connection, stored: StoredRevocationList) -> None:
    for table in (revocation_list_pieces, revocation_lists):
        connection.execute(delete(table).where(_at(table.c, stored)))


def _at(columns: "ReadOnlyColumnCollection[str, Column[Any]]", stored: StoredRevocationList) -> ColumnElement[bool]:
    return and_(
        columns.certificate_id == stored.certificate_id,
        columns.source == stored.source.value,
        columns.place == stored.place,
    )

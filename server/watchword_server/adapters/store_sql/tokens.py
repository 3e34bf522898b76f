"""Enrollment tokens and API tokens."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from watchword_server.adapters.store_sql.devices import find
from watchword_server.adapters.store_sql.schema import ChangeKind, api_tokens, enrollment_tokens
from watchword_server.adapters.store_sql.writer import WriteTransaction
from watchword_server.core.enrollment import EnrollmentToken
from watchword_server.core.model import DeviceId, Instant
from watchword_server.errors import NotFoundError
from watchword_server.ports import ApiToken


def add_enrollment_token(transaction: WriteTransaction, token: EnrollmentToken) -> None:
    """Stores a new one."""
    if token.device_id is not None and find(transaction.connection, token.device_id) is None:
        raise NotFoundError(f"no device `{token.device_id}`")
    transaction.connection.execute(
        insert(enrollment_tokens).values(
            id=token.id,
            secret_sha256=token.secret_sha256,
            max_uses=token.max_uses,
            uses=token.uses,
            created_at=token.created_at,
            expires_at=token.expires_at,
            revoked=token.revoked,
            needs_approval=token.needs_approval,
            serial_number=token.serial_number,
            platform=token.platform,
            device_id=token.device_id,
        )
    )
    transaction.changed(ChangeKind.ENROLLMENT_TOKEN, token.id, at=token.created_at)


def find_enrollment_token(connection: Connection, token_id: str) -> EnrollmentToken | None:
    """The enrollment token with this id."""
    row = connection.execute(select(enrollment_tokens).where(enrollment_tokens.c.id == token_id)).one_or_none()
    return None if row is None else _enrollment_token(row)


def all_enrollment_tokens(connection: Connection) -> Sequence[EnrollmentToken]:
    """All of them, newest first."""
    newest_first = select(enrollment_tokens).order_by(enrollment_tokens.c.created_at.desc(), enrollment_tokens.c.id)
    return [_enrollment_token(row) for row in connection.execute(newest_first).all()]


def add_api_token(transaction: WriteTransaction, token: ApiToken) -> None:
    """Stores a new one."""
    transaction.connection.execute(
        insert(api_tokens).values(
            id=token.id,
            secret_sha256=token.secret_sha256,
            name=token.name,
            role=token.role,
            created_at=token.created_at,
            expires_at=token.expires_at,
            revoked=token.revoked,
        )
    )
    transaction.changed(ChangeKind.API_TOKEN, token.id, at=token.created_at)


def find_api_token(connection: Connection, token_id: str) -> ApiToken | None:
    """The API token with this id."""
    row = connection.execute(select(api_tokens).where(api_tokens.c.id == token_id)).one_or_none()
    return None if row is None else _api_token(row)


def all_api_tokens(connection: Connection) -> Sequence[ApiToken]:
    """All of them, newest first."""
    newest_first = select(api_tokens).order_by(api_tokens.c.created_at.desc(), api_tokens.c.id)
    return [_api_token(row) for row in connection.execute(newest_first).all()]


def revoke_token(transaction: WriteTransaction, token_id: str) -> None:
    """Ends the token of either kind with this id; one that ended stays so."""
    found = False
    for table, kind in ((enrollment_tokens, ChangeKind.ENROLLMENT_TOKEN), (api_tokens, ChangeKind.API_TOKEN)):
        if transaction.connection.execute(update(table).where(table.c.id == token_id).values(revoked=True)).rowcount:
            transaction.changed(kind, token_id, at=transaction.clock_floor)
            found = True
    if not found:
        raise NotFoundError(f"no token `{token_id}`")


def _enrollment_token(row: Row[Any]) -> EnrollmentToken:
    return EnrollmentToken(
        id=row.id,
        secret_sha256=row.secret_sha256,
        max_uses=row.max_uses,
        uses=row.uses,
        created_at=Instant(row.created_at),
        expires_at=Instant(row.expires_at),
        revoked=row.revoked,
        needs_approval=row.needs_approval,
        serial_number=row.serial_number,
        platform=row.platform,
        device_id=None if row.device_id is None else DeviceId(row.device_id),
    )


def _api_token(row: Row[Any]) -> ApiToken:
    return ApiToken(
        id=row.id,
        secret_sha256=row.secret_sha256,
        name=row.name,
        role=row.role,
        created_at=Instant(row.created_at),
        expires_at=None if row.expires_at is None else Instant(row.expires_at),
        revoked=row.revoked,
    )

"""Enrollment tokens and API tokens."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, insert, or_, select, update

from watchword_server.adapters.store_sql.devices import find
from watchword_server.adapters.store_sql.schema import ChangeKind, api_tokens, enrollment_tokens
from watchword_server.adapters.store_sql.writer import WriteTransaction
from watchword_server.core.audit import Action, Detail, Target
from watchword_server.core.enrollment import EnrollmentToken
from watchword_server.core.model.names import DeviceId, Instant
from watchword_server.core.times import rfc3339
from watchword_server.errors import NotFoundError
from watchword_server.ports.tokens import ApiToken

_KINDS: Final = (
    (enrollment_tokens, ChangeKind.ENROLLMENT_TOKEN, Action.ENROLLMENT_TOKEN_REVOKED),
    (api_tokens, ChangeKind.API_TOKEN, Action.API_TOKEN_REVOKED),
)


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
            owner=token.owner,
        )
    )
    transaction.changed(ChangeKind.ENROLLMENT_TOKEN, token.id, at=token.created_at)
    bound: dict[str, Detail] = {name: getattr(token, name) for name in ("serial_number", "platform", "device_id", "owner")}
    transaction.recorded(
        Action.ENROLLMENT_TOKEN_CREATED,
        Target("enrollment_token", token.id),
        at=token.created_at,
        details={
            "max_uses": token.max_uses,
            "expires_at": rfc3339(token.expires_at),
            "needs_approval": token.needs_approval,
            **{name: value for name, value in bound.items() if value is not None},
        },
    )


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
    transaction.recorded(
        Action.API_TOKEN_CREATED,
        Target("api_token", token.id, token.name or None),
        at=token.created_at,
        details={"role": token.role, "expires_at": rfc3339(token.expires_at)},
    )


def find_api_token(connection: Connection, token_id: str) -> ApiToken | None:
    """The API token with this id."""
    row = connection.execute(select(api_tokens).where(api_tokens.c.id == token_id)).one_or_none()
    return None if row is None else _api_token(row)


def all_api_tokens(connection: Connection) -> Sequence[ApiToken]:
    """All of them, newest first."""
    newest_first = select(api_tokens).order_by(api_tokens.c.created_at.desc(), api_tokens.c.id)
    return [_api_token(row) for row in connection.execute(newest_first).all()]


def revoke_token(transaction: WriteTransaction, token_id: str, *, now: Instant) -> None:
    """Ends the token of either kind with this id; one that ended stays so."""
    found = False
    for table, kind, action in _KINDS:
        revoked = transaction.connection.execute(select(table.c.revoked).where(table.c.id == token_id)).scalar_one_or_none()
        found = found or revoked is not None
        if revoked is False:
            transaction.connection.execute(update(table).where(table.c.id == token_id).values(revoked=True))
            transaction.changed(kind, token_id, at=now)
            transaction.recorded(action, Target(kind.value, token_id), at=now)
    if not found:
        raise NotFoundError(f"no token `{token_id}`")


def save_uses(transaction: WriteTransaction, used: Mapping[str, Instant]) -> None:
    """Keeps when API tokens were last used."""
    later = update(api_tokens).where(
        api_tokens.c.id == bindparam("of_token"),
        or_(api_tokens.c.last_used_at.is_(None), api_tokens.c.last_used_at < bindparam("used_at")),
    )
    rows = [{"of_token": token_id, "used_at": at} for token_id, at in used.items()]
    if rows:
        transaction.connection.execute(later.values(last_used_at=bindparam("used_at")), rows)


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
        owner=row.owner,
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
        last_used_at=None if row.last_used_at is None else Instant(row.last_used_at),
    )

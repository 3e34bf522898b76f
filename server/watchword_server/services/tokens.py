"""Making tokens: shown once, kept as SHA-256. A random token of 256 bits needs no slow hash."""

import base64
import hashlib
from dataclasses import dataclass

import structlog

from watchword_server import events
from watchword_server.core.enrollment import EnrollmentToken, normal_serial_number
from watchword_server.core.model.names import DeviceId, Instant
from watchword_server.ports.machine import Clock, Randomness
from watchword_server.ports.tokens import ApiToken, TokenStore

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Creates and revokes tokens."""

    store: TokenStore
    clock: Clock
    fresh_bytes: Randomness

    async def create_enrollment_token(
        self,
        *,
        max_uses: int,
        expires_in_seconds: int,
        needs_approval: bool,
        serial_number: str | None,
        platform: str | None,
        device_id: DeviceId | None,
        owner: str | None = None,
    ) -> tuple[EnrollmentToken, str]:
        """A token and its text, `ww1.<id>.<secret>`. Raises `NotFoundError` for an unknown device."""
        token_id, secret = self._fresh()
        now = self.clock.now()
        token = EnrollmentToken(
            id=token_id,
            secret_sha256=hashlib.sha256(secret.encode()).digest(),
            max_uses=max_uses,
            uses=0,
            created_at=now,
            expires_at=Instant(now + expires_in_seconds),
            needs_approval=needs_approval,
            serial_number=None if serial_number is None else normal_serial_number(serial_number),
            platform=platform,
            device_id=device_id,
            owner=owner,
        )
        await self.store.add_enrollment_token(token)
        _log.info(events.TOKEN_CREATED, token_id=token_id, kind="enrollment", max_uses=max_uses)
        return token, f"ww1.{token_id}.{secret}"

    async def create_api_token(self, *, name: str, role: str, expires_in_seconds: int | None) -> tuple[ApiToken, str]:
        """A token and its text, `wwa.<id>.<secret>`."""
        token_id, secret = self._fresh()
        now = self.clock.now()
        token = ApiToken(
            id=token_id,
            secret_sha256=hashlib.sha256(secret.encode()).digest(),
            name=name,
            role=role,
            created_at=now,
            expires_at=None if expires_in_seconds is None else Instant(now + expires_in_seconds),
        )
        await self.store.add_api_token(token)
        _log.info(events.TOKEN_CREATED, token_id=token_id, kind="api", role=role)
        return token, f"wwa.{token_id}.{secret}"

    async def revoke(self, token_id: str) -> None:
        """Ends a token of either kind. Raises `NotFoundError`."""
        await self.store.revoke_token(token_id, now=self.clock.now())
        _log.info(events.TOKEN_REVOKED, token_id=token_id)

    def _fresh(self) -> tuple[str, str]:
        return _text(self.fresh_bytes(12)), _text(self.fresh_bytes(32))


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")

"""Service tokens: what a machine shows in place of a user. Recognised on each request; credentials are made here, told once."""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final, cast

import structlog

from watchword_server import events
from watchword_server.configuration.document.base import Section
from watchword_server.configuration.document.sections import validate_entry
from watchword_server.configuration.document.service_tokens import ServiceToken as ServiceTokenEntry
from watchword_server.configuration.service_tokens import with_credential
from watchword_server.core.model.names import Instant
from watchword_server.core.rules import ServiceToken
from watchword_server.core.snapshot import RuleSnapshot
from watchword_server.ports.machine import Clock, Randomness
from watchword_server.ports.rules import StoredObject
from watchword_server.services.resolving import ServiceCredential
from watchword_server.services.rules import Rules

_log = structlog.get_logger(__name__)

_NO_SECRET: Final = bytes(32)  # nothing hashes to it that anybody knows
_NOBODYS: Final = ServiceToken(id="", name="", client_id=None, secret_sha256=None, expires_at=None)


def recognise(credential: ServiceCredential, snapshot: RuleSnapshot, *, now: Instant) -> ServiceToken | None:
    """The token whose credential this is, if it is valid now. An unknown client id is as much work as a known one."""
    token = snapshot.service_token_by_client_id.get(credential.client_id, _NOBODYS)
    shown = hashlib.sha256(credential.client_secret.encode()).digest()
    is_right = hmac.compare_digest(shown, token.secret_sha256 or _NO_SECRET) and token.secret_sha256 is not None
    return token if is_right and (token.expires_at is None or now < token.expires_at) else None


@dataclass(frozen=True, slots=True)
class IssuedCredential:
    """A new credential of a service token; the only place where its secret is."""

    token_id: str
    name: str
    client_id: str
    client_secret: str
    expires_at: Instant | None  # None: never


@dataclass(frozen=True, slots=True)
class ServiceTokens:
    """Makes credentials for the service tokens of the rules."""

    rules: Rules
    clock: Clock
    fresh_bytes: Randomness

    async def issue(self, name_or_id: str, *, expires_in_seconds: float | None = None) -> IssuedCredential:
        """A credential in place of the one the token had, which ends at once; in force when this returns.

        It lives as long as the token's entry says, or `expires_in_seconds`. Raises `NotFoundError`, `ConflictError`,
        `StoreUnavailableError`.
        """
        client_id, secret = f"{self.fresh_bytes(16).hex()}.access", self.fresh_bytes(32).hex()
        expires_at: Instant | None = None

        def change(stored: StoredObject) -> StoredObject:
            nonlocal expires_at
            lifetime = _lifetime_seconds(stored) if expires_in_seconds is None else expires_in_seconds
            expires_at = None if lifetime is None else Instant(self.clock.now() + lifetime)
            digest = hashlib.sha256(secret.encode()).digest()
            return with_credential(stored, client_id=client_id, secret_sha256=digest, expires_at=expires_at)

        entry = await self.rules.amend(Section.SERVICE_TOKENS, name_or_id, change)
        _log.info(events.TOKEN_CREATED, token_id=entry.id, kind="service")
        return IssuedCredential(entry.id, entry.name, client_id, secret, expires_at)


def _lifetime_seconds(stored: StoredObject) -> float | None:
    """How long the entry lets a credential live; None: for ever."""
    entry = validate_entry(Section.SERVICE_TOKENS, stored.name, stored.body)
    return cast("ServiceTokenEntry", entry).expires_seconds

"""Enrollment tokens, API tokens, credentials of service tokens: made, listed, ended.

A secret is in one answer, the one that made it.
"""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from watchword_server.core.enrollment import normal_serial_number
from watchword_server.core.model.names import DeviceId
from watchword_server.core.times import rfc3339
from watchword_server.doors.operators.authentication import Authentication
from watchword_server.doors.operators.queries import Email
from watchword_server.ports.machine import Clock
from watchword_server.ports.tokens import TokenStore
from watchword_server.services.rules_in_force import RulesInForce
from watchword_server.services.service_tokens import ServiceTokens
from watchword_server.services.token_uses import TokenUses
from watchword_server.services.tokens import Tokens


def _serial_number(text: str) -> str:
    """Raises `ValueError`: of what is none, a token would be bound to nothing."""
    if normal_serial_number(text) is None:
        raise ValueError("a serial number is not blank")
    return text


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class EnrollmentTokenRequest(_Body):
    """What a new enrollment token allows."""

    max_uses: int = Field(1, ge=1, le=100_000)
    expires_in_seconds: int = Field(3600, ge=1, le=366 * 86_400)
    needs_approval: bool = False
    serial_number: Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_serial_number)] | None = None
    platform: str | None = Field(None, pattern="^(linux|windows|mac)$")
    device_id: str | None = Field(None, min_length=1, max_length=128)
    owner: Email | None = None


class ApiTokenRequest(_Body):
    """What a new API token allows."""

    name: str = Field("", max_length=255)
    role: str = Field(pattern="^(read|write|admin)$")
    expires_in_seconds: int | None = Field(None, ge=1, le=3660 * 86_400)


class CredentialRequest(_Body):
    """How long a new credential of a service token lives; unset: as long as the token's entry says."""

    expires_in_seconds: int | None = Field(None, ge=1, le=3660 * 86_400)


@dataclass(frozen=True, slots=True)
class TokenRoutes:
    """`/api/v1/enrollment-tokens`, `/api/v1/tokens` and `/api/v1/service-tokens`."""

    tokens: Tokens
    store: TokenStore
    clock: Clock
    service_tokens: ServiceTokens
    in_force: RulesInForce
    uses: TokenUses

    def router(self, authentication: Authentication) -> APIRouter:
        """The routes."""
        read, write = Depends(authentication.require("read")), Depends(authentication.require("write"))
        admin = Depends(authentication.require("admin"))
        router = APIRouter(prefix="/api/v1")
        router.add_api_route("/enrollment-tokens", self.create_enrollment_token, methods=["POST"], dependencies=[write])
        router.add_api_route("/enrollment-tokens", self.list_enrollment_tokens, methods=["GET"], dependencies=[read])
        router.add_api_route("/tokens", self.create_api_token, methods=["POST"], dependencies=[admin])
        router.add_api_route("/tokens", self.list_api_tokens, methods=["GET"], dependencies=[admin])
        router.add_api_route("/tokens/{token_id}", self.revoke, methods=["DELETE"], dependencies=[admin])
        router.add_api_route("/service-tokens", self.list_service_tokens, methods=["GET"], dependencies=[read])
        credential = "/service-tokens/{name_or_id:path}/credential"
        router.add_api_route(credential, self.issue_credential, methods=["POST"], dependencies=[write])
        return router

    async def create_enrollment_token(self, body: EnrollmentTokenRequest) -> dict[str, object]:
        """A token that lets agents enroll."""
        token, text = await self.tokens.create_enrollment_token(
            max_uses=body.max_uses,
            expires_in_seconds=body.expires_in_seconds,
            needs_approval=body.needs_approval,
            owner=body.owner,
            serial_number=body.serial_number,
            platform=body.platform,
            device_id=None if body.device_id is None else DeviceId(body.device_id),
        )
        return {"id": token.id, "token": text, "expires_at": rfc3339(token.expires_at), "max_uses": token.max_uses}

    async def list_enrollment_tokens(self) -> dict[str, object]:
        """All enrollment tokens, without their secrets."""
        return {
            "tokens": [
                {
                    "id": token.id,
                    "uses": token.uses,
                    "max_uses": token.max_uses,
                    "expires_at": rfc3339(token.expires_at),
                    "revoked": token.revoked,
                    "expired": self.clock.now() >= token.expires_at,
                    "needs_approval": token.needs_approval,
                    "serial_number": token.serial_number,
                    "owner": token.owner,
                    "platform": token.platform,
                    "device_id": token.device_id,
                }
                for token in await self.store.enrollment_tokens()
            ]
        }

    async def create_api_token(self, body: ApiTokenRequest) -> dict[str, object]:
        """A token for the API."""
        token, text = await self.tokens.create_api_token(
            name=body.name, role=body.role, expires_in_seconds=body.expires_in_seconds
        )
        return {"id": token.id, "token": text, "role": token.role, "expires_at": rfc3339(token.expires_at)}

    async def list_api_tokens(self) -> dict[str, object]:
        """All API tokens, without their secrets."""
        return {
            "tokens": [
                {
                    "id": token.id,
                    "name": token.name,
                    "role": token.role,
                    "expires_at": rfc3339(token.expires_at),
                    "revoked": token.revoked,
                    "expired": token.expires_at is not None and self.clock.now() >= token.expires_at,
                    "created_at": rfc3339(token.created_at),
                    "last_used_at": rfc3339(self.uses.last_use(token)),
                }
                for token in await self.store.api_tokens()
            ]
        }

    async def revoke(self, token_id: str) -> dict[str, object]:
        """Ends a token of either kind."""
        await self.tokens.revoke(token_id)
        return {"id": token_id, "revoked": True}

    async def list_service_tokens(self) -> dict[str, object]:
        """All service tokens of the rules in force, without their secrets."""
        now, tokens = self.clock.now(), self.in_force.current.rules.service_tokens.values()
        return {
            "tokens": [
                {
                    "id": token.id,
                    "name": token.name,
                    "client_id": token.client_id,
                    "issued": token.client_id is not None,
                    "expires_at": rfc3339(token.expires_at),
                    "expired": token.expires_at is not None and now >= token.expires_at,
                }
                for token in tokens
            ]
        }

    async def issue_credential(self, name_or_id: str, body: CredentialRequest) -> dict[str, object]:
        """A new credential of a service token; the one it had ends at once."""
        issued = await self.service_tokens.issue(name_or_id, expires_in_seconds=body.expires_in_seconds)
        return {
            "id": issued.token_id,
            "name": issued.name,
            "client_id": issued.client_id,
            "client_secret": issued.client_secret,
            "expires_at": rfc3339(issued.expires_at),
        }

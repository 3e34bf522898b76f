"""The keys that assertions and device tokens are signed with."""

from dataclasses import dataclass

from fastapi import APIRouter, Depends

from watchword_server.core.audit import Action, Target
from watchword_server.core.times import rfc3339
from watchword_server.doors.operators.authentication import Authentication
from watchword_server.ports.machine import Clock
from watchword_server.ports.tokens import TokenKey, TokenKeys
from watchword_server.services.auditing import Auditing


@dataclass(frozen=True, slots=True)
class SigningKeyRoutes:
    """`/api/v1/signing-keys`: which there are, and the next one. A private key never leaves."""

    keys: TokenKeys
    clock: Clock
    auditing: Auditing

    def router(self, authentication: Authentication) -> APIRouter:
        """The routes."""
        router = APIRouter(prefix="/api/v1/signing-keys")
        admin = Depends(authentication.require("admin"))
        router.add_api_route("", self.list, methods=["GET"], dependencies=[admin])
        router.add_api_route("/rotate", self.rotate, methods=["POST"], dependencies=[admin])
        return router

    async def list(self) -> dict[str, object]:
        """Every key that is published, the oldest first: `next`, `signing` or `retiring`."""
        return {"signing_keys": [_told(key, standing) for key, standing in self.keys.standing(self.clock.now())]}

    async def rotate(self) -> dict[str, object]:
        """Makes the next key: published at once, it signs in ten minutes."""
        now = self.clock.now()
        key = self.keys.next_key(now)
        await self.auditing.act(Action.SIGNING_KEY_ROTATED, Target("signing_key", key.id))
        self.keys.rotate_to(key, now)
        return _told(key, "next")


def _told(key: TokenKey, standing: str) -> dict[str, object]:
    return {"id": key.id, "algorithm": key.algorithm, "created_at": rfc3339(key.created_at), "standing": standing}

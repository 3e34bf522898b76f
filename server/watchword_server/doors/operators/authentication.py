"""Who may do what: the owner of the local socket is admin; on TCP a token has a role."""

import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from fastapi import Request

from watchword_server.errors import NotAuthorizedError
from watchword_server.peer import OPERATORS_SOCKET, PEER, Peer
from watchword_server.ports import ApiToken, Clock, TokenStore
from watchword_server.services.limiting import TokenBuckets

_ROLES: Final = ("read", "write", "admin")  # each may do what those before it may
_BEARER: Final = re.compile(r"Bearer wwa\.([A-Za-z0-9_-]{16})\.([A-Za-z0-9_-]{43})")


class ForbiddenError(NotAuthorizedError):
    """A good token that may not do this."""

    code = "forbidden"


@dataclass(frozen=True, slots=True)
class Authentication:
    """Checks tokens; wrong ones are slowed down by address."""

    store: TokenStore
    clock: Clock
    failures: TokenBuckets

    def require(self, minimum: str) -> Callable[[Request], Awaitable[None]]:
        """A dependency that lets pass who has the role or a higher one."""

        async def dependency(request: Request) -> None:
            role = await self.role(request.scope[PEER])
            if _ROLES.index(role) < _ROLES.index(minimum):
                raise ForbiddenError(f"this needs a token with role `{minimum}`; yours has `{role}`")

        return dependency

    async def role(self, peer: Peer) -> str:
        """The role of whoever asks. Raises `NotAuthorizedError`, `RateLimitedError`."""
        token = await self.token(peer)
        return "admin" if token is None else token.role

    async def token(self, peer: Peer) -> ApiToken | None:
        """The token of whoever asks; None: the owner of the local socket. Raises as `role`."""
        if peer.socket_name == OPERATORS_SOCKET:
            return None
        header = peer.metadata.get("authorization", ())
        matched = _BEARER.fullmatch(header[0]) if len(header) == 1 else None
        token = None if matched is None else await self.store.api_token(matched[1])
        if matched is None or token is None or not _is_good(token, matched[2], now=self.clock.now()):
            self.failures.take(peer.address)
            raise NotAuthorizedError("send `Authorization: Bearer TOKEN`: `watchword token create --role ROLE` makes one")
        return token


def _is_good(token: ApiToken, secret: str, *, now: float) -> bool:
    return (
        hmac.compare_digest(token.secret_sha256, hashlib.sha256(secret.encode()).digest())
        and not token.revoked
        and (token.expires_at is None or now < token.expires_at)
    )

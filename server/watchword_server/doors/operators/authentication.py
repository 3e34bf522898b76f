"""Who may do what: the owner of the local socket is admin; on TCP a token has a role, ours or an OpenID Connect provider's."""

import contextlib
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from fastapi import Request

from watchword_server.acting import acting
from watchword_server.core.audit import Action, Actor
from watchword_server.core.model.names import Instant
from watchword_server.errors import NotAuthorizedError, TokenRefusedError
from watchword_server.peer import OPERATORS_SOCKET, PEER, Peer
from watchword_server.ports.machine import Clock
from watchword_server.ports.tokens import ApiToken, IssuedTokens, TokenStore
from watchword_server.services.auditing import Auditing
from watchword_server.services.limiting import TokenBuckets
from watchword_server.services.token_uses import TokenUses

_OPERATOR: Final = "watchword.operator"  # its key in an ASGI scope, once it is known who asks
_ROLES: Final = ("read", "write", "admin")  # each may do what those before it may
_BEARER: Final = re.compile(r"Bearer wwa\.([A-Za-z0-9_-]{16})\.([A-Za-z0-9_-]{43})")
_ISSUED: Final = re.compile(r"Bearer ([A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)")
_OURS: Final = "Bearer wwa."
_MAX_NAME: Final = 255
_NO_SECRET: Final = bytes(32)  # nothing hashes to it that anybody knows


class ForbiddenError(NotAuthorizedError):
    """A good token that may not do this."""

    code = "forbidden"


@dataclass(frozen=True, slots=True)
class Operator:
    """Who asks, and what that may do. `token` is one of ours, if it was with one."""

    role: str
    actor: Actor
    token: ApiToken | None = None


@dataclass(frozen=True, slots=True)
class Provider:
    """An OpenID Connect provider whose tokens operators may use. `roles`: value of the `claim` → role."""

    tokens: IssuedTokens
    claim: str
    roles: Mapping[str, str]

    async def operator(self, token: str, *, address: str, now: Instant) -> Operator:
        """Who a token says it is. Raises `TokenRefusedError`, `KeysUnavailableError`, `ForbiddenError` (without any role)."""
        claims = await self.tokens.claims(token, now=now)
        subject = claims["sub"]
        if not _is_name(subject):
            raise TokenRefusedError("of a subject that cannot be told")
        told = claims.get(self.claim)
        values = [told] if isinstance(told, str) else told if isinstance(told, list) else []
        roles = {self.roles[value] for value in values if isinstance(value, str) and value in self.roles}
        if not roles:
            raise ForbiddenError(f"your token's `{self.claim}` gives you no role here")
        name = next((str(each) for each in (claims.get("email"), claims.get("preferred_username")) if _is_name(each)), None)
        return Operator(max(roles, key=_ROLES.index), Actor("oidc", str(subject), name, address))


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= _MAX_NAME and value.isprintable()


@dataclass(frozen=True, slots=True)
class Authentication:
    """Checks tokens; wrong ones are slowed down by address, and recorded."""

    store: TokenStore
    clock: Clock
    failures: TokenBuckets
    auditing: Auditing
    uses: TokenUses
    provider: Provider | None = None

    def require(self, minimum: str) -> Callable[[Request], Awaitable[None]]:
        """A dependency that lets pass who has the role or a higher one."""

        async def dependency(request: Request) -> None:
            operator = await self.operator(request)
            if _ROLES.index(operator.role) < _ROLES.index(minimum):
                await self.auditing.failed(
                    Action.AUTHORIZATION_REFUSED, operator.actor, reason="role_insufficient", role=operator.role, needed=minimum
                )
                raise ForbiddenError(f"this needs a token with role `{minimum}`; yours has `{operator.role}`")

        return dependency

    async def operator(self, request: Request) -> Operator:
        """Who asks, found out once a request. Raises `NotAuthorizedError`, `RateLimitedError`."""
        known = request.scope.get(_OPERATOR)
        if not isinstance(known, Operator):
            known = request.scope[_OPERATOR] = await self._authenticated(request.scope[PEER])
        return known

    @contextlib.contextmanager
    def acting(self, operator: Operator) -> Iterator[None]:
        """What is changed in this block is that operator's doing."""
        with acting(operator.actor):
            yield

    async def _authenticated(self, peer: Peer) -> Operator:
        if peer.socket_name == OPERATORS_SOCKET:
            return Operator("admin", Actor("host", address=peer.address))
        header = peer.metadata.get("authorization", ())
        issued = _ISSUED.fullmatch(header[0]) if len(header) == 1 and not header[0].startswith(_OURS) else None
        if self.provider is not None and issued is not None:
            return await self._of_provider(self.provider, issued[1], peer)
        matched = _BEARER.fullmatch(header[0]) if len(header) == 1 else None
        token = None if matched is None else await self.store.api_token(matched[1])
        secret = "" if matched is None else matched[2]
        now = self.clock.now()
        fault = _fault(token, secret, now=now)
        if fault is not None or token is None:
            reason = "token_missing" if not header else "token_malformed" if matched is None else fault
            await self.auditing.failed(
                Action.AUTHENTICATION_FAILED,
                Actor("nobody", address=peer.address),
                reason=reason,
                **({} if token is None else {"token_id": token.id}),
            )
            self.failures.take(peer.address)
            raise NotAuthorizedError("send `Authorization: Bearer TOKEN`: `watchword token create --role ROLE` makes one")
        self.uses.notice(token.id, now)
        return Operator(token.role, Actor("api_token", token.id, token.name or None, peer.address), token)

    async def _of_provider(self, provider: Provider, token: str, peer: Peer) -> Operator:
        nobody = Actor("nobody", address=peer.address)
        try:
            return await provider.operator(token, address=peer.address, now=self.clock.now())
        except TokenRefusedError as refused:
            await self.auditing.failed(Action.AUTHENTICATION_FAILED, nobody, reason=f"oidc: {refused}")
            self.failures.take(peer.address)
            raise NotAuthorizedError("your token is not one that holds here: get another one from its provider") from refused
        except ForbiddenError:
            await self.auditing.failed(Action.AUTHORIZATION_REFUSED, nobody, reason="oidc: no role")
            raise


def _fault(token: ApiToken | None, secret: str, *, now: Instant) -> str | None:
    """What is wrong with it. An unknown token is as much work as a known one; who does not know the secret learns no more."""
    expected = _NO_SECRET if token is None else token.secret_sha256
    is_right = hmac.compare_digest(expected, hashlib.sha256(secret.encode()).digest())
    if token is None:
        return "token_unknown"
    if not is_right:
        return "token_wrong"
    if token.revoked:
        return "token_revoked"
    return "token_expired" if token.expires_at is not None and now >= token.expires_at else None

"""Who the user is, by a token of an identity provider's: verified here, whoever sent it."""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from cachetools import LRUCache

from watchword_server.core.facts import GROUPS
from watchword_server.core.model.decisions import AccessRequest, Identity
from watchword_server.core.model.names import Instant
from watchword_server.core.rules import UserTokens
from watchword_server.errors import TokenRefusedError
from watchword_server.ports.tokens import IssuedTokens
from watchword_server.services.facts import fact_value

# ASCII: case-folding makes one address of two beyond it, and proxies do not agree on how to write it in a header.
EMAIL: Final = re.compile(r"(?:(?![@,;<>\"\\])[!-~]){1,64}@[A-Za-z0-9.-]{1,253}")
_KNOWN_SECONDS: Final = 60.0  # a key that its issuer took back verifies nothing after this


@dataclass(frozen=True, slots=True)
class _Verified:
    """A token that held, until when it is not looked at again."""

    email: str
    groups: tuple[str, ...]
    until: float


@dataclass(slots=True)
class UserIdentities:
    """Verifies tokens, and remembers those that held. `verifier` makes what verifies the tokens of an issuer."""

    verifier: Callable[[UserTokens], IssuedTokens]
    remembered: int = 20_000
    _verifiers: dict[UserTokens, IssuedTokens] = field(default_factory=dict)
    _known: LRUCache[tuple[UserTokens, bytes], _Verified] = field(init=False)

    def __post_init__(self) -> None:
        self._known = LRUCache(self.remembered)

    async def identified(self, request: AccessRequest, token: str, tokens: UserTokens, *, now: Instant) -> AccessRequest:
        """The request with its user. Raises `TokenRefusedError`, `KeysUnavailableError`."""
        key = (tokens, hashlib.sha256(token.encode(errors="surrogatepass")).digest())
        known = self._known.get(key)
        if known is None or now >= known.until:
            known = self._known[key] = await self._verified(token, tokens, now=now)
        facts = dict(request.facts)
        if known.groups:
            facts[GROUPS] = fact_value(GROUPS, [{"id": name, "name": name} for name in known.groups])
        return replace(request, identity=Identity(known.email), facts=facts)

    async def _verified(self, token: str, tokens: UserTokens, *, now: Instant) -> _Verified:
        verifier = self._verifiers.get(tokens)
        if verifier is None:
            verifier = self._verifiers[tokens] = self.verifier(tokens)
        claims = await verifier.claims(token, now=now)
        email = claims.get(tokens.email_claim)
        if not isinstance(email, str) or not EMAIL.fullmatch(email):
            raise TokenRefusedError(f"without an email address in `{tokens.email_claim}`")
        if claims.get("email_verified") is False:
            raise TokenRefusedError("with an address that its issuer did not verify")
        ends = claims["exp"]
        until = min(now + _KNOWN_SECONDS, float(ends) if isinstance(ends, int | float) else 0.0)
        return _Verified(email.casefold(), _groups(claims, tokens.groups_claim), until)


def _groups(claims: Mapping[str, object], name: str | None) -> tuple[str, ...]:
    told = None if name is None else claims.get(name)
    if told is None:
        return ()
    if not isinstance(told, list) or not all(isinstance(each, str) for each in told):
        raise TokenRefusedError(f"with something else than a list of names in `{name}`")
    return tuple(told)

"""The keys of an OpenID Connect provider (RFC 7517), fetched when they are needed, kept for a while, and verified with.

Fails closed: while the provider is silent its keys hold for an hour, after that no token does. A key id that is not known makes
us ask again, at most twice a minute, so that a rotation needs nothing from anybody.
"""

import asyncio
import json
import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import jwt
import structlog

from watchword_server import events
from watchword_server.core.model.names import Instant
from watchword_server.errors import KeysUnavailableError, TokenRefusedError

_log = structlog.get_logger(__name__)

_REFRESH_SECONDS: Final = 600.0
_STALE_SECONDS: Final = 3600.0
_ASK_AGAIN_SECONDS: Final = 30.0
_TIMEOUT_SECONDS: Final = 5.0
_MAX_BYTES: Final = 256 * 1024
_MAX_KEYS: Final = 100
_MAX_TOKEN_CHARACTERS: Final = 16 * 1024
_TYPES: Final = {None, "JWT", "AT+JWT"}  # RFC 9068, 2.1


@dataclass(slots=True)
class Jwks:
    """Keys by their ids. Belongs to one event loop; one question is on its way at a time."""

    url: str
    timer: Callable[[], float] = time.monotonic
    transport: httpx.AsyncBaseTransport | None = None
    _keys: Mapping[str | None, jwt.PyJWK] = field(default_factory=dict)
    _read_at: float | None = None
    _asked_at: float | None = None
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def key(self, key_id: str | None) -> jwt.PyJWK:
        """Raises `TokenRefusedError` for a key that the provider does not have, `KeysUnavailableError`."""
        if self._age() > _REFRESH_SECONDS or key_id not in self._keys:
            async with self._asking:
                if self._age() > _REFRESH_SECONDS or key_id not in self._keys:
                    await self._ask()
        if self._age() > _STALE_SECONDS:
            raise KeysUnavailableError(f"the keys at `{self.url}` cannot be read: no token of this provider is taken meanwhile")
        found = self._keys.get(key_id)
        if found is None:
            raise TokenRefusedError("signed with a key that its issuer does not publish")
        return found

    def _age(self) -> float:
        return float("inf") if self._read_at is None else self.timer() - self._read_at

    async def _ask(self) -> None:
        now = self.timer()
        if self._asked_at is not None and now - self._asked_at < _ASK_AGAIN_SECONDS:
            return
        self._asked_at = now
        try:
            self._keys, self._read_at = _keys_of(await self._document()), now
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError, jwt.PyJWTError) as error:
            _log.warning(events.JWKS_UNREADABLE, url=self.url, error=str(error) or type(error).__name__)

    async def _document(self) -> object:
        async with (
            asyncio.timeout(_TIMEOUT_SECONDS),
            httpx.AsyncClient(transport=self.transport, timeout=_TIMEOUT_SECONDS, follow_redirects=False) as client,
            client.stream("GET", self.url, headers={"Accept": "application/json"}) as response,
        ):
            if response.status_code != httpx.codes.OK:
                raise ValueError(f"it answered {response.status_code}")
            content = bytearray()
            async for piece in response.aiter_bytes():
                content += piece
                if len(content) > _MAX_BYTES:
                    raise ValueError(f"it has more than {_MAX_BYTES} bytes")
        return json.loads(content)


def _keys_of(document: object) -> dict[str | None, jwt.PyJWK]:
    """The keys that verify signatures, by id; of one without an id there may be no other. Raises `ValueError`."""
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not 1 <= len(entries) <= _MAX_KEYS:
        raise ValueError(f"it is no key set (RFC 7517) of 1 to {_MAX_KEYS} keys")
    keys: dict[str | None, jwt.PyJWK] = {}
    for entry in entries:
        if not isinstance(entry, dict) or entry.get("kty") not in {"RSA", "EC", "OKP"} or entry.get("use", "sig") != "sig":
            continue  # a secret is nobody's to publish, and a key to encrypt with verifies nothing
        key_id = entry.get("kid")
        if key_id is not None and not isinstance(key_id, str):
            continue
        if key_id in keys:
            raise ValueError("two of its keys have one id")
        try:
            keys[key_id] = jwt.PyJWK.from_dict(entry)
        except (jwt.PyJWTError, ValueError, TypeError):
            continue  # of a kind that is not known here
    if not keys:
        raise ValueError("none of its keys can be used")
    return keys


@dataclass(frozen=True, slots=True)
class VerifiedTokens:
    """Tokens (RFC 7519) of one issuer for one audience."""

    issuer: str
    audience: str
    algorithms: Collection[str]
    leeway_seconds: float
    keys: Jwks

    async def claims(self, token: str, *, now: Instant) -> Mapping[str, object]:
        """What a token says, if all of it holds at `now`. Raises `TokenRefusedError`, `KeysUnavailableError`."""
        if len(token) > _MAX_TOKEN_CHARACTERS:
            raise TokenRefusedError(f"longer than {_MAX_TOKEN_CHARACTERS} characters")
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise TokenRefusedError("no signed token") from error
        algorithm, kind = header.get("alg"), header.get("typ")
        if not isinstance(algorithm, str) or algorithm not in self.algorithms:
            raise TokenRefusedError("signed with an algorithm that is not allowed here")
        if "crit" in header or (kind is not None and str(kind).upper() not in _TYPES):
            raise TokenRefusedError("of a type that is not known here")
        key = await self.keys.key(header.get("kid"))
        claims = self._verified(token, key, algorithm)
        _check_times(claims, now=now, leeway=self.leeway_seconds)
        return claims

    def _verified(self, token: str, key: jwt.PyJWK, algorithm: str) -> dict[str, Any]:
        try:
            return jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self.audience,
                issuer=self.issuer,
                # The times are compared with our clock, which never goes back.
                options={
                    "require": ["exp", "iss", "aud", "sub"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except jwt.InvalidAudienceError as error:
            raise TokenRefusedError("for another audience") from error
        except jwt.InvalidIssuerError as error:
            raise TokenRefusedError("of another issuer") from error
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise TokenRefusedError("not signed by its issuer, or not whole") from error


def _check_times(claims: Mapping[str, Any], *, now: Instant, leeway: float) -> None:
    times = {name: claims[name] for name in ("exp", "nbf", "iat") if name in claims}
    if any(isinstance(each, bool) or not isinstance(each, int | float) or not math.isfinite(each) for each in times.values()):
        raise TokenRefusedError("with a time that is none")
    if now >= times["exp"] + leeway:
        raise TokenRefusedError("expired")
    if any(times.get(name, now) > now + leeway for name in ("nbf", "iat")):
        raise TokenRefusedError("not valid yet")

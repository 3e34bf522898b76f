"""Device tokens: short-lived, signed by us, for one audience. They say which device it is and never how it stands.

Issued to a device that answers a challenge with its own key; shown by a client with a proof of a key of its own (RFC 9449's,
under names of ours), or bare where a caller's entry takes that.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cachetools import TTLCache

from watchword.envelope import TOKEN_TYPE
from watchword_server.core.keys import envelope_is_signed_by
from watchword_server.core.model.decisions import AccessRequest, ResolutionStrength
from watchword_server.core.model.devices import DeviceState
from watchword_server.core.model.evidence import Envelope
from watchword_server.core.model.names import DeviceId, Instant, SessionId
from watchword_server.core.rules import DeviceTokenUse
from watchword_server.errors import (
    DeviceNotActiveError,
    DeviceTokenRefusedError,
    EnvelopeInvalidError,
    ForeignEvidenceError,
    StaleChallengeError,
    TokenRefusedError,
)
from watchword_server.ports.machine import Clock, Randomness
from watchword_server.ports.memory import PostureMemory
from watchword_server.ports.tokens import TokenProofs, TokenSigning

TYPE: Final = "watchword-device+jwt"
LIFETIME_SECONDS: Final = 300
_PROOF_AGE_SECONDS: Final = 30
_MAX_PROOFS: Final = 200_000
_MAX_PROOF_ID: Final = 128
_PORTS: Final = {"http": 80, "https": 443}
_AUDIENCE: Final = re.compile(r"[ -~]{1,255}")
_THUMBPRINT: Final = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class TokenChallenge:
    """What a device has to answer; answered once."""

    device_id: DeviceId
    session_id: SessionId
    nonce: bytes
    audience: str
    issued_at: Instant


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What a device asks for, parsed. Not believed yet. `key_thumbprint` empty: a token that anybody may show."""

    device_id: DeviceId
    key_id: str
    audience: str
    session_id: SessionId
    nonce: bytes
    token_audience: str
    key_thumbprint: str


@dataclass(slots=True)
class DeviceTokens:
    """Issues them and knows them again. Runs in the event loop."""

    memory: PostureMemory
    clock: Clock
    fresh_bytes: Randomness
    audience: str
    issuer: str
    keys: TokenSigning
    proofs: TokenProofs
    challenge_max_age_seconds: float
    parse: Callable[[bytes], TokenRequest]
    _seen: TTLCache[tuple[str, str], bool] = field(init=False)

    def __post_init__(self) -> None:
        self._seen = TTLCache(_MAX_PROOFS, ttl=2 * _PROOF_AGE_SECONDS, timer=self.clock.now)

    def begin(self, device_id: DeviceId) -> TokenChallenge:
        """A challenge, for whoever asks: whether there is such a device is not said before its key is proven."""
        nonce, session_id = self.fresh_bytes(32), SessionId(self.fresh_bytes(16))
        return TokenChallenge(device_id, session_id, nonce, self.audience, self.clock.now())

    async def finish(self, challenge: TokenChallenge, envelope: Envelope) -> str:
        """The token of a device that may have one. Raises `EvidenceRejectedError`s, `StoreUnavailableError`."""
        posture = await self.memory.posture(challenge.device_id)
        if posture is None or posture.device.state is not DeviceState.ACTIVE or posture.device.lock is not None:
            raise DeviceNotActiveError("no active device")
        if posture.device.key_cloned_at is not None:
            raise DeviceNotActiveError("two machines have its key")
        if not envelope_is_signed_by(posture.device.key, envelope, payload_type=TOKEN_TYPE):
            raise EnvelopeInvalidError("not signed by the device's key as a request for a token")
        request, now = self.parse(envelope.payload), self.clock.now()
        named = (request.device_id, request.key_id, request.audience, request.session_id, request.nonce)
        known = (challenge.device_id, posture.device.key.key_id, challenge.audience, challenge.session_id, challenge.nonce)
        if named != known:
            raise ForeignEvidenceError("it names another device, key, audience, session or challenge")
        if now - challenge.issued_at > self.challenge_max_age_seconds:
            raise StaleChallengeError("answered too late")
        if not _AUDIENCE.fullmatch(request.token_audience) or (
            request.key_thumbprint and not _THUMBPRINT.fullmatch(request.key_thumbprint)
        ):
            raise ForeignEvidenceError("it asks for a token of no sensible audience or key")
        issued_at = int(now)
        claims: dict[str, object] = {
            "iss": self.issuer,
            "aud": request.token_audience,
            "sub": request.device_id,
            "iat": issued_at,
            "exp": issued_at + LIFETIME_SECONDS,
            "jti": self.fresh_bytes(16).hex(),
        }
        if request.key_thumbprint:
            claims["cnf"] = {"jkt": request.key_thumbprint}
        return self.keys.sign(claims, kind=TYPE, now=now)

    def device_of(
        self, token: str, proof: str | None, use: DeviceTokenUse, *, asked: AccessRequest, now: Instant
    ) -> tuple[DeviceId, ResolutionStrength]:
        """Whose token it is, and how strongly the request is bound to that device. Raises `DeviceTokenRefusedError`."""
        try:
            claims = self.keys.verified(token, kind=TYPE, audience=use.audience, issuer=self.issuer, now=now)
        except TokenRefusedError as error:
            raise DeviceTokenRefusedError("device_token_refused", str(error)) from None
        subject, confirmation = claims.get("sub"), claims.get("cnf")
        if not isinstance(subject, str):
            raise DeviceTokenRefusedError("device_token_refused", "without a device")
        if confirmation is None:
            if not use.bearer:
                raise DeviceTokenRefusedError("device_proof_refused", "a token of no key, and the caller takes none")
            return DeviceId(subject), ResolutionStrength.BEARER
        if proof is None:
            raise DeviceTokenRefusedError("device_proof_refused", "the token comes without a proof of its key")
        try:
            thumbprint, proven = self.proofs.verified(proof)
            self._check_proof(proven, token, asked, now)
        except TokenRefusedError as error:
            raise DeviceTokenRefusedError("device_proof_refused", str(error)) from None
        if not isinstance(confirmation, Mapping) or confirmation.get("jkt") != thumbprint:
            raise DeviceTokenRefusedError("device_proof_refused", "the proof is of another key than the token's")
        seen = (thumbprint, str(proven["jti"]))
        if seen in self._seen:
            raise DeviceTokenRefusedError("device_proof_refused", "the proof was shown before")
        self._seen[seen] = True
        return DeviceId(subject), ResolutionStrength.TOKEN

    def _check_proof(self, proven: Mapping[str, Any], token: str, asked: AccessRequest, now: Instant) -> None:
        """RFC 9449, 4.3: of this request, of this token, and young. Raises `TokenRefusedError`."""
        issued_at, jti = proven.get("iat"), proven.get("jti")
        if not isinstance(issued_at, int) or isinstance(issued_at, bool) or abs(now - issued_at) > _PROOF_AGE_SECONDS:
            raise TokenRefusedError(f"the proof is not of the last {_PROOF_AGE_SECONDS} seconds")
        if not isinstance(jti, str) or not 0 < len(jti) <= _MAX_PROOF_ID:
            raise TokenRefusedError("the proof has no id")
        if proven.get("htm") != asked.method or proven.get("htu") != _url(asked):
            raise TokenRefusedError("the proof is of another request")
        if proven.get("ath") != _digest(token):
            raise TokenRefusedError("the proof is of another token")


def _url(asked: AccessRequest) -> str:
    port = "" if asked.port in (None, _PORTS.get(asked.scheme)) else f":{asked.port}"
    return f"{asked.scheme}://{asked.host}{port}{asked.path}"


def _digest(token: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()

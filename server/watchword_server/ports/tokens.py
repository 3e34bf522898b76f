"""Tokens: operators' and agents', kept; those that are signed, here and elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from watchword_server.core.enrollment import EnrollmentToken
from watchword_server.core.model.names import Instant


@dataclass(frozen=True, slots=True)
class ApiToken:
    """An operator's token for the API. `role` is read, write or admin; `expires_at` None: never."""

    id: str
    secret_sha256: bytes
    name: str
    role: str
    created_at: Instant
    expires_at: Instant | None
    revoked: bool = False
    last_used_at: Instant | None = None  # to the minute; None: never


class TokenStore(Protocol):
    """Enrollment tokens and API tokens; secrets only as SHA-256."""

    async def add_enrollment_token(self, token: EnrollmentToken) -> None:
        """Stores a new token. Raises `NotFoundError` if it is bound to a device that does not exist."""
        ...

    async def enrollment_tokens(self) -> Sequence[EnrollmentToken]:
        """All of them, newest first."""
        ...

    async def add_api_token(self, token: ApiToken) -> None:
        """Stores a new token."""
        ...

    async def api_token(self, token_id: str) -> ApiToken | None:
        """The token with this id."""
        ...

    async def api_tokens(self) -> Sequence[ApiToken]:
        """All of them, newest first."""
        ...

    async def revoke_token(self, token_id: str, *, now: Instant) -> None:
        """Ends an enrollment or API token. Raises `NotFoundError`."""
        ...

    async def save_token_uses(self, used: Mapping[str, Instant]) -> None:
        """Keeps when API tokens were last used, by their ids."""
        ...


class TokenKey(Protocol):
    """A key of ours that signs tokens. `algorithm`: ES256 or EdDSA; `created_at`: from when it is published."""

    @property
    def id(self) -> str: ...  # noqa: D102 - fields
    @property
    def algorithm(self) -> str: ...  # noqa: D102
    @property
    def created_at(self) -> Instant: ...  # noqa: D102


class TokenSigning(Protocol):
    """Signs tokens of ours and knows them again."""

    def sign(self, claims: Mapping[str, object], *, kind: str, now: Instant) -> str:
        """A token of these claims; `kind` is its `typ`."""
        ...

    def verified(self, token: str, *, kind: str, audience: str, issuer: str, now: Instant) -> Mapping[str, Any]:
        """What a token of ours says, if all of it holds. Raises `TokenRefusedError`."""
        ...


class TokenProofs(Protocol):
    """Proofs of a key that a client has (RFC 9449)."""

    def verified(self, proof: str) -> tuple[str, Mapping[str, Any]]:
        """The key's thumbprint (RFC 7638), and what the key signed. Raises `TokenRefusedError`."""
        ...


class TokenKeys(Protocol):
    """The keys that our own tokens are signed with (RFC 7517)."""

    def standing(self, now: Instant) -> Sequence[tuple[TokenKey, str]]:
        """Each published key, the oldest first: `next`, `signing` or `retiring`."""
        ...

    def next_key(self, now: Instant) -> Any:  # noqa: ANN401 - only `rotate_to` looks into it
        """A key to rotate to. Raises `ConflictError`: not now, or not here."""
        ...

    def rotate_to(self, key: Any, now: Instant) -> None:  # noqa: ANN401 - as above
        """Publishes it; it signs after a while. Raises `StoreUnavailableError`."""
        ...


class IssuedTokens(Protocol):
    """Tokens (RFC 7519) that somebody else issues and signs."""

    async def claims(self, token: str, *, now: Instant) -> Mapping[str, object]:
        """What a token says, if all of it holds at `now`. Raises `TokenRefusedError`, `KeysUnavailableError`."""
        ...

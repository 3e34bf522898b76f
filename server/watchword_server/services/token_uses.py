"""When API tokens were last used: noticed in memory, written once a minute, never waited for by a request."""

from dataclasses import dataclass, field
from typing import Final

from watchword_server.core.model.names import Instant
from watchword_server.ports.tokens import ApiToken, TokenStore

_SAVE_SECONDS: Final = 60.0


@dataclass(slots=True)
class TokenUses:
    """The newest use of each token since the last time they were written."""

    store: TokenStore
    _used: dict[str, Instant] = field(default_factory=dict)
    _saved_at: Instant | None = None

    def notice(self, token_id: str, now: Instant) -> None:
        """A token was used."""
        self._used[token_id] = now

    def last_use(self, token: ApiToken) -> Instant | None:
        """When a token was last used."""
        known = [at for at in (token.last_used_at, self._used.get(token.id)) if at is not None]
        return max(known, default=None)

    async def save(self, now: Instant, *, at_once: bool = False) -> None:
        """Writes what is not written, if a minute has passed. Raises `StoreUnavailableError`: it is kept for the next time."""
        if not self._used or not (at_once or self._saved_at is None or now - self._saved_at >= _SAVE_SECONDS):
            return
        self._saved_at, used = now, self._used
        self._used = {}
        try:
            await self.store.save_token_uses(used)
        except BaseException:
            self._used = used | self._used
            raise

"""Token buckets: so many at once, then so many a second."""

from collections.abc import Callable
from dataclasses import dataclass, field

from cachetools import LRUCache

from watchword_server.errors import RateLimitedError


@dataclass(slots=True)
class TokenBuckets:
    """A bucket for each key; the least recently used are forgotten beyond `max_keys` (and so start full again)."""

    per_second: float
    burst: float
    timer: Callable[[], float]
    max_keys: int = 10_000
    _buckets: LRUCache[str, tuple[float, float]] = field(init=False)  # tokens left, and when that was

    def __post_init__(self) -> None:
        self._buckets = LRUCache(self.max_keys)

    def take(self, key: str) -> None:
        """Takes one token. Raises `RateLimitedError` when there is none."""
        now = self.timer()
        tokens, at = self._buckets.get(key, (self.burst, now))
        tokens = min(self.burst, tokens + (now - at) * self.per_second)
        if tokens < 1:
            self._buckets[key] = (tokens, now)
            raise RateLimitedError(f"too many requests by `{key}`", retry_after_seconds=(1 - tokens) / self.per_second)
        self._buckets[key] = (tokens - 1, now)

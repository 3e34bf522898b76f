"""How long to wait before doing something again, so that neither a fleet nor a flapping file floods the server."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

Uniform = Callable[[float, float], float]
"""A random number between the two."""

system_uniform: Final[Uniform] = random.SystemRandom().uniform
_MAX_DOUBLINGS: Final = 32


@dataclass(slots=True)
class Backoff:
    """Full jitter: `uniform(0, min(cap, base * 2^n))` after n failures in a row."""

    base_seconds: float
    cap_seconds: float
    uniform: Uniform = system_uniform
    failures: int = 0

    def next(self) -> float:
        """Seconds to wait after one more failure."""
        bound = min(self.cap_seconds, self.base_seconds * 2 ** min(self.failures, _MAX_DOUBLINGS))
        self.failures += 1
        return self.uniform(0, bound)

    def reset(self) -> None:
        """Forgets the failures."""
        self.failures = 0


@dataclass(slots=True)
class Allowance:
    """A token bucket: `at_once`, then `per_second`."""

    at_once: float
    per_second: float
    left: float = math.inf
    counted_at: float = -math.inf

    def wait(self, now: float) -> float:
        """Seconds until one more may happen; takes it from the allowance if that is at once."""
        self.left = min(self.at_once, self.left + self.per_second * (now - self.counted_at))
        self.counted_at = now
        if self.left >= 1:
            self.left -= 1
            return 0.0
        return (1 - self.left) / self.per_second

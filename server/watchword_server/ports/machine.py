"""What the machine gives: time and chance."""

from typing import Protocol

from watchword_server.core.model.names import Instant


class Clock(Protocol):
    """Time that never goes backwards, not even over a restart."""

    def now(self) -> Instant:
        """The current instant; never less than any returned before."""
        ...


class Randomness(Protocol):
    """Where nonces and ids come from."""

    def __call__(self, length: int, /) -> bytes:
        """`length` unpredictable bytes."""
        ...

"""The system's clock, made to never go backwards."""

import threading
import time
from collections.abc import Callable

from watchword_server.core.model.names import Instant

_BEGINNING = Instant(0.0)


class SystemClock:
    """Wall time, with a floor: where the wall clock steps back, time goes on from where it was at the monotonic clock's pace.

    `floor` is the latest instant known from before a restart; `wall` and `monotonic` tell seconds. May be asked by any thread.
    """

    def __init__(
        self,
        *,
        floor: Instant = _BEGINNING,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._last = max(wall(), floor)
        self._last_tick = monotonic()
        self._anchor, self._anchor_tick = self._last, self._last_tick

    def now(self) -> Instant:
        """The current instant; never less than any returned before, nor than the floor."""
        with self._lock:
            return self._advance()

    def jumped_forward(self, threshold_seconds: float) -> bool:
        """Whether, since this was last asked, time ran ahead of the monotonic clock by more than the threshold.

        So it does when the wall clock is set forward or the machine slept: results expire early then, and devices have to be
        asked anew.
        """
        with self._lock:
            now = self._advance()
            ahead = (now - self._anchor) - (self._last_tick - self._anchor_tick)
            self._anchor, self._anchor_tick = now, self._last_tick
            return ahead > threshold_seconds

    def _advance(self) -> Instant:
        wall = self._wall()  # before the monotonic clock: a pause between the two must not add up to a clock that runs ahead
        tick = self._monotonic()
        self._last = max(wall, self._last + (tick - self._last_tick))
        self._last_tick = tick
        return Instant(self._last)

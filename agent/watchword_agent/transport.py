"""Which way evidence goes: by a stream, or by single HTTPS requests where streams do not get through."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from watchword.v1 import posture_pb2 as pb
from watchword_agent.backoff import Uniform

Choice = Literal["auto", "stream", "https"]
_STREAMS_BEFORE_HTTPS: Final = 3  # that came to nothing, in a row
_STREAM_AGAIN_SECONDS: Final = 3600.0


class AttestCall(Protocol):
    """A stream, or what is used like one. `read` gives no message any more when it is over, or raises."""

    async def write(self, request: pb.AttestRequest, /) -> None:
        """Sends a message."""

    async def read(self) -> object:
        """The next message."""

    def cancel(self) -> object:
        """Ends it."""


@dataclass(slots=True)
class Transport:
    """`stream` and `single` open a session each; `single` None: there is no such way. Times are seconds of one clock."""

    stream: Callable[[], AttestCall]
    single: Callable[[], AttestCall] | None
    choice: Choice
    uniform: Uniform
    is_single: bool = field(init=False)
    _fruitless: int = 0
    _stream_due: float = 0.0

    def __post_init__(self) -> None:
        self.is_single = self.choice == "https" and self.single is not None

    def open(self, now: float) -> AttestCall:
        """The next session."""
        if self.is_single and self.choice == "auto" and now >= self._stream_due:
            self.is_single, self._fruitless = False, _STREAMS_BEFORE_HTTPS - 1  # one that comes to nothing is enough
        return self.open_any()

    def open_any(self) -> AttestCall:
        """A session by the way that was used last."""
        return self.single() if self.is_single and self.single is not None else self.stream()

    def ended(self, now: float, *, accepted: bool, by_the_server: bool) -> bool:
        """What became of the session; whether the next goes another way.

        `by_the_server`: it was there, and did not want us: another way would not change that.
        """
        if accepted or by_the_server:
            self._fruitless = 0
            return False
        if self.choice != "auto" or self.single is None:
            return False
        if self.is_single:  # neither way leads there: by turns
            self.is_single, self._fruitless = False, _STREAMS_BEFORE_HTTPS - 1
            return True
        self._fruitless += 1
        if self._fruitless < _STREAMS_BEFORE_HTTPS:
            return False
        self.is_single = True
        self._stream_due = now + self.uniform(0.9, 1.1) * _STREAM_AGAIN_SECONDS
        return True

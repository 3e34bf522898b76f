"""One agent stream as a state machine: who may say what when. No socket in sight.

    Hello -> challenge -> envelope -> accepted or rejected -> envelope -> ...

An envelope brings evidence, or a goodbye, or, once evidence was accepted, a key rotation.

The unsigned Hello changes nothing anywhere but here. The first evidence or goodbye that verifies claims the
proposed epoch; whoever held the one before is superseded then and not earlier.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Self

from watchword import envelope as envelopes
from watchword_server.core.model.evidence import Challenge, Envelope
from watchword_server.core.model.names import DeviceId, Instant, SessionId
from watchword_server.core.verify import Expectation
from watchword_server.errors import ProtocolViolationError

PROTOCOL_VERSION = 1
_TO_BE_MADE = SessionId(b"")


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message; unsigned. `stored_epoch` is what the server knows of that device, or a stand-in for an unknown one."""

    device_id: DeviceId
    protocol_version: int
    stored_epoch: int


@dataclass(frozen=True, slots=True)
class ChallengeRequested:
    """The agent's challenge has aged; it wants another."""


@dataclass(frozen=True, slots=True)
class EnvelopeReceived:
    """An answer to the outstanding challenge, unopened."""

    envelope: Envelope


@dataclass(frozen=True, slots=True)
class SendChallenge:
    """Tell the agent this challenge for this session and epoch."""

    session_id: SessionId
    epoch: int
    challenge: Challenge


@dataclass(frozen=True, slots=True)
class JudgeEnvelope:
    """Verify this envelope as evidence against this expectation, then call `accepted` or leave it."""

    envelope: Envelope
    expected: Expectation


@dataclass(frozen=True, slots=True)
class TakeGoodbye:
    """As `JudgeEnvelope`, as a goodbye; nothing follows it."""

    envelope: Envelope
    expected: Expectation


@dataclass(frozen=True, slots=True)
class RotateKey:
    """As `JudgeEnvelope`, as a key rotation."""

    envelope: Envelope
    expected: Expectation


Event = Hello | ChallengeRequested | EnvelopeReceived
Action = SendChallenge | JudgeEnvelope | TakeGoodbye | RotateKey


class SessionState(Enum):
    """Where the conversation stands."""

    AWAITING_HELLO = auto()
    UNCLAIMED = auto()  # challenged; nothing verified yet
    CLAIMED = auto()  # evidence, or what else may come first, was verified and committed: the epoch is this session's


@dataclass(slots=True)
class AttestSession:
    """The server's half of one stream."""

    audience: str
    challenge_max_age_seconds: float
    fresh_bytes: Callable[[int], bytes]
    state: SessionState = SessionState.AWAITING_HELLO
    device_id: DeviceId | None = None
    epoch: int = 0
    sequence: int = 0  # of the last accepted evidence
    session_id: SessionId = _TO_BE_MADE
    _challenge: Challenge | None = None

    def __post_init__(self) -> None:
        self.session_id = self.session_id or SessionId(self.fresh_bytes(16))

    def handle(self, event: Event, *, now: Instant) -> Action:
        """The next action. Raises `ProtocolViolationError` for a message out of turn."""
        match self.state, event:
            case SessionState.AWAITING_HELLO, Hello():
                if event.protocol_version != PROTOCOL_VERSION:
                    raise ProtocolViolationError(f"protocol version `{event.protocol_version}` is not {PROTOCOL_VERSION}")
                self.device_id, self.epoch = event.device_id, event.stored_epoch + 1
                self.state = SessionState.UNCLAIMED
                return self.challenge(now=now)
            case ((SessionState.UNCLAIMED | SessionState.CLAIMED), ChallengeRequested()):
                return self.challenge(now=now)
            case ((SessionState.UNCLAIMED | SessionState.CLAIMED), EnvelopeReceived()):
                expected = Expectation(
                    audience=self.audience,
                    session_id=self.session_id,
                    epoch=self.epoch,
                    challenge=self._challenge,
                    sequence=self.sequence + 1,
                    challenge_max_age_seconds=self.challenge_max_age_seconds,
                )
                self._challenge = None  # spent by its first answer, good or bad
                # The type that is stated chooses which message it has to be: verification finds it signed as that, or refuses.
                match event.envelope.payload_type:
                    case envelopes.GOODBYE_TYPE:
                        return TakeGoodbye(event.envelope, expected)
                    case envelopes.KEY_ROTATE_TYPE:
                        if self.state is not SessionState.CLAIMED:
                            raise ProtocolViolationError("a key rotation before any evidence")
                        return RotateKey(event.envelope, expected)
                    case _:
                        return JudgeEnvelope(event.envelope, expected)
            case _:
                raise ProtocolViolationError(f"`{type(event).__name__}` while {self.state.name}")

    @classmethod
    def of_one_answer(cls, device_id: DeviceId, sent: SendChallenge, *, audience: str, challenge_max_age_seconds: float) -> Self:
        """A session whose challenge was told earlier, outside any stream, and that ends with its answer."""

        def no_other(length: int) -> bytes:
            raise AssertionError(f"{length} fresh bytes in a session that has its challenge")

        return cls(
            audience=audience,
            challenge_max_age_seconds=challenge_max_age_seconds,
            fresh_bytes=no_other,
            state=SessionState.UNCLAIMED,
            device_id=device_id,
            epoch=sent.epoch,
            session_id=sent.session_id,
            _challenge=sent.challenge,
        )

    def challenge(self, *, now: Instant) -> SendChallenge:
        """A fresh challenge; the one before it, answered or not, is void."""
        self._challenge = Challenge(nonce=self.fresh_bytes(32), issued_at=now)
        return SendChallenge(self.session_id, self.epoch, self._challenge)

    @property
    def claims_epoch(self) -> bool:
        """Whether the next accepted evidence is the one that claims the epoch."""
        return self.state is SessionState.UNCLAIMED

    def accepted(self) -> None:
        """The last envelope was verified and durably stored."""
        self.sequence += 1
        self.state = SessionState.CLAIMED

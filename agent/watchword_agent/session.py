"""The agent's half of the conversation as a state machine: what to say next, and what a message means. No I/O, no clock.

    Hello -> challenge -> collect -> evidence -> verdict (Ack or Rejected) with the next challenge -> ... -> over

`poll` says what to do now; `receive` takes a message; `want_evidence` asks for an attestation; `next_due` says when to poll again
if nothing happens. Times are seconds of one monotonic clock.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from watchword.v1 import posture_pb2 as pb
from watchword_agent.backoff import Allowance, Uniform
from watchword_agent.collect import Collected
from watchword_agent.errors import ForeignAudienceError, ProtocolViolationError, ServerSilentError
from watchword_agent.identity import Boot
from watchword_agent.kinds.base import ProofBinding

PROTOCOL_VERSION: Final = 1
_CHALLENGE_MARGIN_SECONDS: Final = 10.0  # for the way there, and for collecting
_LEAST_SCHEDULE_SECONDS: Final = 10
_SCHEDULE_JITTER: Final = 0.8  # each attestation is due after 80 to 100 % of the schedule: spread, and never late
_CHANGES_AT_ONCE: Final = 20  # changes of stores that are answered at once
_CHANGES_PER_SECOND: Final = 5  # and after that, lest a flapping file flood the server, which takes 10 messages a second
_NEVER: Final = math.inf


@dataclass(frozen=True, slots=True)
class Attester:
    """Who attests, and to whom: `audience` is the one pinned at enrollment."""

    device_id: str
    key_id: str
    audience: str
    instance_id: bytes
    version: str


@dataclass(frozen=True, slots=True)
class CheckSet:
    """The checks last told by the server; outlives a session."""

    revision: int = 0
    checks: tuple[pb.Check, ...] = ()


# ---- What to do now ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """Send this message."""

    request: pb.AttestRequest


@dataclass(frozen=True, slots=True)
class Collect:
    """Collect evidence for these checks with proofs bound to this challenge, then call `evidence`."""

    check_set: CheckSet
    binding: ProofBinding


@dataclass(frozen=True, slots=True)
class Propose:
    """Call `rotation`, sign what it gives with both keys and send it."""


@dataclass(frozen=True, slots=True)
class Leave:
    """End the stream and open another one: the server drains."""


# ---- What a message meant -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Challenged:
    """The server is there and wants evidence of this session."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """The evidence is stored; this is what came of it."""

    sequence: int
    results: tuple[pb.CheckResult, ...]


@dataclass(frozen=True, slots=True)
class KeyPending:
    """The server keeps the new key and awaits evidence signed by it."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The evidence had no effect; it is tried again on this stream after `retry_seconds`, or with None not on this stream."""

    code: str
    retry_seconds: float | None


@dataclass(frozen=True, slots=True)
class Instructed:
    """The checks have changed."""

    check_set: CheckSet


@dataclass(frozen=True, slots=True)
class Draining:
    """The server asks to reconnect; that will be after `leave_seconds`."""

    leave_seconds: float


@dataclass(frozen=True, slots=True)
class Dismissed:
    """The server ends the stream and wants no other one before `retry_after_seconds`; `code` is the first reason it gave."""

    code: str
    retry_after_seconds: float


Notice = Challenged | Accepted | KeyPending | Rejected | Instructed | Draining | Dismissed


class State(Enum):
    """Where the conversation stands."""

    NEW = auto()
    AWAITING_CHALLENGE = auto()
    READY = auto()  # to attest, if there is a reason; with a challenge, or none
    COLLECTING = auto()
    AWAITING_VERDICT = auto()
    PROPOSING = auto()  # a new key; between `Propose` and `rotation`
    AWAITING_PENDING = auto()
    AWAITING_END = auto()  # rejected for good; the server says when to come back, then ends the stream
    OVER = auto()


@dataclass(slots=True)
class Session:
    """One stream. `check_set` is what the last session knew; `retry_delay` tells seconds to wait from the code of a rejection."""

    attester: Attester
    check_set: CheckSet
    uniform: Uniform
    retry_delay: Callable[[str], float]
    answer_timeout_seconds: float
    state: State = State.NEW
    accepted: int = 0  # pieces of evidence, in this session
    rejected_for_good: str = ""  # why, if so
    _challenge: pb.Challenge | None = None  # the last one told: names the session even after it was spent
    _challenge_usable_until: float = -_NEVER
    _wanted_at: float = -_NEVER  # at once on connecting
    _answer_due: float = _NEVER
    _leave_at: float = _NEVER
    _rejections: int = 0
    _rotation_wanted: bool = False
    _changes: Allowance = field(default_factory=lambda: Allowance(_CHANGES_AT_ONCE, _CHANGES_PER_SECOND))

    def poll(self, now: float) -> Send | Collect | Propose | Leave | None:
        """What to do now. Raises `ServerSilentError` when an answer is overdue."""
        if now >= self._answer_due:
            raise ServerSilentError(f"no answer within {self.answer_timeout_seconds:g} s")
        match self.state:
            case State.NEW:
                return self._ask(
                    pb.AttestRequest(
                        hello=pb.Hello(
                            device_id=self.attester.device_id,
                            instance_id=self.attester.instance_id,
                            agent_version=self.attester.version,
                            protocol_version=PROTOCOL_VERSION,
                        )
                    ),
                    now,
                )
            case State.READY if now >= self._leave_at:
                self.state = State.OVER
                return Leave()
            case State.READY if self._rotation_wanted and self.accepted and now <= self._challenge_usable_until:
                self.state, self._rotation_wanted = State.PROPOSING, False
                self._challenge_usable_until = -_NEVER
                return Propose()
            case State.READY if now >= self._wanted_at and now > self._challenge_usable_until:
                return self._ask(pb.AttestRequest(challenge_request=pb.ChallengeRequest()), now)
            case State.READY if now >= self._wanted_at and self._challenge is not None:
                self.state, self._wanted_at = State.COLLECTING, _NEVER
                self._challenge_usable_until = -_NEVER  # spent by its first answer, good or bad
                return Collect(self.check_set, self._binding(self._challenge))
            case _:
                return None

    def next_due(self) -> float:
        """When `poll` will have something to say if nothing happens until then; infinity: never."""
        if self.state is State.READY:
            return min(self._wanted_at, self._leave_at)
        return -_NEVER if self.state is State.NEW else self._answer_due

    @property
    def wanted_at(self) -> float:
        """When the next evidence is due; infinity: never."""
        return self._wanted_at

    def want_evidence(self, now: float, *, within_seconds: float = 0) -> None:
        """Asks for an attestation at a random moment within the given time; one that is due earlier stays."""
        self._wanted_at = min(self._wanted_at, now + self.uniform(0, within_seconds))

    def want_rotation(self) -> None:
        """Asks for a proposal of a new key, with the next challenge if this one is spent."""
        self._rotation_wanted = True

    def store_changed(self, now: float) -> None:
        """Asks for an attestation because something watched has changed: at once, unless it keeps changing."""
        self._wanted_at = min(self._wanted_at, now + self._changes.wait(now))

    def evidence(self, collected: Collected, boot: Boot, *, now: float, wall_time: float) -> pb.Evidence:
        """The message to sign and send after `Collect`. `wall_time`: seconds since 1970, information only."""
        if self.state is not State.COLLECTING or self._challenge is None:
            raise AssertionError("evidence without a challenge to answer")
        challenge, identity = self._challenge, collected.identity
        self.state, self._answer_due = State.AWAITING_VERDICT, now + self.answer_timeout_seconds
        message = pb.Evidence(
            device_id=self.attester.device_id,
            key_id=self.attester.key_id,
            audience=self.attester.audience,
            session_id=challenge.session_id,
            epoch=challenge.epoch,
            nonce=challenge.nonce,
            sequence=self.accepted + 1,
            inventory=inventory(identity.platform, identity.hostname, identity.serial_number),
            boot=pb.Boot(boot_id=boot.boot_id, uptime_ms=boot.uptime_ms, wall_time_unix_ms=int(wall_time * 1000)),
            check_set_revision=self.check_set.revision,
        )
        for finding in collected.findings:
            check = message.checks.add()
            check.CopyFrom(finding.evidence)
            check.age_ms = max(0, math.ceil((now - finding.looked_at) * 1000))
        return message

    def rotation(self, new_public_key: bytes, protection: pb.KeyProtection, *, now: float) -> pb.KeyRotate:
        """The message to sign with both keys and send after `Propose`."""
        if self.state is not State.PROPOSING or self._challenge is None:
            raise AssertionError("a key rotation without a challenge to answer")
        self.state, self._answer_due = State.AWAITING_PENDING, now + self.answer_timeout_seconds
        return pb.KeyRotate(
            device_id=self.attester.device_id,
            key_id=self.attester.key_id,
            audience=self.attester.audience,
            session_id=self._challenge.session_id,
            epoch=self._challenge.epoch,
            nonce=self._challenge.nonce,
            sequence=self.accepted + 1,
            new_public_key=new_public_key,
            new_key_protection=protection,
        )

    def receive(self, response: pb.AttestResponse, now: float) -> Notice | None:
        """Takes a message of the server. None for a kind of message that this agent is too old to know.

        Raises `ProtocolViolationError` for one out of turn or out of bounds, `ForeignAudienceError`.
        """
        match self.state, response.WhichOneof("message"):
            case State.AWAITING_CHALLENGE, "challenge":
                self._take(response.challenge, now)
                self.state, self._answer_due = State.READY, _NEVER
                return Challenged(response.challenge.epoch)
            case State.AWAITING_VERDICT, "ack":
                return self._acknowledged(response.ack, now)
            case State.AWAITING_PENDING, "key_pending":
                self._take(response.key_pending.next_challenge, now)
                self.accepted += 1
                self.state, self._answer_due = State.READY, _NEVER
                return KeyPending()
            case ((State.AWAITING_VERDICT | State.AWAITING_PENDING), "rejected") if response.rejected.HasField("next_challenge"):
                return self._rejected(response.rejected, now)
            case _, "rejected":
                self.state, self._answer_due = State.AWAITING_END, now + self.answer_timeout_seconds
                self.rejected_for_good = response.rejected.code
                return Rejected(response.rejected.code, None)
            case _, "check_set":
                told = response.check_set
                self.check_set = CheckSet(told.revision, tuple(told.checks))
                self.want_evidence(now, within_seconds=told.due_within_ms / 1000)
                return Instructed(self.check_set)
            case _, "attest_now":
                self.want_evidence(now, within_seconds=response.attest_now.due_within_ms / 1000)
                return None
            case _, "drain":
                leave_seconds = self.uniform(0, response.drain.reconnect_within_ms / 1000)
                self._leave_at = min(self._leave_at, now + leave_seconds)
                return Draining(leave_seconds)
            case _, "closing":
                self.state, self._answer_due = State.OVER, _NEVER
                return Dismissed(self.rejected_for_good or response.closing.code, response.closing.retry_after_ms / 1000)
            case _, None:
                return None
            case state, kind:
                raise ProtocolViolationError(f"the server sent `{kind}` while {state.name}")

    # ---- Below: how ---------------------------------------------------------------------------------------------------

    def _ask(self, request: pb.AttestRequest, now: float) -> Send:
        self.state, self._answer_due = State.AWAITING_CHALLENGE, now + self.answer_timeout_seconds
        return Send(request)

    def _binding(self, challenge: pb.Challenge) -> ProofBinding:
        return ProofBinding(
            nonce=challenge.nonce,
            audience=self.attester.audience,
            device_id=self.attester.device_id,
            session_id=challenge.session_id,
        )

    def _take(self, challenge: pb.Challenge, now: float) -> None:
        check_challenge(challenge.session_id, challenge.nonce, challenge.nonce_ttl_seconds)
        if challenge.audience != self.attester.audience:
            raise ForeignAudienceError(
                f"the server is `{challenge.audience}`, and this device is enrolled with `{self.attester.audience}`: "
                "check the server's address and name, or enroll anew"
            )
        known = self._challenge
        if known is not None and (challenge.session_id, challenge.epoch) != (known.session_id, known.epoch):
            raise ProtocolViolationError("a challenge for another session than the one begun")
        margin = min(_CHALLENGE_MARGIN_SECONDS, challenge.nonce_ttl_seconds / 4)
        self._challenge, self._challenge_usable_until = challenge, now + challenge.nonce_ttl_seconds - margin

    def _acknowledged(self, ack: pb.Ack, now: float) -> Accepted:
        if ack.sequence != self.accepted + 1:
            raise ProtocolViolationError(f"evidence {ack.sequence} acknowledged where {self.accepted + 1} was sent")
        if ack.HasField("next_challenge"):
            self._take(ack.next_challenge, now)
        self.accepted, self._rejections = ack.sequence, 0
        self.state, self._answer_due = State.READY, _NEVER
        schedules = [max(check.schedule_seconds, _LEAST_SCHEDULE_SECONDS) for check in self.check_set.checks]
        due = (now + self.uniform(_SCHEDULE_JITTER * seconds, seconds) for seconds in schedules)
        self._wanted_at = min(self._wanted_at, *due, _NEVER)
        return Accepted(ack.sequence, tuple(ack.results))

    def _rejected(self, rejected: pb.Rejected, now: float) -> Rejected:
        self._take(rejected.next_challenge, now)
        aged = rejected.code == "challenge_stale" and self._rejections == 0  # as after a suspend: nobody's fault
        delay = 0.0 if aged else self.retry_delay(rejected.code)
        self._rejections += 1
        self.state, self._answer_due, self._wanted_at = State.READY, _NEVER, now + delay
        return Rejected(rejected.code, delay)


def check_challenge(session_id: bytes, nonce: bytes, ttl_seconds: int) -> None:
    """Raises `ProtocolViolationError` for a challenge out of bounds: 16 and 32 bytes, valid for at least a second."""
    if len(session_id) != 16 or len(nonce) != 32 or ttl_seconds < 1:
        raise ProtocolViolationError("a challenge out of bounds")


def inventory(platform: str, hostname: str | None, serial_number: str | None) -> pb.Inventory:
    """On the wire, not known is empty."""
    return pb.Inventory(platform=platform, hostname=hostname or "", serial_number=serial_number or "")

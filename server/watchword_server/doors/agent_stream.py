"""One agent's stream: what it says, what it is answered, and what the house has to tell it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import structlog

from watchword.v1 import posture_pb2 as wire
from watchword_server import events
from watchword_server.acting import acting
from watchword_server.core.addresses import address_from
from watchword_server.core.audit import Actor
from watchword_server.core.model.checks import Check
from watchword_server.core.model.devices import Device
from watchword_server.core.model.names import DeviceId, IPAddress
from watchword_server.core.session import (
    AttestSession,
    ChallengeRequested,
    EnvelopeReceived,
    Event,
    Hello,
    JudgeEnvelope,
    RotateKey,
    SendChallenge,
    TakeGoodbye,
)
from watchword_server.doors import codec
from watchword_server.errors import (
    EvidenceRejectedError,
    NewKeyRefusedError,
    ProtocolViolationError,
    ServiceError,
    StaleChallengeError,
    WatchwordError,
)
from watchword_server.peer import Peer
from watchword_server.services.connections import (
    AttestNow,
    CheckSetChanged,
    Close,
    Connection,
    Drain,
    Notice,
)
from watchword_server.services.judging import checks_of
from watchword_server.services.verifier import Accepted

if TYPE_CHECKING:
    from watchword_server.doors.agents import AgentDoor

_log = structlog.get_logger(__name__)
_M = TypeVar("_M")


@dataclass(eq=False, slots=True)
class AgentStream:
    """One agent's stream: its session, and what the house has to tell it."""

    door: "AgentDoor"
    peer: Peer
    requests: AsyncIterator[wire.AttestRequest]
    _session: AttestSession = field(init=False)
    _notices: "asyncio.Queue[Notice]" = field(default_factory=lambda: asyncio.Queue(64))
    _connection: Connection | None = None
    _check_set_sent: int = 0
    _rejections: int = 0
    _reading: "asyncio.Task[wire.AttestRequest | None] | None" = None
    _noticing: "asyncio.Task[Notice] | None" = None
    _deadline: float | None = None

    def __post_init__(self) -> None:
        self._session = AttestSession(
            audience=self.door.audience,
            challenge_max_age_seconds=self.door.limits.challenge_max_age_seconds,
            fresh_bytes=self.door.fresh_bytes,
        )

    async def run(self) -> AsyncIterator[wire.AttestResponse]:
        """What the agent is told, until either side ends the stream."""
        loop = asyncio.get_running_loop()
        self._deadline = loop.time() + self.door.limits.hello_timeout_seconds
        while True:
            arrived = await self._wait()
            if arrived is None:
                return
            if isinstance(arrived, wire.AttestRequest):
                self.door.message_buckets.take(self._session.session_id.hex())
                async for response in self._answer(arrived):
                    yield response
                continue
            told = self._tell(arrived)
            if told is not None:
                yield told
            if isinstance(arrived, Close):
                return

    def give_way(self) -> None:
        """Others want in, and this one has proven nothing so far."""
        self.door.not_unproven(self)
        self._notify(Close("overloaded", retry_after_seconds=5.0))

    async def close(self) -> None:
        """Leaves nothing running behind."""
        if self._connection is not None:
            self.door.connections.release(self._connection)
        tasks = [task for task in (self._reading, self._noticing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _wait(self) -> wire.AttestRequest | Notice | None:
        """The next message or notice; None: the agent is gone. Raises `ProtocolViolationError` past the deadline."""
        if self._reading is None:
            self._reading = asyncio.ensure_future(next_message(self.requests))
        if self._noticing is None:
            self._noticing = asyncio.ensure_future(self._notices.get())
        timeout = None if self._deadline is None else max(0.0, self._deadline - asyncio.get_running_loop().time())
        await asyncio.wait({self._reading, self._noticing}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if self._noticing.done():
            notice, self._noticing = self._noticing.result(), None
            return notice
        if self._reading.done():
            message, self._reading = self._reading.result(), None
            return message
        raise ProtocolViolationError("nothing was proven in time")

    async def _answer(self, message: wire.AttestRequest) -> AsyncIterator[wire.AttestResponse]:
        action = self._session.handle(await self._event(message), now=self.door.clock.now())
        if isinstance(action, SendChallenge):
            yield wire.AttestResponse(challenge=self._challenge(action))
            return
        try:
            match action:
                case TakeGoodbye():
                    with self._acting():
                        self._proven(await self.door.leaving.goodbye(self._session, action))
                    self._notify(Close("goodbye", retry_after_seconds=0.0))
                    return
                case RotateKey():
                    key_id, seconds = await self.door.key_rotations.propose(self._session, action)
                    yield wire.AttestResponse(key_pending=self._key_pending(key_id, seconds))
                    return
                case JudgeEnvelope():
                    with self._acting():
                        accepted = await self.door.verifier.accept(self._session, action)
        except (EvidenceRejectedError, ServiceError) as error:
            yield self._rejected(error)
            return
        self._rejections = 0
        self.door.metrics.evidence.labels("accepted").inc()
        self._proven(accepted.device)  # before the answer leaves: a newer stream of the device may be proven while it does
        yield wire.AttestResponse(ack=self._acknowledge(accepted, action))
        current = check_set_revision(checks_of(accepted.device, self.door.rules.current))
        if accepted.evidence.check_set_revision == current:
            self._check_set_sent = current  # known from an earlier stream; a change elsewhere is no news to this device
        else:
            changed = self._tell(CheckSetChanged(0.0))
            if changed is not None:
                yield changed

    def _acting(self) -> AbstractContextManager[None]:
        """What the device does to itself is recorded with where it is."""
        return acting(Actor("device", self._session.device_id, address=self.peer.address))

    def _proven(self, device: Device) -> None:
        """Something of this device was verified and committed on this stream: an older one is superseded."""
        if self._connection is None:
            self._deadline = None
            self._connection = Connection(device, self._notify, _address(self.peer))
            self.door.not_unproven(self)
            self.door.connections.claim(self._connection)

    async def _event(self, message: wire.AttestRequest) -> Event:
        match message.WhichOneof("message"):
            case "hello":
                device_id = DeviceId(message.hello.device_id)
                if not 0 < len(device_id) <= 128:
                    raise ProtocolViolationError("a device id of no sensible length")
                epoch = await self.door.verifier.stored_epoch(device_id)
                self._deadline = asyncio.get_running_loop().time() + self.door.limits.first_evidence_timeout_seconds
                return Hello(device_id, message.hello.protocol_version, epoch)
            case "envelope":
                return EnvelopeReceived(codec.envelope_from(message.envelope))
            case "challenge_request":
                return ChallengeRequested()
            case _:
                raise ProtocolViolationError("an empty message")

    def _rejected(self, error: WatchwordError) -> wire.AttestResponse:
        """What the agent learns of a rejection; after most kinds the stream ends."""
        self._rejections += 1
        self.door.metrics.evidence.labels(error.code).inc()
        _log.warning(
            events.EVIDENCE_REJECTED,
            code=error.code,
            detail=str(error),
            device_id=self._session.device_id,
            peer=self.peer.address,
        )
        harmless = isinstance(error, (StaleChallengeError, NewKeyRefusedError, ServiceError))
        retry = harmless and self._rejections < self.door.limits.max_rejections
        rejected = wire.Rejected(code=error.code)
        if retry:
            rejected.next_challenge.CopyFrom(self._challenge(self._session.challenge(now=self.door.clock.now())))
        else:
            self._notify(Close(error.code, retry_after_seconds=60.0))
        return wire.AttestResponse(rejected=rejected)

    def _acknowledge(self, accepted: Accepted, action: JudgeEnvelope) -> wire.Ack:
        ack = self.door.acknowledgement(accepted, sequence=action.expected.sequence)
        ack.next_challenge.CopyFrom(self._challenge(self._session.challenge(now=self.door.clock.now())))
        return ack

    def _key_pending(self, key_id: str, valid_for_seconds: float) -> wire.KeyPending:
        self._rejections = 0
        return wire.KeyPending(
            key_id=key_id,
            valid_for_seconds=int(valid_for_seconds),
            next_challenge=self._challenge(self._session.challenge(now=self.door.clock.now())),
        )

    def _challenge(self, sent: SendChallenge) -> wire.Challenge:
        return codec.challenge_to_wire(sent, audience=self.door.audience, ttl_seconds=self.door.limits.challenge_max_age_seconds)

    def _notify(self, notice: Notice) -> None:
        try:
            self._notices.put_nowait(notice)
        except asyncio.QueueFull:
            # An agent that reads nothing: whatever else waits, the stream has to end.
            self._notices.get_nowait()
            self._notices.put_nowait(Close("slow_reader", retry_after_seconds=60.0))

    def _tell(self, notice: Notice) -> wire.AttestResponse | None:
        match notice:
            case CheckSetChanged(due_within_seconds):
                if self._connection is None:
                    return None
                check_set = self.door.check_set(self._connection.device, due_within_ms=int(due_within_seconds * 1000))
                if check_set.revision == self._check_set_sent:
                    return None
                self._check_set_sent = check_set.revision
                return wire.AttestResponse(check_set=check_set)
            case AttestNow(due_within_seconds):
                return wire.AttestResponse(attest_now=wire.AttestNow(due_within_ms=int(due_within_seconds * 1000)))
            case Drain(reconnect_within_seconds):
                within = int(reconnect_within_seconds * 1000)
                return wire.AttestResponse(drain=wire.Drain(reconnect_within_ms=within))
            case Close(code, retry_after_seconds):
                return wire.AttestResponse(closing=wire.Closing(code=code, retry_after_ms=int(retry_after_seconds * 1000)))


def check_set_revision(checks: Iterable[Check]) -> int:
    """A number that differs when a set of checks does: 63 bits of a hash over ids and revisions. Never 0."""
    text = "\n".join(sorted(f"{check.id} {check.revision}" for check in checks))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1 or 1


async def next_message(requests: AsyncIterator[_M]) -> _M | None:
    """The next message; None: the peer sends no more."""
    return await anext(requests, None)


def _address(peer: Peer) -> IPAddress | None:
    """Where the stream comes from; None: not over IP."""
    try:
        return address_from(peer.address)
    except ValueError:
        return None

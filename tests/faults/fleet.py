"""Agents that attest as fast as they can, come back by themselves, and write down what the server acknowledged.

The journal is kept here, outside the server, at the moment an Ack arrives. Every evidence says in the location of its certificate
which one it is; the even ones prove the certificate's key, the odd ones fail to.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Final, Self

import grpc

from support.device import AttestStream, Ended, Lie, Received, SimulatedDevice, fields
from support.pki import Credential, Pki, generate_key
from watchword.v1 import posture_pb2 as wire

FAILED: Final = "possession_invalid"
_PATIENCE_SECONDS: Final = 60.0
_FIRST_DELAY_SECONDS: Final = 0.02
_LONGEST_DELAY_SECONDS: Final = 0.5
_WRONG_KEY: Final = generate_key()


@dataclass(frozen=True, slots=True)
class Acked:
    """A result as it was acknowledged. `order` counts the device's evidence over all its sessions."""

    order: int
    epoch: int
    sequence: int
    passed: bool
    reason: str


def passes(order: int) -> bool:
    """Whether the evidence of this order proves its certificate's key."""
    return order % 2 == 0


def order_of(location: object) -> int:
    """Which evidence says that it found its certificate there."""
    return int(str(location).removeprefix("/etc/corp/").removesuffix(".pem"))


def _evidence(order: int) -> Lie:
    location = fields(location=f"/etc/corp/{order}.pem")
    return Lie(candidate=location, possession_key=None if passes(order) else _WRONG_KEY)


@dataclass(slots=True)
class Fleet:
    """The agents. While it is paused they stay connected, or come back, and say no more than Hello."""

    chance: random.Random
    agents: "list[Agent]" = field(default_factory=list)
    _gate: asyncio.Event = field(default_factory=asyncio.Event)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @classmethod
    async def enroll(cls, target: str, token: str, pki: Pki, *, size: int, chance: random.Random) -> Self:
        """New devices, each with a certificate of its own, that know their checks; paused."""
        fleet = cls(chance)
        for number in range(size):
            credential = pki.issuing.issue(f"laptop-{number}.corp.example")
            device = SimulatedDevice(target, hostname=f"laptop-{number}", found=(credential,))
            enrolled = await device.enroll(token)
            assert isinstance(enrolled, wire.EnrollResult), enrolled
            async with device.attesting() as stream:
                assert isinstance(await stream.attest(), wire.Ack)
                await stream.receive_until(wire.CheckSet)
            fleet.agents.append(Agent(device, credential, fleet))
        return fleet

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The agents run as long as the block."""
        tasks = [asyncio.create_task(agent.run()) for agent in self.agents]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes), outcomes

    @property
    def acknowledged(self) -> int:
        """How many results were acknowledged so far, to all of them."""
        return sum(len(agent.journal) for agent in self.agents)

    def go_on(self) -> None:
        """They attest from now on."""
        self._gate.set()

    def pause(self) -> None:
        """No more evidence leaves; what has left may still be answered."""
        self._gate.clear()

    async def may_attest(self) -> None:
        """Returns when it is not paused."""
        await self._gate.wait()

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Returns when the condition is true of the agents."""
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS), self._changed:
                await self._changed.wait_for(condition)
        except TimeoutError:
            raise AssertionError(f"not within {_PATIENCE_SECONDS:g} s: {what}; {self.agents}") from None

    async def changed(self) -> None:
        """Something about an agent is different."""
        async with self._changed:
            self._changed.notify_all()


@dataclass(slots=True)
class Agent:
    """One device that attests for ever. `challenge` is the outstanding one while it is connected."""

    device: SimulatedDevice
    credential: Credential = field(repr=False)
    fleet: Fleet = field(repr=False)
    journal: list[Acked] = field(default_factory=list, repr=False)
    sent: int = 0  # the order of its newest evidence
    waiting: bool = False  # for the answer to it
    challenge: wire.Challenge | None = field(default=None, repr=False)
    last_stream: AttestStream | None = field(default=None, repr=False)
    last_challenge: wire.Challenge | None = field(default=None, repr=False)
    failed_attempts: int = 0  # to connect, since it was last connected
    rejections: list[str] = field(default_factory=list)

    async def run(self) -> None:
        """Connects, attests, and connects again after a random part of a growing delay."""
        while True:
            async with self.device.attesting() as stream:
                if stream.challenge is not None:
                    self.failed_attempts = 0
                    await self._converse(stream)
            self.challenge = None
            await self.fleet.changed()
            longest = min(_LONGEST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2**self.failed_attempts)
            self.failed_attempts += 1
            await asyncio.sleep(self.fleet.chance.uniform(0, longest))

    def stale_envelope(self) -> wire.SignedEnvelope:
        """Evidence that would have been right in the session it had before this one, and was never sent."""
        assert self.last_stream is not None
        assert self.last_challenge is not None
        self.last_stream.challenge = self.last_challenge
        return self.last_stream.envelope(_evidence(self.sent + 1))

    async def _converse(self, stream: AttestStream) -> None:
        inbox: asyncio.Queue[Received] = asyncio.Queue()
        listening = asyncio.create_task(_listen(stream, inbox))
        try:
            while stream.challenge is not None:
                self.challenge = challenge = stream.challenge
                await self.fleet.changed()
                if not await self._may_attest(inbox):
                    return
                self.sent += 1
                self.waiting = True
                await stream.send(wire.AttestRequest(envelope=stream.envelope(_evidence(self.sent))))
                answer = await _answer(inbox)
                self._take(answer, challenge)
                await self.fleet.changed()
                if isinstance(answer, (Ended, wire.Closing)):
                    return
        finally:
            self.waiting = False
            self.last_stream, self.last_challenge = stream, self.challenge
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    def _take(self, answer: Received, challenge: wire.Challenge) -> None:
        self.waiting = False
        match answer:
            case wire.Ack():
                (result,) = answer.results
                self.journal.append(Acked(self.sent, challenge.epoch, answer.sequence, result.passed, result.reason))
            case wire.Rejected():
                self.rejections.append(answer.code)

    async def _may_attest(self, inbox: "asyncio.Queue[Received]") -> bool:
        """Waits out a pause; False: the stream ended meanwhile."""
        gate = asyncio.create_task(self.fleet.may_attest())
        try:
            while not gate.done():
                arrived = asyncio.create_task(inbox.get())
                await asyncio.wait({gate, arrived}, return_when=asyncio.FIRST_COMPLETED)
                if arrived.done() and isinstance(arrived.result(), (Ended, wire.Closing)):
                    return False
                arrived.cancel()
            return True
        finally:
            gate.cancel()


async def _listen(stream: AttestStream, inbox: "asyncio.Queue[Received]") -> None:
    """Takes in everything the server says, so that its end is noticed at once."""
    message: Received | None = None
    while not isinstance(message, Ended):
        try:
            message = await stream.receive()
        except TimeoutError:  # it had nothing to say for long; grpc has ended the call with that
            message = Ended(grpc.StatusCode.CANCELLED, "silence")
        inbox.put_nowait(message)


async def _answer(inbox: "asyncio.Queue[Received]") -> Received:
    while True:
        message = await inbox.get()
        if isinstance(message, (wire.Ack, wire.Rejected, wire.Closing, Ended)):
            return message

"""Ways to tell a lie: what most attacks have in common."""

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from adversary.arena import LAPTOP, Arena, claimed, told
from adversary.attack import Outcome
from support.device import HONEST, AttestStream, Lie, SimulatedDevice
from support.pki import Credential
from watchword.v1 import posture_pb2 as wire

Perform = Callable[[Arena], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Liar:
    """Who lies: on `stream`, which has brought evidence, with a good certificate that it has not shown yet."""

    arena: Arena
    device: SimulatedDevice
    credential: Credential
    stream: AttestStream
    _open: contextlib.AsyncExitStack

    async def another(self) -> AttestStream:
        """The stream of another enrolled device."""
        other = await self.arena.device(LAPTOP, self.arena.certificate())
        return await self._open.enter_async_context(other.attesting())

    async def second_stream(self) -> AttestStream:
        """Another stream of the same device."""
        return await self._open.enter_async_context(self.device.attesting())

    @property
    def challenge(self) -> wire.Challenge:
        """The outstanding one."""
        assert self.stream.challenge is not None
        return self.stream.challenge


def evidence(tell: Callable[[Liar], Lie | Awaitable[Lie]], **fields: Any) -> Perform:
    """Evidence that would pass, but for a lie about the message. Without the lie it passes."""

    async def perform(arena: Arena) -> Outcome:
        credential = arena.certificate()
        device = await arena.device(LAPTOP, credential, **fields)
        async with contextlib.AsyncExitStack() as streams, claimed(device) as stream:
            lie = tell(Liar(arena, device, credential, stream, streams))
            answer = await stream.attest(lie if isinstance(lie, Lie) else await lie)
        return Outcome(
            told(answer, device),
            LAPTOP,
            liars=[device],
            shown=[credential],
            honestly=lambda: arena.passes_with(device, credential),
        )

    return perform


def certificate(
    make: Callable[[Arena], Credential], *, check: str = LAPTOP, lie: Lie = HONEST, device: Mapping[str, Any] | None = None
) -> Perform:
    """A device that holds a wrong certificate and its key. One with a right certificate passes."""

    async def perform(arena: Arena) -> Outcome:
        wrong = make(arena)
        liar = await arena.device(check, wrong, **(device or {}))
        async with liar.attesting() as stream:
            answer = await stream.attest(lie)
        return Outcome(told(answer, liar, check), check, liars=[liar], shown=[wrong])

    return perform


def fixed(lie: Lie) -> Callable[[Liar], Lie]:
    """The same lie whoever tells it."""
    return lambda _liar: lie

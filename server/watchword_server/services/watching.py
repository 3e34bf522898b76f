"""How a device stands, told again each time it changes: a check passes, fails or expires, an operator acts, the rules change."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from watchword_server.core.model.decisions import CheckStanding, Resolution, ResolutionStrength, ResolvedDevice, Standing
from watchword_server.core.model.names import DeviceId, Instant
from watchword_server.core.model.results import DevicePosture
from watchword_server.core.posture import standing_of
from watchword_server.core.snapshot import RuleSnapshot
from watchword_server.ports.machine import Clock
from watchword_server.ports.memory import PostureMemory
from watchword_server.services.changes import Changes
from watchword_server.services.judging import checks_of
from watchword_server.services.rules_in_force import RulesInForce

_CURRENT: Final = (Standing.PASSED, Standing.FAILED)
_LOOK_AGAIN_SECONDS: Final = 30.0  # whatever is said: the clock may have been set


@dataclass(frozen=True, slots=True)
class Watched:
    """A device at one moment. `posture` None: there is no such device. `checks`: every one that is for it."""

    posture: DevicePosture | None
    checks: tuple[CheckStanding, ...]
    at: Instant

    @property
    def standing(self) -> object:
        """What of it somebody decides by: when something was looked at does not count."""
        if self.posture is None:
            return None
        results = [
            (check.name, check.standing, check.result and (check.result.reason, check.result.level, check.result.expires_at))
            for check in self.checks
        ]
        return self.posture.device.state, self.posture.device.lock is not None, results


@dataclass(frozen=True, slots=True)
class Watching:
    """Looks when something may have changed, and tells what has. Runs in the event loop."""

    memory: PostureMemory
    rules: RulesInForce
    changes: Changes
    clock: Clock

    async def device(self, device_id: DeviceId) -> AsyncIterator[Watched]:
        """How the device stands now, then each change. Who takes it slowly gets the newest, not every one between.

        Raises `StoreUnavailableError` where the store has to be asked and is silent, `OverloadedError` for too many watches.
        """
        told: Watched | None = None
        with self.changes.of(device_id) as changed:
            while True:
                changed.clear()
                seen = _looked_at(await self.memory.posture(device_id), self.rules.current, now=self.clock.now())
                if told is None or seen.standing != told.standing:
                    told = seen
                    yield seen
                    continue  # what changed while it was taken
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_until_something_expires(seen)):
                        await changed.wait()


def _looked_at(posture: DevicePosture | None, snapshot: RuleSnapshot, *, now: Instant) -> Watched:
    if posture is None:
        return Watched(None, (), now)
    device = ResolvedDevice(Resolution.FOUND, "found", strength=ResolutionStrength.CERTIFICATE, posture=posture)
    checks = tuple(
        CheckStanding(check.id, check.name, standing_of(check, device, now), posture.results.get(check.id))
        for check in checks_of(posture.device, snapshot)
    )
    return Watched(posture, checks, now)


def _until_something_expires(seen: Watched) -> float:
    """How long to wait for a change, at most."""
    ends = [
        check.result.expires_at - seen.at
        for check in seen.checks
        if check.standing in _CURRENT and check.result is not None and check.result.expires_at is not None
    ]
    return max(0.001, min([*ends, _LOOK_AGAIN_SECONDS]))

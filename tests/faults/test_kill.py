"""`kill -9` while agents attest: what was acknowledged is there, nothing else is believed, and everybody comes back.

Ten times at random moments; with WATCHWORD_SOAK=1 (`make soak`), fifty. The seed is printed; WATCHWORD_SEED repeats a run.
"""

import asyncio
import os
import random
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

from faults.fleet import FAILED, Agent, Fleet, order_of, passes
from faults.proxy import Proxy
from faults.servers import UNHURRIED, apply_rules, surprises
from server.operators import Operators
from support.device import Ended, SimulatedDevice
from support.pki import Credential, Pki
from support.rules import wiki_rules
from support.server import WatchwordServer
from watchword.v1 import posture_pb2 as wire

AGENTS: Final = 20
# Taken out of the environment: a server refuses settings that it does not know.
KILLS: Final = 50 if os.environ.pop("WATCHWORD_SOAK", "") else 10
SEED: Final = int(os.environ.pop("WATCHWORD_SEED", secrets.randbits(32)))
MOST_ACKS_BEFORE_A_KILL: Final = 200


@pytest.fixture
def server(pki: Pki, tmp_path: Path) -> Iterator[WatchwordServer]:
    with WatchwordServer(tmp_path / "data", environment=UNHURRIED) as running:
        apply_rules(running, wiki_rules(pki))
        yield running


async def test_what_was_acknowledged_survives_kills_at_random_moments(server: WatchwordServer, pki: Pki) -> None:
    print(f"WATCHWORD_SEED={SEED}")  # noqa: T201 - shown when it fails
    chance = random.Random(SEED)
    operators = Operators(server.data)
    fleet = await Fleet.enroll(
        server.endpoints.agents, operators.enrollment_token(max_uses=AGENTS).text, pki, size=AGENTS, chance=chance
    )
    office = Office(server, operators, pki)
    async with fleet.running():
        for kill in range(KILLS):
            before = fleet.acknowledged
            fleet.go_on()
            paperwork = asyncio.create_task(office.work())
            wanted = before + chance.randrange(MOST_ACKS_BEFORE_A_KILL)
            await fleet.until(lambda wanted=wanted: fleet.acknowledged >= wanted, f"{wanted} acknowledgements")  # type: ignore[misc] # bound now
            await asyncio.sleep(chance.uniform(0, 0.02))  # not only at the moment of an Ack
            server.kill()
            fleet.pause()
            await fleet.until(lambda: not any(agent.waiting for agent in fleet.agents), "every agent noticed")
            paperwork.cancel()
            await asyncio.gather(paperwork, return_exceptions=True)
            await asyncio.to_thread(server.start)
            await fleet.until(lambda: all(agent.challenge for agent in fleet.agents), "every agent came back")
            await asyncio.to_thread(inspect, server, operators, fleet)
            await office.inspect()
            await replay(chance.choice(fleet.agents), operators)
            print(f"kill {kill + 1}: {fleet.acknowledged - before} acknowledged, {len(office.enrolled)} enrolled")  # noqa: T201
        fleet.go_on()
        counts = [len(agent.journal) for agent in fleet.agents]
        await fleet.until(
            lambda: all(len(agent.journal) > count for agent, count in zip(fleet.agents, counts, strict=True)),
            "every agent attests again",
        )
    assert not [agent for agent in fleet.agents if agent.rejections], "an honest agent was rejected"
    assert surprises(server) == []


def inspect(server: WatchwordServer, operators: Operators, fleet: Fleet) -> None:
    """Nobody attests now: the store holds what the journals say or newer, and the door allows by nothing else."""
    results = {result["device_id"]: result for result in operators.pages("/results", "results")}
    with Proxy(server.endpoints.decisions_http) as proxy:
        for agent in fleet.agents:
            assert agent.challenge is not None
            result = results.get(agent.device.device_id)
            if result is None:
                assert not agent.journal, f"nothing is stored of {agent}"
                assert proxy.ask(agent.credential).reason == "unknown_device"
                continue
            stored = order_of(result["received_values"]["location"])
            assert result["standing"] == ("passed" if passes(stored) else "failed")
            assert result["reason"] == ("passed" if passes(stored) else FAILED)
            assert stored <= agent.sent, "nobody sent this"
            if agent.journal:
                newest = agent.journal[-1]
                assert stored >= newest.order, f"lost after it was acknowledged: {newest}"
                assert (newest.passed, newest.reason) == (passes(newest.order), "passed" if newest.passed else FAILED)
                assert agent.challenge.epoch > newest.epoch, "an epoch was given out twice"
            decided = proxy.ask(agent.credential)
            if passes(stored):
                assert decided.allowed
            else:  # a device that never passed is unknown to the proxy by its certificate
                assert decided.reason in ({"check_failed"} if ever_passed(agent) else {"check_failed", "unknown_device"})


def ever_passed(agent: Agent) -> bool:
    """Whether a passing result was acknowledged."""
    return any(acked.passed for acked in agent.journal)


async def replay(agent: Agent, operators: Operators) -> None:
    """Evidence for the session that the crash ended is not believed in a new one, and changes nothing."""
    if agent.last_stream is None:
        return
    device = agent.device
    before = await asyncio.to_thread(operators.results, device.device_id)
    async with device.attesting() as stream:
        await stream.send(wire.AttestRequest(envelope=agent.stale_envelope()))
        answer = await stream.answer()
        assert isinstance(answer, wire.Rejected), answer
        assert answer.code == "evidence_foreign"
    assert await asyncio.to_thread(operators.results, device.device_id) == before


@dataclass(slots=True)
class Office:
    """An operator who enrolls a device, sees it pass and revokes it, again and again; and what of it was acknowledged."""

    server: WatchwordServer
    operators: Operators
    pki: Pki
    enrolled: dict[str, str] = field(default_factory=dict)  # token text by device id
    revoked: dict[str, tuple[SimulatedDevice, Credential]] = field(default_factory=dict)
    maybe_revoked: set[str] = field(default_factory=set)  # asked for, and not heard of since
    _inspected: set[str] = field(default_factory=set)

    async def work(self) -> None:
        """Until the server is gone."""
        while True:
            try:
                token = await asyncio.to_thread(self.operators.enrollment_token)
                credential = self.pki.issuing.issue()
                device = SimulatedDevice(self.server.endpoints.agents, hostname="visitor", found=(credential,))
                if not isinstance(await device.enroll(token.text), wire.EnrollResult):
                    return
                self.enrolled[device.device_id] = token.text
                if not isinstance(await device.attest_once(), wire.Ack):
                    return
                self.maybe_revoked.add(device.device_id)
                await asyncio.to_thread(self.operators.revoke, device.device_id)
                self.revoked[device.device_id] = (device, credential)
            except (OSError, ValueError, AssertionError):  # no answer, half an answer, or an answer that is an error
                return

    async def inspect(self) -> None:
        """Tokens that were used stay used, devices that were enrolled are there, and what was revoked stays revoked."""
        devices = await asyncio.to_thread(self.operators.devices)
        for device_id in self.enrolled.keys() - self._inspected:
            assert device_id in devices, "lost after it was enrolled"
        for device_id in self.revoked.keys() - self._inspected:
            assert devices[device_id]["state"] == "revoked"
        for device_id in self.enrolled.keys() - self.maybe_revoked:
            assert devices[device_id]["state"] == "active"
        for device_id in list(self.enrolled.keys() - self._inspected)[-2:]:
            again = await SimulatedDevice(self.server.endpoints.agents).enroll(self.enrolled[device_id])
            assert again == Ended(grpc.StatusCode.PERMISSION_DENIED, "enrollment_refused")
        for device, credential in [self.revoked[device_id] for device_id in self.revoked.keys() - self._inspected][-2:]:
            with Proxy(self.server.endpoints.decisions_http) as proxy:
                assert proxy.ask(credential).reason == "device_revoked"
            answer: Any = await device.attest_once()
            assert isinstance(answer, wire.Rejected), answer
            assert answer.code == "device_not_active"
        self._inspected |= self.enrolled.keys()

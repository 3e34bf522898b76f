"""The agent and the real server: saying goodbye, and changing the device key."""

import asyncio
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.device import Device
from agent.fake_server import PATIENCE_SECONDS
from agent.test_cli import run, start
from agent.test_real_server import RULES
from server.operators import Operators
from support.pki import Pki, key_pem
from support.server import WatchwordServer
from watchword_agent.state import StateDirectory


@dataclass(frozen=True)
class Place:
    """A server, and a state directory that is enrolled with it."""

    operators: Operators
    state: Path
    device_id: str

    @property
    def result(self) -> tuple[str, str]:
        """The standing of the one check, and why."""
        [result] = self.operators.results(self.device_id).values()
        return result["standing"], result["reason"]

    @property
    def key_id(self) -> str:
        """Of the key that the agent takes for enrolled."""
        return StateDirectory(self.state).enrollment().key_id


@pytest.fixture
def server(tmp_path: Path, pki: Pki) -> Iterator[WatchwordServer]:
    client = pki.issuing.issue("laptop-1.corp.example")
    (tmp_path / "ca.pem").write_bytes(pki.issuing.pem)
    (tmp_path / "rules.yaml").write_text(RULES.format(directory=tmp_path))
    (tmp_path / "client.key").write_bytes(key_pem(client.key))
    (tmp_path / "SN-1.pem").write_bytes(client.pem)
    with WatchwordServer(tmp_path / "data") as server:
        server.apply(tmp_path / "rules.yaml")
        yield server


@pytest.fixture
async def place(server: WatchwordServer, tmp_path: Path) -> Place:
    (tmp_path / "token").write_text(server.enrollment_token())
    names = ("--hostname", "laptop-1", "--serial-number", "SN-1")
    enroll = ("enroll", "--server", f"http://{server.endpoints.agents}", "--token-file", tmp_path / "token")
    enrolled = await run(*enroll, "--state", tmp_path / "state", *names)
    assert enrolled.code == 0, enrolled.err
    return Place(Operators(server.data), tmp_path / "state", enrolled.out.strip())


async def test_goodbye_ends_the_results_unless_an_agent_is_running(place: Place) -> None:
    agent = await start("run", "--state", place.state)
    try:
        device = await Device.of(place.state)
        await device.status_when(lambda status: any(check.passed for check in status.checks))
        refused = await run("goodbye", "--state", place.state)
        assert refused.code == 1
        assert "another agent is running" in refused.err
    finally:
        await _stop(agent)
    assert place.result == ("passed", "passed"), "to stop says nothing"
    left = await run("goodbye", "--state", place.state)
    assert (left.code, left.out) == (0, f"{place.device_id}\n"), left.err
    assert place.result == ("failed", "device_said_goodbye")
    place.operators.revoke(place.device_id)
    refused = await run("goodbye", "--state", place.state)
    assert refused.code == 1
    assert "`device_not_active`" in refused.err


async def test_an_agent_that_is_told_to_says_goodbye_when_it_is_stopped(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHWORD_AGENT_GOODBYE_ON_STOP", "true")
    agent = await start("run", "--state", place.state)
    device = await Device.of(place.state)
    await device.status_when(lambda status: any(check.passed for check in status.checks))
    agent.send_signal(signal.SIGTERM)
    _, err = await asyncio.wait_for(agent.communicate(), PATIENCE_SECONDS)
    assert agent.returncode == 0
    assert "said_goodbye" in err.decode()
    assert place.result == ("failed", "device_said_goodbye")


async def test_a_key_is_rotated_while_the_agent_runs_and_goes_on_after(place: Place) -> None:
    old = place.key_id
    asked = await run("rotate-key", "--state", place.state)
    assert asked.code == 0, asked.err
    new = asked.out.strip()
    assert new != old
    for _ in range(2):  # the second time there is nothing left to rotate, and the new key is the only one
        agent = await start("run", "--state", place.state)
        try:
            await _logged(agent, "key_rotated" if place.key_id == old else "connected")
            device = await Device.of(place.state)
            await device.status_when(lambda status: any(check.passed for check in status.checks))
        finally:
            await _stop(agent)
        assert place.key_id == new
    assert not StateDirectory(place.state).next_key_path.exists()


async def _logged(agent: asyncio.subprocess.Process, event: str) -> None:
    assert agent.stderr is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        while event not in (line := (await agent.stderr.readline()).decode()):
            assert line, f"`{event}` was not logged"


async def _stop(agent: asyncio.subprocess.Process) -> None:
    agent.terminate()
    await asyncio.wait_for(agent.communicate(), PATIENCE_SECONDS)

"""The commands as an administrator runs them: output, exit codes, signals."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner

from agent.device import Device, check_set
from agent.fake_server import PATIENCE_SECONDS, TOKEN, End, FakeServer
from support.pki import Pki, generate_key, key_pem
from watchword_agent.__main__ import main
from watchword_agent.app import run_agent
from watchword_agent.errors import OperatorError

AGENT = Path(sys.executable).with_name("watchword-agent")


@dataclass(frozen=True)
class Finished:
    code: int | None
    out: str
    err: str


async def start(*arguments: str | Path) -> Process:
    return await asyncio.create_subprocess_exec(AGENT, *map(str, arguments), stdin=PIPE, stdout=PIPE, stderr=PIPE)


async def run(*arguments: str | Path, stdin: str = "") -> Finished:
    process = await start(*arguments)
    async with asyncio.timeout(PATIENCE_SECONDS):
        out, err = await process.communicate(stdin.encode())
    return Finished(process.returncode, out.decode(), err.decode())


async def test_the_tour(server: FakeServer, tmp_path: Path, pki: Pki) -> None:
    """enroll, run, status, SIGTERM: nothing but the state directory is needed after enrolling."""
    state, certificate = tmp_path / "state", tmp_path / "client.pem"
    client = pki.issuing.issue()
    certificate.write_bytes(client.pem + key_pem(client.key))
    server.check_set = check_set(certificate)
    (tmp_path / "token").write_text(TOKEN + "\n")
    enrolled = await run("enroll", "--server", server.address, "--token-file", tmp_path / "token", "--state", state)
    (device_id,) = server.devices
    assert (enrolled.code, enrolled.out) == (0, device_id + "\n"), enrolled.err
    assert "watchword-agent run --state" in enrolled.err

    never_run = await run("status", "--state", state)
    assert (never_run.code, never_run.out) == (2, "")

    agent = await start("run", "--state", state, "--log-level", "debug")
    try:
        await server.next_evidence()
        await server.next_evidence()
        device = await Device.of(state)
        await device.status_when(lambda status: len(status.checks) == 1)
        passing = await run("status", "--state", state)
        assert passing.code == 0, passing.err
        assert "PASSED  name of check-0" in passing.out

        certificate.unlink()
        await device.status_when(lambda status: not status.checks[0].passed)
        failing = await run("status", "--state", state, "--json")
        assert failing.code == 1
        told = json.loads(failing.out)
        assert (told["running"], told["connected"], told["device_id"]) == (True, True, device_id)
        assert told["checks"][0]["reason"] == "path_missing"
    finally:
        agent.send_signal(signal.SIGTERM)
        out, err = await asyncio.wait_for(agent.communicate(), PATIENCE_SECONDS)
    assert (agent.returncode, out) == (0, b"")
    assert TOKEN.split(".")[2] not in err.decode()
    assert "PRIVATE" not in err.decode()
    assert " stopped" in err.decode().splitlines()[-1]

    stopped = await run("status", "--state", state, "--json")
    assert stopped.code == 2
    assert json.loads(stopped.out)["running"] is False


async def test_a_killed_agent_is_not_running(device: Device, server: FakeServer) -> None:
    agent = await start("run", "--state", device.settings.state_dir)
    await server.next_evidence()
    await device.status_when(lambda status: status.last_ack_at is not None)
    agent.kill()
    await agent.communicate()
    status = await run("status", "--state", device.settings.state_dir)
    assert status.code == 2
    assert "not running" in status.out


async def test_interrupting_is_a_way_to_end_it(device: Device, server: FakeServer) -> None:
    agent = await start("run", "--state", device.settings.state_dir)
    await server.next_evidence()
    agent.send_signal(signal.SIGINT)
    await asyncio.wait_for(agent.communicate(), PATIENCE_SECONDS)
    assert agent.returncode == 0


async def test_a_refusal_says_what_to_do(server: FakeServer, tmp_path: Path) -> None:
    server.enrollments_refused.append(End(grpc.StatusCode.PERMISSION_DENIED, "no", (("watchword-correlation-id", "0123abcd"),)))
    refused = await run("enroll", "--server", server.address, "--token-file", "-", "--state", tmp_path / "state", stdin=TOKEN)
    assert (refused.code, refused.out) == (1, "")
    assert "0123abcd" in refused.err
    assert "tell an operator the correlation id" in refused.err
    assert TOKEN not in refused.err
    again = await run("enroll", "--server", server.address, "--token", TOKEN, "--state", tmp_path / "state")
    assert again.code == 0


async def test_enrolling_twice_says_so(server: FakeServer, device: Device) -> None:
    state = device.settings.state_dir
    same = await run("enroll", "--server", server.address, "--token", "anything", "--state", state)
    assert (same.code, same.out) == (0, device.enrollment.device_id + "\n")
    assert "already enrolled" in same.err
    other = await run("enroll", "--server", "https://other.corp.example:1", "--token", "anything", "--state", state)
    assert (other.code, other.out) == (1, "")


async def test_a_configuration_file_serves_all_commands(server: FakeServer, tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(f'server = "{server.address}"\nstate_dir = "{tmp_path}/state"\nhostname = "laptop-9"\n')
    assert (await run("enroll", "--config", config, "--token", TOKEN)).code == 0
    assert next(iter(server.inventories.values())).hostname == "laptop-9"
    assert "never run" in (await run("status", "--config", config)).err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("run", "--state", "/nonexistent/state"), 1, "not enrolled"),
        (("status", "--state", "/nonexistent/state"), 2, "not enrolled"),
        (("enroll", "--server", "http://192.0.2.1:1", "--token", TOKEN), 1, "plaintext"),
        (("enroll", "--token", TOKEN, "--state", "/nonexistent/state"), 1, "--server"),
        (("enroll", "--server", "https://a.b:1"), 2, "either --token or --token-file"),
        (("enroll", "--server", "https://a.b:1", "--token", TOKEN, "--token-file", "x"), 2, "either --token or --token-file"),
        (("enroll", "--server", "https://a.b:1", "--token-file", "/nonexistent/token"), 1, "cannot read the token"),
        (("run", "--config", "/nonexistent.toml"), 1, "cannot read"),
        (("frobnicate",), 2, "No such command"),
    ],
)
def test_what_cannot_be_done_says_why(arguments: tuple[str, ...], code: int, message: str) -> None:
    finished = CliRunner().invoke(main, arguments)
    assert (finished.exit_code, finished.stdout) == (code, "")
    assert message in finished.stderr
    assert isinstance(finished.exception, SystemExit)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda state: (state / "device.key").chmod(0o644), "mode 0644"),
        (lambda state: (state / "device.key").unlink(), "is gone"),
        (lambda state: (state / "device.key").write_bytes(key_pem(generate_key())), "not the key that was enrolled"),
        (lambda state: state.chmod(0o777), "others may write"),
        (lambda state: (state / "agent.json").write_text("{}"), "damaged"),
    ],
)
async def test_a_state_directory_that_cannot_be_trusted_stops_it(
    device: Device, harm: Callable[[Path], object], message: str
) -> None:
    harm(device.settings.state_dir)
    with pytest.raises(OperatorError, match=message):
        await run_agent(device.settings)


@pytest.mark.parametrize("command", ["enroll", "run", "status"])
def test_help_shows_an_example_and_the_exit_codes(command: str) -> None:
    text = CliRunner().invoke(main, [command, "--help"]).stdout
    assert f"watchword-agent {command}" in text.split("Example:")[1]
    assert "Exit codes:\n    0  " in text

"""Whatever happens to the server, the way to it or the clock: the agent comes back, in due time, and says nothing twice."""

import asyncio
import contextlib
import datetime as dt
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest

from agent.device import Device, check_set
from agent.fake_server import FakeServer, Stream
from agent.proofs import verify_candidate
from agent.test_cli import start
from support.pki import Pki, key_pem
from support.processes import run as run_program
from support.processes import wait_until
from watchword.v1 import posture_pb2 as pb
from watchword_agent import channel, stream
from watchword_agent.backoff import Backoff

YEAR_SECONDS = 365 * 86_400


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without gRPC's own pauses between connections, which are a second at least."""
    own = {"grpc.initial_reconnect_backoff_ms", "grpc.min_reconnect_backoff_ms", "grpc.max_reconnect_backoff_ms"}
    options = tuple((name, 20 if name in own else value) for name, value in channel._OPTIONS)
    monkeypatch.setattr(channel, "_OPTIONS", options)


def certificate(directory: Path, pki: Pki) -> Path:
    credential, path = pki.issuing.issue(), directory / "client.pem"
    path.write_bytes(credential.chain_pem + key_pem(credential.key))
    return path


async def test_a_server_that_is_restarted_a_hundred_times_is_found_again_each_time_and_told_nothing_twice(
    server: FakeServer, device: Device, tmp_path: Path, pki: Pki, hasty: None, caplog: pytest.LogCaptureFixture
) -> None:
    server.check_set = check_set(certificate(tmp_path, pki))
    caplog.set_level("INFO", "watchword_agent")
    seen: set[tuple[bytes, int]] = set()
    epochs: list[int] = []
    async with device.running(reconnect_base_seconds=0.01, reconnect_cap_seconds=1):
        await _evidence_with_checks(server)
        for _ in range(100):
            await server.stop()
            await server.start()
            evidence = await _evidence_of_a_new_stream(server)
            assert (evidence.session_id, evidence.sequence) not in seen
            seen.add((evidence.session_id, evidence.sequence))
            epochs.append(evidence.epoch)
            assert [check.check_id for check in evidence.checks] == ["check-0"]
    assert epochs == sorted(set(epochs))
    told = [record for record in caplog.records if record.getMessage() == "check_changed"]
    assert len(told) == 1  # it passed, once; a new stream is no news


async def test_a_connection_may_be_cut_anywhere_inside_a_message(
    server: FakeServer, device: Device, tmp_path: Path, pki: Pki, hasty: None
) -> None:
    """After so many bytes either way, for ever more of them; each time nothing was half believed on either side."""
    path = certificate(tmp_path, pki)
    server.check_set = check_set(path)
    bounds = [1, 9, 24, 60, 120, 250, 500, 700, 900, 1_200, 1_600, 2_200, 3_000]
    async with (
        _cutting(server, bounds) as address,
        device.running(server=address, reconnect_base_seconds=0.01, reconnect_cap_seconds=1),
    ):
        evidence = await _evidence_with_checks(server)
        while bounds:
            evidence = await _evidence_with_checks(server)
        path.unlink()
        while evidence.checks[0].error.code != "path_missing":
            evidence = await server.next_evidence()
    assert server.faults == []


async def test_an_acknowledgement_that_is_lost_is_made_up_for_by_new_evidence(
    server: FakeServer, device: Device, tmp_path: Path, pki: Pki, hasty: None
) -> None:
    """Never by the same: what was not acknowledged is not repeated, it is proven anew in another session."""
    server.check_set = check_set(certificate(tmp_path, pki))

    def lose(at: Stream, evidence: pb.Evidence) -> None:
        at.end(grpc.StatusCode.UNAVAILABLE, "the answer was lost")

    server.reactions.extend([lose, lose])
    async with device.running(reconnect_base_seconds=0.01):
        first, second, third = [await server.next_evidence() for _ in range(3)]
    assert len({first.session_id, second.session_id, third.session_id}) == 3
    assert len({first.nonce, second.nonce, third.nonce}) == 3
    assert first.sequence == second.sequence == third.sequence == 1


async def test_a_server_that_moved_is_found_where_the_settings_say(device: Device, server: FakeServer) -> None:
    async with FakeServer() as other:
        other.devices = server.devices
        async with device.running(server=other.address):
            assert (await other.next_evidence()).device_id == device.enrollment.device_id
        assert other.faults == []
    assert server.evidence.empty()


@pytest.mark.parametrize("off", [YEAR_SECONDS, -YEAR_SECONDS], ids=["ahead", "behind"])
async def test_a_clock_that_is_off_by_a_year_changes_nothing_but_what_is_told_of_it(
    server: FakeServer, device: Device, tmp_path: Path, pki: Pki, monkeypatch: pytest.MonkeyPatch, off: int
) -> None:
    """The wall clock is information; ages, schedules and proofs go by others."""
    now = dt.datetime.now(tz=dt.UTC).timestamp()
    monkeypatch.setattr(stream, "time", SimpleNamespace(time=lambda: now + off))
    path = certificate(tmp_path, pki)
    server.check_set = check_set(path)
    async with device.running():
        evidence = await _evidence_with_checks(server)
        assert abs(evidence.boot.wall_time_unix_ms / 1000 - now - off) < 1
        assert evidence.checks[0].age_ms < 10_000
        verify_candidate(evidence.checks[0].client_certificate.candidates[0], evidence, "check-0")
        path.unlink()
        assert (await server.next_evidence()).checks[0].error.code == "path_missing"


def test_a_server_that_is_away_for_days_is_asked_for_rarely_and_never_by_all_at_once() -> None:
    for base, cap in ((1.0, 300.0), (30.0, 1800.0)):
        backoff = Backoff(base, cap, lambda low, high: (low + high) / 2)
        elapsed, tries = 0.0, 0
        while elapsed < 3 * 86_400:
            elapsed += backoff.next()
            tries += 1
        assert tries < 3 * 86_400 / (cap / 2) + 15
        assert 0 < backoff.next() <= cap


async def test_who_slept_through_a_pause_is_not_made_to_wait_once_more(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine was suspended: its clock went on, its timers did not."""
    clock, slept = [0.0], list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock[0] += 10_000 if len(slept) == 2 else seconds

    monkeypatch.setattr(asyncio, "sleep", sleep)
    waiting = object.__new__(stream.AttestStream)
    waiting._clock = lambda: clock[0]
    await waiting._pause(3_600)
    assert slept == [30.0, 30.0]


@pytest.mark.needs_program("cc")
async def test_a_store_that_hangs_keeps_neither_the_agent_nor_a_helper_from_ending(server: FakeServer, tmp_path: Path) -> None:
    """SIGTERM ends it at once, and nothing is left behind."""
    library, marker = _hanging_library(tmp_path), tmp_path / "begun"
    device = await Device.enroll(server, tmp_path / "state")
    server.check_set = check_set(f"pkcs11:token=any?module-path={library}")
    config = tmp_path / "agent.toml"
    config.write_text(f'pkcs11_modules = ["{library}"]\ncollection_timeout_seconds = 300\n')
    agent = await start("run", "--state", device.settings.state_dir, "--config", config)
    try:
        await server.next_evidence()
        await _exists(marker)
        helpers = _children(agent.pid)
        assert helpers
        agent.send_signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            _, err = await agent.communicate()
        assert agent.returncode == 0, err
        assert not [pid for pid in helpers if _is_alive(pid)]
    finally:
        with contextlib.suppress(ProcessLookupError):
            agent.kill()


# ---- How ---------------------------------------------------------------------------------------------------------------


def _hanging_library(directory: Path) -> Path:
    """A module of a token that says that it was called, by the file `begun`, and never returns."""
    source, library = directory / "hanging.c", directory / "hanging.so"
    body = f'fclose(fopen("{directory}/begun", "w")); for (;;) pause();'
    source.write_text(f"#include <stdio.h>\n#include <unistd.h>\nlong C_GetFunctionList(void **list) {{ {body} }}\n")
    run_program(["cc", "-w", "-shared", "-fPIC", "-o", library, source])
    return library


async def _evidence_with_checks(server: FakeServer) -> pb.Evidence:
    while not (evidence := await server.next_evidence()).checks:
        pass
    return evidence


async def _evidence_of_a_new_stream(server: FakeServer) -> pb.Evidence:
    while (evidence := await server.next_evidence()).sequence != 1:
        pass
    return evidence


@contextlib.asynccontextmanager
async def _cutting(server: FakeServer, bounds: list[int]) -> AsyncIterator[str]:
    """A way to the server that cuts each connection after so many bytes, the next bound each; then none any more."""
    host, port = server.address.removeprefix("http://").split(":")

    serving: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.ensure_future(serve(reader, writer)))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        budget = [bounds.pop(0) if bounds else 1 << 40]
        other_reader, other_writer = await asyncio.open_connection(host, int(port))
        ways = [
            asyncio.create_task(carry(reader, other_writer, budget)),
            asyncio.create_task(carry(other_reader, writer, budget)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for each in (writer, other_writer):
                each.transport.abort()
        await asyncio.wait(ways)

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, budget: list[int]) -> None:
        with contextlib.suppress(ConnectionError):
            while budget[0] > 0 and (data := await reader.read(min(budget[0], 65_536))):
                budget[0] -= len(data)
                writer.write(data)
                await writer.drain()

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


async def _exists(path: Path) -> None:
    await asyncio.to_thread(wait_until, path.exists, what=f"`{path}` is there")


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False

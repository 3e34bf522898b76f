"""The agent's stream against a server's half: enroll, attest, notice changes, come back."""

import asyncio
import datetime as dt
import threading
from pathlib import Path

import grpc
import pytest

from agent.device import Device, check_set
from agent.fake_server import PATIENCE_SECONDS, TOKEN, End, FakeServer, Stream
from agent.proofs import verify_candidate
from agent.visits import access
from support.pki import Pki, key_pem
from watchword.v1 import posture_pb2 as pb
from watchword.v1.posture_pb2_grpc import PostureServiceStub
from watchword_agent.app import enroll_device, run_agent
from watchword_agent.channel import open_channel
from watchword_agent.collect import Collector
from watchword_agent.device_keys import DeviceKeys
from watchword_agent.errors import ServerUnreachableError, StateDirectoryError
from watchword_agent.identity import read_identity
from watchword_agent.key_files import KeyFiles
from watchword_agent.session import Attester
from watchword_agent.settings import ServerAddress, load_settings
from watchword_agent.state import StateDirectory
from watchword_agent.status import StatusFile
from watchword_agent.stores import pem
from watchword_agent.stream import AttestStream
from watchword_agent.transport import Transport
from watchword_agent.watch import StoreWatch


def _write(path: Path, pki: Pki) -> Path:
    credential = pki.issuing.issue()
    path.write_bytes(credential.chain_pem + key_pem(credential.key))
    return path


async def test_the_first_evidence_is_for_no_checks_and_the_next_for_those_then_told(
    server: FakeServer, device: Device, tmp_path: Path, pki: Pki
) -> None:
    server.check_set = check_set(_write(tmp_path / "a.pem", pki), tmp_path / "missing.pem")
    async with device.running():
        first, second = await server.next_evidence(), await server.next_evidence()
    assert (first.sequence, first.check_set_revision, len(first.checks)) == (1, 0, 0)
    assert (second.sequence, second.check_set_revision) == (2, 7)
    (found,) = second.checks[0].client_certificate.candidates
    assert (found.location, found.private_key) == (str(tmp_path / "a.pem"), pb.PRIVATE_KEY_STATE_USABLE)
    verify_candidate(found, second, "check-0")
    assert (second.checks[1].error.code, second.checks[1].error.detail) == ("path_missing", f"`{tmp_path}/missing.pem`")
    assert (second.inventory.platform, second.inventory.hostname, second.inventory.serial_number) == ("linux", "laptop-1", "SN-1")
    assert second.checks[0].age_ms < 10_000


async def test_a_removed_certificate_is_reported_at_once(server: FakeServer, device: Device, tmp_path: Path, pki: Pki) -> None:
    path = _write(tmp_path / "a.pem", pki)
    server.check_set = check_set(path)
    async with device.running():
        await server.next_evidence()
        await server.next_evidence()
        path.unlink()
        gone = await server.next_evidence()
        assert gone.checks[0].error.code == "path_missing"
        _write(path, pki)
        back = await server.next_evidence()
        while not back.checks[0].client_certificate.candidates:  # it was written in steps
            back = await server.next_evidence()
    assert back.sequence > gone.sequence


async def test_attest_now_is_answered(server: FakeServer, device: Device) -> None:
    async with device.running():
        stream = await server.next_stream()
        await server.next_evidence()
        stream.send(attest_now=pb.AttestNow())
        assert (await server.next_evidence()).sequence == 2


async def test_after_a_broken_connection_it_attests_the_checks_it_knew(
    server: FakeServer, device: Device, tmp_path: Path, pki: Pki
) -> None:
    server.check_set = check_set(_write(tmp_path / "a.pem", pki))
    async with device.running():
        await server.next_evidence()
        await server.next_evidence()
        await server.stop()
        await server.start()
        again = await server.next_evidence()
    assert (again.sequence, again.check_set_revision, len(again.checks)) == (1, 7, 1)


async def test_it_keeps_its_instance_id_over_streams(server: FakeServer, device: Device) -> None:
    async with device.running():
        first = await server.next_stream()
        first.end(grpc.StatusCode.UNAVAILABLE)
        second = await server.next_stream()
    assert first.hello.instance_id == second.hello.instance_id
    assert len(first.hello.instance_id) == 16


@pytest.mark.parametrize("code", ["store_unavailable", "overloaded", "challenge_stale"])
async def test_rejected_with_a_challenge_is_tried_again_on_the_same_stream(server: FakeServer, device: Device, code: str) -> None:
    server.reactions.append(lambda stream, _: stream.reject(code, try_again=True))
    async with device.running():
        stream = await server.next_stream()
        first, second = await server.next_evidence(), await server.next_evidence()
        assert (first.sequence, second.sequence) == (1, 1)
        assert first.nonce != second.nonce
        assert not stream.ended.is_set()


async def test_rejected_for_good_says_why_in_the_status(server: FakeServer, device: Device) -> None:
    def refuse(stream: Stream, evidence: pb.Evidence) -> None:
        stream.reject("device_not_active", try_again=False)
        stream.send(closing=pb.Closing(code="device_not_active", retry_after_ms=3_600_000))
        stream.end()

    server.reactions.append(refuse)
    async with device.running():
        stream = await server.next_stream()
        await server.next_evidence()
        await stream.ended.wait()
        status = await device.status_when(lambda status: status.problem is not None)
    assert status.problem is not None
    assert status.problem.code == "device_not_active"
    assert not status.connected
    assert server.streams.empty()


async def test_rejected_for_good_is_the_reason_however_the_stream_ends(server: FakeServer, device: Device) -> None:
    def refuse(stream: Stream, _: pb.Evidence) -> None:
        stream.reject("device_not_active", try_again=False)
        stream.end(grpc.StatusCode.UNAVAILABLE)

    server.reactions.append(refuse)
    async with device.running(refused_base_seconds=3600, refused_cap_seconds=3600):
        status = await device.status_when(lambda status: status.problem is not None)
    assert status.problem is not None
    assert status.problem.code == "device_not_active"
    assert len(server.devices) == 1


async def test_waits_grow_until_evidence_is_accepted(server: FakeServer, device: Device) -> None:
    server.refusals.extend([End(grpc.StatusCode.UNAVAILABLE)] * 3)
    bounds: list[float] = []

    def record(low: float, high: float) -> float:
        bounds.append(high)
        return low

    state = StateDirectory(device.settings.state_dir)
    enrolled = device.enrollment
    async with open_channel(ServerAddress.parse(server.address), ca_file=None) as channel:
        stream = AttestStream(
            Transport(PostureServiceStub(channel).Attest, None, "stream", record),
            attester=Attester(enrolled.device_id, enrolled.key_id, enrolled.audience, b"i" * 16, "1"),
            keys=DeviceKeys(state, enrolled, KeyFiles()),
            collector=Collector(read_identity, access()),
            watch=StoreWatch(),
            status=StatusFile(state.status_path, device_id="", server="", now=lambda: dt.datetime.now(tz=dt.UTC)),
            settings=device.settings,
            uniform=record,
        )
        running = asyncio.create_task(stream.run())
        first = await server.next_stream()
        await server.next_evidence()
        first.end(grpc.StatusCode.UNAVAILABLE)
        await server.next_stream()
        running.cancel()
        await asyncio.wait([running])
    assert bounds == [0.02, 0.04, 0.08, 0.02]


async def test_a_drain_moves_the_agent_to_a_new_stream_without_waiting(server: FakeServer, device: Device) -> None:
    async with device.running(reconnect_base_seconds=60, reconnect_cap_seconds=60):
        first = await server.next_stream()
        await server.next_evidence()
        first.send(drain=pb.Drain(reconnect_within_ms=1))
        second = await server.next_stream()
        assert (await server.next_evidence()).session_id == second.session_id


async def test_a_server_that_drains_without_accepting_anything_is_left_alone_for_a_while(
    server: FakeServer, device: Device
) -> None:
    def drain(stream: Stream, _: pb.Evidence) -> None:
        stream.send(drain=pb.Drain())
        stream.reject("overloaded", try_again=True)

    server.reactions.append(drain)
    async with device.running(reconnect_base_seconds=60, reconnect_cap_seconds=60):
        status = await device.status_when(lambda status: status.problem is not None and status.problem.code == "draining")
    assert not status.connected


async def test_a_closing_server_is_left_alone_for_as_long_as_it_asks(server: FakeServer, device: Device) -> None:
    async with device.running():
        stream = await server.next_stream()
        await server.next_evidence()
        stream.send(closing=pb.Closing(code="shutting_down", retry_after_ms=3_600_000))
        status = await device.status_when(lambda status: status.problem is not None)
    assert status.problem is not None
    assert status.problem.code == "shutting_down"
    assert (status.problem.retry_at - dt.datetime.now(tz=dt.UTC)).total_seconds() > 3000


@pytest.mark.parametrize("code", [grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED])
async def test_a_refused_stream_is_tried_again_slowly(server: FakeServer, device: Device, code: grpc.StatusCode) -> None:
    server.refusals.append(End(code, "no"))
    async with device.running(refused_base_seconds=3600, refused_cap_seconds=3600):
        status = await device.status_when(lambda status: status.problem is not None)
    assert status.problem is not None
    assert (status.problem.code, status.problem.detail) == (code.name.lower(), f"{code.name}: no")
    assert server.streams.empty()


async def test_a_stream_is_tried_again_no_earlier_than_the_server_asks(server: FakeServer, device: Device) -> None:
    metadata = (("watchword-code", "rate_limited"), ("retry-after-ms", "3600000"))
    server.refusals.append(End(grpc.StatusCode.RESOURCE_EXHAUSTED, "rate_limited", metadata))
    async with device.running():
        status = await device.status_when(lambda status: status.problem is not None)
    assert status.problem is not None
    assert status.problem.code == "rate_limited"
    assert (status.problem.retry_at - dt.datetime.now(tz=dt.UTC)).total_seconds() > 3000


async def test_an_unreachable_server_is_a_problem_with_a_reason(server: FakeServer, device: Device) -> None:
    await server.stop()
    async with device.running():
        status = await device.status_when(lambda status: status.problem is not None)
    assert status.problem is not None
    assert status.problem.code == "unavailable"
    assert "UNAVAILABLE" in status.problem.detail


async def test_nothing_is_signed_for_another_audience(server: FakeServer, device: Device) -> None:
    server.audience = "watchword-elsewhere"
    async with device.running(refused_base_seconds=3600, refused_cap_seconds=3600):
        stream = await server.next_stream()
        await stream.ended.wait()
        status = await device.status_when(lambda status: status.problem is not None)
    assert status.problem is not None
    assert "watchword-elsewhere" in status.problem.detail
    assert server.evidence.empty()


async def test_a_silent_server_is_given_up(server: FakeServer, device: Device) -> None:
    server.reactions.append(lambda *_: None)
    async with device.running(answer_timeout_seconds=0.1):
        first = await server.next_stream()
        second = await server.next_stream()
        assert first.ended.is_set()
        assert (await server.next_evidence()).session_id == first.session_id
        assert (await server.next_evidence()).session_id == second.session_id


async def test_the_status_tells_what_the_server_acknowledged(
    server: FakeServer, device: Device, tmp_path: Path, pki: Pki
) -> None:
    server.check_set = check_set(_write(tmp_path / "a.pem", pki), tmp_path / "missing.pem")
    async with device.running():
        status = await device.status_when(lambda status: len(status.checks) == 2)
        assert status.connected
    assert [(check.name, check.passed, check.reason) for check in status.checks] == [
        ("name of check-0", True, "passed"),
        ("name of check-1", False, "path_missing"),
    ]
    assert status.checks[0].expires_at is not None
    stopped = device.status()
    assert stopped is not None
    assert not stopped.connected


async def test_only_one_agent_runs_on_a_state_directory(server: FakeServer, device: Device) -> None:
    async with device.running():
        await server.next_evidence()
        with pytest.raises(StateDirectoryError, match="another agent"):
            await run_agent(device.settings)


async def test_a_check_that_hangs_is_reported(
    server: FakeServer, device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a dead network file system makes it hang."""
    revived = threading.Event()

    def hang(path: str) -> bytes:
        revived.wait(PATIENCE_SECONDS)
        return b""

    monkeypatch.setattr(pem, "read", hang)
    server.check_set = check_set(tmp_path / "a.pem")
    try:
        async with device.running(collection_timeout_seconds=0.1):
            await server.next_evidence()
            late = await server.next_evidence()
    finally:
        revived.set()
    assert late.checks[0].error.code == "collection_timeout"


async def test_the_server_over_tls_is_checked_against_the_roots_given(tmp_path: Path, pki: Pki) -> None:
    credential = pki.server("127.0.0.1")
    (tmp_path / "roots.pem").write_bytes(pki.web.pem)
    (tmp_path / "other.pem").write_bytes(pki.root.pem)
    server = FakeServer()
    await server.start(grpc.ssl_server_credentials([(key_pem(credential.key), credential.chain_pem)]))
    try:
        settings = load_settings(
            options={"server": server.address, "state_dir": tmp_path / "state", "ca_file": tmp_path / "other.pem"}
        )
        with pytest.raises(ServerUnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
            await enroll_device(settings, TOKEN)
        settings = settings.model_copy(update={"ca_file": tmp_path / "roots.pem"})
        enrolled = (await enroll_device(settings, TOKEN)).enrollment
        async with Device(load_settings(options={"state_dir": tmp_path / "state"}), enrolled).running():
            assert (await server.next_evidence()).device_id == enrolled.device_id
    finally:
        await server.stop()
    assert server.faults == []

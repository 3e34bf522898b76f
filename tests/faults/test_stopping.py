"""SIGTERM and Ctrl-C: agents are told to come back, calls that run are finished, and the exit code is 0."""

import asyncio
import contextlib
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

from faults.proxy import Proxy
from faults.rough import connected, port_of
from faults.servers import UNHURRIED, apply_rules, surprises
from server.operators import Operators
from support.device import AttestStream, Ended, SimulatedDevice
from support.pki import Credential, Pki
from support.rules import wiki_rules
from support.server import WatchwordServer
from watchword.v1 import posture_pb2 as wire

LONG: Final = "120"  # seconds of drain: longer than any test waits


@contextlib.contextmanager
def serving(pki: Pki, directory: Path, *, drain_seconds: str) -> Iterator[WatchwordServer]:
    environment = {**UNHURRIED, "WATCHWORD_LIMITS__DRAIN_SECONDS": drain_seconds}
    with WatchwordServer(directory / "data", environment=environment) as server:
        apply_rules(server, wiki_rules(pki))
        yield server


@contextlib.asynccontextmanager
async def attesting(server: WatchwordServer, credential: Credential) -> AsyncIterator[AttestStream]:
    """A device with a claimed stream."""
    device = SimulatedDevice(server.endpoints.agents, found=(credential,))
    await device.enroll(Operators(server.data).enrollment_token().text)
    async with device.attesting() as stream:
        assert isinstance(await stream.settle(), wire.Ack)
        yield stream


def send(server: WatchwordServer, number: signal.Signals) -> None:
    """Tells it to stop."""
    os.kill(server.program.pid, number)


async def exit_code(server: WatchwordServer) -> int:
    """How it ends, by itself."""
    return await asyncio.to_thread(server.program.wait)


async def test_agents_are_told_to_come_back_and_it_ends_when_they_have_gone(pki: Pki, tmp_path: Path) -> None:
    """Long before the time it would give them: nobody is left to wait for."""
    credential = pki.issuing.issue()
    with serving(pki, tmp_path, drain_seconds=LONG) as server:
        async with attesting(server, credential) as stream:
            send(server, signal.SIGTERM)
            drain = await stream.receive_until(wire.Drain)
            assert isinstance(drain, wire.Drain)
            assert 0 < drain.reconnect_within_ms <= int(LONG) * 1000
            await stream.finish()
            assert await stream.receive() == Ended(grpc.StatusCode.OK, "")
        assert await exit_code(server) == 0
        assert surprises(server) == []
        assert not (server.data / "operators.sock").exists()


async def test_while_it_drains_it_takes_nobody_new_and_finishes_what_runs_and_then_everything_is_there(
    pki: Pki, tmp_path: Path
) -> None:
    credential = pki.issuing.issue()
    with serving(pki, tmp_path, drain_seconds=LONG) as server:
        async with attesting(server, credential) as stream, grpc.aio.insecure_channel(server.endpoints.agents) as channel:
            watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())  # type: ignore[attr-defined] # has no stubs
            assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
            send(server, signal.SIGTERM)
            assert (await watching.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            assert isinstance(await stream.receive_until(wire.Drain), wire.Drain)
            assert isinstance(await stream.attest(), wire.Ack), "evidence on its way is judged and stored"
            newcomer = SimulatedDevice(server.endpoints.agents, device_id=stream.device.device_id)
            async with newcomer.connected() as refused:
                ended = await refused.hello()
                assert isinstance(ended, Ended)
                assert ended.code is grpc.StatusCode.UNAVAILABLE
            watching.cancel()
            stream.hang_up()
        assert await exit_code(server) == 0
        assert surprises(server) == []
        assert not (server.data / "watchword.db-wal").exists(), "the log is folded into the database"
        with contextlib.closing(sqlite3.connect(server.data / "watchword.db")) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        await asyncio.to_thread(server.start)
        with Proxy(server.endpoints.decisions_http) as proxy:
            assert proxy.ask(credential).allowed


async def test_agents_that_stay_are_left_when_the_time_is_up_and_a_second_signal_does_not_hurry_it(
    pki: Pki, tmp_path: Path
) -> None:
    with serving(pki, tmp_path, drain_seconds="0.5") as server:
        async with attesting(server, pki.issuing.issue()) as stream:
            send(server, signal.SIGTERM)
            assert isinstance(await stream.receive_until(wire.Drain), wire.Drain)
            send(server, signal.SIGINT)
            ended = await stream.receive()
            assert isinstance(ended, Ended)
            assert ended.code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        assert await exit_code(server) == 0


async def test_connections_that_say_nothing_do_not_keep_it_from_ending_at_ctrl_c(pki: Pki, tmp_path: Path) -> None:
    """Kept-alive ones, half a request, silent ones: nobody waits for an answer on them."""
    with serving(pki, tmp_path, drain_seconds=LONG) as server, contextlib.ExitStack() as opened:
        endpoints = server.endpoints
        for address in (endpoints.operators, endpoints.decisions_http, endpoints.agents_http):
            client = opened.enter_context(httpx.Client())
            assert client.get(f"{address}/livez").status_code == 200
            opened.enter_context(connected(port_of(address))).sendall(b"GET /livez HTTP/1.1\r\nHost: ")
        for address in (endpoints.agents, endpoints.decisions_grpc):
            opened.enter_context(connected(port_of(address)))
        send(server, signal.SIGINT)
        assert await exit_code(server) == 0
        assert surprises(server) == []

"""Bytes, messages and streams that no honest client sends, on every port: refused, forgotten, and nobody else notices.

Floods of one stream and one address, lateness and oversized evidence over a real stream are in `tests/server`.
"""

import asyncio
import contextlib
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from faults.proxy import PATH, SECRET, SECRET_HEADER, Proxy
from faults.rough import RawHttp2, call_raw, connected, peak_memory, port_of, pour, throw
from faults.servers import UNHURRIED, apply_rules, surprises
from server.operators import Operators
from support.device import Ended, SimulatedDevice
from support.pki import Credential, Pki
from support.rules import wiki_rules
from support.server import WatchwordServer
from watchword.envoy import ext_authz_pb2
from watchword.v1 import posture_pb2 as wire

MAX_STREAMS: Final = 6  # of devices that have proven whose they are
MAX_UNPROVEN: Final = 12  # others, of one address
ATTEST: Final = "/watchword.v1.PostureService/Attest"
ENROLL: Final = "/watchword.v1.PostureService/Enroll"
CHECK: Final = "/envoy.service.auth.v3.Authorization/Check"
VIOLATION: Final = Ended(grpc.StatusCode.INVALID_ARGUMENT, "protocol_violation")
HTTP_PORTS: Final = ("operators", "decisions_http", "agents_http")
GRPC_PORTS: Final = ("decisions_grpc", "agents")
MEGABYTE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Scene:
    """A server, and a device that passes with `credential`."""

    server: WatchwordServer
    pki: Pki
    device: SimulatedDevice
    credential: Credential

    def port(self, listener: str) -> int:
        """Where a listener is."""
        return port_of(getattr(self.server.endpoints, listener))

    async def is_well(self) -> bool:
        """Whether it still judges evidence and decides requests."""
        answer = await self.device.attest_once()
        assert isinstance(answer, wire.Ack), answer
        assert [result.passed for result in answer.results] == [True]
        with Proxy(self.server.endpoints.decisions_http) as proxy:
            return proxy.ask(self.credential).allowed and proxy.ask().reason == "no_device"

    async def comes_in_again(self) -> None:
        """Streams have left, which the server notices in its own time: the device is let in, as if nothing had been."""
        async with asyncio.timeout(20):
            while not isinstance(await self.device.attest_once(), wire.Ack):
                pass
        assert await self.is_well()


@pytest.fixture(scope="module")
def scene(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory: Path = tmp_path_factory.mktemp("abuse")
    limits = {
        **UNHURRIED,
        "WATCHWORD_LIMITS__MAX_STREAMS": str(MAX_STREAMS),
        "WATCHWORD_LIMITS__MAX_UNPROVEN_STREAMS_OF_AN_ADDRESS": str(MAX_UNPROVEN),
    }
    with WatchwordServer(directory / "data", environment=limits) as server:
        apply_rules(server, wiki_rules(pki))
        credential = pki.issuing.issue()
        device = SimulatedDevice(server.endpoints.agents, found=(credential,))
        asyncio.run(device.enroll(Operators(server.data).enrollment_token().text))
        yield Scene(server, pki, device, credential)
        assert server.program.running
        assert surprises(server) == []


# ---- Bytes -------------------------------------------------------------------------------------------------------------

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GARBAGE: Final = {
    "nothing": b"",
    "noise": random.Random(1).randbytes(100_000),
    "zeros": bytes(100_000),
    "TLS": bytes.fromhex("16030100a5010000a10303") + os.urandom(160),
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "a line without an end": b"A" * 100_000,
    "no request line": b"\r\n\r\n\r\n\r\n",
    "another version": b"GET / HTTP/9.9\r\n\r\n",
    "a request cut short": b"POST /api/v1/tokens HTTP/1.1\r\nContent-Length: 100\r\n\r\n{",
    "a bad header": b"GET / HTTP/1.1\r\nNo colon here\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length and chunks": b"POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a bad chunk": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "an upgrade": b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n\r\n",
    "a proxy's request": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\n\r\n",
    "a path of bytes": b"GET /\xff\xfe\x00 HTTP/1.1\r\n\r\n",
    "HTTP/2, then noise": _PREFACE + random.Random(2).randbytes(50_000),
    "HTTP/2, then a frame that is too large": _PREFACE + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
    "HTTP/2, then settings of no sense": _PREFACE + b"\x00\x00\x05\x04\x00\x00\x00\x00\x00abcde",
    "HTTP/2, then headers of no sense": _PREFACE
    + bytes(9)[:3]
    + b"\x04"
    + bytes(5)
    + b"\x00\x00\x04\x01\x04\x00\x00\x00\x01\xff\xff\xff\xff",
}


@pytest.mark.parametrize("listener", [*HTTP_PORTS, *GRPC_PORTS])
async def test_garbage_on_a_port_ends_its_connection_and_nothing_else(scene: Scene, listener: str) -> None:
    for name, data in GARBAGE.items():
        answer = await asyncio.to_thread(throw, scene.port(listener), data)
        assert b" 200 " not in answer[:20], name
        assert b"Traceback" not in answer, name
    assert await scene.is_well()


@pytest.mark.parametrize("listener", HTTP_PORTS)
@pytest.mark.parametrize(
    ("head", "endless"),
    [
        (b"GET /", b"a"),
        (b"GET / HTTP/1.1\r\nX: ", b"a"),
        (b"GET / HTTP/1.1\r\n", b"X-Header: value\r\n"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"extension"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"Trailer: value\r\n"),
    ],
    ids=["target", "header", "headers", "chunk extension", "trailers"],
)
async def test_a_request_whose_head_never_ends_is_ended_and_not_collected(
    scene: Scene, listener: str, head: bytes, endless: bytes
) -> None:
    before = peak_memory(scene.server.program.pid)
    await asyncio.to_thread(pour, scene.port(listener), head, endless, most=64 * MEGABYTE)
    assert peak_memory(scene.server.program.pid) - before < 16 * MEGABYTE


async def test_many_connections_that_say_nothing_keep_nobody_out(scene: Scene) -> None:
    silent = [connected(scene.port(listener)) for listener in (*HTTP_PORTS, *GRPC_PORTS) for _ in range(50)]
    opened = [connection.__enter__() for connection in silent]
    try:
        assert len(opened) == 250
        assert await scene.is_well()
    finally:
        for connection in silent:
            connection.__exit__(None, None, None)


# ---- Messages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listener", "method", "code"),
    [
        ("agents", ATTEST, "protocol_violation"),
        ("agents", ENROLL, "protocol_violation"),
        ("decisions_grpc", CHECK, "protocol_violation"),
    ],
)
@pytest.mark.parametrize(
    "message", [b"\xff\xff\xff garbage", b"\x0a\xff", b"\x0a\x03\x0a\x01\xff"], ids=["noise", "cut short", "UTF-8"]
)
async def test_bytes_that_are_no_message_are_the_peers_fault(
    scene: Scene, listener: str, method: str, code: str, message: bytes
) -> None:
    """And not an internal error: no text of ours reaches the peer, and none of the peer's making fills the log."""
    ended = await call_raw(getattr(scene.server.endpoints, listener), method, message)
    assert ended == Ended(grpc.StatusCode.INVALID_ARGUMENT, code) or (method == CHECK and ended.details == "caller_refused")


@pytest.mark.parametrize(("listener", "method"), [("agents", ATTEST), ("agents", ENROLL), ("decisions_grpc", CHECK)])
async def test_a_small_message_that_unpacks_to_a_large_one_is_refused_before_it_does(
    scene: Scene, listener: str, method: str
) -> None:
    before = peak_memory(scene.server.program.pid)
    bomb = wire.SignedEnvelope(payload=bytes(64 * MEGABYTE)).SerializeToString()
    target = getattr(scene.server.endpoints, listener)
    ended = await call_raw(target, method, bomb, compression=grpc.Compression.Gzip)
    assert ended.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert peak_memory(scene.server.program.pid) - before < 32 * MEGABYTE


@pytest.mark.parametrize(("listener", "method"), [("agents", ATTEST), ("agents", ENROLL), ("decisions_grpc", CHECK)])
async def test_five_megabytes_are_refused(scene: Scene, listener: str, method: str) -> None:
    message = wire.SignedEnvelope(payload=random.Random(3).randbytes(5 * MEGABYTE)).SerializeToString()
    ended = await call_raw(getattr(scene.server.endpoints, listener), method, message)
    assert ended.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await scene.is_well()


@pytest.mark.parametrize("listener", GRPC_PORTS)
@pytest.mark.parametrize(
    "method",
    [
        "/watchword.v1.PostureService/Revoke",
        "/watchword.v1.AdminService/Attest",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "//",
    ],
)
async def test_a_method_that_does_not_exist_is_not_there(scene: Scene, listener: str, method: str) -> None:
    assert (await call_raw(getattr(scene.server.endpoints, listener), method, b"")).code is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(("listener", "method"), [("agents", CHECK), ("decisions_grpc", ATTEST), ("decisions_grpc", ENROLL)])
async def test_a_method_of_another_listener_is_not_there(scene: Scene, listener: str, method: str) -> None:
    assert (await call_raw(getattr(scene.server.endpoints, listener), method, b"")).code is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("listener", GRPC_PORTS)
async def test_too_much_metadata_is_refused(scene: Scene, listener: str) -> None:
    method = ATTEST if listener == "agents" else CHECK
    ended = await call_raw(getattr(scene.server.endpoints, listener), method, b"", metadata=(("x-much", "a" * 100_000),))
    assert ended.code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_question_that_means_nothing_is_denied(scene: Scene) -> None:
    """For a caller that is known: an empty CheckRequest. Its empty answer would be an allow."""
    async with grpc.aio.insecure_channel(scene.server.endpoints.decisions_grpc) as channel:
        check: grpc.aio.UnaryUnaryMultiCallable[Any, ext_authz_pb2.CheckResponse] = channel.unary_unary(
            CHECK, response_deserializer=ext_authz_pb2.CheckResponse.FromString
        )
        response = await check(b"", metadata=((SECRET_HEADER.lower(), SECRET),))
    assert response.status.code != 0
    assert response.denied_response.status.code == 403


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_the_method_of_a_subrequest_and_its_body_do_not_matter(scene: Scene, method: str) -> None:
    """Over a real connection, which is good for the next request as well."""
    with Proxy(scene.server.endpoints.decisions_http) as proxy:
        for _ in range(2):
            assert proxy.ask(scene.credential, method=method).allowed
            assert proxy.ask(method=method).reason == "no_device"
        answer = proxy._client.request(method, PATH, headers=proxy.headers(scene.credential), content=b"a" * 200_000)
        assert answer.status_code == 200
        assert proxy.ask(scene.credential).allowed


# ---- Streams -----------------------------------------------------------------------------------------------------------


async def test_no_more_streams_than_the_limit_and_again_when_one_has_left(scene: Scene) -> None:
    credentials = [scene.pki.issuing.issue() for _ in range(MAX_STREAMS)]
    devices = [SimulatedDevice(scene.server.endpoints.agents, found=(credential,)) for credential in credentials]
    async with contextlib.AsyncExitStack() as streams:
        for device in devices[1:]:
            await device.enroll(Operators(scene.server.data).enrollment_token().text)
            assert isinstance(await (await streams.enter_async_context(device.attesting())).settle(), wire.Ack)
        async with scene.device.attesting() as last:
            assert isinstance(await last.settle(), wire.Ack)
            async with devices[0].connected() as one_too_many:
                assert await one_too_many.receive() == Ended(grpc.StatusCode.RESOURCE_EXHAUSTED, "overloaded")
            with Proxy(scene.server.endpoints.decisions_http) as proxy:
                assert proxy.ask(scene.credential).allowed, "decisions go first"
        await scene.comes_in_again()


async def test_streams_that_prove_nothing_are_few_of_one_address_and_devices_that_are_there_go_on(scene: Scene) -> None:
    strangers = [SimulatedDevice(scene.server.endpoints.agents, device_id=f"dev_{number}") for number in range(MAX_UNPROVEN)]
    async with scene.device.attesting() as honest:
        assert isinstance(await honest.settle(), wire.Ack)
        async with contextlib.AsyncExitStack() as streams:
            for stranger in strangers:
                assert (await streams.enter_async_context(stranger.attesting())).challenge is not None
            async with strangers[0].connected() as one_too_many:
                assert await one_too_many.receive() == Ended(grpc.StatusCode.RESOURCE_EXHAUSTED, "rate_limited")
            assert isinstance(await honest.attest(), wire.Ack)
    await scene.comes_in_again()


async def test_who_never_reads_is_not_read_for_ever(scene: Scene) -> None:
    """Its unread answers fill what the server sets aside for a stream; then no more is taken of it, and nothing piles up."""
    before = peak_memory(scene.server.program.pid)
    hello = wire.AttestRequest(hello=wire.Hello(device_id="dev_1", instance_id=bytes(16), protocol_version=1))
    more = wire.AttestRequest(challenge_request=wire.ChallengeRequest()).SerializeToString()

    def pour_messages() -> int:
        with RawHttp2(scene.port("agents")) as client:
            client.open(1, ATTEST)
            assert client.message(1, hello.SerializeToString(), seconds=20)
            taken = 0
            while taken < 200_000 and client.message(1, more, seconds=1.0):
                taken += 1
            return taken

    taken = await asyncio.to_thread(pour_messages)
    assert taken < 200_000, "it was read to the end"
    assert await scene.is_well()
    assert peak_memory(scene.server.program.pid) - before < 32 * MEGABYTE


async def test_calls_that_are_given_up_as_soon_as_they_begin_keep_nobody_out(scene: Scene) -> None:
    """Many at once and more than the limit of a connection: what CVE-2023-44487 was about."""

    def begin_and_give_up() -> int:
        with RawHttp2(scene.port("agents")) as client:
            for number in range(20_000):
                client.open(2 * number + 1, ATTEST)
                client.reset(2 * number + 1)
                if client.ended:
                    return number
            return number

    attempts = asyncio.create_task(asyncio.to_thread(begin_and_give_up))
    assert await scene.is_well()
    assert await attempts > 0
    assert await scene.is_well()


async def test_streams_that_come_and_go_leave_nothing_behind(scene: Scene) -> None:
    """More than the limit, one after the other, each left in another state."""
    for number in range(3 * MAX_UNPROVEN):
        async with SimulatedDevice(scene.server.endpoints.agents, device_id=f"dev_{number}").connected() as stream:
            if number % 3:
                await stream.hello()
            if number % 3 == 2:
                await stream.finish()
    await scene.comes_in_again()


# ---- Health ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listener", GRPC_PORTS)
async def test_after_all_that_it_is_healthy(scene: Scene, listener: str) -> None:
    async with grpc.aio.insecure_channel(getattr(scene.server.endpoints, listener)) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())  # type: ignore[attr-defined] # has no stubs
    assert answer.status == health_pb2.HealthCheckResponse.SERVING

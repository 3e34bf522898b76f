"""A request has to arrive in time: who sends it a byte at a time does not hold a connection for ever."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from watchword_server.transports import uvicorn_http
from watchword_server.transports.uvicorn_http import HttpServer, bind_tcp


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """Says that it was asked, without looking at a body."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """Of a server that gives a head 50 ms."""
    monkeypatch.setattr(uvicorn_http, "_HEAD_SECONDS", 0.05)
    bound = bind_tcp("127.0.0.1", 0)
    server = HttpServer(answer, bound)
    await server.start()
    yield bound.getsockname()[1]
    await server.stop()


@pytest.mark.parametrize("sent", [b"", b"G", b"GET / HTTP/1.1\r\nHost: test\r\n", b"GET / HTTP/1.1\r\nHost: test\r\n\r"])
async def test_a_head_that_does_not_arrive_in_time_closes_the_connection(port: int, sent: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    async with asyncio.timeout(20):
        assert await reader.read() == b""
    writer.close()


async def test_nor_does_the_next_one_of_the_same_connection(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: test\r\n\r\nGET / HT")
    async with asyncio.timeout(20):
        assert (await reader.read()).count(b"HTTP/1.1 200") == 1
    writer.close()


async def test_a_byte_now_and_then_does_not_buy_time(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nX: ")
    closed = asyncio.create_task(reader.read())
    async with asyncio.timeout(20):
        while not closed.done():
            writer.write(b"a")
            await asyncio.wait({closed}, timeout=0.01)
    assert await closed == b""
    writer.close()


async def test_a_connection_that_waits_for_its_next_request_is_kept(port: int) -> None:
    """As proxies do: idle between two requests, for longer than a head may take."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(2):
        writer.write(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        async with asyncio.timeout(20):
            assert (await reader.readuntil(b"\r\n\r\nok")).startswith(b"HTTP/1.1 200")
        closed = asyncio.create_task(reader.read())
        await asyncio.wait({closed}, timeout=0.2)
        assert not closed.done()
        closed.cancel()
        await asyncio.gather(closed, return_exceptions=True)
    writer.close()

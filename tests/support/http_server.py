"""A small HTTP/1.1 server in a thread that shows a handler exactly what arrived: header names, order, duplicates, raw target."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from support.processes import free_port


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request as it stood on the wire. `target` is the raw second word of the request line."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def values(self, name: str) -> list[str]:
        """Every value of a header, in order."""
        return [value for found, value in self.headers if found.lower() == name.lower()]


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """What a handler answers."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


Handler = Callable[[HttpRequest], Awaitable[HttpResponse]]


class HttpServer:
    """Listens on a free port of 127.0.0.1 while its block runs. The handler runs in the server's own event loop."""

    def __init__(self, handler: Handler) -> None:
        self.port = free_port()
        self.accepted = 0  # connections so far
        self._handler = handler
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"http-{self.port}", daemon=True)
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = self._loop.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request = await _read_request(reader)
                response = await self._handler(request)
                writer.write(_encode(response, to_head=request.method == "HEAD"))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the peer closed the connection between two requests, or broke it
        finally:
            writer.close()


async def _read_request(reader: asyncio.StreamReader) -> HttpRequest:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ", 2)
    headers = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:] if line))
    head = HttpRequest(method, target, headers, b"")
    if "chunked" in head.values("transfer-encoding"):
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readuntil(b"\r\n")
    else:
        body = await reader.readexactly(int((head.values("content-length") or ["0"])[0]))
    return HttpRequest(method, target, headers, body)


def _encode(response: HttpResponse, *, to_head: bool) -> bytes:
    headers = (*response.headers, ("Content-Length", str(len(response.body))))
    lines = [f"HTTP/1.1 {response.status} Test", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1") + (b"" if to_head else response.body)

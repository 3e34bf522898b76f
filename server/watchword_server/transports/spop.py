"""HAProxy's SPOP on a listener: connections, frames and deadlines around one coroutine that answers a message."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from watchword_server.peer import Peer
from watchword_server.transports.spop_frames import (
    MAX_FRAME_BYTES,
    VERSION,
    Disconnect,
    Frame,
    FrameError,
    FrameType,
    Message,
    ack,
    disconnect,
    hello,
    read_frame,
    read_messages,
    read_pairs,
)
from watchword_server.transports.uvicorn_http import certificate_names

_HELLO_SECONDS: Final = 10.0
_MAX_RUNNING: Final = 1024  # messages of one connection that are answered at once
_MAX_CONNECTIONS: Final = 4096
_LENGTH: Final = struct.Struct(">I")

Answer = Callable[[str, Mapping[str, object], Peer], Awaitable[Mapping[str, str | int | bool]]]


@dataclass(slots=True)
class SpopServer:
    """One listener. `answer` never raises; `socket_name` names a unix socket's owner (see `Peer`)."""

    answer: Answer
    bound: socket.socket
    tls: ssl.SSLContext | None = None
    socket_name: str | None = None
    connections: set["_Connection"] = field(default_factory=set, repr=False)
    _server: asyncio.Server | None = None

    async def start(self) -> None:
        """Serves from now on."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), sock=self.bound, ssl=self.tls)

    async def stop(self, grace_seconds: float = 1.0) -> None:
        """No new connections; messages that are being answered are, then HAProxy is told to go."""
        if self._server is None:
            return
        self._server.close()
        running = {task for connection in self.connections for task in connection.running}
        if running:
            await asyncio.wait(running, timeout=grace_seconds)
        for connection in tuple(self.connections):
            connection.end(Disconnect.NORMAL, "the server stops")


class _Connection(asyncio.Protocol):
    def __init__(self, server: SpopServer) -> None:
        self.running: set[asyncio.Task[None]] = set()
        self._server = server
        self._buffer = bytearray()
        self._peer = Peer("unix", socket_name=server.socket_name)
        self._greeted = False
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # narrower, as it is called
        self._transport = transport
        if len(self._server.connections) >= _MAX_CONNECTIONS:
            transport.close()
            return
        self._server.connections.add(self)
        address = transport.get_extra_info("peername")
        self._peer = Peer(
            address[0] if isinstance(address, tuple) else "unix", certificate_names(transport), self._server.socket_name
        )
        self._deadline = asyncio.get_running_loop().call_later(_HELLO_SECONDS, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._server.connections.discard(self)
        self._in_time()
        for task in self.running:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            while len(self._buffer) >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(self._buffer)
                if length > MAX_FRAME_BYTES:
                    self.end(Disconnect.TOO_BIG, f"a frame is longer than {MAX_FRAME_BYTES} bytes")
                    return
                if len(self._buffer) < _LENGTH.size + length:
                    return
                frame = read_frame(bytes(self._buffer[_LENGTH.size : _LENGTH.size + length]))
                del self._buffer[: _LENGTH.size + length]
                self._handle(frame)
        except FrameError as error:
            self.end(Disconnect.INVALID, str(error))

    def end(self, status: Disconnect, message: str) -> None:
        """Says why and closes."""
        self._send(disconnect(status, message))
        if self._transport is not None:
            self._transport.close()

    def _handle(self, frame: Frame) -> None:
        match frame.kind:
            case FrameType.HAPROXY_HELLO if not self._greeted:
                self._greet(read_pairs(frame.payload))
            case FrameType.NOTIFY if self._greeted:
                if len(self.running) >= _MAX_RUNNING:
                    raise FrameError(f"more than {_MAX_RUNNING} messages wait for an answer")
                task = asyncio.ensure_future(self._notified(frame, read_messages(frame.payload)))
                self.running.add(task)
                task.add_done_callback(self.running.discard)
            case FrameType.HAPROXY_DISCONNECT:
                self.end(Disconnect.NORMAL, "goodbye")
            case kind:
                raise FrameError(f"{kind.name} is out of turn")

    def _greet(self, told: Mapping[str, object]) -> None:
        versions, longest = told.get("supported-versions"), told.get("max-frame-size")
        if not isinstance(versions, str) or VERSION not in [version.strip() for version in versions.split(",")]:
            self.end(Disconnect.BAD_VERSION, f"version {VERSION} is not offered")
            return
        if not isinstance(longest, int) or longest < 256:
            raise FrameError("max-frame-size is missing or too small")
        self._greeted = True
        self._in_time()
        self._send(hello(max_frame_bytes=min(longest, MAX_FRAME_BYTES)))
        if told.get("healthcheck") is True and self._transport is not None:
            self._transport.close()

    async def _notified(self, frame: Frame, messages: list[Message]) -> None:
        """Several messages are one too many: of two answers one would be lost, perhaps the denial."""
        if len(messages) == 1:
            (message,) = messages
            self._send(ack(frame, await self._server.answer(message.name, message.arguments, self._peer)))
        else:
            self._send(ack(frame, {}))  # nothing is set, so nothing is allowed

    def _send(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            with contextlib.suppress(OSError):
                self._transport.write(data)

    def _in_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

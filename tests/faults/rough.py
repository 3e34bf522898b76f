"""Clients without manners: raw bytes on a port, raw messages on a gRPC method, requests that never end."""

import contextlib
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import grpc

from support.device import Ended

PATIENCE_SECONDS: Final = 20.0
_CHUNK: Final = 64 * 1024


def port_of(address: str) -> int:
    """The port of `host:port` or a URL."""
    return int(address.rpartition(":")[2]) if "//" not in address else urlsplit(address).port or 0


@contextlib.contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    """A connection to a port of 127.0.0.1."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as connection:
        yield connection


def throw(port: int, data: bytes) -> bytes:
    """Sends bytes, says that there are no more, and returns whatever comes until the server closes the connection."""
    with connected(port) as connection:
        answer = b""
        with contextlib.suppress(OSError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while chunk := connection.recv(_CHUNK):
                answer += chunk
        return answer


def pour(port: int, head: bytes, endless: bytes, *, most: int) -> int:
    """Sends `head` and then `endless` again and again until the server closes the connection; how many bytes that took.

    Fails if it takes more than `most`; what the kernel buffers on both sides is part of it.
    """
    block = endless * max(1, _CHUNK // len(endless))
    sent = 0
    with connected(port) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(head)
        while sent < most:
            connection.sendall(block)
            sent += len(block)
        raise AssertionError(f"{sent} bytes were taken, and no end in sight")
    return sent


async def call_raw(
    target: str,
    method: str,
    message: bytes,
    *,
    compression: grpc.Compression = grpc.Compression.NoCompression,
    metadata: tuple[tuple[str, str], ...] = (),
) -> Ended:
    """Sends a message that nobody has looked at, and no more, on a method of any kind; how the call ended."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(target, options=options, compression=compression) as channel:
        method_of_bytes: grpc.aio.UnaryStreamMultiCallable[Any, Any] = channel.unary_stream(method)
        call = method_of_bytes(message, metadata=metadata, timeout=PATIENCE_SECONDS)
        return Ended(await call.code(), await call.details() or "")


def peak_memory(pid: int) -> int:
    """The most resident memory the process ever had, in bytes (proc(5), VmHWM)."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


class RawHttp2:
    """HTTP/2 frame by frame, as far as a gRPC call needs it (RFC 9113). It reads no message: its receive window is zero."""

    _DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
    _INITIAL_WINDOW_SIZE = 4  # the setting

    def __init__(self, port: int) -> None:
        self.window = {0: 65_535}  # what may be sent: of the connection, and of each stream
        self.ended = False  # the server gave up the connection
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
        self._buffer = b""
        self._socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self._send(self._SETTINGS, 0, 0, struct.pack(">HI", self._INITIAL_WINDOW_SIZE, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()

    def open(self, stream: int, method: str) -> None:
        """Starts a call."""
        fields = {":method": "POST", ":scheme": "http", ":path": method, ":authority": "test", "te": "trailers"}
        block = b"".join(map(_literal, *zip(*{**fields, "content-type": "application/grpc"}.items(), strict=True)))
        self.window[stream] = 65_535
        self._send(self._HEADERS, 0x4, stream, block)

    def reset(self, stream: int) -> None:
        """Gives a call up."""
        self._send(self._RST_STREAM, 0, stream, struct.pack(">I", 8))

    def message(self, stream: int, message: bytes, *, seconds: float) -> bool:
        """Sends a message as soon as the windows allow it; False: they did not within `seconds`, or the server gave up."""
        data = struct.pack(">BI", 0, len(message)) + message
        while not self.ended and min(self.window[0], self.window[stream]) < len(data):
            if not self._receive(seconds):
                return False
        if not self.ended:
            self.window[0] -= len(data)
            self.window[stream] -= len(data)
            self._send(self._DATA, 0, stream, data)
        return not self.ended

    def _send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        try:
            self._socket.sendall(struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload)
        except ConnectionError:
            self.ended = True

    def _receive(self, seconds: float) -> bool:
        """Takes note of one frame; False: none came in time."""
        self._socket.settimeout(seconds)
        try:
            header = self._exactly(9)
            payload = self._exactly(int.from_bytes(header[:3]))
        except TimeoutError:
            return False
        except ConnectionError:
            self.ended = True
            return True
        finally:
            self._socket.settimeout(PATIENCE_SECONDS)
        kind, flags, stream = struct.unpack(">BBI", header[3:])
        if kind == self._WINDOW_UPDATE:
            self.window[stream] = self.window.get(stream, 0) + int.from_bytes(payload)
        elif kind == self._SETTINGS and not flags & 1:
            self._send(self._SETTINGS, 1, 0, b"")
        elif kind == self._PING and not flags & 1:
            self._send(self._PING, 1, 0, payload)
        elif kind in (self._GOAWAY, self._RST_STREAM):
            self.ended = True
        return True

    def _exactly(self, length: int) -> bytes:
        while len(self._buffer) < length:
            received = self._socket.recv(_CHUNK)
            if not received:
                raise ConnectionError("closed")
            self._buffer += received
        taken, self._buffer = self._buffer[:length], self._buffer[length:]
        return taken


def _literal(name: str, value: str) -> bytes:
    """A header field that is not indexed, with a new name (RFC 7541, 6.2.2)."""
    return b"\x00" + b"".join(bytes([len(text)]) + text.encode() for text in (name, value))

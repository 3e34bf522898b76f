"""SPOP 2.0, the protocol of HAProxy's Stream Processing Offload Engine: frames to values and back, without a socket.

Source: HAProxy's doc/SPOE.txt, section 3. What is not of the protocol raises `FrameError`; no input costs more than its length.
"""

import ipaddress
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

MAX_FRAME_BYTES: Final = 64 * 1024
VERSION: Final = "2.0"
_FIN: Final = 1
_SCOPE_TRANSACTION: Final = 2
_SET_VAR: Final = 1

Value = None | bool | int | ipaddress.IPv4Address | ipaddress.IPv6Address | str | bytes


class FrameError(ValueError):
    """A frame that is not of the protocol: the connection's own affair, no door hears of it."""


class FrameType(IntEnum):
    """Section 3.2.1; the others are ours to send."""

    HAPROXY_HELLO = 1
    HAPROXY_DISCONNECT = 2
    NOTIFY = 3
    AGENT_HELLO = 101
    AGENT_DISCONNECT = 102
    ACK = 103


class Disconnect(IntEnum):
    """Why a connection ends (section 3.2.9)."""

    NORMAL = 0
    TOO_BIG = 3
    INVALID = 4
    NO_VERSION = 5
    BAD_VERSION = 8


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame without its length. `payload` is read by what the type says."""

    kind: FrameType
    stream_id: int
    frame_id: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a NOTIFY, with its arguments by name."""

    name: str
    arguments: Mapping[str, Value]


def read_frame(data: bytes) -> Frame:
    """A frame behind its length field. Fragments are refused: we never say that we can put them together."""
    if len(data) < 7:
        raise FrameError("a frame is too short")
    kind, flags = struct.unpack_from(">BI", data)
    if not flags & _FIN:
        raise FrameError("a frame is a fragment")
    try:
        known = FrameType(kind)
    except ValueError:
        raise FrameError(f"no frame has the type {kind}") from None
    reader = _Reader(data, 5)
    return Frame(known, reader.integer(), reader.integer(), data[reader.position :])


def read_pairs(payload: bytes) -> dict[str, Value]:
    """The keys and values of a HELLO or DISCONNECT."""
    reader, pairs = _Reader(payload), {}
    while reader.left:
        name = reader.text()
        pairs[name] = reader.value()
    return pairs


def read_messages(payload: bytes) -> list[Message]:
    """The messages of a NOTIFY. An argument that is there twice is an error, for want of knowing which one counts."""
    reader, messages = _Reader(payload), []
    while reader.left:
        name, count = reader.text(), reader.byte()
        arguments: dict[str, Value] = {}
        for _ in range(count):
            argument = reader.text()
            if argument in arguments:
                raise FrameError(f"`{argument}` is there twice")
            arguments[argument] = reader.value()
        messages.append(Message(name, arguments))
    return messages


def hello(*, max_frame_bytes: int) -> bytes:
    """AGENT-HELLO, with its length. We can answer out of order on one connection, and nothing else."""
    pairs = _text("version") + _string(VERSION) + _text("max-frame-size") + b"\x03" + _integer(max_frame_bytes)
    return _frame(FrameType.AGENT_HELLO, 0, 0, pairs + _text("capabilities") + _string("pipelining"))


def disconnect(status: Disconnect, message: str) -> bytes:
    """AGENT-DISCONNECT, with its length."""
    payload = _text("status-code") + b"\x03" + _integer(status) + _text("message") + _string(message)
    return _frame(FrameType.AGENT_DISCONNECT, 0, 0, payload)


def ack(to: Frame, variables: Mapping[str, str | int | bool]) -> bytes:
    """The answer to a NOTIFY, with its length: variables of the transaction to set."""
    actions = bytearray()
    for name, value in variables.items():
        actions += bytes((_SET_VAR, 3, _SCOPE_TRANSACTION)) + _text(name)
        match value:
            case bool():
                actions += b"\x11" if value else b"\x01"
            case int():
                actions += b"\x04" + _integer(value)
            case str():
                actions += _string(value)
    return _frame(FrameType.ACK, to.stream_id, to.frame_id, bytes(actions))


class _Reader:
    """Reads one value after the other, never beyond the end."""

    def __init__(self, data: bytes, position: int = 0) -> None:
        self.data = data
        self.position = position

    @property
    def left(self) -> int:
        return len(self.data) - self.position

    def byte(self) -> int:
        return self.take(1)[0]

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise FrameError("a frame ends within a value")
        taken = self.data[self.position : self.position + count]
        self.position += count
        return taken

    def integer(self) -> int:
        """Section 3.1: one byte below 240, else four bits and then seven a byte."""
        value = self.byte()
        if value < 240:
            return value
        for shift in range(4, 67, 7):
            more = self.byte()
            value += more << shift
            if more < 128:
                return value
        raise FrameError("an integer does not end")

    def text(self) -> str:
        return self.take(self.integer()).decode("latin-1")

    def value(self) -> Value:
        """Section 3.3: the type in the low four bits, flags in the high ones."""
        kind = self.byte()
        match kind & 15:
            case 0:
                return None
            case 1:
                return bool(kind & 16)
            case 2 | 4:
                value = self.integer()
                return value - (1 << 64) if value >= 1 << 63 else value
            case 3 | 5:
                return self.integer()
            case 6:
                return ipaddress.IPv4Address(self.take(4))
            case 7:
                return ipaddress.IPv6Address(self.take(16))
            case 8:
                return self.text()
            case 9:
                return self.take(self.integer())
            case other:
                raise FrameError(f"no value has the type {other}")


def _frame(kind: FrameType, stream_id: int, frame_id: int, payload: bytes) -> bytes:
    content = struct.pack(">BI", kind, _FIN) + _integer(stream_id) + _integer(frame_id) + payload
    return struct.pack(">I", len(content)) + content


def _integer(value: int) -> bytes:
    if value < 240:
        return bytes((value,))
    written = bytearray(((value & 15) | 240,))
    value = (value - 240) >> 4
    while value >= 128:
        written.append((value & 127) | 128)
        value = (value - 128) >> 7
    written.append(value)
    return bytes(written)


def _text(text: str) -> bytes:
    raw = text.encode("utf-8")
    return _integer(len(raw)) + raw


def _string(text: str) -> bytes:
    return b"\x08" + _text(text)

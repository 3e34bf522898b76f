"""HAProxy's protocol: frames as they are written, and connections that keep to it or do not. Real HAProxy: tests/proxies."""

import asyncio
import contextlib
import ipaddress
import socket
import struct
from collections.abc import AsyncIterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.effort import tries
from watchword_server.peer import Peer
from watchword_server.transports.spop import SpopServer
from watchword_server.transports.spop_frames import (
    MAX_FRAME_BYTES,
    Frame,
    FrameError,
    FrameType,
    ack,
    hello,
    read_frame,
    read_messages,
    read_pairs,
)

FIN = b"\0\0\0\1"
HELLO = (
    b"\x12supported-versions\x08\x032.0" + b"\x0emax-frame-size\x03\xfc\xf0\x06" + b"\x0ccapabilities\x08\x0apipelining"
)  # as HAProxy 2.6 writes it


def framed(kind: int, payload: bytes, *, stream: int = 0, frame: int = 0, flags: bytes = FIN) -> bytes:
    content = bytes((kind,)) + flags + bytes((stream, frame)) + payload
    return struct.pack(">I", len(content)) + content


def test_every_kind_of_value_is_read() -> None:
    payload = (
        b"\x01m\x09\x04none\x00\x03yes\x11\x02no\x01\x03int\x04\xfe\x2d\x03neg\x04\xff\xf1\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x0e"
        b"\x02v4\x06\x7f\0\0\1\x02v6\x07" + bytes(15) + b"\1\x04text\x08\x02hi\x03bin\x09\x02\0\xff"
    )
    (message,) = read_messages(payload)
    assert message.name == "m"
    values = dict(message.arguments)
    assert isinstance(values.pop("int"), int)
    assert isinstance(values.pop("neg"), int)
    assert values == {
        "none": None,
        "yes": True,
        "no": False,
        "v4": ipaddress.ip_address("127.0.0.1"),
        "v6": ipaddress.ip_address("::1"),
        "text": "hi",
        "bin": b"\0\xff",
    }


@tries(300)
@given(st.dictionaries(st.text(max_size=20), st.booleans() | st.integers(0, 2**32) | st.text(max_size=3000), max_size=8))
def test_what_is_answered_can_be_read_back(variables: Mapping[str, str | int | bool]) -> None:
    written = ack(Frame(FrameType.NOTIFY, 70_000, 3, b""), variables)
    (length,) = struct.unpack_from(">I", written)
    frame = read_frame(written[4:])
    assert (length, frame.kind, frame.stream_id, frame.frame_id) == (len(written) - 4, FrameType.ACK, 70_000, 3)
    payload, found = frame.payload, {}
    while payload:
        assert payload[:3] == b"\1\3\2"  # set a variable of the transaction
        (name, value), payload = _pair(payload[3:])
        found[name] = value
    assert found == {name.encode().decode("latin-1"): _latin(value) for name, value in variables.items()}


def _latin(value: str | int | bool) -> object:
    return value.encode().decode("latin-1") if isinstance(value, str) else value


def _pair(data: bytes) -> tuple[tuple[str, object], bytes]:
    for end in range(1, len(data) + 1):  # the shortest prefix that is one pair
        try:
            pairs = read_pairs(data[:end])
        except FrameError:
            continue
        return next(iter(pairs.items())), data[end:]
    raise AssertionError("no pair")


@tries(500)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_frame_and_messages_or_an_error(data: bytes) -> None:
    for read in (read_frame, read_messages, read_pairs):
        with contextlib.suppress(FrameError):
            read(data)


def test_an_argument_that_is_there_twice_is_an_error() -> None:
    with pytest.raises(FrameError, match="twice"):
        read_messages(b"\x01m\x02\x01a\x11\x01a\x01")


# ---- Connections -------------------------------------------------------------------------------------------------------


class Line:
    """A connection to a server that answers each message with its own arguments."""

    def __init__(self, server: SpopServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server, self.reader, self.writer = server, reader, writer

    async def says(self, data: bytes) -> Frame | None:
        self.writer.write(data)
        return await self.hears()

    async def hears(self) -> Frame | None:
        """The next frame; None: the connection ended."""
        try:
            async with asyncio.timeout(10):
                (length,) = struct.unpack(">I", await self.reader.readexactly(4))
                return read_frame(await self.reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    async def answer(message: str, arguments: Mapping[str, object], peer: Peer) -> Mapping[str, str | int | bool]:
        return {"message": message, "count": len(arguments), "peer": peer.address}

    bound = socket.create_server(("127.0.0.1", 0))
    bound.setblocking(False)
    server = SpopServer(answer, bound)
    await server.start()
    reader, writer = await asyncio.open_connection(*bound.getsockname())
    yield Line(server, reader, writer)
    writer.close()
    await server.stop()


async def test_it_is_greeted_asked_and_left(line: Line) -> None:
    greeting = await line.says(framed(1, HELLO))
    assert greeting is not None
    assert greeting.kind is FrameType.AGENT_HELLO
    assert read_pairs(greeting.payload)["version"] == "2.0"
    line.writer.write(framed(3, b"\x01a\x00", stream=1) + framed(3, b"\x01b\x01\x01x\x11", stream=2))  # pipelined
    answers = [await line.hears(), await line.hears()]
    assert {answer.stream_id for answer in answers if answer is not None} == {1, 2}
    bye = await line.says(framed(2, b"\x0bstatus-code\x03\x00\x07message\x08\x00"))
    assert bye is not None
    assert bye.kind is FrameType.AGENT_DISCONNECT
    assert await line.hears() is None


async def test_a_frame_may_come_byte_by_byte(line: Line) -> None:
    for byte in framed(1, HELLO):
        line.writer.write(bytes((byte,)))
        await line.writer.drain()
    greeting = await line.hears()
    assert greeting is not None
    assert greeting.kind is FrameType.AGENT_HELLO


async def test_two_messages_in_one_question_are_answered_with_nothing(line: Line) -> None:
    await line.says(framed(1, HELLO))
    answer = await line.says(framed(3, b"\x01a\x00\x01b\x00", stream=1))
    assert answer is not None
    assert (answer.kind, answer.payload) == (FrameType.ACK, b"")


@pytest.mark.parametrize(
    "data",
    [
        framed(3, b"\x01a\x00"),  # before the greeting
        framed(1, b""),
        framed(1, HELLO.replace(b"2.0", b"1.0")),
        framed(1, HELLO, flags=b"\0\0\0\0"),  # a fragment
        framed(103, b""),
        framed(9, b""),
        struct.pack(">I", 3) + b"abc",
        struct.pack(">I", MAX_FRAME_BYTES + 1),
        struct.pack(">I", 0xFFFFFFFF),
        b"GET / HTTP/1.1\r\n",
    ],
)
async def test_what_is_not_of_the_protocol_ends_the_connection(line: Line, data: bytes) -> None:
    answer = await line.says(data)
    assert answer is not None
    assert answer.kind is FrameType.AGENT_DISCONNECT
    assert await line.hears() is None


async def test_a_server_that_stops_says_so(line: Line) -> None:
    await line.says(framed(1, HELLO))
    await line.server.stop()
    answer = await line.hears()
    assert answer is not None
    assert read_pairs(answer.payload)["status-code"] == 0


def test_the_greeting_names_what_we_can_do() -> None:
    pairs = read_pairs(read_frame(hello(max_frame_bytes=16_380)[4:]).payload)
    assert pairs == {"version": "2.0", "max-frame-size": 16_380, "capabilities": "pipelining"}

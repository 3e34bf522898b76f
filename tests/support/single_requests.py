"""A simulated device's session by single HTTPS requests: the same messages as on a stream, one request each."""

import asyncio
import contextlib
import http.client
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from google.protobuf.message import Message
from grpc import StatusCode

from support.device import AttestStream, Ended, SimulatedDevice
from watchword.v1 import posture_pb2 as wire

CONTENT_TYPE: Final = "application/x-protobuf"
_TIMEOUT_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Posted:
    """An answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def post(address: str, path: str, body: bytes, *, content_type: str = CONTENT_TYPE, method: str = "POST") -> Posted:
    """One request. `address`: `http://host:port`."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=_TIMEOUT_SECONDS)
    with contextlib.closing(connection):
        connection.request(method, path, body, {"Content-Type": content_type})
        response = connection.getresponse()
        return Posted(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


@dataclass(slots=True)
class _Requests:
    """Stands for the call of a stream: what is sent becomes a request, what is answered is received."""

    address: str
    seal: bytes = b""
    waiting: deque[wire.AttestResponse | Ended] = field(default_factory=deque)

    async def send(self, request: wire.AttestRequest) -> None:
        kind = request.WhichOneof("message")
        if kind == "hello":
            sealed = await self._post("challenge", request.hello, wire.SealedChallenge)
            if sealed is not None:
                self.seal = sealed.seal
                self.waiting.append(wire.AttestResponse(challenge=sealed.challenge))
            return
        assert kind == "envelope", f"a `{kind}` has no request of its own"
        answers = await self._post("evidence", wire.SealedAnswer(seal=self.seal, envelope=request.envelope), wire.Answers)
        if answers is not None:
            self.waiting += [*answers.responses, Ended(StatusCode.OK, "")]

    async def receive(self) -> wire.AttestResponse | Ended:
        return self.waiting.popleft()

    def cancel(self) -> None:
        self.waiting.clear()

    async def _post(self, what: str, message: Message, answer: Any) -> Any:
        posted = await asyncio.to_thread(post, self.address, f"/v1/agent/{what}", message.SerializeToString())
        if posted.status == 200:
            return answer.FromString(posted.body)
        self.waiting.append(Ended(StatusCode.UNKNOWN, f"{posted.status} {posted.body.decode()}"))
        return None


class SingleSession(AttestStream):
    """A session of one answer. `seal` may be exchanged for another before answering."""

    def __init__(self, device: SimulatedDevice, address: str) -> None:
        self._requests = _Requests(address)
        super().__init__(device, self._requests)  # type: ignore[arg-type]  # as far as a stream uses its call

    @property
    def seal(self) -> bytes:
        """The seal of the outstanding challenge."""
        return self._requests.seal

    @seal.setter
    def seal(self, value: bytes) -> None:
        self._requests.seal = value

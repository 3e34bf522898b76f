"""A whole server without its listeners, in the test's own process: devices and proxies talk to the doors directly.

    async with World.open(tmp_path, pki) as world:
        await world.apply(world.rules)
        device = await world.device("laptop-1", credential)
        async with world.attesting(device) as stream: ...
        assert (await world.ask(credential)).allowed

`world.hold` holds back a method of the store, so that a test can look at what memory says while a commit is on its way.
"""

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self, cast
from urllib.parse import quote

import grpc

from support.device import AttestStream, Ended, SimulatedDevice
from support.pki import Credential, Pki
from support.rules import CHECK, HOST, IDENTITY_HEADER, wiki_rules
from watchword.envelope import ENROLL_TYPE
from watchword.v1 import posture_pb2 as wire
from watchword_server.adapters.cache import PostureCache
from watchword_server.core.model.names import CheckId, DeviceId
from watchword_server.core.model.results import PostureResult
from watchword_server.doors.status import grpc_status
from watchword_server.errors import StoreUnavailableError, WatchwordError
from watchword_server.house import House
from watchword_server.peer import Peer
from watchword_server.services.devices import Devices
from watchword_server.settings import Settings

SECRET: Final = "the-secret-of-the-proxy-0123456789abcdef"
USER: Final = "alice@corp.example"
PATIENCE_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What a proxy was answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def allowed(self) -> bool:
        """Only 200 lets a request pass."""
        return self.status == 200

    @property
    def reason(self) -> str:
        """Why not; empty for an allow."""
        return self.headers.get("x-watchword-reason", "")


@dataclass(slots=True)
class World:
    """A house, and everybody who talks to it."""

    house: House
    pki: Pki
    rules: dict[str, Any] = field(default_factory=dict)
    _clock_offset: float = 0.0

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, directory: Path, pki: Pki, **settings: Any) -> AsyncIterator[Self]:
        """A house, new if the directory is; `rules` are `wiki_rules`, not applied yet. Patient: a busy machine is no fault."""
        house = await House.open(directory / "data", Settings(**{"cache": {"load_deadline_seconds": 10.0}, **settings}))
        try:
            yield cls(house, pki, inlined(wiki_rules(pki)))
        finally:
            await house.close()

    async def apply(self, rules: Mapping[str, Any], *, prune: bool = False) -> bool:
        """In force when it returns; whether it changed anything."""
        return (await self.house.rules.apply(rules, prune=prune, dry_run=False)).changed

    @property
    def devices(self) -> Devices:
        """Operators' acts on devices."""
        return self.house.operators.devices.devices

    async def token(self, **options: Any) -> str:
        """An enrollment token, for one use by default."""
        bound: dict[str, Any] = {"needs_approval": False, "serial_number": None, "platform": None, "device_id": None}
        tokens = self.house.operators.tokens.tokens
        _, text = await tokens.create_enrollment_token(max_uses=1, expires_in_seconds=3600, **{**bound, **options})
        return text

    async def device(self, hostname: str, *found: Credential, token: str | None = None, **fields: Any) -> SimulatedDevice:
        """An enrolled device that has not attested yet."""
        device = SimulatedDevice("in this process", hostname=hostname, found=found, **fields)
        answer = await self.enroll(device, token or await self.token())
        assert isinstance(answer, wire.EnrollResult), answer
        return device

    async def enroll(self, device: SimulatedDevice, token: str) -> wire.EnrollResult | Ended:
        """The whole ceremony; what the device learns."""
        call = LocalCall(self.house.agents.enroll)
        try:
            await call.send(wire.EnrollRequest(init=wire.EnrollInit(token=token, public_key=device.public_key)))
            answer = await call.receive()
            if isinstance(answer, Ended):
                return answer
            challenge = answer.challenge
            statement = wire.EnrollStatement(
                token_id=token.split(".")[1],
                audience=challenge.audience,
                session_id=challenge.session_id,
                nonce=challenge.nonce,
                public_key_sha256=hashlib.sha256(device.public_key).digest(),
                inventory=device.inventory,
            )
            await call.send(wire.EnrollRequest(envelope=device.seal(ENROLL_TYPE, statement)))
            answer = await call.receive()
        finally:
            await call.close()
        if isinstance(answer, Ended):
            return answer
        device.device_id, device.audience = answer.result.device_id, answer.result.audience
        return cast("wire.EnrollResult", answer.result)

    @contextlib.asynccontextmanager
    async def attesting(self, device: SimulatedDevice) -> AsyncIterator[AttestStream]:
        """A stream after Hello."""
        call = LocalCall(self.house.agents.attest)
        stream = AttestStream(device, cast("Any", call))
        try:
            await stream.hello()
            yield stream
        finally:
            await call.close()

    @contextlib.asynccontextmanager
    async def ready(self, device: SimulatedDevice) -> AsyncIterator[AttestStream]:
        """A stream whose epoch is claimed, of a device that knows its checks; nothing was said about them on it yet."""
        async with self.attesting(device) as stream:
            assert isinstance(await stream.attest(claims=()), wire.Ack)
            if device.checks is None:
                await stream.receive_until(wire.CheckSet)
            yield stream

    async def attest(self, device: SimulatedDevice, *reasons: str) -> None:
        """A whole stream that ends with an Ack; `reasons` are those of its results, one `passed` by default."""
        async with self.attesting(device) as stream:
            answer = await stream.settle()
        assert isinstance(answer, wire.Ack), answer
        assert tuple(result.reason for result in answer.results) == (reasons or ("passed",))

    async def ask(
        self, credential: Credential | None = None, *, host: str = HOST, headers: Mapping[str, str] = MappingProxyType({})
    ) -> Asked:
        """What nginx is told about a request of `USER` with this client certificate and these headers of the client."""
        metadata = {
            "x-watchword-caller-secret": (SECRET,),
            "x-original-method": ("GET",),
            "x-original-url": (f"https://{host}/page",),
            IDENTITY_HEADER: (USER,),
            **{name.lower(): (value,) for name, value in headers.items()},
        }
        if credential is not None:
            metadata["x-client-cert"] = (quote(credential.pem),)
        answer = await self.house.http_doors.auth_request.answer(Peer("127.0.0.1", metadata=metadata))
        return Asked(answer.status, answer.headers, answer.body)

    def hold(self, name: str, *, after: bool = False, failure: Exception | None = None, times: int = 1) -> "Held":
        """Holds back a method of the store from now on; see `Held`."""
        return Held(self.house.store, name, after=after, failure=failure, times=times)

    @contextlib.contextmanager
    def failing(self, *names: str) -> Iterator[None]:
        """Inside, these methods of the store fail as if the disk were full."""
        store = self.house.store
        methods = {name: getattr(store, name) for name in names}

        async def fail(*args: object, **kwargs: object) -> None:
            raise StoreUnavailableError("no space left on device")

        for name in names:
            setattr(store, name, fail)
        try:
            yield
        finally:
            for name, method in methods.items():
                setattr(store, name, method)

    @property
    def memory(self) -> PostureCache:
        """What decisions read."""
        return cast("PostureCache", self.house.agents.verifier.memory)

    async def stored(self, device: SimulatedDevice, check: str = CHECK) -> PostureResult | None:
        """The result of a check as the store holds it."""
        posture = await self.house.store.posture(DeviceId(device.device_id))
        assert posture is not None
        return posture.results.get(self.check_id(check))

    async def remembered(self, device: SimulatedDevice, check: str = CHECK) -> PostureResult | None:
        """The result of a check as memory has it."""
        posture = await self.memory.posture(DeviceId(device.device_id))
        assert posture is not None
        return posture.results.get(self.check_id(check))

    def check_id(self, name: str = CHECK) -> CheckId:
        """The id of a check in force."""
        return next(check.id for check in self.house.rules.in_force.current.rules.checks.values() if check.name == name)

    def posture_log(self) -> list[dict[str, Any]]:
        """What was written so far and has reached the file."""
        path = self.house.posture_log.path
        return [json.loads(line) for line in path.read_text().splitlines()]

    def pass_time(self, seconds: float) -> None:
        """Moves the server's wall clock forward."""
        self._clock_offset += seconds
        self.house.clock._wall = lambda: time.time() + self._clock_offset


def inlined(rules: dict[str, Any]) -> dict[str, Any]:
    """The rules without references to files, as the API takes them."""
    for caller in rules["callers"]:
        if caller["authenticate"].pop("secret_file", None):
            caller["authenticate"]["secret_sha256"] = hashlib.sha256(SECRET.encode()).hexdigest()
    return rules


class LocalCall:
    """A call of one of the agents' methods without a network, as `support.device` expects one."""

    def __init__(self, method: Callable[[AsyncIterator[Any], Peer], AsyncIterator[Any]]) -> None:
        self._requests: asyncio.Queue[Any] = asyncio.Queue()
        self._responses: asyncio.Queue[Any] = asyncio.Queue()
        self._reading = asyncio.Event()
        self._reading.set()
        self._pump = asyncio.create_task(self._run(method(self._sent(), Peer("192.0.2.7"))))

    async def send(self, request: Any) -> None:
        """Queues a message."""
        self._requests.put_nowait(request)

    async def receive(self) -> Any:
        """The next response, or `Ended`."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._responses.get()

    def stop_reading(self) -> None:
        """At most one more response is taken from the server."""
        self._reading.clear()

    def read_on(self) -> None:
        """All that wait, and all that come."""
        self._reading.set()

    async def close(self) -> None:
        """The agent is gone."""
        self.cancel()
        await asyncio.gather(self._pump, return_exceptions=True)

    def cancel(self) -> None:
        """The agent is about to go."""
        self._pump.cancel()

    async def _sent(self) -> AsyncIterator[Any]:
        while True:
            yield await self._requests.get()

    async def _run(self, responses: AsyncIterator[Any]) -> None:
        async with contextlib.aclosing(cast("Any", responses)):
            try:
                async for response in responses:
                    self._responses.put_nowait(response)
                    await self._reading.wait()
            except WatchwordError as error:
                self._responses.put_nowait(Ended(grpc_status(error), error.code))
            else:
                self._responses.put_nowait(Ended(grpc.StatusCode.OK, ""))


class Held:
    """A method of the store that waits until it is let go: before it does anything, or `after` it did it and before it says so.

    Only the first `times` calls wait; `failure` is raised to them: instead of doing anything, or of saying that it was done.
    """

    def __init__(
        self, store: object, name: str, *, after: bool = False, failure: Exception | None = None, times: int = 1
    ) -> None:
        self.calls = 0
        self.failure = failure
        self._method: Callable[..., Awaitable[Any]] = getattr(store, name)
        self._after = after
        self._times = times
        self._arrived = asyncio.Condition()
        self._go_on = asyncio.Event()
        setattr(store, name, self)

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self.calls > self._times:
            return await self._method(*args, **kwargs)
        result = await self._method(*args, **kwargs) if self._after else None
        async with self._arrived:
            self._arrived.notify_all()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._go_on.wait()
        if self.failure is not None:
            raise self.failure
        return result if self._after else await self._method(*args, **kwargs)

    async def reached(self, calls: int = 1) -> None:
        """Returns when so many calls have come (and, with `after`, have done their work)."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._arrived:
            await self._arrived.wait_for(lambda: self.calls >= calls)

    def let_go(self) -> None:
        """Everything that waits."""
        self._go_on.set()

"""The server's half of the conversation, honest by default, for an agent in the same process or outside.

It verifies envelopes and counts as the real one does; what an agent gets wrong ends up in `faults`, which the fixture inspects.
"""

import asyncio
import hashlib
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import grpc

from agent.proofs import open_envelope
from watchword.envelope import ENROLL_TYPE, EVIDENCE_TYPE
from watchword.v1 import posture_pb2 as pb
from watchword.v1.posture_pb2_grpc import PostureServiceServicer, add_PostureServiceServicer_to_server

AUDIENCE = "watchword-under-test"
TOKEN = "ww1.tokenid000000000." + "s" * 43
PATIENCE_SECONDS = 20


@dataclass(frozen=True)
class End:
    """Ends the stream with this status and trailing metadata."""

    code: grpc.StatusCode = grpc.StatusCode.OK
    details: str = ""
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass
class Stream:
    """One Attest stream as the server sees it."""

    hello: pb.Hello
    epoch: int
    session_id: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    nonce: bytes = b""
    accepted: int = 0
    outbox: asyncio.Queue[pb.AttestResponse | End] = field(default_factory=asyncio.Queue)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def challenge(self, *, audience: str = AUDIENCE, ttl: int = 60) -> pb.Challenge:
        """A fresh one; the one before is void."""
        self.nonce = secrets.token_bytes(32)
        return pb.Challenge(
            session_id=self.session_id, epoch=self.epoch, nonce=self.nonce, audience=audience, nonce_ttl_seconds=ttl
        )

    def send(self, **message: Any) -> None:
        """One message to the agent."""
        self.outbox.put_nowait(pb.AttestResponse(**message))

    def end(self, code: grpc.StatusCode = grpc.StatusCode.OK, details: str = "") -> None:
        """Ends the stream once everything before it is sent."""
        self.outbox.put_nowait(End(code, details))

    def accept(self, *results: pb.CheckResult) -> None:
        """An Ack for the last evidence."""
        self.accepted += 1
        self.send(ack=pb.Ack(sequence=self.accepted, results=results, next_challenge=self.challenge()))

    def reject(self, code: str, *, try_again: bool) -> None:
        """A rejection of the last evidence."""
        self.send(rejected=pb.Rejected(code=code, next_challenge=self.challenge() if try_again else None))


Reaction = Callable[[Stream, pb.Evidence], None]


class FakeServer(PostureServiceServicer):
    """Listens on a port of its own while the `async with` block lasts."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.devices: dict[str, bytes] = {}  # device id -> DER public key
        self.inventories: dict[str, pb.Inventory] = {}
        self.enrollments_refused: deque[End] = deque()
        self.state = pb.DEVICE_STATE_ACTIVE
        self.enroll_result: dict[str, Any] = {}  # what is said differently
        self.check_set: pb.CheckSet | None = None
        self.reactions: deque[Reaction] = deque()  # to the next evidence; else it is accepted
        self.refusals: deque[End] = deque()  # of the next streams
        self.audience = AUDIENCE
        self.challenge_ttl = 60
        self.streams: asyncio.Queue[Stream] = asyncio.Queue()
        self.evidence: asyncio.Queue[tuple[Stream, pb.Evidence]] = asyncio.Queue()
        self.address = ""
        self._epoch = 0
        self._port = 0
        self._server: grpc.aio.Server | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    async def start(self, credentials: grpc.ServerCredentials | None = None) -> None:
        """On the port it had before, or a free one."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        add_PostureServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call, unused-ignore]  # generated
        if credentials is None:
            self._port = self._server.add_insecure_port(f"127.0.0.1:{self._port}")
            self.address = f"http://127.0.0.1:{self._port}"
        else:
            self._port = self._server.add_secure_port(f"127.0.0.1:{self._port}", credentials)
            self.address = f"https://127.0.0.1:{self._port}"
        await self._server.start()

    async def stop(self) -> None:
        """Breaks all streams."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def next_evidence(self) -> pb.Evidence:
        """The next evidence that verified, whatever the reaction was."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            _, evidence = await self.evidence.get()
            return evidence

    async def next_stream(self) -> Stream:
        """The next stream that said hello."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.streams.get()

    async def IssueToken(  # noqa: N802 -- the name is the service's
        self, request_iterator: AsyncIterator[pb.IssueTokenRequest], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.IssueTokenResponse]:
        async for _ in request_iterator:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "the real server issues tokens")
        yield pb.IssueTokenResponse()

    async def Enroll(  # noqa: N802 -- the name is the service's
        self, request_iterator: AsyncIterator[pb.EnrollRequest], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.EnrollResponse]:
        init = (await anext(request_iterator)).init
        challenge = pb.EnrollChallenge(
            session_id=secrets.token_bytes(16), nonce=secrets.token_bytes(32), audience=self.audience, nonce_ttl_seconds=60
        )
        yield pb.EnrollResponse(challenge=challenge)
        envelope = (await anext(request_iterator)).envelope
        if self.enrollments_refused:
            refusal = self.enrollments_refused.popleft()
            await context.abort(refusal.code, refusal.details, refusal.metadata)
        statement = pb.EnrollStatement.FromString(
            open_envelope(envelope, payload_type=ENROLL_TYPE, public_key_der=init.public_key)
        )
        same = (statement.audience, statement.session_id, statement.nonce, statement.token_id, statement.public_key_sha256) == (
            self.audience,
            challenge.session_id,
            challenge.nonce,
            init.token.split(".")[1],
            hashlib.sha256(init.public_key).digest(),
        )
        if not same or init.token != TOKEN:
            self.faults.append("a foreign enrollment statement")
        device_id = "dev_" + hashlib.sha256(init.public_key).hexdigest()[:8]
        self.devices[device_id] = init.public_key
        self.inventories[device_id] = statement.inventory
        result = {"device_id": device_id, "state": self.state, "audience": self.audience, **self.enroll_result}
        yield pb.EnrollResponse(result=pb.EnrollResult(**result))

    async def Attest(  # noqa: N802 -- the name is the service's
        self, request_iterator: AsyncIterator[pb.AttestRequest], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.AttestResponse]:
        if self.refusals:
            refusal = self.refusals.popleft()
            await context.abort(refusal.code, refusal.details, refusal.metadata)
        self._epoch += 1
        stream = Stream((await anext(request_iterator)).hello, self._epoch)
        self.streams.put_nowait(stream)
        stream.send(challenge=stream.challenge(audience=self.audience, ttl=self.challenge_ttl))
        reader = asyncio.create_task(self._read(stream, request_iterator))
        try:
            while True:
                item = await stream.outbox.get()
                if isinstance(item, End) and item.code is grpc.StatusCode.OK:
                    return
                if isinstance(item, End):
                    await context.abort(item.code, item.details, item.metadata)
                yield item
        finally:
            stream.ended.set()
            reader.cancel()

    async def _read(self, stream: Stream, requests: AsyncIterator[pb.AttestRequest]) -> None:
        async for request in requests:
            if request.WhichOneof("message") == "challenge_request":
                stream.send(challenge=stream.challenge())
                continue
            evidence = self._verify(stream, request)
            if evidence is None:
                stream.end(grpc.StatusCode.INTERNAL, "; ".join(self.faults))
                return
            self._react(stream, evidence)
            self.evidence.put_nowait((stream, evidence))

    def _react(self, stream: Stream, evidence: pb.Evidence) -> None:
        if self.reactions:
            self.reactions.popleft()(stream, evidence)
            return
        stream.accept(*(_result(check) for check in evidence.checks))
        if self.check_set is not None and evidence.check_set_revision != self.check_set.revision:
            stream.send(check_set=self.check_set)

    def _verify(self, stream: Stream, request: pb.AttestRequest) -> pb.Evidence | None:
        if request.WhichOneof("message") != "envelope":
            self.faults.append(f"a `{request.WhichOneof('message')}` out of turn")
            return None
        public_key = self.devices[stream.hello.device_id]
        payload = open_envelope(request.envelope, payload_type=EVIDENCE_TYPE, public_key_der=public_key)
        evidence = pb.Evidence.FromString(payload)
        named = (evidence.device_id, evidence.audience, evidence.session_id, evidence.epoch, evidence.nonce, evidence.sequence)
        expected = (
            stream.hello.device_id,
            self.audience,
            stream.session_id,
            stream.epoch,
            stream.nonce,
            stream.accepted + 1,
        )
        stream.nonce = b""  # spent
        if named != expected:
            self.faults.append(f"evidence names {named}, not {expected}")
            return None
        return evidence


def _result(check: pb.CheckEvidence) -> pb.CheckResult:
    """Passed if something usable was found: nobody judges certificates here."""
    usable = [c for c in check.client_certificate.candidates if c.private_key == pb.PRIVATE_KEY_STATE_USABLE]
    reason = check.error.code or ("passed" if usable else "certificate_not_found")
    return pb.CheckResult(
        check_id=check.check_id, name=f"name of {check.check_id}", passed=bool(usable), reason=reason, expires_in_seconds=900
    )

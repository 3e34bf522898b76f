"""A device that speaks `posture.proto` as an honest agent does, and departs from it in exactly one way when a test says so.

    device = SimulatedDevice(server.endpoints.agents, hostname="laptop-1", found=(credential,))
    await device.enroll(token)
    async with device.attesting() as stream:                  # Hello was sent, the challenge is there
        await stream.settle()                                 # attests until the server's checks are answered; the last Ack
        answer = await stream.attest(Lie(evidence=fields(nonce=bytes(32))))
        assert isinstance(answer, wire.Rejected)

It shares no code with the agent: where the two disagree, one of them is wrong. Nothing here raises for what a server says; an
ended stream is the value `Ended`. A server that says nothing raises `TimeoutError`.
"""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar, cast, overload

import grpc
from google.protobuf.message import Message

from support.pki import Credential, PrivateKey, generate_key
from support.signing import key_belongs, possession_scheme, public_key_der, sign_envelope, sign_possession
from watchword import possession
from watchword.envelope import (
    ENROLL_TYPE,
    EVIDENCE_TYPE,
    GOODBYE_TYPE,
    KEY_ROTATE_TYPE,
    key_id,
    pre_authentication_encoding,
)
from watchword.v1 import posture_pb2 as wire
from watchword.v1.posture_pb2_grpc import PostureServiceStub

ANSWER_SECONDS: Final = 20.0
AGENT_VERSION: Final = "simulated"
_LOCATION: Final = "/etc/corp/client.pem"

_M = TypeVar("_M", bound=Message)
_A = TypeVar("_A", bound=Message)
_B = TypeVar("_B", bound=Message)
_C = TypeVar("_C", bound=Message)
_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


# ---- Lies ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lie:
    """Where a device departs from the truth. Nothing set: it is honest.

    A hook changes the message it is given; everything that follows is honest about the changed one (it is signed, for instance,
    unless the hook comes after the signature). They run in the order of the fields.
    """

    init: Callable[[wire.EnrollInit], None] | None = None
    statement: Callable[[wire.EnrollStatement], None] | None = None
    hello: Callable[[wire.Hello], None] | None = None
    possession: Mapping[str, Any] = field(default_factory=dict)  # arguments of possession.statement() that differ
    possession_key: PrivateKey | None = None  # signs instead of the certificate's own key
    possession_scheme: str | None = None  # stated, and used as far as the key can
    candidate: Callable[[wire.CertificateCandidate], None] | None = None  # after its proof was made
    check: Callable[[wire.CheckEvidence], None] | None = None
    evidence: Callable[[wire.Evidence], None] | None = None
    goodbye: Callable[[wire.Goodbye], None] | None = None
    rotation: Callable[[wire.KeyRotate], None] | None = None
    payload: Callable[[bytes], bytes] | None = None  # the serialised statement or evidence, before it is signed
    payload_type: str | None = None  # stated and signed
    signing_key: PrivateKey | None = None  # signs instead of the device's key, whose id is stated
    new_signing_key: PrivateKey | None = None  # signs instead of the new key of a rotation, whose id is stated
    envelope: Callable[[wire.SignedEnvelope], None] | None = None  # after it was signed


HONEST: Final = Lie()


def fields(**values: Any) -> Callable[[Message], None]:
    """A hook that sets fields of a message: `Lie(evidence=fields(epoch=7))`."""

    def set_fields(message: Message) -> None:
        for name, value in values.items():
            setattr(message, name, value)

    return set_fields


def reencoded(envelope: wire.SignedEnvelope) -> None:
    """A hook for `Lie.envelope`: other bytes that mean the same evidence (its first field stands there twice)."""
    evidence = wire.Evidence.FromString(envelope.payload)
    envelope.payload += wire.Evidence(device_id=evidence.device_id).SerializeToString()


# ---- What a server answers ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ended:
    """The stream is over: the status, and its text. `OK`: the server just closed it."""

    code: grpc.StatusCode
    details: str


Received = (
    wire.Challenge
    | wire.Ack
    | wire.CheckSet
    | wire.AttestNow
    | wire.Rejected
    | wire.Drain
    | wire.Closing
    | wire.KeyPending
    | Ended
)
Answer = wire.Ack | wire.Rejected | wire.Closing | Ended


# ---- The device ---------------------------------------------------------------------------------------------------------

Found = tuple[Credential, ...] | wire.CollectionError


@dataclass(slots=True)
class SimulatedDevice:
    """One device. `target` is the agents' listener, `host:port`.

    `found` is what it finds for each check: credentials, none, or why it could not look; `found_for` differs for the checks named
    there. `device_id`, `audience` and `checks` are filled in by what the server says, and survive a stream as in a real agent.
    """

    target: str
    key: PrivateKey = field(default_factory=generate_key)
    platform: str = "linux"
    hostname: str = "laptop-1"
    serial_number: str = ""
    found: Found = ()
    found_for: dict[str, Found] = field(default_factory=dict)
    age_ms: int = 5
    device_id: str = ""
    audience: str = ""
    checks: wire.CheckSet | None = None
    instance_id: bytes = field(default_factory=lambda: os.urandom(16))
    boot_id: bytes = field(default_factory=lambda: os.urandom(16))

    @property
    def public_key(self) -> bytes:
        """The device key's DER SubjectPublicKeyInfo."""
        return public_key_der(self.key)

    @property
    def inventory(self) -> wire.Inventory:
        """What it says of itself."""
        return wire.Inventory(platform=self.platform, hostname=self.hostname, serial_number=self.serial_number)

    async def enroll(self, token: str, lie: Lie = HONEST) -> wire.EnrollResult | Ended:
        """The whole enrollment. Remembers the device id and audience of a success."""
        async with self._channel() as channel:
            call: _Call[wire.EnrollRequest, wire.EnrollResponse] = _Call(PostureServiceStub(channel).Enroll())
            init = wire.EnrollInit(token=token, public_key=self.public_key, agent_version=AGENT_VERSION)
            _apply(lie.init, init)
            await call.send(wire.EnrollRequest(init=init))
            answer = await call.receive()
            if isinstance(answer, Ended):
                return answer
            challenge = answer.challenge
            statement = wire.EnrollStatement(
                token_id=token.split(".")[1] if token.count(".") == 2 else "",
                audience=challenge.audience,
                session_id=challenge.session_id,
                nonce=challenge.nonce,
                public_key_sha256=hashlib.sha256(self.public_key).digest(),
                inventory=self.inventory,
            )
            _apply(lie.statement, statement)
            await call.send(wire.EnrollRequest(envelope=self.seal(ENROLL_TYPE, statement, lie)))
            answer = await call.receive()
            if isinstance(answer, Ended):
                return answer
            self.device_id, self.audience = answer.result.device_id, answer.result.audience
            return answer.result

    @contextlib.asynccontextmanager
    async def attesting(self, lie: Lie = HONEST) -> AsyncIterator["AttestStream"]:
        """An attestation stream after Hello; `stream.challenge` is there unless the server refused."""
        async with self.connected() as stream:
            await stream.hello(lie)
            yield stream

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator["AttestStream"]:
        """An attestation stream on which nothing was said yet."""
        async with self._channel() as channel:
            stream = AttestStream(self, _Call(PostureServiceStub(channel).Attest()))
            try:
                yield stream
            finally:
                stream.hang_up()

    async def attest_once(self) -> Answer:
        """A whole stream: connects, settles, leaves."""
        async with self.attesting() as stream:
            return await stream.settle()

    def seal(
        self, payload_type: str, message: Message, lie: Lie = HONEST, *, new_key: PrivateKey | None = None
    ) -> wire.SignedEnvelope:
        """A signed envelope around a message; `new_key` signs it too."""
        payload = message.SerializeToString()
        if lie.payload is not None:
            payload = lie.payload(payload)
        stated_type = lie.payload_type or payload_type
        to_sign = pre_authentication_encoding(stated_type, payload)
        signature = sign_envelope(lie.signing_key or self.key, to_sign)
        envelope = wire.SignedEnvelope(
            payload=payload,
            payload_type=stated_type,
            signatures=[wire.Signature(keyid=key_id(self.public_key), sig=signature)],
        )
        if new_key is not None:
            signature = sign_envelope(lie.new_signing_key or new_key, to_sign)
            envelope.signatures.append(wire.Signature(keyid=key_id(public_key_der(new_key)), sig=signature))
        _apply(lie.envelope, envelope)
        return envelope

    def _channel(self) -> grpc.aio.Channel:
        # A connection of its own, as a device has: channels to one address otherwise share one, and with it its limits.
        return grpc.aio.insecure_channel(self.target, options=[("grpc.use_local_subchannel_pool", 1)])


class AttestStream:
    """A device's side of one `Attest` stream.

    `challenge` is the outstanding one, `sequence` the last acknowledged; `received` holds every message, oldest first.
    """

    def __init__(self, device: SimulatedDevice, call: "_Call[wire.AttestRequest, wire.AttestResponse]") -> None:
        self.device = device
        self.challenge: wire.Challenge | None = None
        self.sequence = 0
        self.received: list[Received] = []
        self._call = call

    async def hello(self, lie: Lie = HONEST) -> wire.Challenge | wire.Rejected | wire.Closing | Ended:
        """Says who it is; the challenge, or why there is none."""
        hello = wire.Hello(
            device_id=self.device.device_id,
            instance_id=self.device.instance_id,
            agent_version=AGENT_VERSION,
            protocol_version=1,
        )
        _apply(lie.hello, hello)
        await self.send(wire.AttestRequest(hello=hello))
        return await self.receive_until(wire.Challenge, wire.Rejected, wire.Closing)

    async def ask_for_challenge(self) -> wire.Challenge | wire.Rejected | wire.Closing | Ended:
        """Replaces the outstanding challenge."""
        await self.send(wire.AttestRequest(challenge_request=wire.ChallengeRequest()))
        return await self.receive_until(wire.Challenge, wire.Rejected, wire.Closing)

    async def attest(self, lie: Lie = HONEST, *, claims: Sequence[wire.CheckEvidence] | None = None) -> Answer:
        """Answers the outstanding challenge for the checks known; `claims` are sent instead of what it would say."""
        await self.send(wire.AttestRequest(envelope=self.envelope(lie, claims=claims)))
        return await self.answer()

    async def answer(self) -> Answer:
        """What the server says about the last envelope."""
        return await self.receive_until(wire.Ack, wire.Rejected, wire.Closing)

    async def goodbye(self, lie: Lie = HONEST) -> Answer:
        """Answers the outstanding challenge by leaving."""
        goodbye = wire.Goodbye(**self._stated())
        _apply(lie.goodbye, goodbye)
        await self.send(wire.AttestRequest(envelope=self.device.seal(GOODBYE_TYPE, goodbye, lie)))
        return await self.answer()

    async def rotate(self, new_key: PrivateKey, lie: Lie = HONEST) -> wire.KeyPending | wire.Rejected | wire.Closing | Ended:
        """Answers the outstanding challenge by proposing another key; the device goes on with the one it has."""
        await self.send(wire.AttestRequest(envelope=self.rotation(new_key, lie)))
        return await self.receive_until(wire.KeyPending, wire.Rejected, wire.Closing)

    def rotation(self, new_key: PrivateKey, lie: Lie = HONEST) -> wire.SignedEnvelope:
        """The proposal of another key, signed by both."""
        rotation = wire.KeyRotate(**self._stated(), new_public_key=public_key_der(new_key))
        _apply(lie.rotation, rotation)
        return self.device.seal(KEY_ROTATE_TYPE, rotation, lie, new_key=new_key)

    async def settle(self) -> Answer:
        """Attests until evidence for the server's checks was acknowledged; the last answer.

        Whoever knows no checks, or only such as the server did not judge, is told the right ones after the first Ack.
        """
        answer = await self.attest()
        known = self.device.checks
        if not isinstance(answer, wire.Ack) or (known is not None and (answer.results or not known.checks)):
            return answer
        if self.device.checks is known:
            await self.receive_until(wire.CheckSet)
        return await self.attest()

    @overload
    async def receive_until(self, first: type[_A], /) -> _A | Ended: ...
    @overload
    async def receive_until(self, first: type[_A], second: type[_B], third: type[_C], /) -> _A | _B | _C | Ended: ...
    async def receive_until(self, *kinds: type[Message]) -> object:
        """The next message of one of these kinds; what comes before it is taken note of. `Ended` always ends the wait."""
        while True:
            message = await self.receive()
            if isinstance(message, (*kinds, Ended)):
                return message

    async def receive(self) -> Received:
        """The next message, taken note of."""
        response = await self._call.receive()
        message: Received = response if isinstance(response, Ended) else getattr(response, response.WhichOneof("message") or "")
        match message:
            case wire.Challenge():
                self.challenge = message
            case wire.Ack():
                self.sequence = message.sequence
                self.challenge = message.next_challenge if message.HasField("next_challenge") else None
            case wire.KeyPending():
                self.sequence += 1
                self.challenge = message.next_challenge
            case wire.Rejected():
                self.challenge = message.next_challenge if message.HasField("next_challenge") else None
            case wire.CheckSet():
                self.device.checks = message
        self.received.append(message)
        return message

    async def send(self, request: wire.AttestRequest) -> None:
        """Sends any message. A stream that has ended swallows it; `receive` says so."""
        await self._call.send(request)

    def hang_up(self) -> None:
        """Cancels the stream: no goodbye."""
        self._call.cancel()

    async def finish(self) -> None:
        """Half-closes it: nothing more will be sent."""
        await self._call.finish()

    def envelope(self, lie: Lie = HONEST, *, claims: Sequence[wire.CheckEvidence] | None = None) -> wire.SignedEnvelope:
        """The signed answer to the outstanding challenge."""
        return self.device.seal(EVIDENCE_TYPE, self.evidence(lie, claims=claims), lie)

    def evidence(self, lie: Lie = HONEST, *, claims: Sequence[wire.CheckEvidence] | None = None) -> wire.Evidence:
        """What it would sign now."""
        device = self.device
        checks = device.checks or wire.CheckSet()
        evidence = wire.Evidence(
            **self._stated(),
            inventory=device.inventory,
            boot=wire.Boot(boot_id=device.boot_id, uptime_ms=1000),
            check_set_revision=checks.revision,
            checks=[self.claim(check, lie) for check in checks.checks] if claims is None else claims,
        )
        _apply(lie.evidence, evidence)
        return evidence

    def _stated(self) -> dict[str, Any]:
        """What everything says that is signed in a session."""
        challenge, device = self.challenge, self.device
        assert challenge is not None, f"no challenge is outstanding; received: {self.received}"
        return {
            "device_id": device.device_id,
            "key_id": key_id(device.public_key),
            "audience": device.audience or challenge.audience,
            "session_id": challenge.session_id,
            "epoch": challenge.epoch,
            "nonce": challenge.nonce,
            "sequence": self.sequence + 1,
        }

    def claim(self, check: wire.Check, lie: Lie = HONEST) -> wire.CheckEvidence:
        """What it says about one check."""
        device = self.device
        found = device.found_for.get(check.name, device.found)
        claim = wire.CheckEvidence(check_id=check.id, check_revision=check.revision, age_ms=device.age_ms)
        if isinstance(found, wire.CollectionError):
            claim.error.CopyFrom(found)
        else:
            candidates = [self._candidate(check, credential, lie) for credential in found]
            claim.client_certificate.CopyFrom(wire.ClientCertificateEvidence(candidates=candidates))
        _apply(lie.check, claim)
        return claim

    def _candidate(self, check: wire.Check, credential: Credential, lie: Lie) -> wire.CertificateCandidate:
        candidate = wire.CertificateCandidate(chain=credential.chain, location=_LOCATION)
        scheme = lie.possession_scheme or possession_scheme(credential.key)
        if not check.client_certificate.check_private_key:
            candidate.private_key = wire.PRIVATE_KEY_STATE_UNSPECIFIED
        elif not key_belongs(credential):
            candidate.private_key = wire.PRIVATE_KEY_STATE_MISMATCH
        elif scheme is None:
            candidate.private_key = wire.PRIVATE_KEY_STATE_UNSUPPORTED
        else:
            statement = possession.statement(**{**self._possession_fields(check, credential), **lie.possession})
            candidate.private_key = wire.PRIVATE_KEY_STATE_USABLE
            candidate.possession_scheme = scheme
            candidate.possession_signature = sign_possession(lie.possession_key or credential.key, scheme, statement)
        _apply(lie.candidate, candidate)
        return candidate

    def _possession_fields(self, check: wire.Check, credential: Credential) -> dict[str, Any]:
        assert self.challenge is not None
        return {
            "nonce": self.challenge.nonce,
            "audience": self.device.audience or self.challenge.audience,
            "device_id": self.device.device_id,
            "session_id": self.challenge.session_id,
            "check_id": check.id,
            "certificate_der": credential.der,
        }


# ---- One gRPC call ------------------------------------------------------------------------------------------------------


class _Call(Generic[_Request, _Response]):
    """A bidirectional call whose end is a value."""

    def __init__(self, call: "grpc.aio.StreamStreamCall[_Request, _Response]") -> None:
        self._call = call

    async def send(self, request: _Request) -> None:
        # The end of a call makes a write raise; `receive` tells the end, with its status.
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._call.write(request)

    async def receive(self) -> _Response | Ended:
        async with asyncio.timeout(ANSWER_SECONDS):
            try:
                response = await self._call.read()
            except grpc.aio.AioRpcError as error:
                return Ended(error.code(), error.details() or "")
            if response is grpc.aio.EOF:
                return Ended(await self._call.code(), await self._call.details() or "")
            return cast("_Response", response)  # the stubs' read() is typed `object`

    async def finish(self) -> None:
        await self._call.done_writing()

    def cancel(self) -> None:
        self._call.cancel()


def _apply(hook: Callable[[_M], None] | None, message: _M) -> None:
    if hook is not None:
        hook(message)

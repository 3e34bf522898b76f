"""The agents' door for single requests, where streams do not get through: a challenge, and its one answer. Raw ASGI.

The bytes that count are the stream's, verified by the same steps; docs/protocol.md says what differs.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import structlog
from google.protobuf.message import DecodeError, Message

from watchword.v1 import posture_pb2 as wire
from watchword_server import events
from watchword_server.acting import acting
from watchword_server.core.audit import Actor
from watchword_server.core.model.devices import Device
from watchword_server.core.model.names import DeviceId
from watchword_server.core.sealing import Unsealed, seal, unseal
from watchword_server.core.session import AttestSession, EnvelopeReceived, Hello, JudgeEnvelope, SendChallenge, TakeGoodbye
from watchword_server.doors import codec
from watchword_server.doors.agent_stream import check_set_revision
from watchword_server.doors.agents import AgentDoor
from watchword_server.doors.status import http_status
from watchword_server.errors import (
    EvidenceRejectedError,
    OverloadedError,
    ProtocolViolationError,
    RateLimitedError,
    ServiceError,
    StaleChallengeError,
    WatchwordError,
)
from watchword_server.peer import PEER, Peer
from watchword_server.services.answered import AnsweredChallenges
from watchword_server.services.connections import Connection
from watchword_server.services.judging import checks_of

CHALLENGE_PATH: Final = "/v1/agent/challenge"
EVIDENCE_PATH: Final = "/v1/agent/evidence"
CONTENT_TYPE: Final = "application/x-protobuf"

_MAX_HELLO_BYTES: Final = 4 * 1024
_MAX_ANSWER_BYTES: Final = 256 * 1024  # as a message of a stream
_BODY_SECONDS: Final = 10.0
_RETRY_SECONDS: Final = 60.0  # after a rejection that trying again soon will not change
_OVERLOADED_SECONDS: Final = 5.0

_log = structlog.get_logger(__name__)
_M = TypeVar("_M", bound=Message)
_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class _NotServedError(Exception):
    """Answered by this status alone, before anything is read."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """How many bodies are read at once; of one address."""

    max_requests: int = 500
    max_requests_of_an_address: int = 100


@dataclass(slots=True)
class AgentsHttp:
    """Takes evidence where `enabled`; `seal_key` is of this process alone."""

    door: AgentDoor
    enabled: bool
    limits: RequestLimits
    is_ready: Callable[[], bool]
    seal_key: bytes
    answered: AnsweredChallenges
    _reading: dict[asyncio.Timeout, str] = field(default_factory=dict)  # whose bodies, by age

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """ASGI."""
        try:
            status, headers, body = await self._respond(scope, receive)
        except _NotServedError as error:
            status, headers, body = _refusal(error.status, error.code, str(error))
        except WatchwordError as error:
            status, headers, body = _refusal(http_status(error), error.code, "docs/reasons.md says what the code means")
            if isinstance(error, (RateLimitedError, ServiceError)):
                seconds = error.retry_after_seconds if isinstance(error, RateLimitedError) else _OVERLOADED_SECONDS
                headers["retry-after"] = str(max(1, round(seconds)))
        except Exception:  # noqa: BLE001 - its text must not reach the peer
            _log.exception(events.REQUEST_FAILED, path=scope["path"])
            status, headers, body = _refusal(500, "internal", "the server failed: its log says why")
        raw = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]
        raw.append((b"content-length", str(len(body)).encode("ascii")))
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": body})

    async def challenge(self, hello: wire.Hello, peer: Peer) -> wire.SealedChallenge:
        """A challenge for whoever asks; like the Hello of a stream it changes nothing, and nothing of it is kept."""
        self.door.hello_buckets.take(peer.address)
        device_id = DeviceId(hello.device_id)
        if not 0 < len(device_id.encode()) <= 128:
            raise ProtocolViolationError("a device id of no sensible length")
        session = AttestSession(self.door.audience, self.door.limits.challenge_max_age_seconds, self.door.fresh_bytes)
        epoch = await self.door.verifier.stored_epoch(device_id)
        sent = session.handle(Hello(device_id, hello.protocol_version, epoch), now=self.door.clock.now())
        assert isinstance(sent, SendChallenge)  # noqa: S101 - a Hello has no other answer
        ttl_seconds = self.door.limits.challenge_max_age_seconds
        return wire.SealedChallenge(
            challenge=codec.challenge_to_wire(sent, audience=self.door.audience, ttl_seconds=ttl_seconds),
            seal=seal(self.seal_key, device_id, sent),
        )

    async def answer(self, request: wire.SealedAnswer, peer: Peer) -> wire.Answers:
        """What came of an answer: what a stream would tell until its end."""
        device_id: DeviceId | None = None
        try:
            unsealed = unseal(self.seal_key, request.seal)
            device_id = unsealed.device_id
            self.answered.spend(unsealed.sent.challenge, now=self.door.clock.now())
            with acting(Actor("device", device_id, address=peer.address)):
                return wire.Answers(responses=await self._judged(unsealed, request.envelope))
        except (EvidenceRejectedError, ServiceError) as error:
            self.door.metrics.evidence.labels(error.code).inc()
            _log.warning(
                events.EVIDENCE_REJECTED, code=error.code, detail=str(error), device_id=device_id, peer=peer.address, https=True
            )
            soon = isinstance(error, (StaleChallengeError, ServiceError))
            return wire.Answers(
                responses=[
                    wire.AttestResponse(rejected=wire.Rejected(code=error.code)),
                    _closing(error.code, 0 if soon else _RETRY_SECONDS),
                ]
            )

    async def _judged(self, unsealed: Unsealed, envelope: wire.SignedEnvelope) -> list[wire.AttestResponse]:
        door = self.door
        session = AttestSession.of_one_answer(
            unsealed.device_id,
            unsealed.sent,
            audience=door.audience,
            challenge_max_age_seconds=door.limits.challenge_max_age_seconds,
        )
        match session.handle(EnvelopeReceived(codec.envelope_from(envelope)), now=door.clock.now()):
            case TakeGoodbye() as action:
                self._supersede_stream(await door.leaving.goodbye(session, action))
                return [_closing("goodbye", 0)]
            case JudgeEnvelope() as action:
                accepted = await door.verifier.accept(session, action)
            case _:
                raise ProtocolViolationError("an answer of no kind that fits here")
        door.metrics.evidence.labels("accepted").inc()
        self._supersede_stream(accepted.device)
        responses = [wire.AttestResponse(ack=door.acknowledgement(accepted, sequence=action.expected.sequence))]
        current = check_set_revision(checks_of(accepted.device, door.rules.current))
        if accepted.evidence.check_set_revision != current:
            responses.append(wire.AttestResponse(check_set=door.check_set(accepted.device, due_within_ms=0)))
        return responses

    def _supersede_stream(self, device: Device) -> None:
        """The epoch was claimed here: what a stream of the device still sends has no effect, and it is told so."""
        passing = Connection(device, lambda _: None)
        self.door.connections.claim(passing)
        self.door.connections.release(passing)

    # ---- Below: HTTP ----------------------------------------------------------------------------------------------------

    async def _respond(self, scope: _Scope, receive: _Receive) -> tuple[int, dict[str, str], bytes]:
        peer: Peer = scope[PEER]
        match scope["path"]:
            case "/livez":
                return 200, _headers("application/json"), b'{"status": "ok"}\n'
            case path if path in (CHALLENGE_PATH, EVIDENCE_PATH):
                self._check_request(scope["method"], peer)
            case path:
                raise _NotServedError(404, "not_found", "nothing is there")
        answer: Message
        if path == CHALLENGE_PATH:
            hello = _parsed(wire.Hello, await self._body(receive, peer, max_bytes=_MAX_HELLO_BYTES))
            answer = await self.challenge(hello, peer)
        else:
            request = _parsed(wire.SealedAnswer, await self._body(receive, peer, max_bytes=_MAX_ANSWER_BYTES))
            answer = await self.answer(request, peer)
        return 200, _headers(CONTENT_TYPE), answer.SerializeToString()

    def _check_request(self, method: str, peer: Peer) -> None:
        if not self.enabled:
            raise _NotServedError(501, "not_supported", "evidence over HTTPS is not taken here: set `agents.https`")
        if not self.is_ready():
            raise OverloadedError("the server starts or stops")
        if method != "POST":
            raise _NotServedError(405, "method_not_allowed", "POST it")
        if peer.metadata.get("content-type") != (CONTENT_TYPE,):
            raise _NotServedError(415, "unsupported_media_type", f"the body is of type `{CONTENT_TYPE}`")

    async def _body(self, receive: _Receive, peer: Peer, *, max_bytes: int) -> bytes:
        """The whole body. However slowly they come, only so many are read at once; the oldest gives way."""
        of_address = sum(address == peer.address for address in self._reading.values())
        if of_address >= self.limits.max_requests_of_an_address:
            raise RateLimitedError(f"too many requests of `{peer.address}` at once", retry_after_seconds=_OVERLOADED_SECONDS)
        if len(self._reading) >= self.limits.max_requests:
            oldest = next(iter(self._reading))
            del self._reading[oldest]
            with contextlib.suppress(RuntimeError):  # it is on its way out
                oldest.reschedule(asyncio.get_running_loop().time())
        body, patience = bytearray(), asyncio.timeout(_BODY_SECONDS)
        self._reading[patience] = peer.address
        try:
            async with patience:
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise ProtocolViolationError("the peer is gone")
                    body += message.get("body", b"")
                    if len(body) > max_bytes:
                        raise _NotServedError(413, "too_large", f"the body is at most {max_bytes} bytes")
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            raise _NotServedError(408, "too_slow", "the body took too long") from None
        finally:
            self._reading.pop(patience, None)


def _parsed(kind: type[_M], body: bytes) -> _M:
    try:
        return kind.FromString(body)
    except DecodeError as error:
        raise ProtocolViolationError(f"not a {kind.__name__}") from error


def _closing(code: str, retry_after_seconds: float) -> wire.AttestResponse:
    return wire.AttestResponse(closing=wire.Closing(code=code, retry_after_ms=int(retry_after_seconds * 1000)))


def _headers(content_type: str) -> dict[str, str]:
    return {"content-type": content_type, "cache-control": "no-store"}


def _refusal(status: int, code: str, message: str) -> tuple[int, dict[str, str], bytes]:
    error: Mapping[str, object] = {"error": {"code": code, "message": message}}
    return status, _headers("application/json"), json.dumps(error).encode() + b"\n"

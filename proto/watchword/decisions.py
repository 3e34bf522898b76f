"""A client of the native decision API, for gateways in Python. It fails closed: whatever goes wrong is a denial with a reason.

    from watchword.decisions import DecisionClient, Request

    with DecisionClient("127.0.0.1:7402", secret=secret) as client:
        answer = client.decide(Request("GET", "https://wiki.corp.example/pages/7", client_certificate=der))
        if not answer.allowed:
            return forbidden(answer.reason)

`AsyncDecisionClient` is the same for asyncio. Both keep one connection and may be shared by threads or tasks. They need nothing
of the server: only decision.proto beside this file.
"""

import ipaddress
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import grpc
import grpc.aio
from google.protobuf.json_format import MessageToDict

from watchword.v1 import decision_pb2 as wire
from watchword.v1 import decision_pb2_grpc

DEFAULT_TIMEOUT_SECONDS: Final = 0.5
_OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_retries", 0),
)


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked the gateway for. `url` is absolute, with the path and query as the client sent them.

    `client_certificate` is DER. None: not known, or not there. The server ignores what the gateway's entry may not assert.
    """

    method: str
    url: str
    client_certificate: bytes | None = None
    source_address: str | None = None
    user_email: str | None = None
    facts: str | None = None  # a JSON object (docs/rules.md)
    device_id: str | None = None
    service_token_id: str | None = None
    service_token_secret: str | None = field(default=None, repr=False)
    device_token: str | None = field(default=None, repr=False)
    device_proof: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """A decision. Only `allowed` lets the request pass; `reason` is one of docs/reasons.md, or `unavailable` and the like.

    `headers` are to be set on the request to the application where it is allowed, after `headers_to_remove` and every other
    `x-watchword-…` of the client were removed from it; where it is denied, they are for the client. `valid_seconds` None: nothing
    that it rests on ends by itself. `message` is the whole answer; None where there was none.
    """

    allowed: bool
    reason: str
    decision_id: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    headers_to_remove: tuple[str, ...] = ()
    valid_seconds: float | None = None
    message: wire.DecideResponse | None = None


class DecisionClientError(Exception):
    """What an explanation or a watch ended with. `code` is the server's, or the gRPC status in lower case."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class DecisionClient:
    """Asks a server. `target`: `host:port`, or `unix:/path/callers/NAME.grpc.sock`.

    `secret` is the caller's. Over anything but a unix socket or loopback it takes `credentials` (TLS), else `ValueError`: no
    secret is sent in the clear. With mTLS the credentials alone suffice.
    """

    def __init__(
        self,
        target: str,
        *,
        secret: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        _refuse_plaintext(target, secret, credentials)
        if credentials is None:
            self._channel = grpc.insecure_channel(target, options=_OPTIONS)
        else:
            self._channel = grpc.secure_channel(target, credentials, options=_OPTIONS)
        self._stub = decision_pb2_grpc.DecisionServiceStub(self._channel)
        self._metadata = _metadata(secret)
        self._timeout_seconds = timeout_seconds

    def decide(self, request: Request) -> Answer:
        """Decides one request. Never raises."""
        try:
            return _answer(self._stub.Decide(_message(request), timeout=self._timeout_seconds, metadata=self._metadata))
        except Exception as error:  # noqa: BLE001 - whatever it is, it denies
            return _failure(error)

    def decide_batch(self, requests: Sequence[Request]) -> list[Answer]:
        """Decides several (at most 256) by the same rules, in their order. Never raises."""
        try:
            message = wire.DecideBatchRequest(requests=[_message(request) for request in requests])
            response = self._stub.DecideBatch(message, timeout=self._timeout_seconds, metadata=self._metadata)
        except Exception as error:  # noqa: BLE001 - whatever it is, it denies
            return [_failure(error)] * len(requests)
        return _answers(response, len(requests))

    def explain(self, decision_id: str) -> Mapping[str, Any]:
        """How a decision came about. Raises `DecisionClientError`."""
        try:
            request = wire.ExplainRequest(decision_id=decision_id)
            response = self._stub.Explain(request, timeout=10.0, metadata=self._metadata)
        except grpc.RpcError as error:
            raise DecisionClientError(_code(error)) from error
        return MessageToDict(response.explanation)

    def watch_device(self, device_id: str) -> Iterator[wire.WatchDeviceResponse]:
        """How a device stands, then each change. Raises `DecisionClientError` at its end: from then on nothing is known."""
        try:
            yield from self._stub.WatchDevice(wire.WatchDeviceRequest(device_id=device_id), metadata=self._metadata)
        except grpc.RpcError as error:
            raise DecisionClientError(_code(error)) from error
        raise DecisionClientError("ended")

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class AsyncDecisionClient:
    """`DecisionClient` for asyncio: the same arguments, the same answers."""

    def __init__(
        self,
        target: str,
        *,
        secret: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        _refuse_plaintext(target, secret, credentials)
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(target, options=_OPTIONS)
        else:
            self._channel = grpc.aio.secure_channel(target, credentials, options=_OPTIONS)
        self._stub: Any = decision_pb2_grpc.DecisionServiceStub(self._channel)
        self._metadata = _metadata(secret)
        self._timeout_seconds = timeout_seconds

    async def decide(self, request: Request) -> Answer:
        """Decides one request. Raises nothing but `CancelledError`."""
        try:
            return _answer(await self._stub.Decide(_message(request), timeout=self._timeout_seconds, metadata=self._metadata))
        except Exception as error:  # noqa: BLE001 - whatever it is, it denies
            return _failure(error)

    async def decide_batch(self, requests: Sequence[Request]) -> list[Answer]:
        """Decides several (at most 256) by the same rules, in their order. Raises nothing but `CancelledError`."""
        try:
            message = wire.DecideBatchRequest(requests=[_message(request) for request in requests])
            response = await self._stub.DecideBatch(message, timeout=self._timeout_seconds, metadata=self._metadata)
        except Exception as error:  # noqa: BLE001 - whatever it is, it denies
            return [_failure(error)] * len(requests)
        return _answers(response, len(requests))

    async def explain(self, decision_id: str) -> Mapping[str, Any]:
        """How a decision came about. Raises `DecisionClientError`."""
        try:
            request = wire.ExplainRequest(decision_id=decision_id)
            response = await self._stub.Explain(request, timeout=10.0, metadata=self._metadata)
        except grpc.RpcError as error:
            raise DecisionClientError(_code(error)) from error
        return MessageToDict(response.explanation)

    async def watch_device(self, device_id: str) -> AsyncIterator[wire.WatchDeviceResponse]:
        """How a device stands, then each change. Raises `DecisionClientError` at its end: from then on nothing is known."""
        try:
            async for standing in self._stub.WatchDevice(wire.WatchDeviceRequest(device_id=device_id), metadata=self._metadata):
                yield standing
        except grpc.RpcError as error:
            raise DecisionClientError(_code(error)) from error
        raise DecisionClientError("ended")

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()


def _refuse_plaintext(target: str, secret: str | None, credentials: grpc.ChannelCredentials | None) -> None:
    if secret is None or credentials is not None or target.startswith(("unix:", "unix-abstract:")):
        return
    host = (urlsplit(f"//{target}").hostname or "") if "://" not in target else ""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ValueError(f"`{target}` is not on this machine: give `credentials` (TLS), a secret is not sent in the clear")


def _metadata(secret: str | None) -> tuple[tuple[str, str], ...]:
    return () if secret is None else (("x-watchword-caller-secret", secret),)


def _message(request: Request) -> wire.DecideRequest:
    scheme, separator, rest = request.url.partition("://")
    if not separator:
        raise ValueError("the URL is not absolute")
    end = min((rest.find(character) for character in "/?#" if character in rest), default=len(rest))
    target = rest[end:]
    return wire.DecideRequest(
        method=request.method,
        scheme=scheme.lower(),
        authority=rest[:end],
        target=target if target.startswith("/") else f"/{target}",
        client_certificate=request.client_certificate or b"",
        source_address=request.source_address or "",
        user_email=request.user_email or "",
        facts=request.facts or "",
        device_id=request.device_id or "",
        service_token_id=request.service_token_id or "",
        service_token_secret=request.service_token_secret or "",
        device_token=request.device_token or "",
        device_proof=request.device_proof or "",
    )


def _answer(response: wire.DecideResponse) -> Answer:
    return Answer(
        allowed=response.decision == wire.DECISION_ALLOW,
        reason=response.reason,
        decision_id=response.decision_id,
        headers=dict(response.headers),
        headers_to_remove=tuple(response.headers_to_remove),
        valid_seconds=response.valid_seconds if response.HasField("valid_seconds") else None,
        message=response,
    )


def _answers(response: wire.DecideBatchResponse, asked: int) -> list[Answer]:
    if len(response.responses) != asked:
        return [Answer(allowed=False, reason="unavailable")] * asked
    return [_answer(each) for each in response.responses]


def _failure(error: Exception) -> Answer:
    if isinstance(error, grpc.RpcError):
        return Answer(allowed=False, reason=_code(error))
    return Answer(allowed=False, reason="request_malformed" if isinstance(error, ValueError | TypeError) else "unavailable")


def _code(error: grpc.RpcError) -> str:
    """Our own code where the server told one, else the status."""
    trailing: Any = getattr(error, "trailing_metadata", tuple)() or ()
    told = next((value for key, value in trailing if key == "watchword-code"), None)
    status = getattr(error, "code", lambda: grpc.StatusCode.UNKNOWN)()
    return told if isinstance(told, str) else str(status.name).lower()

"""gRPC by grpc.aio: puts a table of methods on the wire, with the limits and timeouts of docs/protocol.md."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, Self
from urllib.parse import unquote

import grpc
import structlog
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from watchword_server import events
from watchword_server.doors.status import grpc_status
from watchword_server.errors import ProtocolViolationError, RateLimitedError, WatchwordError
from watchword_server.peer import Peer

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class UnaryMethod:
    """One request, one response. `handler` raises `WatchwordError`s."""

    service: str
    name: str
    handler: Callable[[Any, Peer], Awaitable[Message]]
    request_type: type[Message]


@dataclass(frozen=True, slots=True)
class StreamMethod:
    """Messages both ways. `handler` raises `WatchwordError`s."""

    service: str
    name: str
    handler: Callable[[AsyncIterator[Any], Peer], AsyncIterator[Message]]
    request_type: type[Message]


Method = UnaryMethod | StreamMethod

# docs/protocol.md tells why each; a frozen client is only noticed with all three keepalive settings.
AGENT_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 25_000),
    ("grpc.http2.max_ping_strikes", 2),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_age_ms", 1_800_000),
    ("grpc.max_connection_age_grace_ms", 60_000),
    ("grpc.max_receive_message_length", 256 * 1024),
    ("grpc.max_send_message_length", 256 * 1024),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.max_concurrent_streams", 16),
    ("grpc.so_reuseport", 0),
)
DECISION_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_receive_message_length", 1024 * 1024),
    ("grpc.max_send_message_length", 256 * 1024),
    ("grpc.max_metadata_size", 64 * 1024),
    ("grpc.max_concurrent_streams", 1024),
    ("grpc.so_reuseport", 0),
)


class GrpcServer:
    """One listener. `socket_name` names a unix socket's owner (see `Peer`)."""

    def __init__(
        self,
        methods: Sequence[Method],
        *,
        options: Sequence[tuple[str, int]],
        socket_name: str | None = None,
        with_reflection: bool = False,
    ) -> None:
        self._server = grpc.aio.server(options=list(options))
        self._health = health.aio.HealthServicer()
        self._services = sorted({method.service for method in methods})
        for service in self._services:
            handlers = {method.name: _rpc_handler(method, socket_name) for method in methods if method.service == service}
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if with_reflection:
            reflection.enable_server_reflection([*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server)

    def listen(self, address: str, credentials: grpc.ServerCredentials | None) -> int:
        """Binds; returns the port. Raises `OSError` when the address is taken."""
        try:
            if credentials is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}") from error
        return port

    async def start(self) -> None:
        """Serves from now on."""
        await self._server.start()
        await self.set_serving(serving=True)

    async def set_serving(self, *, serving: bool) -> None:
        """What the health service answers, for each service and for all."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", *self._services):
            await self._health.set(service, status)

    async def stop(self, grace_seconds: float) -> None:
        """No new calls; those that run may finish within the grace."""
        await self._server.stop(grace_seconds)


def server_credentials(*, certificate_chain: bytes, private_key: bytes, client_ca: bytes | None) -> grpc.ServerCredentials:
    """TLS credentials; with `client_ca` every client has to present a certificate of it."""
    return grpc.ssl_server_credentials(
        [(private_key, certificate_chain)], root_certificates=client_ca, require_client_auth=client_ca is not None
    )


def _rpc_handler(method: Method, socket_name: str | None) -> Any:  # noqa: ANN401 - grpc's own type has no public name
    if isinstance(method, UnaryMethod):
        unary = method.handler

        async def call(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
            try:
                return await unary(_parse(method.request_type, request), _peer(context, socket_name))
            except WatchwordError as error:
                await _abort(context, error)
            except Exception:  # noqa: BLE001 - its text must not reach the peer
                await _abort_internal(context, method)

        return grpc.unary_unary_rpc_method_handler(call, response_serializer=_serialize)
    stream = method.handler

    async def converse(requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Message]:
        responses = stream(_Parsed(requests, method.request_type), _peer(context, socket_name))
        try:
            async for response in responses:
                yield response
        except WatchwordError as error:
            await _abort(context, error)
        except grpc.aio.BaseError:
            raise  # grpc's own: the server has stopped, or the peer is gone
        except Exception:  # noqa: BLE001 - its text must not reach the peer
            await _abort_internal(context, method)
        finally:
            if inspect.isasyncgen(responses):
                await responses.aclose()

    return grpc.stream_stream_rpc_method_handler(converse, response_serializer=_serialize)


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A stream's messages. Parsed here and not by grpc, to which bytes that are no message are a fault of ours."""

    requests: AsyncIterator[bytes]
    request_type: type[Message]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        return _parse(self.request_type, await anext(self.requests))


def _parse(request_type: type[Message], raw: bytes) -> Message:
    try:
        return request_type.FromString(raw)
    except DecodeError as error:
        raise ProtocolViolationError(f"not a {request_type.__name__}") from error


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: WatchwordError) -> NoReturn:
    trailing = [("watchword-code", error.code)]
    if isinstance(error, RateLimitedError):
        trailing.append(("retry-after-ms", str(int(error.retry_after_seconds * 1000))))
    if error.code == "enrollment_refused":
        trailing.append(("watchword-correlation-id", str(error)))
    await context.abort(grpc_status(error), error.code, trailing_metadata=tuple(trailing))


async def _abort_internal(context: grpc.aio.ServicerContext[Any, Any], method: Method) -> NoReturn:
    _log.exception(events.STREAM_FAILED, method=f"/{method.service}/{method.name}")
    await context.abort(grpc.StatusCode.INTERNAL, "internal")


def _peer(context: grpc.aio.ServicerContext[Any, Any], socket_name: str | None) -> Peer:
    metadata: dict[str, tuple[str, ...]] = {}
    for key, value in context.invocation_metadata() or ():
        if isinstance(value, str):
            metadata[key] = (*metadata.get(key, ()), value)
    names = context.auth_context().get("x509_subject_alternative_name", ())
    return Peer(
        address=_address(context.peer()),
        subject_alternative_names=tuple(name.decode("utf-8", "replace") for name in names),
        socket_name=socket_name,
        metadata=metadata,
    )


def _address(peer: str) -> str:
    """The address without its port, out of grpc's `ipv4:127.0.0.1:5000`, `ipv6:%5B::1%5D:5000` or `unix:`."""
    kind, _, rest = unquote(peer).partition(":")
    return rest.rpartition(":")[0].strip("[]") if kind in {"ipv4", "ipv6"} else kind

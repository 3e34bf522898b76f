"""Stand-ins for the server's decision doors: they remember what a proxy asked and answer what a test wants, also nothing.

The real server answers in most tests. These show what it cannot: the very bytes a proxy sends, and answers it never gives.
"""

import asyncio
import threading
from concurrent import futures
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self
from urllib.parse import unquote

import grpc

from support.http_server import HttpRequest, HttpResponse, HttpServer
from support.processes import free_port
from watchword.envoy import ext_authz_pb2

CHECK_METHOD: Final = "/envoy.service.auth.v3.Authorization/Check"
_OVERWRITE_OR_ADD: Final = 2  # HeaderValueOption.AppendAction.OVERWRITE_IF_EXISTS_OR_ADD
_PERMISSION_DENIED: Final = 7  # google.rpc.Code


@dataclass(frozen=True, slots=True)
class Answer:
    """What a door answers. `headers` go to the application when it allows, to the client when it denies."""

    allow: bool
    headers: tuple[tuple[str, str], ...] = ()


ALLOW: Final = Answer(allow=True)
DENY: Final = Answer(allow=False, headers=(("X-Watchword-Reason", "no_device"), ("X-Watchword-Decision-Id", "decision-1")))


@dataclass(frozen=True, slots=True)
class EnvoyAsked:
    """One Check call: the request and the call's metadata."""

    request: ext_authz_pb2.CheckRequest
    metadata: tuple[tuple[str, str], ...]

    @property
    def headers(self) -> dict[str, list[str]]:
        """The client's headers as Envoy passed them on, in whichever of the two forms."""
        http = self.request.attributes.request.http
        found: dict[str, list[str]] = {name: [value] for name, value in http.headers.items()}
        for header in http.header_map.headers:
            found.setdefault(header.key, []).append(header.raw_value.decode("latin-1") or header.value)
        return found

    @property
    def certificate_pem(self) -> bytes:
        """The client certificate; empty: none."""
        return unquote(self.request.attributes.source.certificate).encode()


class EnvoyDoor:
    """ext_authz over gRPC. Set `answer` before a request; `hold()` makes the door slow until released."""

    def __init__(self) -> None:
        self.port = free_port()
        self.answer = ALLOW
        self.asked: list[EnvoyAsked] = []
        self._released = threading.Event()
        self._released.set()
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        handler = grpc.unary_unary_rpc_method_handler(
            self._check,
            request_deserializer=ext_authz_pb2.CheckRequest.FromString,
            response_serializer=ext_authz_pb2.CheckResponse.SerializeToString,
        )
        service, method = CHECK_METHOD.removeprefix("/").split("/")
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        self._server.add_insecure_port(self.address)

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()
        self._server.stop(None).wait()

    def hold(self) -> None:
        """From now on no answer leaves."""
        self._released.clear()

    def release(self) -> None:
        """Answers leave again, those held back too."""
        self._released.set()

    def _check(self, request: ext_authz_pb2.CheckRequest, context: grpc.ServicerContext) -> ext_authz_pb2.CheckResponse:
        metadata = tuple(
            (key, value if isinstance(value, str) else value.decode()) for key, value in context.invocation_metadata()
        )
        self.asked.append(EnvoyAsked(request, metadata))
        self._released.wait()
        headers = [
            ext_authz_pb2.HeaderValueOption(
                header=ext_authz_pb2.HeaderValue(key=name, value=value), append_action=_OVERWRITE_OR_ADD
            )
            for name, value in self.answer.headers
        ]
        if self.answer.allow:
            return ext_authz_pb2.CheckResponse(
                status=ext_authz_pb2.Status(code=0), ok_response=ext_authz_pb2.OkHttpResponse(headers=headers)
            )
        return ext_authz_pb2.CheckResponse(
            status=ext_authz_pb2.Status(code=_PERMISSION_DENIED),
            denied_response=ext_authz_pb2.DeniedHttpResponse(status=ext_authz_pb2.HttpStatus(code=403), headers=headers),
        )


class NginxDoor(HttpServer):
    """`auth_request` over HTTP. Set `answer` before a request; `hold()` makes the door slow until released."""

    def __init__(self) -> None:
        super().__init__(self._decide)
        self.answer = ALLOW
        self.asked: list[HttpRequest] = []
        self._released = threading.Event()
        self._released.set()

    def hold(self) -> None:
        """From now on no answer leaves."""
        self._released.clear()

    def release(self) -> None:
        """Answers leave again, those held back too."""
        self._released.set()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()
        super().__exit__(kind, error, trace)

    async def _decide(self, request: HttpRequest) -> HttpResponse:
        self.asked.append(request)
        await asyncio.to_thread(self._released.wait)
        return HttpResponse(status=200 if self.answer.allow else 403, headers=self.answer.headers)

"""HTTP by uvicorn: one ASGI application a listener, with the peer as the transport knows it in `scope["watchword.peer"]`."""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uvicorn
from cryptography import x509
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from watchword_server.peer import PEER, TARGET, Peer

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_MAX_HEAD_BYTES: Final = 256 * 1024  # a certificate and a long URL fit in well
_HEAD_SECONDS: Final = 10.0
_BODY_SECONDS: Final = 30.0
_HEAD_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class _Connection:
    address: str
    subject_alternative_names: tuple[str, ...]


class _PeerProtocol(HttpToolsProtocol):
    """Tells the application who the connection belongs to, TLS certificate included; uvicorn's scope does not.

    And ends connections whose headers or trailers never do: the parser by itself would collect them for ever, as slowly as they
    come.
    """

    _closes_at: asyncio.TimerHandle | None = None
    _undelivered_bytes = 0  # since the parser last told of a whole head, a piece of a body, or a whole request

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # narrower, as uvicorn's own
        super().connection_made(transport)
        self._expect_head()
        connection = _Connection(
            address=self.client[0] if self.client else "unix", subject_alternative_names=certificate_names(transport)
        )
        application = self.app

        async def with_connection(scope: Scope, receive: Receive, send: Send) -> None:
            scope["watchword.connection"] = connection
            await application(scope, receive, send)

        self.app = with_connection

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._arrived()

    def data_received(self, data: bytes) -> None:
        self._undelivered_bytes += len(data)
        super().data_received(data)
        if self._undelivered_bytes > _MAX_HEAD_BYTES and not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:
                self.transport.write(_HEAD_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        self._arrived()
        self._deadline(_BODY_SECONDS)
        self.scope[TARGET] = self.url.decode("latin-1")  # type: ignore[typeddict-unknown-key] # a key of ours beside ASGI's
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._undelivered_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._arrived()  # and so has the body
        super().on_message_complete()

    def _expect_head(self) -> None:
        if self._closes_at is None:
            self._deadline(_HEAD_SECONDS)

    def _deadline(self, seconds: float) -> None:
        self._closes_at = self.loop.call_later(seconds, self.transport.close)

    def _arrived(self) -> None:
        self._undelivered_bytes = 0
        if self._closes_at is not None:
            self._closes_at.cancel()
            self._closes_at = None


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the process's own main, not to one of its listeners."""
        yield


class HttpServer:
    """One listener on a socket that is bound already. `socket_name` names a unix socket's owner (see `Peer`)."""

    def __init__(
        self, app: App, bound: socket.socket, *, tls: ssl.SSLContext | None = None, socket_name: str | None = None
    ) -> None:
        async def with_peer(scope: Scope, receive: Receive, send: Send) -> None:
            connection: _Connection = scope["watchword.connection"]
            headers: dict[str, tuple[str, ...]] = {}
            for raw_name, raw_value in scope["headers"]:
                name = raw_name.decode("latin-1").lower()
                headers[name] = (*headers.get(name, ()), raw_value.decode("latin-1"))
            scope[PEER] = Peer(connection.address, connection.subject_alternative_names, socket_name, headers)
            await app(scope, receive, send)

        config = uvicorn.Config(
            with_peer,
            http=_PeerProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",  # what any client may do wrong is not worth a line each
            access_log=False,
            proxy_headers=False,  # X-Forwarded-For is the door's to read, by its contract
            server_header=False,
            timeout_graceful_shutdown=5,
            timeout_keep_alive=75,
            limit_concurrency=4096,
        )
        config.load()
        config.ssl = tls
        self._bound = bound
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Serves from now on."""
        self._task = asyncio.ensure_future(self._server.serve(sockets=[self._bound]))
        listening = asyncio.ensure_future(self._server.listening.wait())
        await asyncio.wait({self._task, listening}, return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        if self._task.done():
            self._task.result()

    async def stop(self) -> None:
        """No new connections; requests that run may finish."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task


def bind_tcp(host: str, port: int) -> socket.socket:
    """A listening TCP socket; port 0 takes a free one. Raises `OSError` that says where."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.setblocking(False)  # noqa: FBT003 - the standard library's signature
    except OSError as error:
        bound.close()
        raise _saying(f"{host} port {port}", error) from error
    return bound


@contextlib.contextmanager
def only_the_owner() -> Iterator[None]:
    """What is created within the block may be opened by its owner alone, from the first moment on."""
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)


def bind_unix(path: Path) -> socket.socket:
    """A listening unix socket that only the owner may open. A socket left over there is replaced. Raises `OSError`."""
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with only_the_owner():
            bound.bind(str(path))
        bound.setblocking(False)  # noqa: FBT003 - the standard library's signature
    except OSError as error:
        bound.close()
        raise _saying(f"`{path}`", error) from error
    return bound


def tls_context(*, certificate: Path, private_key: Path, client_ca: Path | None) -> ssl.SSLContext:
    """TLS 1.2 or newer; with `client_ca` every client has to present a certificate of it. Raises `OSError`, naming the file."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, private_key)
    except OSError as error:  # ssl.SSLError is one
        raise _saying(f"TLS with `{certificate}` and `{private_key}`", error) from error
    if client_ca is not None:
        try:
            context.load_verify_locations(client_ca)
        except OSError as error:
            raise _saying(f"TLS with `{client_ca}`", error) from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _saying(where: str, error: OSError) -> OSError:
    """The same error; its text names the address or file."""
    return OSError(error.errno or 0, f"{where}: {error.strerror or error}")


def certificate_names(transport: asyncio.Transport) -> tuple[str, ...]:
    """The subject alternative names of the client certificate of a TLS connection, URIs and DNS names; it is verified."""
    tls = transport.get_extra_info("ssl_object")
    der = None if tls is None else tls.getpeercert(binary_form=True)
    if not der:
        return ()
    try:
        names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return tuple(str(name.value) for name in names if isinstance(name, (x509.DNSName, x509.UniformResourceIdentifier)))

"""`watchword serve`: a house with its listeners, from start to drain."""

import asyncio
import contextlib
import gc
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc
import structlog

from watchword.envoy import ext_authz_pb2
from watchword.v1 import decision_pb2, posture_pb2
from watchword_server import events
from watchword_server.core.snapshot import RuleSnapshot
from watchword_server.doors import ext_authz, native
from watchword_server.doors.decisions_http import DecisionsHttp
from watchword_server.errors import ServiceError, StoreUnavailableError
from watchword_server.house import House
from watchword_server.peer import OPERATORS_SOCKET, OPERATORS_SOCKET_FILE
from watchword_server.services.connections import AttestNow, Drain
from watchword_server.settings import Settings, Tls
from watchword_server.transports.grpc_aio import (
    AGENT_OPTIONS,
    DECISION_OPTIONS,
    GrpcServer,
    StreamMethod,
    UnaryMethod,
    server_credentials,
)
from watchword_server.transports.spop import SpopServer
from watchword_server.transports.uvicorn_http import App, HttpServer, bind_tcp, bind_unix, only_the_owner, tls_context

_log = structlog.get_logger(__name__)

_TICK_SECONDS: Final = 5.0
_JUMP_SECONDS: Final = 30.0


@dataclass(slots=True)
class Server:
    """All listeners of a house."""

    house: House
    addresses: dict[str, str] = field(default_factory=dict)
    _grpc: list[GrpcServer] = field(default_factory=list)
    _http: list[HttpServer] = field(default_factory=list)
    _spop: list[SpopServer] = field(default_factory=list)
    _caller_sockets: dict[str, tuple[GrpcServer, HttpServer, SpopServer]] = field(default_factory=dict)
    _reconciling: asyncio.Lock = field(default_factory=asyncio.Lock)
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    async def start(self) -> None:
        """Listens everywhere; then the house is ready. Raises `OSError` for an address that is taken."""
        house, settings = self.house, self.house.settings
        ports = _Ports(settings)
        http = DecisionsHttp(house.http_doors, lambda: house.ready, house.key_set)
        operators = settings.operators
        self.addresses["operators"] = await self._start_http(
            house.operators.app, operators.host, ports.take(operators.port), operators.tls
        )
        decisions = settings.decisions
        self.addresses["decisions_http"] = await self._start_http(
            http, decisions.host, ports.take(decisions.http_port), decisions.tls
        )
        self.addresses["decisions_grpc"] = await self._start_grpc(
            self._decision_methods(), DECISION_OPTIONS, decisions.host, ports.take(decisions.grpc_port), decisions.tls
        )
        agents = settings.agents
        self.addresses["agents"] = await self._start_grpc(
            self._agent_methods(), AGENT_OPTIONS, agents.host, ports.take(agents.port), agents.tls
        )
        self.addresses["agents_http"] = await self._start_http(
            house.agents_http, agents.host, ports.take(agents.http_port), agents.tls
        )
        self.addresses["decisions_spop"] = await self._start_spop(decisions.host, ports.take(decisions.spop_port), decisions.tls)
        local = HttpServer(house.operators.app, bind_unix(house.data_dir / OPERATORS_SOCKET_FILE), socket_name=OPERATORS_SOCKET)
        await local.start()
        self._http.append(local)
        house.rules.on_swap = self._on_swap
        await self._reconcile(house.rules.in_force.current)
        house.revocation_sources.follow()
        self._spawn(self._tick())
        gc.collect()
        gc.freeze()  # what is loaded now lives as long as the process: a full collection need not look at it again
        house.ready = True
        _log.info(events.SERVER_READY, **self.addresses)

    async def stop(self) -> None:
        """Drains: not ready, agents told to come back later, running calls finished, then everything closed."""
        house, grace = self.house, self.house.settings.limits.drain_seconds
        house.ready = False
        _log.info(events.SERVER_DRAINING, agents=len(house.connections))
        for server in self._grpc:
            await server.set_serving(serving=False)
        house.connections.notify_all(lambda _: Drain(reconnect_within_seconds=max(grace, 1.0)), devices_per_second=1e9)
        await house.revocation_sources.stop()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for name in tuple(self._caller_sockets):
            await self._close_caller_socket(name)
        await asyncio.gather(
            *(server.stop(grace if house.connections else 1.0) for server in self._grpc),
            *(server.stop() for server in self._http),
            *(server.stop() for server in self._spop),
        )
        with contextlib.suppress(StoreUnavailableError):
            await house.store.save_clock_floor(house.clock.now())
        await house.close()
        (house.data_dir / OPERATORS_SOCKET_FILE).unlink(missing_ok=True)
        _log.info(events.SERVER_STOPPED)

    def _agent_methods(self) -> Sequence[StreamMethod]:
        service, door = "watchword.v1.PostureService", self.house.agents
        return (
            StreamMethod(service, "Enroll", door.enroll, posture_pb2.EnrollRequest),
            StreamMethod(service, "Attest", door.attest, posture_pb2.AttestRequest),
            StreamMethod(service, "IssueToken", door.issue_token, posture_pb2.IssueTokenRequest),
        )

    def _decision_methods(self) -> Sequence[UnaryMethod | StreamMethod]:
        door = self.house.native
        return (
            UnaryMethod(ext_authz.SERVICE, "Check", self.house.ext_authz.check, ext_authz_pb2.CheckRequest),
            UnaryMethod(native.SERVICE, "Decide", door.decide, decision_pb2.DecideRequest),
            UnaryMethod(native.SERVICE, "DecideBatch", door.decide_batch, decision_pb2.DecideBatchRequest),
            UnaryMethod(native.SERVICE, "Explain", door.explain, decision_pb2.ExplainRequest),
            StreamMethod(native.SERVICE, "WatchDevice", door.watch_device, decision_pb2.WatchDeviceRequest),
        )

    async def _start_http(self, app: App, host: str, port: int, tls: Tls | None) -> str:
        context = _http_tls(tls)
        bound = bind_tcp(host, port)
        server = HttpServer(app, bound, tls=context)
        await server.start()
        self._http.append(server)
        shown = f"[{host}]" if ":" in host else host
        return f"{'https' if tls else 'http'}://{shown}:{bound.getsockname()[1]}"

    async def _start_spop(self, host: str, port: int, tls: Tls | None) -> str:
        bound = bind_tcp(host, port)
        server = SpopServer(self.house.spoe.answer, bound, tls=_http_tls(tls))
        await server.start()
        self._spop.append(server)
        shown = f"[{host}]" if ":" in host else host
        return f"{shown}:{bound.getsockname()[1]}"

    async def _start_grpc(
        self,
        methods: Sequence[StreamMethod | UnaryMethod],
        options: Sequence[tuple[str, int]],
        host: str,
        port: int,
        tls: Tls | None,
    ) -> str:
        server = GrpcServer(methods, options=options, with_reflection=self.house.settings.grpc_reflection)
        shown = f"[{host}]" if ":" in host else host
        bound = server.listen(f"{shown}:{port}", _grpc_tls(tls))
        await server.start()
        self._grpc.append(server)
        return f"{shown}:{bound}"

    def _on_swap(self, snapshot: RuleSnapshot) -> None:
        self._spawn(self._reconcile(snapshot))
        self.house.changes.note_all()
        self.house.revocation_sources.follow()

    async def _reconcile(self, snapshot: RuleSnapshot) -> None:
        """One pair of unix sockets for each caller that authenticates by one."""
        async with self._reconciling:
            wanted = {caller.name for caller in snapshot.rules.callers if caller.unix_socket}
            for name in self._caller_sockets.keys() - wanted:
                await self._close_caller_socket(name)
            for name in wanted - self._caller_sockets.keys():
                try:
                    self._caller_sockets[name] = await self._open_caller_socket(name)
                except OSError as error:
                    _log.error(events.CALLER_SOCKET_FAILED, caller=name, error=str(error))

    async def _open_caller_socket(self, name: str) -> tuple[GrpcServer, HttpServer, SpopServer]:
        house = self.house
        directory = house.data_dir / "callers"
        directory.mkdir(mode=0o700, exist_ok=True)
        app = DecisionsHttp(house.http_doors, lambda: house.ready, house.key_set)
        http = HttpServer(app, bind_unix(directory / f"{name}.http.sock"), socket_name=name)
        await http.start()
        path = directory / f"{name}.grpc.sock"
        path.unlink(missing_ok=True)
        server = GrpcServer(self._decision_methods(), options=DECISION_OPTIONS, socket_name=name)
        with only_the_owner():
            server.listen(f"unix:{path}", None)
        await server.start()
        spop = SpopServer(house.spoe.answer, bind_unix(directory / f"{name}.spop.sock"), socket_name=name)
        await spop.start()
        return server, http, spop

    async def _close_caller_socket(self, name: str) -> None:
        server, http, spop = self._caller_sockets.pop(name)
        await asyncio.gather(server.stop(1.0), http.stop(), spop.stop())
        for kind in ("http", "grpc", "spop"):
            (self.house.data_dir / "callers" / f"{name}.{kind}.sock").unlink(missing_ok=True)

    async def _tick(self) -> None:
        """Keeps the clock's floor durable; after a jump forward results have expired early and devices are asked anew."""
        house = self.house
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            with contextlib.suppress(StoreUnavailableError):
                await house.store.save_clock_floor(house.clock.now())
            with contextlib.suppress(ServiceError):
                await house.keep_books()
            if house.clock.jumped_forward(_JUMP_SECONDS):
                _log.warning(events.CLOCK_JUMPED, agents=len(house.connections))
                house.connections.notify_all(AttestNow, devices_per_second=house.settings.limits.attest_devices_per_second)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@dataclass(slots=True)
class _Ports:
    """Counts up from the configured first port; 0 stays 0."""

    settings: Settings
    _next: int = field(init=False)

    def __post_init__(self) -> None:
        self._next = self.settings.port

    def take(self, configured: int | None) -> int:
        """The next port, or the one configured for this listener."""
        port = self._next
        self._next += bool(self._next)
        return port if configured is None else configured


async def serve(data_dir: Path, settings: Settings, *, until: asyncio.Event, on_ready: Callable[[Server], None]) -> None:
    """Serves until the event. Raises what opening and listening raise."""
    house = await House.open(data_dir, settings)
    server = Server(house)
    try:
        await server.start()
        on_ready(server)
        await until.wait()
    finally:
        await server.stop()


def _http_tls(tls: Tls | None) -> ssl.SSLContext | None:
    if tls is None:
        return None
    return tls_context(certificate=tls.certificate, private_key=tls.private_key, client_ca=tls.client_ca)


def _grpc_tls(tls: Tls | None) -> grpc.ServerCredentials | None:
    if tls is None:
        return None
    _http_tls(tls)  # says what is wrong with the files; grpc would not, and a wrong key only shows at the first handshake
    return server_credentials(
        certificate_chain=tls.certificate.read_bytes(),
        private_key=tls.private_key.read_bytes(),
        client_ca=None if tls.client_ca is None else tls.client_ca.read_bytes(),
    )

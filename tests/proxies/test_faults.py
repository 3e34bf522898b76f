"""A decision point that is slow, broken, talks nonsense or hangs up: every proxy denies, with its shipped configuration, in time.

Stopped and frozen servers are in test_decisions.py, with the real one.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest

from proxies.test_decisions import ANSWERED_WITHIN_SECONDS, KINDS, ProxyKind
from support.pki import Pki
from support.proxies import ProxySetup, RunningProxy
from support.server import WatchwordServer
from support.upstream import Upstream
from watchword.envoy import ext_authz_pb2
from watchword_server.errors import StoreUnavailableError
from watchword_server.peer import Peer
from watchword_server.transports.grpc_aio import DECISION_OPTIONS, GrpcServer, UnaryMethod
from watchword_server.transports.spop import SpopServer
from watchword_server.transports.uvicorn_http import HttpServer, bind_tcp

FAULTS: Final = ("slow", "failing", "nonsense", "redirecting")
_ALLOW: Final = ext_authz_pb2.CheckResponse(status=ext_authz_pb2.Status(code=0), ok_response=ext_authz_pb2.OkHttpResponse())


@dataclass(slots=True)
class DecisionPoint:
    """Something in the place of the server, behind the real transports, that allows everything: unless it is at fault."""

    fault: str | None = None
    asked: int = 0
    addresses: dict[str, str] = field(default_factory=dict)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _never: asyncio.Event = field(default_factory=asyncio.Event)
    _stops: list[Callable[[], Awaitable[None]]] = field(default_factory=list)

    async def start(self) -> None:
        grpc = GrpcServer(
            [UnaryMethod("envoy.service.auth.v3.Authorization", "Check", self._check, ext_authz_pb2.CheckRequest)],
            options=DECISION_OPTIONS,
        )
        self.addresses["grpc"] = f"127.0.0.1:{grpc.listen('127.0.0.1:0', None)}"
        await grpc.start()
        self._stops.append(lambda: grpc.stop(0))
        for name, make in (
            ("http", lambda bound: HttpServer(self._app, bound)),
            ("spop", lambda bound: SpopServer(self._spoe, bound)),
        ):
            bound = bind_tcp("127.0.0.1", 0)
            server = make(bound)
            self.addresses[name] = f"127.0.0.1:{bound.getsockname()[1]}"
            await server.start()
            self._stops.append(server.stop)

    async def stop(self) -> None:
        self._never.set()
        for stop in self._stops:
            await stop()

    async def _misbehave(self) -> None:
        self.asked += 1
        if self.fault == "slow":
            await self._never.wait()

    async def _check(self, request: ext_authz_pb2.CheckRequest, peer: Peer) -> ext_authz_pb2.CheckResponse:
        del request, peer
        await self._misbehave()
        if self.fault in ("failing", "redirecting"):
            raise StoreUnavailableError("as a failing one says")
        if self.fault == "nonsense":
            return ext_authz_pb2.CheckResponse(
                status=ext_authz_pb2.Status(code=0),
                ok_response=ext_authz_pb2.OkHttpResponse(
                    headers=[ext_authz_pb2.HeaderValueOption(header=ext_authz_pb2.HeaderValue(key="a\\nb", value="c\\r\\nd"))]
                ),
            )
        return _ALLOW

    async def _app(self, scope: MutableMapping[str, Any], receive: object, send: Callable[[Any], Awaitable[None]]) -> None:
        del receive
        if scope["type"] != "http":
            return
        await self._misbehave()
        status = {"failing": 500, "redirecting": 302, "nonsense": 404}.get(self.fault or "", 200)
        headers = [(b"location", b"https://elsewhere.example/"), (b"x-watchword-decision-id", b"dcn_stand_in")]
        await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def _spoe(self, message: str, arguments: Mapping[str, object], peer: Peer) -> Mapping[str, str | int | bool]:
        del message, arguments, peer
        await self._misbehave()
        if self.fault is None:
            return {"allow": True, "decision_id": "dcn_stand_in"}
        return {} if self.fault == "failing" else {"allow": "yes"}


@pytest.fixture(scope="module")
def point() -> Iterator[DecisionPoint]:
    point = DecisionPoint()
    loop = point._loop
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(point.start(), loop).result(20)
    yield point
    asyncio.run_coroutine_threadsafe(point.stop(), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(
    scope="module",
    params=[pytest.param(kind, id=kind.name, marks=pytest.mark.needs_program(kind.name.partition("-")[0])) for kind in KINDS],
)
def proxy(request: pytest.FixtureRequest, pki: Pki, application: Upstream, point: DecisionPoint) -> Iterator[RunningProxy]:
    kind: ProxyKind = request.param
    names = {"grpc": "decisions_grpc", "http": "decisions_http_address", "spop": "decisions_spop"}
    endpoints = SimpleNamespace(**{names[name]: address for name, address in point.addresses.items()})
    door = kind.door(cast("WatchwordServer", SimpleNamespace(endpoints=endpoints)))
    with kind.start(ProxySetup(door, application.address, pki)) as running:
        yield running


@pytest.mark.parametrize("fault", FAULTS)
def test_a_decision_point_at_fault_lets_nobody_in(
    proxy: RunningProxy, point: DecisionPoint, application: Upstream, fault: str
) -> None:
    point.fault, asked = None, point.asked
    assert proxy.client().get().status == 200
    assert point.asked == asked + 1
    point.fault = fault
    application.requests.clear()
    try:
        for method in ("GET", "POST", "HEAD"):
            started = time.monotonic()
            answer = proxy.client().get("/page", method=method)
            assert time.monotonic() - started < ANSWERED_WITHIN_SECONDS
            assert answer.status >= 300
        assert not application.requests
        assert point.asked > asked + 1
    finally:
        point.fault = None

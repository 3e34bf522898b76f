"""The ASGI application of the operators' listener and of the local socket."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from watchword_server.adapters.metrics import Metrics
from watchword_server.doors.cloudflare.app import PREFIX, CloudflareDoor
from watchword_server.doors.cloudflare.failures import failure
from watchword_server.doors.operators.audit import AuditRoutes
from watchword_server.doors.operators.authentication import Authentication
from watchword_server.doors.operators.certificates import CertificateRoutes, is_list_upload
from watchword_server.doors.operators.decisions import DecisionRoutes
from watchword_server.doors.operators.devices import DeviceRoutes
from watchword_server.doors.operators.failures import FAILURES, add_error_handlers, error_response, refusal
from watchword_server.doors.operators.postures import PostureRoutes
from watchword_server.doors.operators.rules import RuleRoutes
from watchword_server.doors.operators.settings import SettingsRoutes
from watchword_server.doors.operators.signing_keys import SigningKeyRoutes
from watchword_server.doors.operators.tokens import TokenRoutes
from watchword_server.errors import WatchwordError
from watchword_server.services.connections import Connections
from watchword_server.services.rules_in_force import RulesInForce

_MAX_BODY: Final = 16 * 1024 * 1024
_MAX_LENGTH_DIGITS: Final = 18  # of a Content-Length: more than any body has


@dataclass(slots=True)
class OperatorsDoor:
    """Joins the routes. `/livez`, `/readyz` and `/metrics` ask for no token: they tell numbers, nothing about anybody."""

    authentication: Authentication
    rules: RuleRoutes
    decisions: DecisionRoutes
    postures: PostureRoutes
    settings: SettingsRoutes
    signing_keys: SigningKeyRoutes
    devices: DeviceRoutes
    tokens: TokenRoutes
    certificates: CertificateRoutes
    audit: AuditRoutes
    cloudflare: CloudflareDoor
    in_force: RulesInForce
    connections: Connections
    metrics: Metrics
    is_ready: Callable[[], bool]
    app: FastAPI = field(init=False)

    def __post_init__(self) -> None:
        self.app = FastAPI(
            title="Watchword",
            version="1",
            docs_url=None,
            redoc_url=None,
            openapi_url="/api/v1/openapi.json",
            redirect_slashes=False,
            responses=FAILURES,
        )
        add_error_handlers(self.app)
        self.app.middleware("http")(self._from_somebody)
        self.app.middleware("http")(_bounded)  # the last one added is the first one asked
        self.app.add_api_route("/livez", self.live, methods=["GET"])
        self.app.add_api_route("/readyz", self.ready, methods=["GET"])
        self.app.add_api_route("/metrics", self.scrape, methods=["GET"], response_class=PlainTextResponse)
        for routes in (
            self.rules,
            self.decisions,
            self.devices,
            self.postures,
            self.tokens,
            self.certificates,
            self.audit,
            self.settings,
            self.signing_keys,
        ):
            self.app.include_router(routes.router(self.authentication))
        self.app.mount(PREFIX, self.cloudflare.app)

    async def live(self) -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    async def ready(self, response: Response) -> dict[str, object]:
        """The server takes requests: its rules are loaded and it is not draining."""
        ready = self.is_ready()
        response.status_code = 200 if ready else 503
        return {"status": "ready" if ready else "not_ready", "rules_revision": self.in_force.current.rules.revision}

    async def scrape(self) -> Response:
        """Prometheus metrics."""
        self.metrics.connected_agents.set(len(self.connections))
        self.metrics.rules_revision.set(self.in_force.current.rules.revision)
        self.metrics.tell_revocation(self.certificates.figures())
        return Response(generate_latest(self.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def _from_somebody(self, request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        """Nobody without a token has a body read: FastAPI parses it before it asks a route's dependencies."""
        if request.url.path.startswith("/api/"):
            try:
                operator = await self.authentication.operator(request)
            except WatchwordError as error:
                return refusal(error)
            with self.authentication.acting(operator):
                return await call_next(request)
        return await call_next(request)


async def _bounded(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """No body without a stated, bounded length; no answer in a cache."""
    length = request.headers.get("content-length", "0" if request.method in {"GET", "DELETE", "HEAD"} else "")
    response: Response
    in_envelope = request.scope["path"].startswith(PREFIX)
    if not (length.isascii() and length.isdecimal() and len(length) <= _MAX_LENGTH_DIGITS):
        told = "send a Content-Length"
        response = failure(411, told) if in_envelope else error_response(411, "length_required", told)
    elif int(length) > _MAX_BODY and not is_list_upload(request):  # a list is not read into memory, and counted on its way
        told = f"a body is at most {_MAX_BODY} bytes"
        response = failure(413, told) if in_envelope else error_response(413, "body_too_large", told)
    elif in_envelope and "\n" in request.scope["path"]:  # no route has it, and the mount would not either
        response = failure(404, "there is no such path")
    else:
        response = await call_next(request)
    response.headers["Cache-Control"] = "no-store"
    return response

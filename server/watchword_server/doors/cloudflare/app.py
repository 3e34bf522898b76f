"""The ASGI application below `/client/v4`, whose OpenAPI page is its reference."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi import Depends, FastAPI, Path, Request, Response
from fastapi.responses import JSONResponse

from watchword_server.core.times import rfc3339
from watchword_server.doors.cloudflare import access, certificates, devices, gateway, posture
from watchword_server.doors.cloudflare.envelope import Envelope, Failure, answer
from watchword_server.doors.cloudflare.failures import add_error_handlers, refusal
from watchword_server.doors.operators.authentication import Authentication, ForbiddenError
from watchword_server.errors import WatchwordError
from watchword_server.ports.devices import DeviceStore
from watchword_server.services.devices import Devices
from watchword_server.services.rules import Rules

PREFIX: Final = "/client/v4"
_FAILURES: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": Failure, "description": words}
    for status, words in {
        400: "not as it has to be: each problem with its place and remedy",
        401: "no token, or one that is not valid",
        403: "a token that may not do this, or another account",
        404: "there is no such entry",
        409: "a name that is taken, or an entry that is in use",
        411: "without a Content-Length",
        413: "too large",
        429: "too many wrong tokens",
        503: "the store does not take it: try again",
    }.items()
}


@dataclass(slots=True)
class CloudflareDoor:
    """Joins the routes. `account_id` is the one account there is."""

    authentication: Authentication
    rules: Rules
    store: DeviceStore
    devices: Devices
    account_id: str
    seal: Callable[[bytes, bytes], str] | None = None  # what encrypts private keys
    app: FastAPI = field(init=False)

    def __post_init__(self) -> None:
        self.app = FastAPI(
            title="Watchword: the Cloudflare API",
            version="4",
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
            responses=_FAILURES,
        )
        add_error_handlers(self.app)
        self.app.middleware("http")(self._from_somebody)
        read = [Depends(self.authentication.require("read"))]
        one = Envelope[dict[str, Any]]
        self.app.add_api_route("/user/tokens/verify", self.verify, methods=["GET"], dependencies=read, response_model=one)
        of_account = [Depends(self._known_account)]
        verify = "/accounts/{account_id}/tokens/verify"
        self.app.add_api_route(verify, self.verify, methods=["GET"], dependencies=[*read, *of_account], response_model=one)
        for made in (
            certificates.routes(self.rules, self.authentication, self.seal),
            posture.routes(self.rules, self.authentication),
            access.routes(self.rules, self.authentication),
            gateway.routes(self.rules, self.authentication),
            devices.routes(self.store, self.devices, self.authentication),
        ):
            self.app.include_router(made, dependencies=of_account)

    async def verify(self, request: Request) -> JSONResponse:
        """Whose token this is and until when; one that is not valid has no answer here."""
        operator = await self.authentication.operator(request)
        token = operator.token
        found: dict[str, Any] = {"id": operator.actor.id or "socket", "status": "active"}
        if token is not None:
            found["id"] = token.id
            if token.expires_at is not None:
                found["expires_on"] = rfc3339(token.expires_at)
        return answer(found, messages=[{"code": 10000, "message": "This API token is valid and active"}])

    async def _known_account(self, account_id: str = Path(max_length=64)) -> None:
        if account_id != self.account_id:
            raise ForbiddenError(f"this server's account is `{self.account_id}`: use that as `account_id`")

    async def _from_somebody(self, request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        """Nobody without a token has a body read."""
        try:
            operator = await self.authentication.operator(request)
        except WatchwordError as error:
            return refusal(error)
        with self.authentication.acting(operator):
            return await call_next(request)

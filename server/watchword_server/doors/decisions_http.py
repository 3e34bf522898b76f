"""The HTTP side of the decisions listener. Raw ASGI."""

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Self

from watchword_server.adapters.metrics import Metrics
from watchword_server.doors import auth_request, ext_authz_http, forward_auth
from watchword_server.doors.authzen import METADATA, AuthzenDoor
from watchword_server.doors.http_authz import HttpAuthzDoor
from watchword_server.peer import PEER, TARGET
from watchword_server.services.auditing import Auditing
from watchword_server.services.decisions import Decisions
from watchword_server.services.rules_in_force import RulesInForce
from watchword_server.services.searching import Searching

_KEPT_FOR: Final = "public, max-age=300"  # a new key is published twice as long before it signs
_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class HttpDoors:
    """One door a contract."""

    auth_request: HttpAuthzDoor
    forward_auth: HttpAuthzDoor
    forward_auth_traefik: HttpAuthzDoor
    ext_authz_http: HttpAuthzDoor
    authzen: AuthzenDoor

    @classmethod
    def make(
        cls,
        decisions: Decisions,
        searching: Searching,
        rules: RulesInForce,
        metrics: Metrics,
        auditing: Auditing,
        *,
        public_url: str | None = None,
    ) -> Self:
        """All of them, asking the same decisions."""
        return cls(
            HttpAuthzDoor(auth_request.NAME, auth_request.read, decisions, rules, metrics, auditing),
            HttpAuthzDoor(forward_auth.NAME, forward_auth.read, decisions, rules, metrics, auditing),
            HttpAuthzDoor(forward_auth.TRAEFIK_NAME, forward_auth.read_traefik, decisions, rules, metrics, auditing),
            HttpAuthzDoor(ext_authz_http.NAME, ext_authz_http.read, decisions, rules, metrics, auditing),
            AuthzenDoor(decisions, searching, rules, metrics, auditing, public_url),
        )


@dataclass(frozen=True, slots=True)
class DecisionsHttp:
    """Routes by exact path, Envoy's by its prefix; each contract has its own, none is guessed."""

    doors: HttpDoors
    is_ready: Callable[[], bool]
    key_set: Callable[[], Mapping[str, object]]

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """ASGI."""
        target: str = scope[TARGET]
        path = target.partition("?")[0]
        door = self._door(path)
        if door is not None:  # none of these contracts has a body; uvicorn drops one that comes, and ours where HEAD was asked
            answer = await door.answer(scope[PEER], method=scope["method"], target=target)
            await _respond(send, answer.status, answer.headers, answer.body)
            return
        authzen = self.doors.authzen
        if authzen.serves(path):
            answer = await authzen.answer(scope[PEER], method=scope["method"], path=path, read_body=partial(_body, receive))
            await _respond(send, answer.status, answer.headers, answer.body)
            return
        if path.startswith(METADATA):
            answer = authzen.configuration(scope[PEER], scheme=scope["scheme"], path=path)
            await _respond(send, answer.status, answer.headers, answer.body)
            return
        match scope["path"]:
            case "/.well-known/jwks.json":
                content = json.dumps(self.key_set()).encode() + b"\n"
                await _respond(send, 200, {"content-type": "application/json", "cache-control": _KEPT_FOR}, content)
            case "/livez":
                await _respond_json(send, 200, {"status": "ok"})
            case "/readyz":
                ready = self.is_ready()
                await _respond_json(send, 200 if ready else 503, {"status": "ready" if ready else "not_ready"})
            case path:
                await _respond_json(send, 404, {"error": {"code": "not_found", "message": f"nothing is at `{path}`"}})

    def _door(self, path: str) -> HttpAuthzDoor | None:
        """By the path as it was written: no contract's proxy writes it otherwise."""
        match path:
            case auth_request.PATH:
                return self.doors.auth_request
            case forward_auth.PATH:
                return self.doors.forward_auth
            case forward_auth.TRAEFIK_PATH:
                return self.doors.forward_auth_traefik
            case _ if path.startswith(f"{ext_authz_http.PREFIX}/"):
                return self.doors.ext_authz_http
            case _:
                return None


async def _body(receive: _Receive, limit: int) -> bytes | None:
    """The request's body; None: it has more bytes. A client that goes away has asked nothing."""
    content = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b""
        content += message.get("body", b"")
        if len(content) > limit:
            return None
        if not message.get("more_body", False):
            return bytes(content)


async def _respond_json(send: _Send, status: int, body: Mapping[str, object]) -> None:
    await _respond(
        send, status, {"content-type": "application/json", "cache-control": "no-store"}, json.dumps(body).encode() + b"\n"
    )


async def _respond(send: _Send, status: int, headers: Mapping[str, str], body: bytes) -> None:
    raw = [(name.encode("ascii"), value.encode("utf-8")) for name, value in headers.items()]
    raw.append((b"content-length", str(len(body)).encode("ascii")))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})

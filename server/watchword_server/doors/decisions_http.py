"""The HTTP side of the decisions listener. Raw ASGI."""

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from watchword_server.doors import auth_request
from watchword_server.doors.auth_request import AuthRequestDoor
from watchword_server.peer import PEER

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class DecisionsHttp:
    """Routes by exact path; each contract has its own, none is guessed."""

    auth_request: AuthRequestDoor
    is_ready: Callable[[], bool]

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """ASGI."""
        del receive  # no contract here has a body; uvicorn drops one that comes, and ours where HEAD was asked
        match scope["path"]:
            case auth_request.PATH:
                answer = await self.auth_request.answer(scope[PEER])
                await _respond(send, answer.status, answer.headers, answer.body)
            case "/livez":
                await _respond_json(send, 200, {"status": "ok"})
            case "/readyz":
                ready = self.is_ready()
                await _respond_json(send, 200 if ready else 503, {"status": "ready" if ready else "not_ready"})
            case path:
                await _respond_json(send, 404, {"error": {"code": "not_found", "message": f"nothing is at `{path}`"}})


async def _respond_json(send: _Send, status: int, body: Mapping[str, object]) -> None:
    await _respond(
        send, status, {"content-type": "application/json", "cache-control": "no-store"}, json.dumps(body).encode() + b"\n"
    )


async def _respond(send: _Send, status: int, headers: Mapping[str, str], body: bytes) -> None:
    raw = [(name.encode("ascii"), value.encode("utf-8")) for name, value in headers.items()]
    raw.append((b"content-length", str(len(body)).encode("ascii")))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})

"""nginx's door: `auth_request` subrequests at `/v1/authz/auth-request`. One fixed contract; nothing is guessed.

Required from the proxy: X-Original-Method, X-Original-URL. With its entry's permission: X-Client-Cert (URL-encoded PEM), the
headers of identity and facts, X-Forwarded-For (one address). From the client itself: the headers of a service token. 200 allows,
403 denies; nginx turns everything else into 500, which denies as well.
"""

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from watchword_server import events
from watchword_server.adapters.metrics import Metrics
from watchword_server.doors.callers import SECRET_HEADER, authenticate_caller
from watchword_server.doors.requests import access_request, presented, split_url
from watchword_server.doors.status import http_status
from watchword_server.errors import RequestMalformedError, WatchwordError
from watchword_server.peer import Peer
from watchword_server.services.decisions import OWNED_HEADERS, REASON, Decisions
from watchword_server.services.rules_in_force import RulesInForce

_log = structlog.get_logger(__name__)

PATH: Final = "/v1/authz/auth-request"
_DOOR: Final = "auth_request"
_RESERVED: Final = re.compile(r"x[-_]watchword[-_].*")
_OVERWRITTEN_BY_NGINX: Final = frozenset({*OWNED_HEADERS, SECRET_HEADER})


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A status, headers and a body, whatever serves them."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class AuthRequestDoor:
    """Translates a subrequest, asks, and translates the answer."""

    decisions: Decisions
    rules: RulesInForce
    metrics: Metrics

    async def answer(self, peer: Peer) -> HttpAnswer:
        """Allow or deny one request; never raises. Method and body of the subrequest do not matter."""
        started = time.perf_counter()
        headers = peer.metadata
        try:
            caller = authenticate_caller(peer, self.rules.current)
            _refuse_lookalikes(headers)
            scheme, host, target = split_url(_one(headers, "x-original-url"))
            asked = access_request(
                caller=caller,
                method=_one(headers, "x-original-method"),
                scheme=scheme,
                host=host,
                target=target,
                address=_at_most_one(headers, "x-forwarded-for"),
                headers=headers,
            )
            shown = presented(_at_most_one(headers, "x-client-cert"), headers)
        except WatchwordError as error:
            _log.warning(events.CALLER_REFUSED, door=_DOOR, peer=peer.address, code=error.code, detail=str(error))
            self.metrics.decisions.labels(_DOOR, "deny", error.code).inc()
            return _answer(http_status(error), {REASON: error.code}, {"decision": "deny", "reason": error.code})
        answer = await self.decisions.answer(asked, shown, caller=caller)
        self.metrics.decisions.labels(_DOOR, answer.decision.outcome.value, answer.decision.reason).inc()
        self.metrics.decision_seconds.labels(_DOOR).observe(time.perf_counter() - started)
        if answer.decision.allowed:
            return _answer(200, answer.headers, {})
        return _answer(403, answer.headers, answer.body)


def _refuse_lookalikes(headers: Mapping[str, Sequence[str]]) -> None:
    """Nginx overwrites the headers of ours that it knows; one it does not know would reach the upstream as the client sent it."""
    for name in headers:
        if _RESERVED.fullmatch(name) and name not in _OVERWRITTEN_BY_NGINX:
            raise RequestMalformedError(f"the client sent `{name}`, a name reserved for this service")


def _one(headers: Mapping[str, Sequence[str]], name: str) -> str:
    values = headers.get(name, ())
    if len(values) != 1:
        raise RequestMalformedError(f"the proxy has to send `{name}` exactly once")
    return values[0]


def _at_most_one(headers: Mapping[str, Sequence[str]], name: str) -> str:
    return _one(headers, name) if name in headers else ""


def _answer(status: int, headers: Mapping[str, str], body: Mapping[str, object]) -> HttpAnswer:
    content = json.dumps(body).encode() + b"\n" if body else b""
    return HttpAnswer(status, {**headers, "content-type": "application/json", "cache-control": "no-store"}, content)

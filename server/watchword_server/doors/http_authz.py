"""What the HTTP contracts have in common: a subrequest in, an allow or a denial out. Each reads its own headers and no other.

The method and the body of the subrequest never matter, except where the contract says that the method is the request's own.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from watchword_server import events
from watchword_server.adapters.metrics import Metrics
from watchword_server.core.answer_headers import OWNED_HEADERS, REASON
from watchword_server.core.model.decisions import AccessRequest
from watchword_server.core.rules import Caller
from watchword_server.doors.callers import SECRET_HEADER, authenticate_caller, note_refused_caller
from watchword_server.doors.denials import told_to_the_client
from watchword_server.doors.status import http_status
from watchword_server.errors import CallerRefusedError, RequestMalformedError, WatchwordError
from watchword_server.peer import Peer
from watchword_server.services.auditing import Auditing
from watchword_server.services.decisions import Decisions
from watchword_server.services.resolving import Presented
from watchword_server.services.rules_in_force import RulesInForce

_log = structlog.get_logger(__name__)

Headers = Mapping[str, Sequence[str]]
_RESERVED: Final = re.compile(r"x[-_]watchword[-_].*")
_OVERWRITTEN_BY_PROXIES: Final = frozenset({*OWNED_HEADERS, SECRET_HEADER})


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A status, headers and a body, whatever serves them."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Subrequest:
    """What a proxy sent: the start line as it came, and the headers by lower-case name."""

    method: str
    target: str
    headers: Headers

    def one(self, name: str) -> str:
        """The value of a header that has to be there exactly once. Raises `RequestMalformedError`."""
        values = self.headers.get(name, ())
        if len(values) != 1:
            raise RequestMalformedError(f"the proxy has to send `{name}` exactly once")
        return values[0]

    def at_most_one(self, name: str) -> str:
        """Its value, empty where it is not there. Raises `RequestMalformedError` for several."""
        return self.one(name) if name in self.headers else ""


Read = Callable[[Subrequest, Caller], tuple[AccessRequest, Presented]]


@dataclass(frozen=True, slots=True)
class HttpAuthzDoor:
    """Translates the subrequests of one contract, asks, and translates the answers. `read` raises `RequestMalformedError`."""

    name: str
    read: Read
    decisions: Decisions
    rules: RulesInForce
    metrics: Metrics
    auditing: Auditing

    async def answer(self, peer: Peer, *, method: str = "GET", target: str = "/") -> HttpAnswer:
        """Allow or deny one request; never raises. `target` is the subrequest's, raw."""
        started = time.perf_counter()
        headers = peer.metadata
        try:
            caller = authenticate_caller(peer, self.rules.current)
            _refuse_lookalikes(headers)
            asked, shown = self.read(Subrequest(method, target, headers), caller)
        except WatchwordError as error:
            _log.warning(events.CALLER_REFUSED, door=self.name, peer=peer.address, code=error.code, detail=str(error))
            if isinstance(error, CallerRefusedError):
                note_refused_caller(self.auditing, peer, self.name)
            self.metrics.decisions.labels(self.name, "deny", error.code).inc()
            return _denied(http_status(error), {REASON: error.code}, {"decision": "deny", "reason": error.code}, headers)
        answer = await self.decisions.answer(asked, shown, caller=caller)
        self.metrics.decisions.labels(self.name, answer.decision.outcome.value, answer.decision.reason).inc()
        self.metrics.decision_seconds.labels(self.name).observe(time.perf_counter() - started)
        if answer.decision.allowed:
            return HttpAnswer(200, {**answer.headers, "content-type": "application/json", "cache-control": "no-store"}, b"")
        return _denied(403, answer.headers, answer.body, headers)


def _refuse_lookalikes(headers: Headers) -> None:
    """A proxy overwrites the headers of ours that it knows; another would reach the upstream as the client sent it."""
    for name in headers:
        if _RESERVED.fullmatch(name) and name not in _OVERWRITTEN_BY_PROXIES:
            raise RequestMalformedError(f"the client sent `{name}`, a name reserved for this service")


def _denied(status: int, headers: Mapping[str, str], body: Mapping[str, object], asked_with: Headers) -> HttpAnswer:
    content_type, content = told_to_the_client(body, accept=asked_with.get("accept", ()))
    return HttpAnswer(status, {**headers, "content-type": content_type, "cache-control": "no-store"}, content)

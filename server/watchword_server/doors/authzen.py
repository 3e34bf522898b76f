"""OpenID AuthZEN Authorization API 1.0: evaluation, evaluations, searches and metadata.

Decided by the rules of the filter `authzen`; by Gateway rules and Access where the resource is a route. Callers authenticate as
at every door; their secret may also stand in `Authorization: Bearer`. A denial is an answer (200); an error's body is a message.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import structlog

from watchword_server import events
from watchword_server.adapters.metrics import Metrics
from watchword_server.core.rules import Caller, EntityRole
from watchword_server.doors.authzen_questions import (
    MAX_QUESTION,
    PARTS,
    Document,
    entity_of,
    length_of,
    question_of,
    read_document,
    refuse_what_is_too_much,
    stand_in,
    with_defaults,
)
from watchword_server.doors.callers import SECRET_HEADER, authenticate_caller, note_refused_caller
from watchword_server.doors.http_authz import HttpAnswer
from watchword_server.doors.status import http_status
from watchword_server.errors import CallerRefusedError, RequestMalformedError, WatchwordError
from watchword_server.peer import Peer
from watchword_server.services.auditing import Auditing
from watchword_server.services.decisions import Answer, Decisions
from watchword_server.services.rules_in_force import RulesInForce
from watchword_server.services.searching import Searching

_log = structlog.get_logger(__name__)

NAME: Final = "authzen"
EVALUATION: Final = "/access/v1/evaluation"
EVALUATIONS: Final = "/access/v1/evaluations"
SEARCH: Final = "/access/v1/search/"
METADATA: Final = "/.well-known/authzen-configuration"
_PATHS: Final = frozenset({EVALUATION, EVALUATIONS, *(f"{SEARCH}{role}" for role in EntityRole)})
_MAX_BODIES: Final = 1024 * 1024  # of many questions
MAX_EVALUATIONS: Final = 1_000
_BEARER: Final = "bearer "
_SEMANTICS: Final = ("execute_all", "deny_on_first_deny", "permit_on_first_permit")

ReadBody = Callable[[int], Awaitable[bytes | None]]


@dataclass(frozen=True, slots=True)
class AuthzenDoor:
    """Translates questions, asks, and translates the answers. `public_url` None: where it was asked."""

    decisions: Decisions
    searching: Searching
    rules: RulesInForce
    metrics: Metrics
    auditing: Auditing
    public_url: str | None = None

    def serves(self, path: str) -> bool:
        """Whether the path is one of this API, as it was written."""
        return path in _PATHS

    async def answer(self, peer: Peer, *, method: str, path: str, read_body: ReadBody) -> HttpAnswer:
        """Answers a question; never raises. `read_body` gives its bytes, or None where there are more than it is told."""
        started = time.perf_counter()
        try:
            caller = authenticate_caller(_with_bearer(peer), self.rules.current)
            if method != "POST":
                return _error(405, "ask by POST", peer, {"allow": "POST"})
            document = read_document(peer, await read_body(_MAX_BODIES if path == EVALUATIONS else MAX_QUESTION))
            told = await self._told(path, document, caller)
        except WatchwordError as error:
            _log.warning(events.CALLER_REFUSED, door=NAME, peer=peer.address, code=error.code, detail=str(error))
            self.metrics.decisions.labels(NAME, "deny", error.code).inc()
            if isinstance(error, CallerRefusedError):
                note_refused_caller(self.auditing, peer, NAME)
                return _error(401, "the caller is not known", peer, {"www-authenticate": 'Bearer realm="watchword"'})
            status = 400 if isinstance(error, RequestMalformedError) else http_status(error)
            return _error(status, str(error) if status == 400 else error.code, peer)
        self.metrics.decision_seconds.labels(NAME).observe(time.perf_counter() - started)
        return HttpAnswer(200, _headers(peer), json.dumps(told).encode())

    def configuration(self, peer: Peer, *, scheme: str, path: str) -> HttpAnswer:
        """The metadata of this decision point; it asks for no caller."""
        hosts = peer.metadata.get("host", ())
        base = self.public_url or (f"{scheme}://{hosts[0]}" if len(hosts) == 1 else "")
        if not base or path != METADATA:
            return _error(404, "there is no such decision point", peer)
        told = {
            "policy_decision_point": base,
            "access_evaluation_endpoint": base + EVALUATION,
            "access_evaluations_endpoint": base + EVALUATIONS,
            **{f"search_{role}_endpoint": f"{base}{SEARCH}{role}" for role in EntityRole},
            "capabilities": [],
        }
        return HttpAnswer(200, _headers(peer), json.dumps(told).encode())

    async def _told(self, path: str, document: Document, caller: Caller) -> object:
        if path.startswith(SEARCH):
            return await self._search(EntityRole(path.removeprefix(SEARCH)), document, caller)
        if path == EVALUATIONS and not isinstance(document.get("evaluations", []), list):
            raise RequestMalformedError(f"`evaluations` is not a list of at most {MAX_EVALUATIONS} questions")
        if path == EVALUATIONS and document.get("evaluations"):
            return await self._evaluations(document, caller)
        if path == EVALUATIONS and length_of(document) > MAX_QUESTION:
            raise RequestMalformedError("the body is too long for one question")
        return await self._evaluation(document, caller)

    async def _evaluation(self, document: Document, caller: Caller) -> dict[str, object]:
        asked, shown = question_of(document, caller)
        answer = await self.decisions.answer(asked, shown, caller=caller)
        decision = answer.decision
        self.metrics.decisions.labels(NAME, decision.outcome.value, decision.reason).inc()
        return {"decision": decision.allowed, "context": _context(answer, self.rules.current.rules.revision)}

    async def _evaluations(self, document: Document, caller: Caller) -> dict[str, object]:
        items = document["evaluations"]
        if len(items) > MAX_EVALUATIONS:
            raise RequestMalformedError(f"`evaluations` is not a list of at most {MAX_EVALUATIONS} questions")
        options = document.get("options", {})
        semantic = options.get("evaluations_semantic", _SEMANTICS[0]) if isinstance(options, dict) else None
        if semantic not in _SEMANTICS:
            raise RequestMalformedError(f"`options.evaluations_semantic` is none of {', '.join(_SEMANTICS)}")
        refuse_what_is_too_much(document, items)
        told: list[dict[str, object]] = []
        for item in items:
            await asyncio.sleep(0)  # the proxies' requests go between
            try:
                told.append(await self._evaluation(with_defaults(document, item), caller))
            except RequestMalformedError as error:
                told.append({"decision": False, "context": {"error": {"status": 400, "message": str(error)}}})
            if told[-1]["decision"] is {"deny_on_first_deny": False, "permit_on_first_permit": True}.get(semantic):
                break
        return {"evaluations": told}

    async def _search(self, role: EntityRole, document: Document, caller: Caller) -> dict[str, object]:
        for part, names in PARTS.items():
            if part != role:
                entity_of(document, part, names)
            elif role is not EntityRole.ACTION:
                entity_of(document, part, ("type",))
        question = {name: document[name] for name in (*PARTS, "context") if name in document}
        page = document.get("page", {})
        limit, token = (page.get("limit"), page.get("token")) if isinstance(page, dict) else (0, None)
        if (limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1)) or not isinstance(
            token, str | None
        ):
            raise RequestMalformedError("`page` has a `limit` above 0, a `token` that is a string, or neither")
        wanted = question.get(role.value)
        question[role.value] = {"type": wanted["type"]} if role is not EntityRole.ACTION and isinstance(wanted, dict) else {}
        question_of({**question, role.value: {**question[role.value], **stand_in(role, question[role.value])}}, caller)
        found = await self.searching.search(
            role, question, lambda asked: question_of(asked, caller), caller=caller, limit=limit, token=token or None
        )
        paged = {} if found.next_token is None else {"page": {"next_token": found.next_token, "count": len(found.results)}}
        return {"results": list(found.results), **paged}


def _with_bearer(peer: Peer) -> Peer:
    """The caller's secret from where OAuth clients write it; a header of ours goes first."""
    values = peer.metadata.get("authorization", ())
    if SECRET_HEADER in peer.metadata or len(values) != 1 or not values[0].lower().startswith(_BEARER):
        return peer
    return replace(peer, metadata={**peer.metadata, SECRET_HEADER: (values[0][len(_BEARER) :].strip(),)})


# ---- Answering ----------------------------------------------------------------------------------------------------------


def _context(answer: Answer, revision: int) -> dict[str, object]:
    decision = answer.decision
    told: dict[str, object] = {"id": answer.id, "reason": decision.reason, "policy_revision": revision}
    if not decision.allowed:
        told["reason_admin"] = {"en": f"{decision.reason}: `watchword explain {answer.id}`"}
        told["reason_user"] = {"en": "This was not allowed. On the device itself, `watchword-agent doctor` shows what to do."}
        told["checks"] = answer.body.get("checks", [])
    return told


def _headers(peer: Peer) -> dict[str, str]:
    ids = peer.metadata.get("x-request-id", ())
    echoed = {"x-request-id": ids[0]} if len(ids) == 1 and ids[0].isascii() and ids[0].isprintable() else {}
    return {"content-type": "application/json", "cache-control": "no-store", **echoed}


def _error(status: int, message: str, peer: Peer, headers: Mapping[str, str] | None = None) -> HttpAnswer:
    return HttpAnswer(status, {**_headers(peer), **(headers or {})}, json.dumps(message).encode())

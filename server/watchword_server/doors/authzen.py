"""OpenID AuthZEN Authorization API 1.0: evaluation, evaluations, searches and metadata.

Decided by the rules of the filter `authzen`; by Gateway rules and Access where the resource is a route. Callers authenticate as
at every door; their secret may also stand in `Authorization: Bearer`. A denial is an answer (200); an error's body is a message.
"""

import asyncio
import base64
import json
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NoReturn

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from watchword_server import events
from watchword_server.adapters.metrics import Metrics
from watchword_server.core.evaluations import evaluation_of
from watchword_server.core.model import AccessRequest, DeviceId, Identity
from watchword_server.core.rules import Assertion, Caller, EntityRole
from watchword_server.doors.callers import SECRET_HEADER, authenticate_caller, note_refused_caller
from watchword_server.doors.http_authz import HttpAnswer
from watchword_server.doors.requests import access_request, as_headers, presented, split_url
from watchword_server.doors.status import http_status
from watchword_server.errors import CallerRefusedError, RequestMalformedError, WatchwordError
from watchword_server.peer import Peer
from watchword_server.services.auditing import Auditing
from watchword_server.services.decisions import Answer, Decisions
from watchword_server.services.resolving import Presented
from watchword_server.services.rules_in_force import RulesInForce
from watchword_server.services.searching import Searching
from watchword_server.services.user_identities import EMAIL

_log = structlog.get_logger(__name__)

NAME: Final = "authzen"
EVALUATION: Final = "/access/v1/evaluation"
EVALUATIONS: Final = "/access/v1/evaluations"
SEARCH: Final = "/access/v1/search/"
METADATA: Final = "/.well-known/authzen-configuration"
MAX_QUESTION: Final = 64 * 1024  # bytes
_MAX_BODIES: Final = 1024 * 1024  # of many questions
_MAX_WITH_DEFAULTS: Final = 4 * 1024 * 1024  # of many, each with the defaults that it takes: they are decided and logged so
MAX_EVALUATIONS: Final = 1_000
ROUTES: Final = frozenset({"route", "url"})
_BEARER: Final = "bearer "
_MAX_DEPTH: Final = 64
_MAX_DEVICE_ID: Final = 128
_PARTS: Final[Mapping[str, tuple[str, ...]]] = {"subject": ("type", "id"), "action": ("name",), "resource": ("type", "id")}
_SEMANTICS: Final = ("execute_all", "deny_on_first_deny", "permit_on_first_permit")

_Document = Mapping[str, Any]
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
        return path in (EVALUATION, EVALUATIONS) or path.removeprefix(SEARCH) in EntityRole.__members__.values()

    async def answer(self, peer: Peer, *, method: str, path: str, read_body: ReadBody) -> HttpAnswer:
        """Answers a question; never raises. `read_body` gives its bytes, or None where there are more than it is told."""
        started = time.perf_counter()
        try:
            caller = authenticate_caller(_with_bearer(peer), self.rules.current)
            if method != "POST":
                return _error(405, "ask by POST", peer, {"allow": "POST"})
            document = _read(peer, await read_body(_MAX_BODIES if path == EVALUATIONS else MAX_QUESTION))
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

    async def _told(self, path: str, document: _Document, caller: Caller) -> object:
        if path.startswith(SEARCH):
            return await self._search(EntityRole(path.removeprefix(SEARCH)), document, caller)
        if path == EVALUATIONS and not isinstance(document.get("evaluations", []), list):
            raise RequestMalformedError(f"`evaluations` is not a list of at most {MAX_EVALUATIONS} questions")
        if path == EVALUATIONS and document.get("evaluations"):
            return await self._evaluations(document, caller)
        if path == EVALUATIONS and _length(document) > MAX_QUESTION:
            raise RequestMalformedError("the body is too long for one question")
        return await self._evaluation(document, caller)

    async def _evaluation(self, document: _Document, caller: Caller) -> dict[str, object]:
        asked, shown = _question(document, caller)
        answer = await self.decisions.answer(asked, shown, caller=caller)
        decision = answer.decision
        self.metrics.decisions.labels(NAME, decision.outcome.value, decision.reason).inc()
        return {"decision": decision.allowed, "context": _context(answer, self.rules.current.rules.revision)}

    async def _evaluations(self, document: _Document, caller: Caller) -> dict[str, object]:
        items = document["evaluations"]
        if len(items) > MAX_EVALUATIONS:
            raise RequestMalformedError(f"`evaluations` is not a list of at most {MAX_EVALUATIONS} questions")
        options = document.get("options", {})
        semantic = options.get("evaluations_semantic", _SEMANTICS[0]) if isinstance(options, dict) else None
        if semantic not in _SEMANTICS:
            raise RequestMalformedError(f"`options.evaluations_semantic` is none of {', '.join(_SEMANTICS)}")
        _refuse_what_is_too_much(document, items)
        told: list[dict[str, object]] = []
        for item in items:
            await asyncio.sleep(0)  # the proxies' requests go between
            try:
                told.append(await self._evaluation(_with_defaults(document, item), caller))
            except RequestMalformedError as error:
                told.append({"decision": False, "context": {"error": {"status": 400, "message": str(error)}}})
            if told[-1]["decision"] is {"deny_on_first_deny": False, "permit_on_first_permit": True}.get(semantic):
                break
        return {"evaluations": told}

    async def _search(self, role: EntityRole, document: _Document, caller: Caller) -> dict[str, object]:
        for part, names in _PARTS.items():
            if part != role:
                _entity(document, part, names)
            elif role is not EntityRole.ACTION:
                _entity(document, part, ("type",))
        question = {name: document[name] for name in (*_PARTS, "context") if name in document}
        page = document.get("page", {})
        limit, token = (page.get("limit"), page.get("token")) if isinstance(page, dict) else (0, None)
        if (limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1)) or not isinstance(
            token, str | None
        ):
            raise RequestMalformedError("`page` has a `limit` above 0, a `token` that is a string, or neither")
        wanted = question.get(role.value)
        question[role.value] = {"type": wanted["type"]} if role is not EntityRole.ACTION and isinstance(wanted, dict) else {}
        _question({**question, role.value: {**question[role.value], **_anybody(role, question[role.value])}}, caller)
        found = await self.searching.search(
            role, question, lambda asked: _question(asked, caller), caller=caller, limit=limit, token=token or None
        )
        paged = {} if found.next_token is None else {"page": {"next_token": found.next_token, "count": len(found.results)}}
        return {"results": list(found.results), **paged}


# ---- Reading ------------------------------------------------------------------------------------------------------------


def _with_bearer(peer: Peer) -> Peer:
    """The caller's secret from where OAuth clients write it; a header of ours goes first."""
    values = peer.metadata.get("authorization", ())
    if SECRET_HEADER in peer.metadata or len(values) != 1 or not values[0].lower().startswith(_BEARER):
        return peer
    return replace(peer, metadata={**peer.metadata, SECRET_HEADER: (values[0][len(_BEARER) :].strip(),)})


def _read(peer: Peer, body: bytes | None) -> _Document:
    """The question as JSON (I-JSON, RFC 7493). Raises `RequestMalformedError`."""
    kinds = peer.metadata.get("content-type", ())
    if len(kinds) != 1 or kinds[0].partition(";")[0].strip().lower() != "application/json":
        raise RequestMalformedError("the Content-Type is not application/json")
    if body is None:
        raise RequestMalformedError("the body is too long")
    try:
        text = body.decode()
        document = json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_no_number, parse_float=_finite)
        json.dumps(document, ensure_ascii=False).encode()  # a lone surrogate cannot be written
    except (ValueError, RecursionError):
        raise RequestMalformedError("the body is not JSON, or has a name twice in an object") from None
    if not isinstance(document, dict):
        raise RequestMalformedError("the body is not a JSON object")
    _refuse_what_is_deep(document)
    return document


def _anybody(role: EntityRole, wanted: _Document) -> _Document:
    """A stand-in for the entity that is searched for: with it the rest of a question is found whole, or refused."""
    if role is EntityRole.ACTION:
        return {"name": "GET"}
    return {"id": "https://anywhere.example/" if wanted["type"] in ROUTES else "anybody"}


def _refuse_what_is_deep(document: _Document) -> None:
    """So that nothing that walks it runs out of stack. Raises `RequestMalformedError`."""
    level: list[object] = [document]
    for _ in range(_MAX_DEPTH):
        level = [child for each in level for child in _children(each)]
        if not level:
            return
    raise RequestMalformedError(f"the body is nested more than {_MAX_DEPTH} deep")


def _children(told: object) -> Iterable[object]:
    if isinstance(told, dict):
        return told.values()
    return told if isinstance(told, list) else ()


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name is there twice")
    return members


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"`{text}` is not JSON")


def _entity(document: _Document, name: str, members: Sequence[str]) -> _Document:
    entity = document.get(name)
    if not isinstance(entity, dict):
        raise RequestMalformedError(f"`{name}` is missing or not an object")
    for member in members:
        if not isinstance(entity.get(member), str) or not entity[member]:
            raise RequestMalformedError(f"`{name}.{member}` is missing or not a string")
    if not isinstance(entity.get("properties", {}), dict):
        raise RequestMalformedError(f"`{name}.properties` is not an object")
    return entity


def _length(told: object) -> int:
    return len(json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode())


def _refuse_what_is_too_much(document: _Document, items: Sequence[object]) -> None:
    """Defaults make a short body long: each question is measured with those that it takes. Raises `RequestMalformedError`."""
    defaults = {name: _length(document[name]) for name in (*_PARTS, "context") if name in document}
    total = 0
    for item in items:
        taken = sum(length for name, length in defaults.items() if not isinstance(item, dict) or name not in item)
        length = _length(item) + taken
        total += length
        if length > MAX_QUESTION or total > _MAX_WITH_DEFAULTS:
            raise RequestMalformedError(
                f"an evaluation with its defaults has more than {MAX_QUESTION} bytes, or all have {_MAX_WITH_DEFAULTS}: "
                "ask in several requests, and leave out of the defaults what no rule reads"
            )


def _with_defaults(document: _Document, item: object) -> _Document:
    """Each entity whole from the item, else from the defaults; what a question has to name may come from there as well."""
    if not isinstance(item, dict):
        raise RequestMalformedError("an evaluation is not an object")
    asked: dict[str, Any] = {name: document[name] for name in (*_PARTS, "context") if name in document}
    for name in (*_PARTS, "context"):
        if name not in item:
            continue
        own, default = item[name], document.get(name)
        if name in _PARTS and isinstance(own, dict) and isinstance(default, dict):
            own = {**{member: default[member] for member in _PARTS[name] if member in default}, **own}
        asked[name] = own
    return asked


def _question(document: _Document, caller: Caller) -> tuple[AccessRequest, Presented]:
    """What is asked, and what it shows of a device. Raises `RequestMalformedError`."""
    subject, action, resource = (_entity(document, name, members) for name, members in _PARTS.items())
    context = document.get("context", {})
    if not isinstance(context, dict):
        raise RequestMalformedError("`context` is not an object")
    shown = _shown(caller, subject, context)
    address = _text(context, "source_ip")
    email = _email(subject)
    if resource["type"] in ROUTES:
        scheme, host, target = _url(resource)
        headers = as_headers(caller, identity=email or "", facts="", client_id="", client_secret="")
        asked = access_request(
            caller=caller,
            method=action["name"],
            scheme=scheme,
            host=host,
            target=target,
            address=address,
            headers=headers,
        )
        return asked, shown
    told = {name: document[name] for name in (*_PARTS, "context") if name in document}
    try:
        evaluation = evaluation_of(told)
    except ValueError as error:
        raise RequestMalformedError(str(error)) from None
    addressed = access_request(
        caller=caller, method="GET", scheme="https", host="authzen", target="/", address=address, headers={}
    )
    identity = Identity(email.casefold()) if email is not None and Assertion.IDENTITY in caller.may_assert else None
    return replace(addressed, method="", host="", path="", identity=identity, evaluation=evaluation), shown


def _email(subject: _Document) -> str | None:
    """The user's email: a property, or the id if it is one."""
    if subject["type"] != "user":
        return None
    told = subject.get("properties", {}).get("email", subject["id"])
    return told if isinstance(told, str) and EMAIL.fullmatch(told) else None


def _url(resource: _Document) -> tuple[str, str, str]:
    """Scheme, host and target: of the properties `host` and `path` (`scheme`: https), else of the id."""
    properties = resource.get("properties", {})
    host, path, scheme = (properties.get(name) for name in ("host", "path", "scheme"))
    if isinstance(host, str) and isinstance(path, str):
        if scheme not in (None, "http", "https"):
            raise RequestMalformedError("`resource.properties.scheme` is neither http nor https")
        return scheme or "https", host, path
    return split_url(resource["id"])


def _shown(caller: Caller, subject: _Document, context: _Document) -> Presented:
    """What is told of the device: posture is never taken from a question, only what leads to it."""
    device = context.get("device", {})
    if not isinstance(device, dict):
        raise RequestMalformedError("`context.device` is not an object")
    told = (
        subject["id"] if subject["type"] == "device" else None,
        subject.get("properties", {}).get("device_id"),
        device.get("id"),
    )
    if not all(each is None or (isinstance(each, str) and 0 < len(each) <= _MAX_DEVICE_ID) for each in told):
        raise RequestMalformedError(f"the question names a device by what is no id of 1 to {_MAX_DEVICE_ID} characters")
    ids = {each for each in told if each is not None}
    if len(ids) > 1:
        raise RequestMalformedError("the question names two devices")
    shown = presented(caller, _text(context, "client_certificate"), _certificate, {})
    return replace(shown, stated_device=DeviceId(ids.pop())) if ids else shown


def _certificate(text: str) -> bytes:
    """DER in base64, or PEM. Raises `ValueError`."""
    if text.startswith("-----BEGIN"):
        return x509.load_pem_x509_certificate(text.encode()).public_bytes(Encoding.DER)
    return x509.load_der_x509_certificate(base64.b64decode(text, validate=True)).public_bytes(Encoding.DER)


def _text(context: _Document, name: str) -> str:
    told = context.get(name, "")
    if not isinstance(told, str):
        raise RequestMalformedError(f"`context.{name}` is not a string")
    return told


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

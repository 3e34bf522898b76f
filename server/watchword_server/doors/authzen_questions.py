"""AuthZEN's questions: JSON, read strictly, as what is decided. All of it raises `RequestMalformedError`."""

import base64
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NoReturn

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from watchword_server.core.evaluations import evaluation_of
from watchword_server.core.model.decisions import AccessRequest
from watchword_server.core.model.names import DeviceId
from watchword_server.core.rules import Caller, EntityRole
from watchword_server.doors.requests import access_request, as_headers, presented, split_url
from watchword_server.errors import RequestMalformedError
from watchword_server.peer import Peer
from watchword_server.services.resolving import Presented
from watchword_server.services.user_identities import EMAIL

MAX_QUESTION: Final = 64 * 1024  # bytes
_MAX_WITH_DEFAULTS: Final = 4 * 1024 * 1024  # of many, each with the defaults that it takes: they are decided and logged so
ROUTES: Final = frozenset({"route", "url"})
_SERVICE_TOKEN: Final = "service_token"  # noqa: S105 - a name of a member
_USER_TOKEN: Final = "user_token"  # noqa: S105 - a name of a member
_SECRETS: Final = frozenset({_SERVICE_TOKEN, _USER_TOKEN})
_MAX_DEPTH: Final = 64
_MAX_DEVICE_ID: Final = 128
PARTS: Final[Mapping[str, tuple[str, ...]]] = {"subject": ("type", "id"), "action": ("name",), "resource": ("type", "id")}

Document = Mapping[str, Any]


def read_document(peer: Peer, body: bytes | None) -> Document:
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


def question_of(document: Document, caller: Caller) -> tuple[AccessRequest, Presented]:
    """What is asked, and what it shows of a device. Raises `RequestMalformedError`."""
    subject, action, resource = (entity_of(document, name, members) for name, members in PARTS.items())
    context = document.get("context", {})
    if not isinstance(context, dict):
        raise RequestMalformedError("`context` is not an object")
    email, address = _email(subject), _text(context, "source_ip")
    client_id, client_secret = _service_token(context)
    facts = context.get("facts", {})
    if not isinstance(facts, dict):
        raise RequestMalformedError("`context.facts` is not an object")
    headers = as_headers(
        caller,
        identity=email if email is not None and caller.user_tokens is None else "",  # where tokens tell, no question does
        facts=json.dumps(facts) if facts else "",
        client_id=client_id,
        client_secret=client_secret,
    )
    shown = _shown(caller, subject, context, headers)
    if resource["type"] in ROUTES:
        scheme, host, target = _url(resource)
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
    told = {name: document[name] for name in (*PARTS, "context") if name in document}
    if "context" in told:  # it is logged
        told["context"] = {name: value for name, value in context.items() if name not in _SECRETS}
    try:
        evaluation = evaluation_of(told)
    except ValueError as error:
        raise RequestMalformedError(str(error)) from None
    about_no_request = access_request(
        caller=caller, method="GET", scheme="https", host="authzen", target="/", address=address, headers=headers
    )
    return replace(about_no_request, method="", host="", path="", evaluation=evaluation), shown


def with_defaults(document: Document, item: object) -> Document:
    """Each entity whole from the item, else from the defaults; what a question has to name may come from there as well."""
    if not isinstance(item, dict):
        raise RequestMalformedError("an evaluation is not an object")
    asked: dict[str, Any] = {name: document[name] for name in (*PARTS, "context") if name in document}
    for name in (*PARTS, "context"):
        if name not in item:
            continue
        own, default = item[name], document.get(name)
        if name in PARTS and isinstance(own, dict) and isinstance(default, dict):
            own = {**{member: default[member] for member in PARTS[name] if member in default}, **own}
        asked[name] = own
    return asked


def refuse_what_is_too_much(document: Document, items: Sequence[object]) -> None:
    """Defaults make a short body long: each question is measured with those that it takes. Raises `RequestMalformedError`."""
    defaults = {name: length_of(document[name]) for name in (*PARTS, "context") if name in document}
    total = 0
    for item in items:
        taken = sum(length for name, length in defaults.items() if not isinstance(item, dict) or name not in item)
        length = length_of(item) + taken
        total += length
        if length > MAX_QUESTION or total > _MAX_WITH_DEFAULTS:
            raise RequestMalformedError(
                f"an evaluation with its defaults has more than {MAX_QUESTION} bytes, or all have {_MAX_WITH_DEFAULTS}: "
                "ask in several requests, and leave out of the defaults what no rule reads"
            )


def stand_in(role: EntityRole, wanted: Document) -> Document:
    """A stand-in for the entity that is searched for: with it the rest of a question is found whole, or refused."""
    if role is EntityRole.ACTION:
        return {"name": "GET"}
    return {"id": "https://anywhere.example/" if wanted["type"] in ROUTES else "anybody"}


def entity_of(document: Document, name: str, members: Sequence[str]) -> Document:
    """The subject, action or resource of a question, which has these members at least."""
    entity = document.get(name)
    if not isinstance(entity, dict):
        raise RequestMalformedError(f"`{name}` is missing or not an object")
    for member in members:
        if not isinstance(entity.get(member), str) or not entity[member]:
            raise RequestMalformedError(f"`{name}.{member}` is missing or not a string")
    if not isinstance(entity.get("properties", {}), dict):
        raise RequestMalformedError(f"`{name}.properties` is not an object")
    return entity


def length_of(told: object) -> int:
    """Bytes, as JSON without spaces."""
    return len(json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode())


# ---- JSON -----------------------------------------------------------------------------------------------------------------


def _refuse_what_is_deep(document: Document) -> None:
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


# ---- Members --------------------------------------------------------------------------------------------------------------


def _service_token(context: Document) -> tuple[str, str]:
    """The credential of a machine in place of a user: its id and secret, empty where there are none."""
    told = context.get(_SERVICE_TOKEN, {})
    if not isinstance(told, dict):
        raise RequestMalformedError(f"`context.{_SERVICE_TOKEN}` is not an object")
    return _text(told, "id"), _text(told, "secret")


def _email(subject: Document) -> str | None:
    """The user's email: a property, or the id if it is one."""
    if subject["type"] != "user":
        return None
    told = subject.get("properties", {}).get("email", subject["id"])
    return told if isinstance(told, str) and EMAIL.fullmatch(told) else None


def _url(resource: Document) -> tuple[str, str, str]:
    """Scheme, host and target: of the properties `host` and `path` (`scheme`: https), else of the id."""
    properties = resource.get("properties", {})
    host, path, scheme = (properties.get(name) for name in ("host", "path", "scheme"))
    if isinstance(host, str) and isinstance(path, str):
        if scheme not in (None, "http", "https"):
            raise RequestMalformedError("`resource.properties.scheme` is neither http nor https")
        return scheme or "https", host, path
    return split_url(resource["id"])


def _shown(caller: Caller, subject: Document, context: Document, headers: Mapping[str, Sequence[str]]) -> Presented:
    """What is shown of the device and the user: posture is never taken from a question, only what leads to it."""
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
    shown = presented(caller, _text(context, "client_certificate"), _certificate, headers)
    token = _text(context, _USER_TOKEN)
    if token and caller.user_tokens is not None:
        shown = replace(shown, user_token=token)
    return replace(shown, stated_device=DeviceId(ids.pop())) if ids else shown


def _certificate(text: str) -> bytes:
    """DER in base64, or PEM. Raises `ValueError`."""
    if text.startswith("-----BEGIN"):
        return x509.load_pem_x509_certificate(text.encode()).public_bytes(Encoding.DER)
    return x509.load_der_x509_certificate(base64.b64decode(text, validate=True)).public_bytes(Encoding.DER)


def _text(context: Document, name: str) -> str:
    told = context.get(name, "")
    if not isinstance(told, str):
        raise RequestMalformedError(f"`context.{name}` is not a string")
    return told

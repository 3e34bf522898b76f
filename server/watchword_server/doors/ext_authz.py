"""Envoy's door: `envoy.service.auth.v3.Authorization/Check` over gRPC.

An empty CheckResponse means allow to Envoy, so the denial is what every path here starts from and the allow is the one
exception. Only a caller nobody knows gets a gRPC error; Envoy denies that as well (`status_on_error`).
"""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from watchword.envoy import ext_authz_pb2 as wire
from watchword_server import events
from watchword_server.adapters.metrics import Metrics
from watchword_server.core.answer_headers import OWNED_HEADERS, REASON
from watchword_server.core.model.decisions import AccessRequest
from watchword_server.core.rules import Caller
from watchword_server.doors.callers import authenticate_caller, note_refused_caller
from watchword_server.doors.denials import told_to_the_client
from watchword_server.doors.passed_certificates import from_escaped_pem
from watchword_server.doors.requests import (
    CLIENT_CREDENTIALS,
    access_request,
    connection_request,
    presented,
)
from watchword_server.errors import CallerRefusedError, RequestMalformedError
from watchword_server.peer import Peer
from watchword_server.services.auditing import Auditing
from watchword_server.services.decisions import Answer, Decisions
from watchword_server.services.resolving import Presented
from watchword_server.services.rules_in_force import RulesInForce

_log = structlog.get_logger(__name__)

SERVICE: Final = "envoy.service.auth.v3.Authorization"
_OVERWRITE: Final = 2  # HeaderValueOption.HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
_PERMISSION_DENIED: Final = 7  # google.rpc.Code
_DOOR: Final = "ext_authz_grpc"
_NOT_FOR_APPLICATIONS: Final = frozenset({*OWNED_HEADERS, *CLIENT_CREDENTIALS})


@dataclass(frozen=True, slots=True)
class ExtAuthzDoor:
    """Translates a CheckRequest, asks, and translates the answer."""

    decisions: Decisions
    rules: RulesInForce
    metrics: Metrics
    auditing: Auditing

    async def check(self, request: wire.CheckRequest, peer: Peer) -> wire.CheckResponse:
        """Allow or deny one request. Raises `CallerRefusedError` only."""
        started = time.perf_counter()
        try:
            caller = authenticate_caller(peer, self.rules.current)
        except CallerRefusedError:
            self.metrics.callers_refused.labels(_DOOR).inc()
            _log.warning(events.CALLER_REFUSED, door=_DOOR, peer=peer.address)
            note_refused_caller(self.auditing, peer, _DOOR)
            raise
        response = _denial("request_malformed", {}, {})
        client_headers = _client_headers(request)
        try:
            asked, shown = _read(request, caller, client_headers)
        except RequestMalformedError as error:
            self.metrics.decisions.labels(_DOOR, "deny", error.code).inc()
            return response
        answer = await self.decisions.answer(asked, shown, caller=caller)
        if answer.decision.allowed:
            response = _allowance(answer, client_headers)
        else:
            accept = client_headers.get("accept", ())
            response = _denial(answer.decision.reason, answer.body, answer.headers, accept=accept)
        self.metrics.decisions.labels(_DOOR, answer.decision.outcome.value, answer.decision.reason).inc()
        self.metrics.decision_seconds.labels(_DOOR).observe(time.perf_counter() - started)
        return response


def _read(request: wire.CheckRequest, caller: Caller, headers: Mapping[str, Sequence[str]]) -> tuple[AccessRequest, Presented]:
    attributes = request.attributes
    if not attributes.HasField("request"):
        return _read_connection(attributes, caller)
    http = attributes.request.http
    asked = access_request(
        caller=caller,
        method=http.method,
        scheme=http.scheme,
        host=http.host,
        target=http.path,
        address=attributes.source.address.socket_address.address,
        headers=headers,
        of_the_route=attributes.context_extensions,
    )
    return asked, presented(caller, attributes.source.certificate, from_escaped_pem, headers)


def _read_connection(attributes: wire.Attributes, caller: Caller) -> tuple[AccessRequest, Presented]:
    """What Envoy's network filter asks about: a connection. It takes no answer but its status."""
    source, destination = attributes.source.address.socket_address, attributes.destination.address.socket_address
    if not source.address or not destination.address:
        raise RequestMalformedError("neither a request nor a connection")
    asked = connection_request(
        caller=caller,
        address=source.address,
        destination=destination.address,
        destination_port=destination.port_value,
        server_name=attributes.tls_session.sni,
        port=source.port_value,
    )
    return asked, presented(caller, attributes.source.certificate, from_escaped_pem, {})


def _client_headers(request: wire.CheckRequest) -> Mapping[str, Sequence[str]]:
    """The client's headers by lower-case name, from whichever form Envoy is configured to send."""
    http = request.attributes.request.http
    if not http.header_map.headers:
        return {name.lower(): [value] for name, value in http.headers.items()}
    headers: dict[str, list[str]] = defaultdict(list)
    for header in http.header_map.headers:
        headers[header.key.lower()].append(header.raw_value.decode("utf-8", "replace") if header.raw_value else header.value)
    return headers


def _allowance(answer: Answer, client_headers: Mapping[str, Sequence[str]]) -> wire.CheckResponse:
    """The allow: each header of ours is set or removed, and so is whatever the client sent that could pass for one.

    A service token's secret has done its work: it is removed as well.
    """
    sent_by_client = {name for name in client_headers if name.replace("_", "-").startswith("x-watchword-")}
    removed = (sent_by_client | _NOT_FOR_APPLICATIONS) - answer.headers.keys()
    return wire.CheckResponse(
        status=wire.Status(code=0),
        ok_response=wire.OkHttpResponse(
            headers=[_header(name, value) for name, value in answer.headers.items()], headers_to_remove=sorted(removed)
        ),
    )


def _denial(
    reason: str, body: Mapping[str, object], headers: Mapping[str, str], *, accept: Sequence[str] = ()
) -> wire.CheckResponse:
    content_type, content = told_to_the_client(body or {"decision": "deny", "reason": reason}, accept=accept)
    told = {REASON: reason, **headers, "content-type": content_type, "cache-control": "no-store"}
    return wire.CheckResponse(
        status=wire.Status(code=_PERMISSION_DENIED, message=reason),
        denied_response=wire.DeniedHttpResponse(
            status=wire.HttpStatus(code=403),
            headers=[_header(name, value) for name, value in told.items()],
            body=content.decode(),
        ),
    )


def _header(name: str, value: str) -> wire.HeaderValueOption:
    return wire.HeaderValueOption(header=wire.HeaderValue(key=name, value=value), append_action=_OVERWRITE)

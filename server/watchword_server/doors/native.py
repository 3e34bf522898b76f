"""The native door: `watchword.v1.DecisionService` (decision.proto), for gateways that ask by code of their own."""

import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Final

import structlog
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from watchword.v1 import decision_pb2 as wire
from watchword_server import events
from watchword_server.adapters.metrics import Metrics
from watchword_server.core.answer_headers import OWNED_HEADERS, REASON
from watchword_server.core.model.decisions import CheckStanding, Decision, Resolution, Standing
from watchword_server.core.model.devices import DeviceState
from watchword_server.core.model.names import DeviceId, Instant
from watchword_server.core.model.results import DevicePosture
from watchword_server.core.rules import Assertion, Caller
from watchword_server.core.snapshot import RuleSnapshot
from watchword_server.doors.callers import authenticate_caller, note_refused_caller
from watchword_server.doors.requests import (
    CLIENT_CREDENTIALS,
    access_request,
    as_headers,
    presented_der,
)
from watchword_server.errors import CallerNotAllowedError, CallerRefusedError, ProtocolViolationError, RequestMalformedError
from watchword_server.peer import Peer
from watchword_server.services.auditing import Auditing
from watchword_server.services.decisions import Answer, Decisions
from watchword_server.services.explaining import Explaining
from watchword_server.services.rules_in_force import RulesInForce
from watchword_server.services.watching import Watched, Watching

_log = structlog.get_logger(__name__)

SERVICE: Final = "watchword.v1.DecisionService"
NAME: Final = "native"
MAX_BATCH: Final = 256
_MAX_ID: Final = 128
_NOT_FOR_APPLICATIONS: Final = frozenset({*OWNED_HEADERS, *CLIENT_CREDENTIALS})
_STATE: Final = {
    DeviceState.ACTIVE: wire.DEVICE_STANDING_ACTIVE,
    DeviceState.PENDING: wire.DEVICE_STANDING_PENDING,
    DeviceState.REVOKED: wire.DEVICE_STANDING_REVOKED,
}


@dataclass(frozen=True, slots=True)
class NativeDoor:
    """Translates requests, asks, and translates the answers. Whoever is no caller gets an error, everybody else a decision."""

    decisions: Decisions
    explaining: Explaining
    watching: Watching
    rules: RulesInForce
    metrics: Metrics
    auditing: Auditing

    async def decide(self, request: wire.DecideRequest, peer: Peer) -> wire.DecideResponse:
        """Decides one request. Raises `CallerRefusedError` only."""
        return await self._decide(request, self._caller(peer), self.rules.current)

    async def decide_batch(self, request: wire.DecideBatchRequest, peer: Peer) -> wire.DecideBatchResponse:
        """Decides several by the same rules. Raises `CallerRefusedError`, `ProtocolViolationError` for too many."""
        caller = self._caller(peer)
        if len(request.requests) > MAX_BATCH:
            raise ProtocolViolationError(f"{len(request.requests)} requests in a batch; at most {MAX_BATCH}")
        snapshot = self.rules.current
        return wire.DecideBatchResponse(responses=[await self._decide(each, caller, snapshot) for each in request.requests])

    async def explain(self, request: wire.ExplainRequest, peer: Peer) -> wire.ExplainResponse:
        """Explains a decision of the caller's own. Raises `CallerRefusedError`, `NotFoundError`, `RecordUnreadableError`."""
        explanation = await self.explaining.decision(request.decision_id, asked_by=self._caller(peer).name)
        return wire.ExplainResponse(explanation=ParseDict(explanation, Struct()))

    async def watch_device(
        self, requests: AsyncIterator[wire.WatchDeviceRequest], peer: Peer
    ) -> AsyncIterator[wire.WatchDeviceResponse]:
        """Tells how a device stands, again at each change. Raises `PeerError`s, and what `Watching.device` raises."""
        if Assertion.DEVICE not in self._caller(peer).may_assert:
            raise CallerNotAllowedError("the caller's `may_assert` does not list `device`")
        device_id = DeviceId((await anext(requests)).device_id)
        if not 0 < len(device_id) <= _MAX_ID:
            raise ProtocolViolationError("a device id of no sensible length")
        async for seen in self.watching.device(device_id):
            if Assertion.DEVICE not in self._caller(peer).may_assert:  # rules may have changed since
                raise CallerNotAllowedError("the caller's `may_assert` does not list `device` any more")
            yield _watched(device_id, seen)

    def _caller(self, peer: Peer) -> Caller:
        try:
            return authenticate_caller(peer, self.rules.current)
        except CallerRefusedError:
            self.metrics.callers_refused.labels(NAME).inc()
            _log.warning(events.CALLER_REFUSED, door=NAME, peer=peer.address)
            note_refused_caller(self.auditing, peer, NAME)
            raise

    async def _decide(self, request: wire.DecideRequest, caller: Caller, snapshot: RuleSnapshot) -> wire.DecideResponse:
        started = time.perf_counter()
        response = wire.DecideResponse(decision=wire.DECISION_DENY, reason=RequestMalformedError.code)
        response.headers[REASON] = RequestMalformedError.code
        try:
            answer = await self._answer(request, caller, snapshot)
        except RequestMalformedError as error:
            _log.warning(events.CALLER_REFUSED, door=NAME, caller=caller.name, code=error.code, detail=str(error))
            self.metrics.decisions.labels(NAME, "deny", error.code).inc()
            return response
        self.metrics.decisions.labels(NAME, answer.decision.outcome.value, answer.decision.reason).inc()
        self.metrics.decision_seconds.labels(NAME).observe(time.perf_counter() - started)
        return _response(answer)

    async def _answer(self, request: wire.DecideRequest, caller: Caller, snapshot: RuleSnapshot) -> Answer:
        if request.scheme not in ("http", "https"):
            raise RequestMalformedError("`scheme` is neither http nor https")
        if len(request.device_id) > _MAX_ID:
            raise RequestMalformedError("a device id of no sensible length")
        headers = as_headers(
            caller,
            identity=request.user_email,
            facts=request.facts,
            client_id=request.service_token_id,
            client_secret=request.service_token_secret,
            device_token=request.device_token,
            device_proof=request.device_proof,
        )
        asked = access_request(
            caller=caller,
            method=request.method,
            scheme=request.scheme,
            host=request.authority,
            target=request.target,
            address=request.source_address,
            headers=headers,
        )
        shown = presented_der(caller, request.client_certificate, headers, stated_device=request.device_id)
        return await self.decisions.answer(asked, shown, caller=caller, snapshot=snapshot)


def _response(answer: Answer) -> wire.DecideResponse:
    decision = answer.decision
    response = wire.DecideResponse(
        decision=wire.DECISION_ALLOW if decision.allowed else wire.DECISION_DENY,
        reason=decision.reason,
        decision_id=answer.id,
        rules=[wire.Rule(kind=rule.kind, id=rule.id, name=rule.name, effect=rule.effect) for rule in decision.rules],
        checks=_checks(decision.checks, decision.decided_at),
        headers=answer.headers,
        headers_to_remove=sorted(_NOT_FOR_APPLICATIONS - answer.headers.keys()) if decision.allowed else (),
    )
    device = decision.device
    if device.outcome is Resolution.FOUND and device.posture is not None:
        response.device.id = device.posture.device.id
        response.device.identified_by = device.method or ""
        response.device.binding = device.strength.name.lower()
    ends = _expiries(decision)
    if ends:
        response.valid_seconds = max(0.0, min(ends) - decision.decided_at)
    return response


def _expiries(decision: Decision) -> list[Instant]:
    results = [check.result for check in decision.checks if check.result is not None]
    return [result.expires_at for result in results if result.expires_at is not None]


def _checks(checks: Iterable[CheckStanding], now: Instant) -> list[wire.CheckStanding]:
    told = []
    for check in checks:
        message = wire.CheckStanding(id=check.check_id, name=check.name, standing=check.standing.value)
        result = check.result
        if result is not None and check.standing is not Standing.NO_RESULT:
            message.reason = result.reason
            message.evidence_level = result.level.value
            message.evidence_age_seconds = max(0.0, now - result.evidence_at)
            if result.expires_at is not None:
                message.valid_seconds = max(0.0, result.expires_at - now)
        told.append(message)
    return told


def _watched(device_id: DeviceId, seen: Watched) -> wire.WatchDeviceResponse:
    return wire.WatchDeviceResponse(device_id=device_id, standing=_standing(seen.posture), checks=_checks(seen.checks, seen.at))


def _standing(posture: DevicePosture | None) -> wire.DeviceStanding:
    if posture is None:
        return wire.DEVICE_STANDING_UNKNOWN
    if posture.device.lock is not None and posture.device.state is DeviceState.ACTIVE:
        return wire.DEVICE_STANDING_LOCKED
    return _STATE[posture.device.state]

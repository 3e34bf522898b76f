"""Answering a proxy: find the device, decide, record, and say it in headers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

import structlog
from cachetools import LRUCache

from watchword_server import events
from watchword_server.core.decide import decide
from watchword_server.core.model import (
    AccessRequest,
    CheckStanding,
    Decision,
    Instant,
    Outcome,
    Resolution,
    ResolvedDevice,
    Standing,
)
from watchword_server.core.rules import Caller
from watchword_server.core.times import rfc3339
from watchword_server.errors import WatchwordError
from watchword_server.ports import Clock, EventLog, Randomness
from watchword_server.services.resolving import Presented, Resolver
from watchword_server.services.rules_in_force import RulesInForce

_log = structlog.get_logger(__name__)

DECISION_ID = "x-watchword-decision-id"
DEVICE = "x-watchword-device"
IDENTIFIED_BY = "x-watchword-device-identified-by"
USER = "x-watchword-user"
POLICY = "x-watchword-policy"
CHECKS = "x-watchword-checks"
EVIDENCE_LEVEL = "x-watchword-evidence-level"
EVIDENCE_AGE = "x-watchword-evidence-age"
REASON = "x-watchword-reason"
ASSERTION = "x-watchword-assertion"
OWNED_HEADERS = (
    DECISION_ID,
    DEVICE,
    IDENTIFIED_BY,
    USER,
    POLICY,
    CHECKS,
    EVIDENCE_LEVEL,
    EVIDENCE_AGE,
    REASON,
    ASSERTION,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A decision with its id; `headers` go to the upstream on allow and to the client on deny, lower-case names."""

    id: str
    decision: Decision
    headers: Mapping[str, str]
    body: Mapping[str, object]


@dataclass(slots=True)
class Decisions:
    """The decision path. Runs in the event loop; without I/O for what memory holds."""

    rules: RulesInForce
    resolver: Resolver
    clock: Clock
    fresh_bytes: Randomness
    decision_log: EventLog
    remembered: int = 10_000
    _recent: LRUCache[str, Mapping[str, object]] = field(init=False)

    def __post_init__(self) -> None:
        self._recent = LRUCache(self.remembered)

    async def answer(self, request: AccessRequest, presented: Presented, *, caller: Caller) -> Answer:
        """Decides and records. Never raises: what goes wrong on the way is a denial that says so."""
        decision_id = f"dcn_{self.fresh_bytes(12).hex()}"
        now = self.clock.now()
        try:
            snapshot = self.rules.current
            device = await self.resolver.resolve(presented, caller=caller, snapshot=snapshot, now=now)
            decision = decide(request, device, snapshot, now=now)
        except WatchwordError as error:
            decision = _failed(error.code, now)
        except Exception:  # noqa: BLE001 - a fault of ours must deny, never let pass
            _log.exception(events.DECISION_FAILED, decision_id=decision_id)
            decision = _failed("internal", now)
        record = _record(decision_id, request, decision)
        self._recent[decision_id] = record
        self.decision_log.write(record)
        return Answer(decision_id, decision, _headers(decision_id, request, decision), _body(decision_id, decision))

    def recent(self, decision_id: str) -> Mapping[str, object] | None:
        """The record of a recent decision, as the decision log has it."""
        return self._recent.get(decision_id)


def _failed(code: str, now: Instant) -> Decision:
    return Decision(
        outcome=Outcome.DENY,
        reason=code,
        rules=(),
        checks=(),
        device=ResolvedDevice(Resolution.INVALID, code),
        decided_at=now,
        errors=(code,),
    )


def _headers(decision_id: str, request: AccessRequest, decision: Decision) -> dict[str, str]:
    headers = {DECISION_ID: decision_id}
    if not decision.allowed:
        headers[REASON] = decision.reason
        return headers
    posture = decision.device.posture
    if decision.device.outcome is Resolution.FOUND and posture is not None:
        headers[DEVICE] = posture.device.id
        headers[IDENTIFIED_BY] = decision.device.method or ""
    if request.identity is not None:
        headers[USER] = request.identity.email
    headers.update((POLICY, _header_text(rule.name)) for rule in decision.rules if rule.kind == "policy")
    passed = [check.result for check in decision.checks if check.standing is Standing.PASSED and check.result is not None]
    if passed:
        headers[CHECKS] = ",".join(_header_text(check.name) for check in decision.checks if check.standing is Standing.PASSED)
        headers[EVIDENCE_LEVEL] = "signed" if any(result.level.value == "signed" for result in passed) else "proven"
        headers[EVIDENCE_AGE] = str(max(0, int(decision.decided_at - min(result.evidence_at for result in passed))))
    return headers


def _header_text(name: str) -> str:
    """A name as a header value: percent-encoded where it is not plain, so that no name can end a header or a list."""
    return quote(name, safe=" /:@")


def _body(decision_id: str, decision: Decision) -> dict[str, object]:
    """What a person who was denied may know: why, and which check; never other rules or other devices."""
    return {
        "decision": decision.outcome.value,
        "reason": decision.reason,
        "checks": [
            {"name": check.name, "standing": check.standing.value, "reason": _check_reason(check)}
            for check in decision.checks
            if check.standing is not Standing.PASSED
        ],
        "decision_id": decision_id,
    }


def _check_reason(check: CheckStanding) -> str:
    if check.standing is Standing.FAILED and check.result is not None:
        return check.result.reason
    return check.standing.value


def _record(decision_id: str, request: AccessRequest, decision: Decision) -> dict[str, object]:
    """A line of the decision log (docs/logs.md): all that is needed to explain the decision later."""
    device, posture = decision.device, decision.device.posture
    return {
        "event": "decision",
        "id": decision_id,
        "at": rfc3339(decision.decided_at),
        "caller": request.caller,
        "decision": decision.outcome.value,
        "reason": decision.reason,
        "request": {
            "method": request.method,
            "scheme": request.scheme,
            "host": request.host,
            "path": request.path,
            "source_ip": None if request.source_ip is None else str(request.source_ip),
        },
        "user_email": None if request.identity is None else request.identity.email,
        "device": {
            "resolution": device.outcome.value,
            "reason": device.reason,
            "method": device.method,
            "strength": device.strength.name.lower(),
            "certificate_sha256": None if device.certificate is None else device.certificate.hex(),
            "id": None if posture is None else posture.device.id,
            "name": None if posture is None else posture.device.hostname,
            "state": None if posture is None else posture.device.state.value,
            "proven": device.proven,
            "others": list(device.others),
        },
        "rules": [{"kind": rule.kind, "id": rule.id, "name": rule.name} for rule in decision.rules],
        "checks": [_check_record(check, decision) for check in decision.checks],
        "errors": list(decision.errors),
    }


def _check_record(check: CheckStanding, decision: Decision) -> dict[str, object]:
    result = check.result
    record: dict[str, object] = {"id": check.check_id, "name": check.name, "standing": check.standing.value}
    if result is not None:
        record |= {
            "reason": result.reason,
            "expected_values": dict(result.expected),
            "received_values": dict(result.received),
            "evidence_level": result.level.value,
            "evidence_age_seconds": round(decision.decided_at - result.evidence_at, 3),
            "expires_at": rfc3339(result.expires_at),
        }
    return record

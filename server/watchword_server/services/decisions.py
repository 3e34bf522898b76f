"""Answering a proxy: find the device, decide, record, and say it in headers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final
from urllib.parse import quote

import structlog
from cachetools import LRUCache

from watchword_server import events
from watchword_server.core.answer_headers import (
    ASSERTION,
    CHECKS,
    DECISION_ID,
    DEVICE,
    EVIDENCE_AGE,
    EVIDENCE_LEVEL,
    IDENTIFIED_BY,
    POLICY,
    REASON,
    USER,
)
from watchword_server.core.decide import decide
from watchword_server.core.model.decisions import (
    AccessRequest,
    CheckStanding,
    Decision,
    Outcome,
    Resolution,
    ResolvedDevice,
    Standing,
)
from watchword_server.core.model.names import Instant
from watchword_server.core.model.results import EvidenceLevel
from watchword_server.core.rules import Caller, UserTokens
from watchword_server.core.snapshot import RuleSnapshot
from watchword_server.errors import TokenRefusedError, WatchwordError
from watchword_server.ports.decisions import EventLog
from watchword_server.ports.machine import Clock, Randomness
from watchword_server.services.assertions import Assertions
from watchword_server.services.recording import Recent, decision_record
from watchword_server.services.resolving import Presented, Resolver, ServiceCredential
from watchword_server.services.rules_in_force import RulesInForce
from watchword_server.services.service_tokens import recognise
from watchword_server.services.user_identities import UserIdentities

_log = structlog.get_logger(__name__)

_EVALUATIONS_BYTES: Final = 16 * 1024 * 1024  # of AuthZEN's questions that are remembered: each may be long, unlike a request
_EVALUATION_BYTES: Final = 1024  # what one takes besides
_WEAKEST_FIRST: Final = (EvidenceLevel.REPORTED, EvidenceLevel.SIGNED, EvidenceLevel.PROVEN)


@dataclass(frozen=True, slots=True)
class Answer:
    """A decision with its id; `headers` go to the upstream on allow and to the client on deny, lower-case names."""

    id: str
    decision: Decision
    headers: Mapping[str, str]
    body: Mapping[str, object]


@dataclass(slots=True)
class Decisions:
    """The decision path. Runs in the event loop; without I/O for what memory holds. `log_query`: the log tells queries too."""

    rules: RulesInForce
    resolver: Resolver
    clock: Clock
    fresh_bytes: Randomness
    decision_log: EventLog
    identities: UserIdentities | None = None  # None: no token is verified, and whoever shows one is denied
    assertions: Assertions | None = None  # None: none leaves
    log_query: bool = False
    remembered: int = 10_000
    _recent: LRUCache[str, Recent] = field(init=False)
    _recent_evaluations: LRUCache[str, Recent] = field(init=False)

    def __post_init__(self) -> None:
        self._recent = LRUCache(self.remembered)
        self._recent_evaluations = LRUCache(_EVALUATIONS_BYTES, getsizeof=_size)

    async def answer(
        self, request: AccessRequest, presented: Presented, *, caller: Caller, snapshot: RuleSnapshot | None = None
    ) -> Answer:
        """Decides and records, by the rules in force unless a snapshot of them is given.

        Never raises: what goes wrong on the way is a denial that says so.
        """
        decision_id = f"dcn_{self.fresh_bytes(12).hex()}"
        now = self.clock.now()
        snapshot = snapshot or self.rules.current
        asserted: dict[str, str] = {}
        try:
            if presented.service_credential is not None:
                request = _with_service_token(request, presented.service_credential, snapshot, now=now)
            if presented.user_token is not None and caller.user_tokens is not None:
                request = await self._identified(request, presented.user_token, caller.user_tokens, now=now)
            device = await self.resolver.resolve(
                presented, caller=caller, snapshot=snapshot, now=now, source_ip=request.source_ip, asked=request
            )
            decision = decide(request, device, snapshot, now=now)
            if decision.allowed and self.assertions is not None and request.evaluation is None:
                asserted = {ASSERTION: self.assertions.of(request, decision)}
        except WatchwordError as error:
            decision = _failed(error.code, now)
        except Exception:  # noqa: BLE001 - a fault of ours must deny, never let pass
            _log.exception(events.DECISION_FAILED, decision_id=decision_id)
            decision = _failed("internal", now)
        recent = Recent(
            decision_id, request, decision, snapshot.rules.revision, snapshot.rules.checks, _token_name(request, snapshot)
        )
        (self._recent if request.evaluation is None else self._recent_evaluations)[decision_id] = recent
        self.decision_log.write(partial(decision_record, recent, with_query=self.log_query))  # made by the log's own thread
        headers = {**_headers(decision_id, request, decision), **asserted}
        return Answer(decision_id, decision, headers, _body(decision_id, decision))

    async def would_allow(
        self, request: AccessRequest, presented: Presented, *, caller: Caller, snapshot: RuleSnapshot, now: Instant
    ) -> bool:
        """As `answer`, of what nobody wants to do now: it is not recorded, and has no id. Raises `WatchwordError`."""
        if presented.service_credential is not None:
            request = _with_service_token(request, presented.service_credential, snapshot, now=now)
        if presented.user_token is not None and caller.user_tokens is not None:
            request = await self._identified(request, presented.user_token, caller.user_tokens, now=now)
        device = await self.resolver.resolve(presented, caller=caller, snapshot=snapshot, now=now, source_ip=request.source_ip)
        return decide(request, device, snapshot, now=now).allowed

    def recent(self, decision_id: str) -> Recent | None:
        """A recent decision with what it was made of, to explain it or to make it again."""
        return self._recent.get(decision_id) or self._recent_evaluations.get(decision_id)

    def record(self, decision_id: str) -> Mapping[str, object] | None:
        """A recent decision as the decision log has it."""
        recent = self.recent(decision_id)
        return None if recent is None else decision_record(recent, with_query=self.log_query)

    async def _identified(self, request: AccessRequest, token: str, tokens: UserTokens, *, now: Instant) -> AccessRequest:
        if self.identities is None:
            raise TokenRefusedError("no token of a user is verified here")
        return await self.identities.identified(request, token, tokens, now=now)


def _size(recent: Recent) -> int:
    evaluation = recent.request.evaluation
    return _EVALUATION_BYTES + (0 if evaluation is None else len(json.dumps(evaluation.document, ensure_ascii=False)))


def _with_service_token(
    request: AccessRequest, credential: ServiceCredential, snapshot: RuleSnapshot, *, now: Instant
) -> AccessRequest:
    token = recognise(credential, snapshot, now=now)
    if token is None:
        return replace(request, service_token_id=None, service_token_refused=True)
    return replace(request, service_token_id=token.id, service_token_refused=False)


def _token_name(request: AccessRequest, snapshot: RuleSnapshot) -> str | None:
    """For the log: by its id alone nobody knows a token."""
    return None if request.service_token_id is None else snapshot.rules.service_tokens[request.service_token_id].name


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
    policies = [_header_text(rule.name) for rule in decision.rules if rule.kind == "policy"]
    if policies:
        headers[POLICY] = ",".join(policies)  # several where a path was allowed in several readings
    passed = [check.result for check in decision.checks if check.standing is Standing.PASSED and check.result is not None]
    if passed:
        headers[CHECKS] = ",".join(_header_text(check.name) for check in decision.checks if check.standing is Standing.PASSED)
        headers[EVIDENCE_LEVEL] = min((result.level for result in passed), key=_WEAKEST_FIRST.index).value
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

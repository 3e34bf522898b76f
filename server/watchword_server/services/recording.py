"""What is kept of a decision: its inputs in memory, and the line of the decision log made of them (docs/logs.md).

The line is enough to decide the request again (`services/replaying.py`), under these rules or others; it holds no secret.
"""

import datetime as dt
import math
from collections.abc import Mapping
from typing import NamedTuple

from watchword_server.core.model.checks import Check
from watchword_server.core.model.decisions import AccessRequest, CheckStanding, Decision, ResolvedDevice, RuleMatch
from watchword_server.core.model.names import CheckId, Instant
from watchword_server.core.model.results import PostureResult
from watchword_server.core.times import rfc3339
from watchword_server.services.facts import fact_json


class Recent(NamedTuple):
    """A decision with what it was made of. `checks` are those of its rules; `service_token` is the name of the request's."""

    id: str
    request: AccessRequest
    decision: Decision
    rules_revision: int
    checks: Mapping[CheckId, Check]
    service_token: str | None

    @property
    def device(self) -> ResolvedDevice:
        """The device the request was resolved to."""
        return self.decision.device


def decision_record(recent: Recent, *, with_query: bool) -> dict[str, object]:
    """A line of the decision log. Queries carry secrets (reset links, signed URLs): without `with_query` none is told."""
    request, decision = recent.request, recent.decision
    return {
        "event": "decision",
        "id": recent.id,
        "at": exact_text(decision.decided_at),
        "caller": request.caller,
        "decision": decision.outcome.value,
        "reason": decision.reason,
        "rules_revision": recent.rules_revision,
        "request": _request_record(recent, with_query=with_query),
        **({} if request.evaluation is None else {"evaluation": request.evaluation.document}),
        "user_email": None if request.identity is None else request.identity.email,
        "device": _device_record(recent),
        "rules": [_rule_record(rule) for rule in decision.rules],
        "checks": [_check_record(check, decision) for check in decision.checks],
        "reported": [_rule_record(rule) for rule in decision.reported],
        "errors": list(decision.errors),
    }


def exact_text(instant: Instant) -> str:
    """RFC 3339 with nanoseconds. `exact_instant` reads the very same instant: what had expired then has expired again."""
    whole = math.floor(instant)
    nanoseconds = round((instant - whole) * 1_000_000_000)
    whole, nanoseconds = whole + nanoseconds // 1_000_000_000, nanoseconds % 1_000_000_000
    return f"{dt.datetime.fromtimestamp(whole, tz=dt.UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def exact_instant(text: str) -> Instant:
    """The instant of `exact_text`. Raises `ValueError`."""
    moment, dot, fraction = text.removesuffix("Z").partition(".")
    if not (text.endswith("Z") and dot and len(fraction) == 9 and fraction.isdecimal()):
        raise ValueError("it is not a time in UTC with nanoseconds")
    whole = dt.datetime.strptime(moment, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=dt.UTC)
    return Instant(float(f"{int(whole.timestamp())}.{fraction}"))  # as one decimal: the nearest float is the one it was


def _request_record(recent: Recent, *, with_query: bool) -> dict[str, object]:
    request = recent.request
    query_logged = with_query or not request.query
    token = None if request.service_token_id is None else {"id": request.service_token_id, "name": recent.service_token}
    return {
        "method": request.method,
        "scheme": request.scheme,
        "host": request.host,
        "port": request.port,
        "path": request.path,
        "query": request.query if query_logged else None,
        "query_logged": query_logged,
        "source_ip": None if request.source_ip is None else str(request.source_ip),
        "facts": {name: fact_json(name, value) for name, value in request.facts.items()},
        "service_token": token,
        "service_token_refused": request.service_token_refused,
        **({"connection": True} if request.is_connection else {}),
    }


def _device_record(recent: Recent) -> dict[str, object]:
    device, posture = recent.device, recent.device.posture
    known = None if posture is None else posture.device
    return {
        "resolution": device.outcome.value,
        "reason": device.reason,
        "method": device.method,
        "strength": device.strength.name.lower(),
        "certificate_possible": device.certificate_possible,
        "certificate_sha256": None if device.certificate is None else device.certificate.hex(),
        "common_name": device.common_name,
        "id": None if known is None else known.id,
        "name": None if known is None else known.hostname,
        "serial_number": None if known is None else known.serial_number,
        "owner": None if known is None else known.owner,
        "platform": None if known is None else known.platform,
        "state": None if known is None else known.state.value,
        "key_protection": None if known is None else known.key.protection,
        "proven": device.proven,
        "others": list(device.others),
        "results": [] if posture is None else [_result_record(result, recent.checks) for result in posture.results.values()],
    }


def _result_record(result: PostureResult, checks: Mapping[CheckId, Check]) -> dict[str, object]:
    check = checks.get(result.check_id)
    return {
        "check_id": result.check_id,
        "check_name": None if check is None else check.name,
        "check_revision": result.check_revision,
        "passed": result.passed,
        "reason": result.reason,
        "evidence_level": result.level.value,
        "evidence_at": exact_text(result.evidence_at),
        "evaluated_at": exact_text(result.evaluated_at),
        "expires_at": None if result.expires_at is None else exact_text(result.expires_at),
    }


def _rule_record(rule: RuleMatch) -> dict[str, object]:
    return {"kind": rule.kind, "id": rule.id, "name": rule.name, "effect": rule.effect}


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

"""How a decision came about, or how one would: decides nothing and logs nothing."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from watchword_server.core.addresses import address_from
from watchword_server.core.explain import Explanation, explain
from watchword_server.core.facts import REPORTABLE
from watchword_server.core.model.decisions import AccessRequest, Identity, Resolution, ResolutionStrength, ResolvedDevice, Value
from watchword_server.core.model.devices import DeviceState
from watchword_server.core.model.names import DeviceId, IPAddress
from watchword_server.core.naming import readings_record
from watchword_server.core.snapshot import RuleSnapshot
from watchword_server.errors import NotFoundError, RequestMalformedError
from watchword_server.ports.machine import Clock
from watchword_server.ports.memory import PostureMemory
from watchword_server.services.decisions import Decisions
from watchword_server.services.facts import fact_value
from watchword_server.services.replaying import replayed
from watchword_server.services.rules_in_force import RulesInForce

OF_THE_DECISION = "rules_of_the_decision"
IN_FORCE = "rules_in_force"


@dataclass(frozen=True, slots=True)
class Explaining:
    """Explains decisions that were made, and requests that somebody thinks of.

    `find_decision` looks a record up that memory does not have any more.
    """

    decisions: Decisions
    rules: RulesInForce
    memory: PostureMemory
    clock: Clock
    find_decision: Callable[[str], Awaitable[Mapping[str, object] | None]]

    async def decision(self, decision_id: str, *, asked_by: str | None = None) -> dict[str, object]:
        """The path a decision took: by the rules it was made with while they are at hand, else by those in force.

        `asked_by`: only one that this caller asked for; to it there is no other.
        With other rules, or without the query it was asked about, the path may lead elsewhere: `agrees` says whether it does not.
        Raises `NotFoundError`, `RecordUnreadableError`.
        """
        recent = self.decisions.recent(decision_id)
        if recent is not None and asked_by in (None, recent.request.caller):
            snapshot = self.rules.of_revision(recent.rules_revision)
            explanation = explain(recent.request, recent.device, snapshot or self.rules.current, now=recent.decision.decided_at)
            made = (recent.decision.outcome.value, recent.decision.reason)
            return _explained(explanation, snapshot, self.rules.current, made)
        record = None if recent is not None else await self.find_decision(decision_id)
        if record is None or asked_by not in (None, record["caller"]):
            raise NotFoundError(f"no decision `{decision_id}` in memory or in the decision log that is kept")
        request, device, now = replayed(record)
        explanation = explain(request, device, self.rules.current, now=now)
        told = _explained(explanation, None, self.rules.current, (record["decision"], record["reason"]))
        asked: Any = record["request"]
        return {**told, "query_known": asked.get("query_logged", True)}

    async def request(self, request: AccessRequest, device_id: DeviceId | None) -> dict[str, object]:
        """What would be decided of a request now, from a device with the posture it has now. Raises `NotFoundError`."""
        device = await self._device(device_id)
        explanation = explain(request, device, self.rules.current, now=self.clock.now())
        told = _explained(explanation, self.rules.current, self.rules.current, None)
        return {key: value for key, value in told.items() if key not in {"basis", "agrees"}}

    async def _device(self, device_id: DeviceId | None) -> ResolvedDevice:
        if device_id is None:
            return ResolvedDevice(Resolution.ABSENT, "no_device", certificate_possible=True)
        posture = await self.memory.posture(device_id)
        if posture is None:
            raise NotFoundError(f"no device `{device_id}`: `watchword devices list` shows them")
        state = posture.device.state
        if posture.device.lock is not None:
            return ResolvedDevice(Resolution.INVALID, "device_locked", others=(device_id,), certificate_possible=True)
        return ResolvedDevice(
            Resolution.FOUND,
            "found" if state is DeviceState.ACTIVE else f"device_{state.value}",
            method="client_certificate",
            strength=ResolutionStrength.CERTIFICATE,
            posture=posture,
            certificate_possible=True,
        )


def identity_of(email: str | None) -> Identity | None:
    """A user by their email, as it is compared."""
    return None if email is None else Identity(email.casefold())


def address_of(text: str | None) -> IPAddress | None:
    """An address, of IPv6's mapped ones the IPv4 address. Raises `RequestMalformedError`."""
    if text is None:
        return None
    try:
        return address_from(text)
    except ValueError as error:
        raise RequestMalformedError(f"`{text}` is not an IP address: write one like `192.0.2.10`") from error


def facts_of(told: Mapping[str, object]) -> dict[str, Value]:
    """Facts from JSON, by the names of `core/facts.py`. Raises `RequestMalformedError`."""
    facts: dict[str, Value] = {}
    for name, value in told.items():
        if name not in REPORTABLE:
            raise RequestMalformedError(f"`{name}` is no fact that a caller reports: docs/proxies.md has them")
        try:
            facts[name] = fact_value(name, value)
        except ValueError as error:
            raise RequestMalformedError(f"`{name}`: {error}") from error
    return facts


def _explained(
    explanation: Explanation, made_with: RuleSnapshot | None, in_force: RuleSnapshot, made: tuple[object, object] | None
) -> dict[str, object]:
    decision = explanation.decision
    return {
        "basis": IN_FORCE if made_with is None else OF_THE_DECISION,
        "rules_revision": (made_with or in_force).rules.revision,
        "agrees": made is None or made == (decision.outcome.value, decision.reason),
        "decision": decision.outcome.value,
        "reason": decision.reason,
        "rules": [{"kind": rule.kind, "name": rule.name, "effect": rule.effect} for rule in decision.rules],
        "reported": [{"kind": rule.kind, "name": rule.name, "effect": rule.effect} for rule in decision.reported],
        "readings": readings_record(explanation, (made_with or in_force).rules),
    }

"""Scenarios run through `decide`, and what came of them compared with what was expected."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from watchword_server.core.decide import decide
from watchword_server.core.explain import explain
from watchword_server.core.model.decisions import (
    AccessRequest,
    Decision,
    Identity,
    Resolution,
    ResolutionStrength,
    ResolvedDevice,
    RuleMatch,
    Standing,
)
from watchword_server.core.model.devices import Device, DeviceKey, DeviceState, KeyAlgorithm, KeyProtection
from watchword_server.core.model.names import CheckId, DeviceId, Fingerprint, Instant
from watchword_server.core.model.results import DevicePosture, EvidenceLevel, PostureResult
from watchword_server.core.naming import readings_record
from watchword_server.core.rules import Assertion, Link, RuleSet
from watchword_server.core.snapshot import RuleSnapshot
from watchword_server.rehearsal.requests import address_of
from watchword_server.rehearsal.scenarios import RefusedToken, Scenario, ScenarioFile, asserted_facts
from watchword_server.services.facts import fact_value

_EVERYTHING = frozenset(Assertion)
_METHOD: Final = Link.CLIENT_CERTIFICATE
_METHODS: Final = {
    ResolutionStrength.CERTIFICATE: Link.CLIENT_CERTIFICATE,
    ResolutionStrength.TOKEN: Link.DEVICE_TOKEN,
    ResolutionStrength.ADDRESS: Link.ADDRESS,
    ResolutionStrength.BEARER: Link.DEVICE_TOKEN,
    ResolutionStrength.STATED: Link.DEVICE,
}
_NO_KEY = DeviceKey("", b"", KeyAlgorithm.ED25519)  # of a key, decisions look at its protection alone


@dataclass(frozen=True, slots=True)
class Ran:
    """A scenario and its decision. `differences`: what was expected and what came instead, in words; none: as expected."""

    scenario: Scenario
    request: AccessRequest
    device: ResolvedDevice
    decision: Decision
    differences: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether all is as expected."""
        return not self.differences


def run(file: ScenarioFile) -> Iterator[Ran]:
    """Every scenario of the file, in its order."""
    now, snapshot = Instant(file.now), file.rules.snapshot
    for scenario in file.scenarios:
        request, device = inputs_of(scenario, snapshot.rules, now=now)
        decision = decide(request, device, snapshot, now=now)
        yield Ran(scenario, request, device, decision, tuple(_differences(scenario, decision)))


def readings_of(ran: Ran, snapshot: RuleSnapshot) -> list[dict[str, Any]]:
    """How the decision came about, as JSON."""
    explanation = explain(ran.request, ran.device, snapshot, now=ran.decision.decided_at)
    return readings_record(explanation, snapshot.rules)


# ---- From words to values -------------------------------------------------------------------------------------------------


def inputs_of(scenario: Scenario, rules: RuleSet, *, now: Instant) -> tuple[AccessRequest, ResolvedDevice]:
    """The request and its device, as the scenario's caller may assert them."""
    caller = next((caller for caller in rules.callers if caller.name == scenario.caller), None)
    may_assert = _EVERYTHING if caller is None else caller.may_assert
    target, email, source = scenario.request.target, scenario.email, scenario.request.source_ip
    facts = asserted_facts(scenario, identity=Assertion.IDENTITY in may_assert, facts=Assertion.FACTS in may_assert)
    request = AccessRequest(
        method=scenario.request.method,
        scheme=target.scheme,
        host=target.host,
        port=target.port,
        path=target.path,
        query=target.query,
        source_ip=address_of(source) if source is not None and Assertion.ADDRESS in may_assert else None,
        identity=Identity(email) if email is not None and Assertion.IDENTITY in may_assert else None,
        caller=scenario.caller or "scenario",
        facts={name: fact_value(name, value) for name, value in facts.items()},
        service_token_refused=isinstance(scenario.service_token, RefusedToken),
        service_token_id=next((token.id for token in rules.service_tokens.values() if token.name == scenario.token), None),
    )
    if Assertion.CLIENT_CERTIFICATE not in may_assert:
        return request, ResolvedDevice(Resolution.ABSENT, "no_device")
    return request, _device(scenario, rules, now=now)


def _device(scenario: Scenario, rules: RuleSet, *, now: Instant) -> ResolvedDevice:
    certificate, device = scenario.certificate, scenario.device
    if certificate is not None and certificate.refused is not None:
        return ResolvedDevice(Resolution.INVALID, certificate.refused, method=_METHOD, certificate_possible=True)
    common_name = None if certificate is None else certificate.common_name
    if device is None:
        absent = ResolvedDevice(Resolution.ABSENT, "no_device", certificate_possible=True)
        if certificate is None:
            return absent
        print_of_it = _fingerprint(f"certificate {common_name}")
        return ResolvedDevice(
            Resolution.ABSENT, "unknown_device", certificate=print_of_it, certificate_possible=True, common_name=common_name
        )
    protection = None if device.key_protection is None else KeyProtection(device.key_protection)
    key = replace(_NO_KEY, protection=protection)
    owner = None if device.owner is None else device.owner.casefold()
    found = Device(DeviceId(device.id), key, DeviceState(device.state), "linux", device.id, None, 1, now, owner=owner)
    strength = ResolutionStrength[device.binding.upper()]
    live = found.state is DeviceState.ACTIVE and device.proven
    return ResolvedDevice(
        Resolution.FOUND,
        "found" if live else "certificate_not_proven" if found.state is DeviceState.ACTIVE else f"device_{device.state}",
        method=_METHODS[strength],
        strength=strength,
        certificate=_fingerprint(f"device {device.id}") if strength is ResolutionStrength.CERTIFICATE else None,
        posture=DevicePosture(found, _results(scenario, rules, now=now), 1),
        proven=live,
        certificate_possible=True,
        common_name=common_name,
    )


def _results(scenario: Scenario, rules: RuleSet, *, now: Instant) -> dict[CheckId, PostureResult]:
    device = scenario.device
    if device is None:
        return {}
    checks = {check.name: check for check in rules.checks.values()}
    results: dict[CheckId, PostureResult] = {}
    for name, told in device.results.items():
        check = checks[name]
        evidence_at = Instant(now - told.age)
        lasts = check.expiration_seconds
        results[check.id] = PostureResult(
            check_id=check.id,
            check_revision=check.revision,
            passed=told.passed,
            reason=told.reason or ("passed" if told.passed else "certificate_not_found"),
            level=EvidenceLevel(told.level or device.strength),
            evaluated_at=evidence_at,
            evidence_at=evidence_at,
            expires_at=None if lasts is None else Instant(evidence_at + lasts),
        )
    return results


def _fingerprint(text: str) -> Fingerprint:
    return Fingerprint(hashlib.sha256(text.encode()).digest())


# ---- Compared -------------------------------------------------------------------------------------------------------------


def outcome_in_words(decision: Decision) -> str:
    """`allow (policy_allow, policy staff)`: the decision, its reason, and the last rule that made it."""
    rule = next((rule for rule in reversed(decision.rules) if rule.kind != "application"), None)
    return f"{decision.outcome.value} ({decision.reason}{'' if rule is None else f', {_in_words(rule)}'})"


def _in_words(rule: RuleMatch) -> str:
    return f"{rule.kind} {rule.name}"


def _differences(scenario: Scenario, decision: Decision) -> Iterator[str]:
    expect = scenario.expect
    if expect.decision != decision.outcome.value:
        yield f"expected {expect.decision}, got {outcome_in_words(decision)}"
    if expect.reason is not None and expect.reason != decision.reason:
        yield f"expected reason {expect.reason}, got {decision.reason}"
    for kind, name in (("policy", expect.policy), ("gateway_rule", expect.gateway_rule), ("application", expect.application)):
        found = [rule.name for rule in decision.rules if rule.kind == kind]
        if name is not None and name not in found:
            yield f"expected {kind} {name}, got {_listed(found)}"
    if expect.check is not None:
        standing = [check.name for check in decision.checks if check.standing is not Standing.PASSED]
        if expect.check not in standing:
            yield f"expected check {expect.check} to stand in the way, got {_listed(standing)}"
    if expect.reported is not None:
        reported = [rule.name for rule in decision.reported]
        if sorted(reported) != sorted(expect.reported):
            yield f"expected to report {_listed(expect.reported)}, got {_listed(reported)}"


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"

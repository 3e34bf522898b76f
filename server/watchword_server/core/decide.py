"""What makes a request allowed. The only place that says allow; it says deny unless every step below lets it pass.

Order: an invalid device link denies; Gateway rules, network then HTTP, where a block ends it and an allow skips nothing; the
Access application of host and path; its bypass and Service Auth policies, then allow and deny in order; otherwise deny, with the
reason that was nearest to a grant. Rules that only report are evaluated where they stand and change nothing. A rule that fails
grants nothing and blocks what it could block. Where a path can be read in several ways, each has to be allowed. An AuthZEN
evaluation, which is about no request, has rules of its own, and is denied without one that applies. A connection is decided by
network rules alone.
"""

from collections.abc import Sequence
from typing import Final

from watchword_server.core.access import CompiledPolicy, Truth
from watchword_server.core.gateway import CompiledGatewayRule
from watchword_server.core.model.decisions import (
    AccessRequest,
    CheckStanding,
    Decision,
    Outcome,
    Resolution,
    ResolvedDevice,
    RuleMatch,
    Standing,
)
from watchword_server.core.model.names import Instant
from watchword_server.core.paths import is_plain, readings
from watchword_server.core.scene import EvaluationScene, Scene
from watchword_server.core.snapshot import RuleSnapshot

_ALLOW: Final = Outcome.ALLOW
_DENY: Final = Outcome.DENY
_INVALID: Final = Resolution.INVALID
_new: Final = tuple.__new__  # makes a named tuple in half the time that its class takes to be called


def decide(request: AccessRequest, device: ResolvedDevice, snapshot: RuleSnapshot, *, now: Instant) -> Decision:
    """Decides one request. Pure: the same arguments give the same decision. Never raises for a consistent snapshot."""
    if device.outcome is _INVALID:
        return Decision(_DENY, device.reason, (), (), device, now)
    if request.evaluation is not None:
        return _evaluate(request, device, snapshot, now)
    if request.is_connection:
        return _connect(request, device, snapshot, now)
    if is_plain(request.path):
        return _decide(request, device, snapshot, now, request.path.encode())
    decisions = [_decide(request, device, snapshot, now, path) for path in readings(request.path)]
    if not decisions:
        return Decision(_DENY, "path_ambiguous", (), (), device, now)
    return next((decision for decision in decisions if not decision.allowed), None) or _together(decisions)


def _together(decisions: Sequence[Decision]) -> Decision:
    """Several readings that are all allowed: what each of them rests on, told as one."""
    telling = next((decision for decision in decisions if decision.checks), decisions[0])
    return telling._replace(
        rules=tuple(dict.fromkeys(rule for decision in decisions for rule in decision.rules)),
        checks=tuple({(check.check_id, check.standing): check for decision in decisions for check in decision.checks}.values()),
        errors=tuple(dict.fromkeys(error for decision in decisions for error in decision.errors)),
        reported=tuple(dict.fromkeys(rule for decision in decisions for rule in decision.reported)),
    )


def _decide(request: AccessRequest, device: ResolvedDevice, snapshot: RuleSnapshot, now: Instant, path: bytes) -> Decision:
    scene = Scene(request, device, snapshot.rules.checks, now, path)
    errors: list[str] = []
    reported: list[RuleMatch] = []
    matched: tuple[RuleMatch, ...] = ()

    for index in snapshot.gateway:
        rule = _first_match(index.candidates(scene), scene, errors, reported)
        if rule is not None:
            matched += (rule.match,)
            if rule.blocks:
                return _decision(_DENY, "gateway_block", matched, _standings_named(rule, scene), scene, errors, reported)

    application = snapshot.applications.find(request.host, path)
    if application is None:
        return _decision(snapshot.rules.unmatched, "no_application", matched, (), scene, errors, reported)
    matched += (application.match,)
    unknown = False
    for policy in application.policies:
        truth = _truth(policy, scene, errors)
        if truth is False or (truth is None and not policy.denies):  # a granting policy only if true, a denying one unless false
            unknown = unknown or truth is None
        elif policy.policy.report_only:
            reported.append(policy.match)
        else:
            outcome = _DENY if policy.denies else _ALLOW
            return _decision(
                outcome, policy.reason, (*matched, policy.match), tuple(scene.asked.values()), scene, errors, reported
            )
    asked = tuple(scene.asked.values())
    reason = _nearest_reason(request, device, asked, unknown=unknown)
    return _decision(_DENY, reason, matched, asked, scene, errors, reported)


def _evaluate(request: AccessRequest, device: ResolvedDevice, snapshot: RuleSnapshot, now: Instant) -> Decision:
    """An AuthZEN evaluation: the first of its rules that applies says yes or no; without one it is no."""
    scene = EvaluationScene(request, device, snapshot.rules.checks, now, b"")
    errors: list[str] = []
    reported: list[RuleMatch] = []
    rule = _first_match(snapshot.authzen.candidates(scene), scene, errors, reported)
    if rule is None:
        return _decision(_DENY, "no_rule_matched", (), (), scene, errors, reported)
    outcome, reason = (_DENY, "rule_block") if rule.blocks else (_ALLOW, "rule_allow")
    return _decision(outcome, reason, (rule.match,), _standings_named(rule, scene), scene, errors, reported)


def _connect(request: AccessRequest, device: ResolvedDevice, snapshot: RuleSnapshot, now: Instant) -> Decision:
    """A connection: network rules alone, the first that applies; without one it is as the rules say of what is unmatched."""
    scene = Scene(request, device, snapshot.rules.checks, now, b"")
    errors: list[str] = []
    reported: list[RuleMatch] = []
    rule = _first_match(snapshot.network.candidates(scene), scene, errors, reported)
    if rule is None:
        return _decision(snapshot.rules.unmatched, "no_rule_matched", (), (), scene, errors, reported)
    outcome, reason = (_DENY, "gateway_block") if rule.blocks else (_ALLOW, "rule_allow")
    return _decision(outcome, reason, (rule.match,), _standings_named(rule, scene), scene, errors, reported)


def _decision(
    outcome: Outcome,
    reason: str,
    rules: tuple[RuleMatch, ...],
    checks: tuple[CheckStanding, ...],
    scene: Scene,
    errors: list[str],
    reported: list[RuleMatch],
) -> Decision:
    return _new(Decision, (outcome, reason, rules, checks, scene.device, scene.now, tuple(errors), tuple(reported)))


def _first_match(
    rules: tuple[CompiledGatewayRule, ...], scene: Scene, errors: list[str], reported: list[RuleMatch]
) -> CompiledGatewayRule | None:
    """The first rule that applies and is enforced. One that cannot be evaluated applies if it blocks."""
    for rule in rules:
        try:
            applies = rule.applies(scene)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a rule, it never widens access
            errors.append(f"gateway_rule {rule.rule.id}: {type(error).__name__}")
            applies = rule.blocks
        if applies:
            if not rule.report_only:
                return rule
            reported.append(rule.match)
    return None


def _truth(policy: CompiledPolicy, scene: Scene, errors: list[str]) -> Truth:
    """Whether the policy's conditions hold; unknown if they cannot be evaluated."""
    try:
        return policy.conditions(scene)
    except Exception as error:  # noqa: BLE001 - as above
        errors.append(f"policy {policy.policy.id}: {type(error).__name__}")
        return None


def _standings_named(rule: CompiledGatewayRule, scene: Scene) -> tuple[CheckStanding, ...]:
    """The checks that the rule's expressions name, as it saw them."""
    demand = rule.rule.demand
    return tuple(scene.ask(check_id, check_id, demand) for check_id in rule.check_ids if check_id in scene.checks)


def _nearest_reason(request: AccessRequest, device: ResolvedDevice, checks: tuple[CheckStanding, ...], *, unknown: bool) -> str:
    """Why no policy granted: what is known to stand in the way of a check that was asked about, else what else was missing."""
    if request.service_token_refused:  # who shows one is no device
        return "service_token_refused"
    standings = {check.standing for check in checks}
    if Standing.NO_DEVICE in standings:
        return device.reason
    for standing, reason in _NEAREST:
        if standing in standings:
            return reason
    return "fact_unknown" if unknown else "no_policy_matched"


_NEAREST: Final = (
    (Standing.FAILED, "check_failed"),
    (Standing.EXPIRED, "result_expired"),
    (Standing.TOO_OLD, "evidence_too_old"),
    (Standing.TOO_WEAK, "evidence_too_weak"),
    (Standing.BOUND_TOO_WEAKLY, "device_binding_too_weak"),
    (Standing.NOT_IN_HARDWARE, "device_key_not_in_hardware"),
    (Standing.NO_RESULT, "no_result"),
)

"""What makes a request allowed. The only place that says allow; it says deny unless every step below lets it pass.

Order: an invalid device link denies; Gateway rules, where a block ends it and an allow skips nothing; the Access application of
the host; its bypass policies, then allow and deny in order; otherwise deny, with the reason that was nearest to a grant.
"""

from watchword_server.core.access import Evaluation, checks_asked
from watchword_server.core.model import (
    AccessRequest,
    CheckStanding,
    Decision,
    Instant,
    Outcome,
    Resolution,
    ResolvedDevice,
    RuleMatch,
    Standing,
)
from watchword_server.core.posture import PostureView
from watchword_server.core.rules import (
    Application,
    GatewayAction,
    GatewayRule,
    Policy,
    PolicyDecision,
    RuleSnapshot,
)

_OUTCOME = {PolicyDecision.ALLOW: Outcome.ALLOW, PolicyDecision.BYPASS: Outcome.ALLOW, PolicyDecision.DENY: Outcome.DENY}
_REASON = {
    PolicyDecision.ALLOW: "policy_allow",
    PolicyDecision.BYPASS: "policy_bypass",
    PolicyDecision.DENY: "policy_deny",
}


def decide(request: AccessRequest, device: ResolvedDevice, snapshot: RuleSnapshot, *, now: Instant) -> Decision:
    """Decides one request. Pure: the same arguments give the same decision. Never raises for a consistent snapshot."""
    evaluation = Evaluation(request, PostureView(device, snapshot.rules.checks, now), snapshot)

    def decision(outcome: Outcome, reason: str, *rules: RuleMatch) -> Decision:
        return Decision(
            outcome=outcome, reason=reason, rules=rules, checks=checks_asked(evaluation), device=device, decided_at=now
        )

    if device.outcome is Resolution.INVALID:
        return decision(Outcome.DENY, device.reason)
    gateway = _gateway_rule(request, snapshot)
    if gateway is not None and gateway.action is GatewayAction.BLOCK:
        return decision(Outcome.DENY, "gateway_block", _match("gateway_rule", gateway))
    application = snapshot.application_by_host.get(request.host)
    if application is None:
        return decision(snapshot.rules.unmatched, "no_application")
    named = _match("application", application)
    for policy in _in_order(application, snapshot):
        if evaluation.policy_applies(policy):
            return decision(_OUTCOME[policy.decision], _REASON[policy.decision], named, _match("policy", policy))
    return decision(Outcome.DENY, _nearest_reason(device, checks_asked(evaluation)), named)


def _gateway_rule(request: AccessRequest, snapshot: RuleSnapshot) -> GatewayRule | None:
    rules = snapshot.gateway_by_host.get(request.host, snapshot.gateway_any_host)
    return rules[0] if rules else None  # each rule in these lists matches the host; the lowest precedence wins


def _in_order(application: Application, snapshot: RuleSnapshot) -> list[Policy]:
    """Bypass first, then allow and deny; each in the application's order."""
    policies = [snapshot.rules.policies[policy_id] for policy_id in application.policy_ids]
    return sorted(policies, key=lambda policy: policy.decision is not PolicyDecision.BYPASS)


def _nearest_reason(device: ResolvedDevice, checks: tuple[CheckStanding, ...]) -> str:
    """Why no policy granted: what is known to stand in the way of a check that was asked about, else that none matched."""
    standings = {check.standing for check in checks}
    if Standing.NO_DEVICE in standings:
        return device.reason
    for standing, reason in (
        (Standing.FAILED, "check_failed"),
        (Standing.EXPIRED, "result_expired"),
        (Standing.NO_RESULT, "no_result"),
    ):
        if standing in standings:
            return reason
    return "no_policy_matched"


def _match(kind: str, rule: Application | Policy | GatewayRule) -> RuleMatch:
    return RuleMatch(kind=kind, id=rule.id, name=rule.name)

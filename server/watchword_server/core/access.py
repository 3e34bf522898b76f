"""Access: applications, policies and their selectors, in three-valued logic, so that absence never helps.

A selector is True, False, or None where the fact it needs is unknown. `include` is an "any", `require` an "all", `exclude` a
"none", each carrying the unknown. A policy that grants applies only if True; a policy that denies applies unless False.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from watchword_server.core.model import AccessRequest, CheckId, CheckStanding, Standing
from watchword_server.core.posture import PostureView
from watchword_server.core.rules import (
    Conditions,
    EmailDomainIs,
    EmailIs,
    Everyone,
    Group,
    InGroup,
    IpIn,
    Policy,
    PolicyDecision,
    PostureCheckPassed,
    RuleSnapshot,
    Selector,
)

Truth = bool | None  # None: unknown


def any_of(values: Iterable[Truth]) -> Truth:
    """True if one is; else unknown if one is; else False."""
    unknown = False
    for value in values:
        if value:
            return True
        unknown = unknown or value is None
    return None if unknown else False


def all_of(values: Iterable[Truth]) -> Truth:
    """False if one is; else unknown if one is; else True."""
    unknown = False
    for value in values:
        if value is False:
            return False
        unknown = unknown or value is None
    return None if unknown else True


def negation(value: Truth) -> Truth:
    """Not; unknown stays unknown."""
    return None if value is None else not value


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Evaluates conditions for one request. `posture` remembers which checks were asked about."""

    request: AccessRequest
    posture: PostureView
    snapshot: RuleSnapshot

    def policy_applies(self, policy: Policy) -> bool:
        """Whether the policy takes effect: a granting one only if its conditions hold, a denying one unless they do not."""
        truth = self.conditions(policy.conditions)
        return truth is not False if policy.decision is PolicyDecision.DENY else truth is True

    def conditions(self, conditions: Conditions) -> Truth:
        """Any include, all require, no exclude."""
        return all_of(
            (
                any_of(map(self.selector, conditions.include)),
                all_of(map(self.selector, conditions.require)),
                negation(any_of(map(self.selector, conditions.exclude))),
            )
        )

    def selector(self, selector: Selector) -> Truth:
        """One selector."""
        match selector:
            case Everyone():
                return True
            case EmailIs(email):
                return None if self._email is None else self._email == email
            case EmailDomainIs(domain):
                return None if self._email is None else self._email.rpartition("@")[2] == domain
            case IpIn(network):
                return None if self.request.source_ip is None else self.request.source_ip in network
            case PostureCheckPassed(check_id):
                return self._passed(check_id)
            case InGroup(group_id):
                return self._group(self.snapshot.rules.groups[group_id])

    @property
    def _email(self) -> str | None:
        return None if self.request.identity is None else self.request.identity.email.casefold()

    def _passed(self, check_id: CheckId) -> Truth:
        match self.posture.standing(check_id).standing:
            case Standing.PASSED:
                return True
            case Standing.FAILED:
                return False
            case _:
                return None

    def _group(self, group: Group) -> Truth:
        return self.conditions(group.conditions)


def checks_asked(evaluation: Evaluation) -> tuple[CheckStanding, ...]:
    """The checks that evaluating asked about so far, in the order they were asked."""
    return tuple(evaluation.posture.asked.values())

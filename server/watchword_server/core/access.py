"""Access policies and their selectors, compiled, in three-valued logic, so that absence never helps.

A selector is True, False, or None where the fact it needs is unknown. `include` is an "any", `require` an "all", `exclude` a
"none", each carrying the unknown. A policy that grants applies only if True; a policy that denies applies unless False.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from watchword_server.core.certificates.names import lower_case
from watchword_server.core.facts import LOGIN_METHOD
from watchword_server.core.language.sets import IpRanges
from watchword_server.core.lists import Matcher
from watchword_server.core.model.decisions import CheckStanding, ResolutionStrength, RuleMatch, Standing
from watchword_server.core.posture import stricter
from watchword_server.core.rules import (
    NO_DEMAND,
    AnyClientCertificate,
    AnyServiceToken,
    CommonNameIs,
    Conditions,
    DeviceOwner,
    EmailDomainIs,
    EmailInList,
    EmailIs,
    Everyone,
    EvidenceDemand,
    FactHas,
    FactIs,
    Group,
    InGroup,
    IpIn,
    IpInList,
    Policy,
    PolicyDecision,
    PostureCheckPassed,
    Selector,
    ServiceTokenIs,
)
from watchword_server.core.scene import Scene, owned_by_user

Truth = bool | None  # None: unknown
Condition = Callable[[Scene], Truth]


@dataclass(frozen=True, slots=True)
class CompiledPolicy:
    """A policy ready to be asked. `uses` are the groups and lists it was compiled with."""

    policy: Policy
    match: RuleMatch
    denies: bool
    reason: str
    conditions: Condition
    uses: tuple[object, ...]


_REASON: Final = {
    PolicyDecision.ALLOW: "policy_allow",
    PolicyDecision.BYPASS: "policy_bypass",
    PolicyDecision.NON_IDENTITY: "policy_service_auth",
    PolicyDecision.DENY: "policy_deny",
}


class PolicyCompiler:
    """Compiles policies over the same groups and lists. Conditions that several policies have are there once."""

    def __init__(self, groups: Mapping[str, Group], matchers: Mapping[str, Matcher]) -> None:
        self._groups = groups
        self._matchers = matchers
        self._known: dict[EvidenceDemand, Compiler] = {}

    def policy(self, policy: Policy) -> CompiledPolicy:
        """Compiles a policy with all it refers to. Raises `KeyError` for a reference that leads nowhere."""
        compiler = self._known.get(policy.demand)
        if compiler is None:
            compiler = self._known[policy.demand] = Compiler(self._groups, self._matchers, policy.demand)
        conditions, uses = compiler.whole(policy.conditions)
        return CompiledPolicy(
            policy=policy,
            match=RuleMatch("policy", policy.id, policy.name, policy.decision.value),
            denies=policy.decision is PolicyDecision.DENY,
            reason=_REASON[policy.decision],
            conditions=conditions,
            uses=uses,
        )


# ---- Conditions -----------------------------------------------------------------------------------------------------------


class Compiler:
    """Turns selectors into functions of a scene; `demand` holds for every check below."""

    def __init__(self, groups: Mapping[str, Group], matchers: Mapping[str, Matcher], demand: EvidenceDemand) -> None:
        self._groups = groups
        self._matchers = matchers
        self._demand = demand
        self._uses: dict[int, object] = {}
        self._selectors: dict[Selector, Condition] = {}
        self._whole: dict[Conditions, tuple[Condition, tuple[object, ...]]] = {}
        self._compiled_groups: dict[str, tuple[Condition, tuple[object, ...]]] = {}

    def whole(self, conditions: Conditions) -> tuple[Condition, tuple[object, ...]]:
        """The conditions compiled, and the groups and matchers they use, themselves and through groups."""
        known = self._whole.get(conditions)
        if known is None:
            outer, self._uses = self._uses, {}
            compiled = self.conditions(conditions)
            known = self._whole[conditions] = (compiled, tuple(self._uses.values()))
            self._uses = outer
        return known

    def conditions(self, conditions: Conditions) -> Condition:
        """Any include, all require, no exclude. What is false at once asks no further."""
        include = any_of([self.selector(selector) for selector in conditions.include])
        require = [self.selector(selector) for selector in conditions.require]
        exclude = [self.selector(selector) for selector in conditions.exclude]
        if not exclude and len(require) == 1:
            return _both(include, require[0])
        if not exclude and not require:
            return include

        def truth(scene: Scene) -> Truth:
            result = include(scene)
            if result is False:
                return False
            for condition in require:
                value = condition(scene)
                if value is False:
                    return False
                result = result and value
            for condition in exclude:
                value = condition(scene)
                if value:
                    return False
                if value is None:
                    result = None
            return result

        return truth

    def selector(self, selector: Selector) -> Condition:
        """One selector."""
        if isinstance(selector, InGroup | EmailInList | IpInList):  # what these use is told each time
            return self._compile(selector)
        known = self._selectors.get(selector)
        if known is None:
            known = self._selectors[selector] = self._compile(selector)
        return known

    def _compile(self, selector: Selector) -> Condition:
        match selector:
            case Everyone():
                return lambda _: True
            case EmailIs(email):
                return _email_is(email)
            case EmailDomainIs(domain):
                return _email_ends(f"@{domain}")
            case EmailInList(list_id):
                return _email_in(self._matcher(list_id))
            case IpIn(network):
                return _address(IpRanges.of([network]))
            case IpInList(list_id):
                return _address(self._matcher(list_id))
            case PostureCheckPassed():
                return _check(selector, stricter(self._demand, selector.demand))
            case DeviceOwner():
                return _owner(self._demand.binding)
            case AnyClientCertificate():
                return _certificate
            case CommonNameIs(common_name):
                return _common_name(common_name)
            case ServiceTokenIs(token_id):
                return lambda scene: scene.request.service_token_id == token_id
            case AnyServiceToken():
                return lambda scene: scene.request.service_token_id is not None
            case FactIs():
                return _with_provider(_fact_is(selector), selector.provider_id)
            case FactHas():
                return _with_provider(_fact_has(selector), selector.provider_id)
            case InGroup(group_id):
                return self._group(group_id)

    def _group(self, group_id: str) -> Condition:
        known = self._compiled_groups.get(group_id)
        if known is None:
            known = self._compiled_groups[group_id] = self.whole(self._groups[group_id].conditions)
        compiled, uses = known
        self._note(self._groups[group_id], *uses)
        return compiled

    def _matcher(self, list_id: str) -> Matcher:
        matcher = self._matchers[list_id]
        self._note(matcher)
        return matcher

    def _note(self, *uses: object) -> None:
        self._uses.update((id(use), use) for use in uses)


def any_of(conditions: Sequence[Condition]) -> Condition:
    """True if one is; else unknown if one is; else False."""
    if len(conditions) == 1:
        return conditions[0]

    def truth(scene: Scene) -> Truth:
        result: Truth = False
        for condition in conditions:
            value = condition(scene)
            if value:
                return True
            if value is None:
                result = None
        return result

    return truth


def _both(one: Condition, other: Condition) -> Condition:
    def truth(scene: Scene) -> Truth:
        first = one(scene)
        if first is False:
            return False
        second = other(scene)
        return False if second is False else first and second

    return truth


# ---- Selectors ------------------------------------------------------------------------------------------------------------


def _email_is(email: str) -> Condition:
    def truth(scene: Scene) -> Truth:
        identity = scene.request.identity
        return None if identity is None else identity.email == email

    return truth


def _email_ends(ending: str) -> Condition:
    def truth(scene: Scene) -> Truth:
        identity = scene.request.identity
        return None if identity is None else identity.email.endswith(ending)

    return truth


def _email_in(matcher: Matcher) -> Condition:
    def truth(scene: Scene) -> Truth:
        identity = scene.request.identity
        return None if identity is None else identity.email.encode() in matcher

    return truth


def _address(matcher: Matcher) -> Condition:
    def truth(scene: Scene) -> Truth:
        address = scene["net.src.ip"]
        return None if address is None else address in matcher

    return truth


def _check(selector: PostureCheckPassed, demand: EvidenceDemand) -> Condition:
    check_id = selector.check_id
    key: Hashable = check_id
    if demand is not NO_DEMAND:
        key = (check_id, demand.level, demand.max_age_seconds, demand.hardware_key, demand.binding)
    passed, failed = Standing.PASSED, Standing.FAILED

    def truth(scene: Scene) -> Truth:
        known: CheckStanding | None = scene.asked.get(key)
        standing = (known or scene.ask(check_id, key, demand)).standing
        return True if standing is passed else False if standing is failed else None

    return truth


def _owner(binding: ResolutionStrength) -> Condition:
    """By a weaker link than demanded nothing is known of the device's owner."""
    return lambda scene: None if scene.device.strength < binding else owned_by_user(scene)


def _certificate(scene: Scene) -> Truth:
    """A certificate that was refused has denied the request before any policy."""
    device = scene.device
    return device.certificate is not None if device.certificate_possible else None


def _common_name(common_name: str) -> Condition:
    def truth(scene: Scene) -> Truth:
        device = scene.device
        if not device.certificate_possible:
            return None
        return device.common_name is not None and lower_case(device.common_name) == common_name

    return truth


def _fact_is(selector: FactIs) -> Condition:
    fact, values = selector.fact, selector.values

    def truth(scene: Scene) -> Truth:
        value = scene[fact]
        return None if value is None else value in values

    return truth


def _fact_has(selector: FactHas) -> Condition:
    fact, value, attribute = selector.fact, selector.value, selector.attribute

    def truth(scene: Scene) -> Truth:
        reported: object = scene[fact]
        if reported is None:
            return None
        if attribute is not None:
            reported = reported.get(attribute, ()) if isinstance(reported, Mapping) else ()
        if not isinstance(reported, tuple):
            return None
        return bool(reported) if value is None else value in reported

    return truth


def _with_provider(condition: Condition, provider_id: str | None) -> Condition:
    if provider_id is None:
        return condition
    provider = FactIs("login_method", LOGIN_METHOD, frozenset({provider_id.encode()}))
    return _both(_fact_is(provider), condition)

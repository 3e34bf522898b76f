"""A rule set arranged for deciding; immutable, swapped whole. What did not change since the last one is not compiled again."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from watchword_server.core.access import CompiledPolicy, PolicyCompiler
from watchword_server.core.applications import (
    ApplicationIndex,
    CompiledApplication,
    compile_application,
    index_applications,
)
from watchword_server.core.gateway import NO_RULES, CompiledGatewayRule, GatewayCompiler, GatewayIndex, index_rules
from watchword_server.core.lists import Matcher, list_key, matcher_of
from watchword_server.core.rules import (
    EMPTY_RULE_SET,
    Application,
    Caller,
    GatewayFilter,
    GatewayList,
    GatewayRule,
    Policy,
    RuleSet,
    ServiceToken,
)


@dataclass(frozen=True, slots=True)
class RuleSnapshot:
    """A rule set and what deciding needs of it. `gateway` holds an index a filter, in the order they are asked.

    `authzen` are the rules over AuthZEN's entities.
    """

    rules: RuleSet
    gateway: tuple[GatewayIndex, ...]
    applications: ApplicationIndex
    compiled: "_Compiled"
    caller_by_secret: Mapping[bytes, Caller] = field(default_factory=dict)
    caller_by_name: Mapping[str, Caller] = field(default_factory=dict)
    caller_by_subject_alternative_name: Mapping[str, Caller] = field(default_factory=dict)
    service_token_by_client_id: Mapping[str, ServiceToken] = field(default_factory=dict)
    authzen: GatewayIndex = NO_RULES

    @property
    def network(self) -> GatewayIndex:
        """The network rules among `gateway`."""
        first = self.gateway[0] if self.gateway else NO_RULES
        return first if first.rules and first.rules[0].rule.filter is GatewayFilter.L4 else NO_RULES


@dataclass(frozen=True, slots=True)
class _Compiled:
    """All that was compiled, by id: what the next snapshot may take over."""

    gateway_rules: Mapping[str, CompiledGatewayRule]
    policies: Mapping[str, CompiledPolicy]
    applications: Mapping[str, CompiledApplication]
    matchers: Mapping[str, tuple[GatewayList, Matcher]]


def compile_rules(rules: RuleSet, previous: RuleSnapshot | None = None) -> RuleSnapshot:
    """Arranges a rule set for deciding; takes over from `previous` what rests on the same values (the same objects).

    Raises `ExpressionError` for an expression that is wrong, and `KeyError` for a reference that leads nowhere.
    """
    before = previous or EMPTY_SNAPSHOT
    matchers = _matchers(rules, before)
    by_id = {list_id: matcher for list_id, (_, matcher) in matchers.items()}
    present = frozenset(map(id, (*rules.groups.values(), *by_id.values())))
    using = _Using(before, rules, PolicyCompiler(rules.groups, by_id), present)
    policies = using.policies()
    applications, application_index = using.applications(policies)
    gateway_rules, gateway, authzen = using.gateway(by_id)
    return RuleSnapshot(
        rules=rules,
        gateway=gateway,
        applications=application_index,
        compiled=_Compiled(gateway_rules, policies, applications, matchers),
        caller_by_secret={caller.secret_sha256: caller for caller in rules.callers if caller.secret_sha256 is not None},
        caller_by_name={caller.name: caller for caller in rules.callers},
        caller_by_subject_alternative_name={
            caller.subject_alternative_name: caller for caller in rules.callers if caller.subject_alternative_name is not None
        },
        service_token_by_client_id={
            token.client_id: token for token in rules.service_tokens.values() if token.client_id is not None
        },
        authzen=authzen,
    )


def _matchers(rules: RuleSet, before: RuleSnapshot) -> Mapping[str, tuple[GatewayList, Matcher]]:
    if rules.lists is before.rules.lists:
        return before.compiled.matchers
    known = {list_id: found for list_id, found in before.compiled.matchers.items() if found[0] is rules.lists.get(list_id)}
    return {list_id: known.get(list_id) or (values, matcher_of(values)) for list_id, values in rules.lists.items()}


@dataclass(frozen=True, slots=True)
class _Using:
    """Compiles, or takes over what was compiled with the same groups and lists; `present` are the identities of all of them."""

    before: RuleSnapshot
    rules: RuleSet
    compiler: PolicyCompiler
    present: frozenset[int]

    def policies(self) -> Mapping[str, CompiledPolicy]:
        rules, earlier, known = self.rules, self.before.rules, self.before.compiled.policies
        if rules.policies is earlier.policies and rules.groups is earlier.groups and rules.lists is earlier.lists:
            return known
        return {policy.id: self.policy(policy, known.get(policy.id)) for policy in rules.policies.values()}

    def applications(self, policies: Mapping[str, CompiledPolicy]) -> tuple[Mapping[str, CompiledApplication], ApplicationIndex]:
        rules, earlier, known = self.rules, self.before.rules, self.before.compiled
        same = rules.groups is earlier.groups and rules.lists is earlier.lists and policies is known.policies
        if same and rules.applications is earlier.applications:
            return known.applications, self.before.applications
        compiled = [self.application(application, policies) for application in rules.applications]
        return {one.application.id: one for one in compiled}, index_applications(compiled)

    def gateway(
        self, matchers: Mapping[str, Matcher]
    ) -> tuple[Mapping[str, CompiledGatewayRule], tuple[GatewayIndex, ...], GatewayIndex]:
        rules, earlier = self.rules, self.before.rules
        same_language = rules.language == earlier.language
        if rules.gateway_rules is earlier.gateway_rules and rules.lists is earlier.lists and same_language:
            return self.before.compiled.gateway_rules, self.before.gateway, self.before.authzen
        by_key = {list_key(list_id): matcher for list_id, matcher in matchers.items()}
        compiler = GatewayCompiler(by_key, rules.language)
        known = self.before.compiled.gateway_rules if same_language else {}
        compiled = [self._gateway_rule(rule, known.get(rule.id), compiler) for rule in rules.gateway_rules]
        compiler.forget()
        of_requests = (
            [one for one in compiled if one.rule.filter is wanted] for wanted in (GatewayFilter.L4, GatewayFilter.HTTP)
        )
        of_evaluations = index_rules(one for one in compiled if one.rule.filter is GatewayFilter.AUTHZEN)
        gateway = tuple(index_rules(found) for found in of_requests if found)
        return {one.rule.id: one for one in compiled}, gateway, of_evaluations

    def policy(self, policy: Policy, known: CompiledPolicy | None) -> CompiledPolicy:
        if known is not None and known.policy is policy and self._same(known.uses):
            return known
        return self.compiler.policy(policy)

    def application(self, application: Application, policies: Mapping[str, CompiledPolicy]) -> CompiledApplication:
        known = self.before.compiled.applications.get(application.id)
        known = known if known is not None and known.application is application else None
        if known is not None and all(self._holds(compiled, policies) for compiled in known.policies):
            return known
        own_before = {} if known is None else {compiled.policy.id: compiled for compiled in known.own}
        ordered: list[CompiledPolicy] = []
        own: list[CompiledPolicy] = []
        for policy in application.policies:
            if isinstance(policy, str):
                ordered.append(policies[policy])
            else:
                own.append(self.policy(policy, own_before.get(policy.id)))
                ordered.append(own[-1])
        return compile_application(application, ordered, own)

    def _holds(self, compiled: CompiledPolicy, policies: Mapping[str, CompiledPolicy]) -> bool:
        """Whether a reusable policy is still this one, and an application's own was compiled with what there is now."""
        reusable = policies.get(compiled.policy.id)
        return self._same(compiled.uses) if reusable is None else reusable is compiled

    def _gateway_rule(
        self, rule: GatewayRule, known: CompiledGatewayRule | None, compiler: GatewayCompiler
    ) -> CompiledGatewayRule:
        return known if known is not None and known.rule is rule and self._same(known.uses) else compiler.compile(rule)

    def _same(self, uses: tuple[object, ...]) -> bool:
        return not uses or all(id(use) in self.present for use in uses)


EMPTY_SNAPSHOT = RuleSnapshot(EMPTY_RULE_SET, (), ApplicationIndex({}, {}), _Compiled({}, {}, {}, {}))


def parts_of(snapshot: RuleSnapshot) -> list[object]:
    """All that there are thousands of in a snapshot: for who lets go of it and of them, one after the other."""
    rules, compiled = snapshot.rules, snapshot.compiled
    return [
        *compiled.gateway_rules.values(),
        *compiled.applications.values(),
        *compiled.policies.values(),
        *rules.gateway_rules,
        *rules.applications,
        *rules.policies.values(),
        *snapshot.applications.exact.values(),
    ]

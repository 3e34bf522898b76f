"""The path a decision takes, worked out on demand: what was considered, the condition that failed with its values, each check.

It asks the same compiled functions that `decide` asks, so that it cannot tell another story; only the order in which it asks them
is written here again, and a test holds the two together.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from watchword_server.core.access import Compiler, Truth
from watchword_server.core.applications import CompiledApplication
from watchword_server.core.decide import decide
from watchword_server.core.facts import REPORTABLE
from watchword_server.core.gateway import PARTS, CompiledGatewayRule, GatewayIndex, parse_part
from watchword_server.core.language import syntax
from watchword_server.core.language.compile import compile_node, value_of
from watchword_server.core.language.parse import Expression
from watchword_server.core.language.types import IP, ArrayOf, MapOf, Type
from watchword_server.core.lists import list_key
from watchword_server.core.model.decisions import AccessRequest, CheckStanding, Decision, Resolution, ResolvedDevice
from watchword_server.core.model.names import Instant
from watchword_server.core.paths import readings
from watchword_server.core.posture import stricter
from watchword_server.core.rules import (
    AnyClientCertificate,
    CommonNameIs,
    Conditions,
    DeviceOwner,
    EmailDomainIs,
    EmailInList,
    EmailIs,
    EvidenceDemand,
    FactHas,
    FactIs,
    InGroup,
    IpIn,
    IpInList,
    Policy,
    PolicyDecision,
    PostureCheckPassed,
    Selector,
    ServiceTokenIs,
)
from watchword_server.core.scene import EvaluationScene, Scene, owner_of, posture_keys
from watchword_server.core.snapshot import RuleSnapshot
from watchword_server.core.times import rfc3339

_OUTCOME: Final[Mapping[Truth, str]] = {True: "true", False: "false", None: "unknown"}
_MAX_SHOWN: Final = 20  # values of one field or list


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was looked at, and what it came to. `details` hold plain values, ready for JSON."""

    kind: str  # device, gateway, gateway_rule, application, policy, selector, condition or check
    title: str
    outcome: str
    details: Mapping[str, object] = field(default_factory=dict)
    steps: "tuple[Step, ...]" = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """The steps for one reading of the request's path."""

    path: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision and how it came about. More than one reading: each had to be allowed."""

    decision: Decision
    readings: tuple[Reading, ...]


def explain(request: AccessRequest, device: ResolvedDevice, snapshot: RuleSnapshot, *, now: Instant) -> Explanation:
    """Decides the request as `decide` does, and says how."""
    decision = decide(request, device, snapshot, now=now)
    if request.evaluation is not None:
        evaluated = EvaluationScene(request, device, snapshot.rules.checks, now, b"")
        return Explanation(decision, (Reading("", tuple(_Path(evaluated, snapshot).rule_steps(snapshot.authzen))),))
    if request.is_connection:
        connection = Scene(request, device, snapshot.rules.checks, now, b"")
        return Explanation(decision, (Reading("", tuple(_Path(connection, snapshot).rule_steps(snapshot.network))),))
    told = []
    for path in readings(request.path):
        scene = Scene(request, device, snapshot.rules.checks, now, path)
        told.append(Reading(path.decode(errors="backslashreplace"), tuple(_Path(scene, snapshot).steps())))
    return Explanation(decision, tuple(told))


@dataclass(frozen=True, slots=True)
class _Path:
    """Walks the way of `decide` for one reading."""

    scene: Scene
    snapshot: RuleSnapshot

    def steps(self) -> Iterator[Step]:
        device = self.scene.device
        yield _device(device)
        if device.outcome is Resolution.INVALID:
            return
        for index in self.snapshot.gateway:
            step, blocked = self._gateway(index)
            yield step
            if blocked:
                return
        application = self.snapshot.applications.find(self.scene.request.host, self.scene.path)
        if application is None:
            unmatched = self.snapshot.rules.unmatched.value
            yield Step("application", "no application covers this host and path", unmatched, {"unmatched": unmatched})
            return
        yield self._application(application)

    def rule_steps(self, index: GatewayIndex) -> Iterator[Step]:
        """As `steps`, where rules of one filter are all there is: of an AuthZEN evaluation, of a connection."""
        device = self.scene.device
        yield _device(device)
        if device.outcome is not Resolution.INVALID and index.rules:
            yield self._gateway(index)[0]

    # ---- Gateway ----------------------------------------------------------------------------------------------------------

    def _gateway(self, index: GatewayIndex) -> tuple[Step, bool]:
        candidates = index.candidates(self.scene)
        steps: list[Step] = []
        deciding: CompiledGatewayRule | None = None
        for rule in candidates:
            applies, step = self._gateway_rule(rule)
            steps.append(step)
            if applies and not rule.report_only:
                deciding = rule
                break
        blocked = deciding is not None and deciding.blocks
        details = {"rules": len(index.rules), "ruled_out_by_index": len(index.rules) - len(candidates), "considered": len(steps)}
        title = f"Gateway, {index.rules[0].rule.filter.value} rules"
        return Step("gateway", title, "block" if blocked else "allow", details, tuple(steps)), blocked

    def _gateway_rule(self, rule: CompiledGatewayRule) -> tuple[bool, Step]:
        details: dict[str, object] = {"id": rule.rule.id, "precedence": rule.precedence, "action": rule.rule.action.value}
        if rule.report_only:
            details["report_only"] = True
        steps: list[Step] = []
        try:
            applies = rule.applies(self.scene)
        except Exception as error:  # noqa: BLE001 - as in `decide`: a rule that fails blocks if it can
            applies = rule.blocks
            details["error"] = type(error).__name__
        else:
            for part in PARTS:
                if getattr(rule.rule, part) and (not steps or steps[-1].outcome != "false"):
                    steps.append(self._expression(part, parse_part(rule.rule, part, rule.language), rule))
        named = [check_id for check_id in rule.check_ids if check_id in self.scene.checks]
        steps += [_check(self.scene.ask(check_id, check_id, rule.rule.demand), self.scene.now) for check_id in named]
        self.scene.asked.clear()
        return applies, Step("gateway_rule", rule.rule.name, "applies" if applies else "does not apply", details, tuple(steps))

    def _expression(self, part: str, expression: Expression, rule: CompiledGatewayRule) -> Step:
        conditions = _Conditions(self.scene, self.snapshot, expression, rule)
        return conditions.step(expression.root, title=part)

    # ---- Access -----------------------------------------------------------------------------------------------------------

    def _application(self, compiled: CompiledApplication) -> Step:
        steps: list[Step] = []
        outcome = "no policy applies: deny"
        for policy in compiled.policies:
            try:
                truth = policy.conditions(self.scene)
                parts = tuple(self._conditions(policy.policy.conditions, policy.policy.demand))
                details: dict[str, object] = {}
            except Exception as error:  # noqa: BLE001 - as in `decide`: it grants nothing
                truth, parts, details = None, (), {"error": type(error).__name__}
            applies = truth is not False if policy.denies else truth is True
            details |= _policy_details(policy.policy, truth)
            steps.append(Step("policy", policy.policy.name, "applies" if applies else "does not apply", details, parts))
            if applies and not policy.policy.report_only:
                outcome = "deny" if policy.policy.decision is PolicyDecision.DENY else "allow"
                break
        details = {"id": compiled.application.id, "policies": len(compiled.policies)}
        return Step("application", compiled.application.name, outcome, details, tuple(steps))

    def _conditions(self, conditions: Conditions, demand: EvidenceDemand) -> Iterator[Step]:
        """Each selector on its own, also those that `decide` needed not ask any more."""
        parts = {"include": conditions.include, "require": conditions.require, "exclude": conditions.exclude}
        for part, selectors in parts.items():
            for selector in selectors:
                yield self._selector(part, selector, demand)

    def _selector(self, part: str, selector: Selector, demand: EvidenceDemand) -> Step:
        truth = self._compiler(demand).selector(selector)(self.scene)
        title, details = self._describe(selector)
        steps: tuple[Step, ...] = ()
        if isinstance(selector, InGroup):
            steps = tuple(self._conditions(self.snapshot.rules.groups[selector.group_id].conditions, demand))
        if isinstance(selector, PostureCheckPassed):
            standing = self.scene.ask(selector.check_id, selector.check_id, stricter(demand, selector.demand))
            steps = (_check(standing, self.scene.now),)
        return Step("selector", f"{part} {title}", _OUTCOME[truth], details, steps)

    def _compiler(self, demand: EvidenceDemand) -> Compiler:
        matchers = {list_id: matcher for list_id, (_, matcher) in self.snapshot.compiled.matchers.items()}
        return Compiler(self.snapshot.rules.groups, matchers, demand)

    def _describe(self, selector: Selector) -> tuple[str, dict[str, object]]:
        scene, rules = self.scene, self.snapshot.rules
        identity = scene.request.identity
        email = None if identity is None else identity.email
        address = None if scene.request.source_ip is None else str(scene.request.source_ip)
        match selector:
            case EmailIs(expected):
                return "email", {"expected": expected, "received": email}
            case EmailDomainIs(expected):
                return "email_domain", {"expected": expected, "received": email}
            case EmailInList(list_id):
                return "email_list", {"expected": f"in {rules.lists[list_id].name}", "received": email}
            case IpIn(network):
                return "ip", {"expected": str(network), "received": address}
            case IpInList(list_id):
                return "ip_list", {"expected": f"in {rules.lists[list_id].name}", "received": address}
            case PostureCheckPassed(check_id):
                return "device_posture", {"expected": f"{rules.checks[check_id].name} passed"}
            case InGroup(group_id):
                return f"group {rules.groups[group_id].name}", {}
            case ServiceTokenIs(token_id):
                expected = rules.service_tokens[token_id].name if token_id in rules.service_tokens else token_id
                received = "one that was refused" if scene.request.service_token_refused else scene.request.service_token_id
                return "service_token", {"expected": expected, "received": received}
            case DeviceOwner():
                return "device_owner", {"expected": owner_of(scene), "received": email}
            case AnyClientCertificate():
                return "certificate", {"received": None if scene.device.certificate is None else scene.device.certificate.hex()}
            case CommonNameIs(expected):
                return "common_name", {"expected": expected, "received": scene.device.common_name}
            case FactIs():
                expected_values = sorted(map(plain, selector.values), key=str)
                return selector.selector, {
                    "fact": selector.fact,
                    "expected": expected_values,
                    "received": plain(scene[selector.fact], REPORTABLE.get(selector.fact)),
                }
            case FactHas():
                wanted: dict[str, object] = {"fact": selector.fact, "expected": plain(selector.value)}
                if selector.attribute is not None:
                    wanted["attribute"] = plain(selector.attribute)
                return selector.selector, wanted | {"received": plain(scene[selector.fact], REPORTABLE.get(selector.fact))}
            case _:
                return type(selector).__name__.lower(), {}


# ---- Expressions ----------------------------------------------------------------------------------------------------------


class _Conditions:
    """The conditions of one expression, each with the values it saw; what did not matter is left out."""

    def __init__(self, scene: Scene, snapshot: RuleSnapshot, expression: Expression, rule: CompiledGatewayRule) -> None:
        self._scene = scene
        self._expression = expression
        self._lists = {list_key(list_id): matcher for list_id, (_, matcher) in snapshot.compiled.matchers.items()}
        self._keys = posture_keys(rule.rule.demand, unknown_fails=rule.blocks)

    def step(self, node: syntax.Boolean, *, title: str | None = None) -> Step:
        truth = self._truth(node)
        inner = tuple(self.step(operand) for operand in self._that_matter(node, truth=truth))
        details: dict[str, object] = {"text": self._text(node.span)}
        received = {} if inner else {self._text(value.span): plain(self._value(value), value.type) for value in _values(node)}
        if received:
            details["received"] = received
        return Step("condition", title or str(details["text"]), _OUTCOME[truth], details, inner)

    def _that_matter(self, node: syntax.Boolean, *, truth: bool) -> Iterable[syntax.Boolean]:
        """Of an `and` that is false, what was false first; of an `or` that is true, what was true first; else all."""
        match node:
            case syntax.And(operands=operands, each=False) if not truth:
                return [next(operand for operand in operands if not self._truth(operand))]
            case syntax.Or(operands=operands, each=False) if truth:
                return [next(operand for operand in operands if self._truth(operand))]
            case syntax.And(operands=operands, each=False) | syntax.Or(operands=operands, each=False):
                return operands
            case syntax.Xor(operands=operands, each=False):
                return operands
            case syntax.Not(operand=operand, each=False):
                return [operand]
            case _:
                return ()

    def _truth(self, node: syntax.Boolean) -> bool:
        return compile_node(node, self._expression.scheme, lists=self._lists, keys=self._keys)(self._scene)

    def _value(self, value: syntax.Value) -> object:
        return value_of(value, self._expression.scheme, lists=self._lists, keys=self._keys)(self._scene)

    def _text(self, span: syntax.Span) -> str:
        return self._expression.text[slice(*span)]


def _values(node: syntax.Node) -> list[syntax.Field]:
    """The fields of a condition, each once."""
    found: dict[str, syntax.Field] = {}
    waiting: list[object] = [node]
    while waiting:
        match waiting.pop():
            case syntax.Field() as one:
                found.setdefault(one.name, one)
            case syntax.Index(value=value) | syntax.Truth(value=value):
                waiting.append(value)
            case syntax.Call(arguments=several):
                waiting += several
            case syntax.And(operands=several) | syntax.Or(operands=several) | syntax.Xor(operands=several):
                waiting += several
            case syntax.Not(operand=inner):
                waiting.append(inner)
            case syntax.Quantifier(argument=inner):
                waiting.append(inner)
            case syntax.Comparison(left=left):
                waiting.append(left)
    return list(found.values())


# ---- Plain values ---------------------------------------------------------------------------------------------------------


def plain(value: object, kind: Type | None = None) -> object:
    """A runtime value for people and JSON: text, numbers, lists; long lists are cut. `kind` tells addresses from arrays."""
    match value:
        case bytes():
            return value.decode(errors="backslashreplace")
        case (int(family), int(number)) if kind is IP:
            return str(IPv4Address(number) if family == 4 else IPv6Address(number))
        case tuple() | list() | frozenset():
            inner = kind.element if isinstance(kind, ArrayOf) else None
            shown = [plain(one, inner) for one in list(value)[:_MAX_SHOWN]]
            return shown if len(value) <= _MAX_SHOWN else [*shown, f"… and {len(value) - _MAX_SHOWN} more"]
        case Mapping():
            inner = kind.element if isinstance(kind, MapOf) else None
            return {str(plain(key)): plain(one, inner) for key, one in value.items()}
        case _:
            return value


def _device(device: ResolvedDevice) -> Step:
    posture = device.posture
    details: dict[str, object] = {"reason": device.reason, "method": device.method, "strength": device.strength.name.lower()}
    if posture is not None:
        details |= {"id": posture.device.id, "name": posture.device.hostname, "state": posture.device.state.value}
    if device.certificate is not None:
        details |= {"certificate_sha256": device.certificate.hex(), "common_name": device.common_name}
    if device.others:
        details["others"] = list(device.others)
    return Step("device", "the device of the request", device.outcome.value, details)


def _check(standing: CheckStanding, now: Instant) -> Step:
    result = standing.result
    details: dict[str, object] = {"id": standing.check_id}
    if result is not None:
        details |= {
            "reason": result.reason,
            "expected": dict(result.expected),
            "received": dict(result.received),
            "evidence_level": result.level.value,
            "evidence_age_seconds": round(now - result.evidence_at, 3),
            "expires_at": rfc3339(result.expires_at),
        }
    return Step("check", standing.name, standing.standing.value, details)


def _policy_details(policy: Policy, truth: Truth) -> dict[str, object]:
    details: dict[str, object] = {"id": policy.id, "decision": policy.decision.value, "conditions": _OUTCOME[truth]}
    if policy.report_only:
        details["report_only"] = True
    return details

"""What a snapshot holds, counted, and which of it every request has to pay for."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from watchword_server.core.gateway import PARTS, POSTURE_FIELDS, CompiledGatewayRule, GatewayIndex, parse_part
from watchword_server.core.language import syntax
from watchword_server.core.language.analysis import fields_used, required_values
from watchword_server.core.rules import Policy
from watchword_server.core.snapshot import RuleSnapshot


@dataclass(frozen=True, slots=True)
class AlwaysRun:
    """A Gateway rule that runs for every request, and why no field leads to it."""

    id: str
    name: str
    action: str
    why: str


@dataclass(frozen=True, slots=True)
class FilterStatistics:
    """The Gateway rules of one filter. `indexed`: how many are found by which field."""

    filter: str
    rules: int
    indexed: Mapping[str, int]
    always: tuple[AlwaysRun, ...]


@dataclass(frozen=True, slots=True)
class ListSize:
    """A list and how many values it has."""

    name: str
    type: str
    values: int


@dataclass(frozen=True, slots=True)
class RuleStatistics:
    """`entries` are counted by kind, `hosts` of applications by whether they are written with `*`."""

    revision: int
    entries: Mapping[str, int]
    hosts: Mapping[str, int]
    gateway: tuple[FilterStatistics, ...]
    lists: tuple[ListSize, ...]


def statistics_of(snapshot: RuleSnapshot, *, disabled: int) -> RuleStatistics:
    """Counts a snapshot. `disabled`: how many Gateway rules are kept and not in it."""
    rules = snapshot.rules
    own = [policy for application in rules.applications for policy in application.policies if isinstance(policy, Policy)]
    sizes = [ListSize(values.name, values.type, len(values.values)) for values in rules.lists.values()]
    return RuleStatistics(
        revision=rules.revision,
        entries={
            "certificates": len(rules.certificates),
            "checks": len(rules.checks),
            "groups": len(rules.groups),
            "policies": len(rules.policies),
            "policies of one application": len(own),
            "applications": len(rules.applications),
            "gateway rules, enabled": len(rules.gateway_rules),
            "gateway rules, disabled": disabled,
            "lists": len(rules.lists),
            "callers": len(rules.callers),
            "service tokens": len(rules.service_tokens),
            "report only": sum(policy.report_only for policy in (*rules.policies.values(), *own))
            + sum(rule.report_only for rule in rules.gateway_rules),
        },
        hosts={
            "exact": len(snapshot.applications.exact),
            "with a wildcard": sum(map(len, snapshot.applications.wild.values())),
        },
        gateway=tuple(map(_of_filter, snapshot.gateway)),
        lists=tuple(sorted(sizes, key=lambda size: (-size.values, size.name))),
    )


def _of_filter(index: GatewayIndex) -> FilterStatistics:
    found_by = Counter(rule.found_by[0] for rule in index.rules if rule.found_by is not None)
    return FilterStatistics(
        filter=index.rules[0].rule.filter.value,
        rules=len(index.rules),
        indexed=dict(found_by.most_common()),
        always=tuple(AlwaysRun(rule.rule.id, rule.rule.name, rule.rule.action.value, why_always(rule)) for rule in index.always),
    )


# ---- Why a rule always runs -----------------------------------------------------------------------------------------------


def why_always(rule: CompiledGatewayRule) -> str:
    """Why no field leads to the rule: of several reasons, the one that is mended first."""
    expressions = [parse_part(rule.rule, part, rule.language) for part in PARTS if getattr(rule.rule, part)]
    roots = [expression.root for expression in expressions if not isinstance(expression.root, syntax.Always)]
    if not roots:
        return "it has no condition"
    fields = {name for expression in expressions for name in fields_used(expression)}
    if fields and fields <= POSTURE_FIELDS:
        return "it asks for posture alone, which nearly every request has the same of"
    if any(name not in POSTURE_FIELDS for expression in expressions for name in required_values(expression)):
        return "it requires one of too many values: split it, or ask for the host as well"
    found = list(dict.fromkeys(reason for root in roots for reason in _reasons(root)))
    return "it requires no certain value of any field: " + (", ".join(found) or "its conditions are not equalities")


_OPERATORS: Final = {
    "matches": "a regular expression",
    "contains": "`contains`",
    "wildcard": "a wildcard",
    "strict wildcard": "a wildcard",
    "!=": "`!=`",
    "<": "an order", "<=": "an order", ">": "an order", ">=": "an order",
    "&": "`&`",
}  # fmt: skip


def _reasons(node: object) -> Iterator[str]:
    """What in the expression is no equality that has to hold."""
    match node:
        case syntax.Not():
            yield "a negation"
        case syntax.Or(operands=operands):
            yield "an `or` whose sides ask for different fields"
            yield from _of_all(operands)
        case syntax.Xor():
            yield "an `xor`"
        case syntax.And(operands=operands):
            yield from _of_all(operands)
        case syntax.Quantifier(argument=argument):
            yield from _reasons(argument)
        case syntax.Comparison(operator="in", right=syntax.ListName()):
            yield "a list"
        case syntax.Comparison(operator="in", right=syntax.SetOf(items=items)) if any(
            isinstance(item.value, tuple) for item in items
        ):
            yield "ranges"
        case syntax.Comparison(left=syntax.Call()):
            yield "a function's result"
        case syntax.Comparison(operator=operator) if operator in _OPERATORS:
            yield _OPERATORS[operator]


def _of_all(nodes: Iterable[object]) -> Iterator[str]:
    for node in nodes:
        yield from _reasons(node)

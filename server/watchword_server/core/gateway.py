"""Gateway rules, compiled: each becomes one function of a scene, and an index leads a request to the rules that can match it."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter
from typing import Final, Literal, TypeGuard

from watchword_server.core.language import syntax
from watchword_server.core.language.analysis import exact_values, list_uses, literal_uses, required_values, walk
from watchword_server.core.language.compile import compile_node
from watchword_server.core.language.gateway import gateway_scheme
from watchword_server.core.language.parse import Expression, parse
from watchword_server.core.language.scheme import Limits, Scheme
from watchword_server.core.language.types import ArrayOf
from watchword_server.core.lists import Matcher
from watchword_server.core.model.decisions import RuleMatch
from watchword_server.core.model.names import CheckId
from watchword_server.core.rules import GatewayAction, GatewayRule, LanguageSettings
from watchword_server.core.scene import Scene, posture_keys
from watchword_server.errors import ExpressionError

POSTURE_FIELDS: Final = frozenset({"device_posture.checks.passed", "device_posture.checks.failed"})
# A rule is found by one field that it requires a value of: by the first of these, else by any other but posture, which nearly
# every request has the same of.
_BEST: Final = (
    "http.request.host", "net.sni.host", "http.request.domains", "net.sni.domains", "identity.email", "http.request.uri.path",
    "http.request.uri", "http.request.uri.path_and_query", "identity.groups.id", "identity.groups.email", "identity.groups.name",
)  # fmt: skip
_MAX_VALUES: Final = 1_000  # of one rule in the index
_MERGED_AHEAD: Final = 32  # rules that always run; with more, merging them into each answer would cost more memory than time

Condition = Callable[[Scene], bool]
Part = Literal["traffic", "identity", "device_posture"]
PARTS: Final[tuple[Part, ...]] = ("traffic", "identity", "device_posture")


@dataclass(frozen=True, slots=True)
class CompiledGatewayRule:
    """A rule ready to be asked. `found_by` is the field and the values it is indexed by; None: it runs for every request.

    `applies` is asked of requests that have one of these values, and does not ask for it again.
    """

    rule: GatewayRule
    match: RuleMatch
    precedence: int
    blocks: bool
    report_only: bool
    applies: Condition
    found_by: tuple[str, tuple[object, ...]] | None
    check_ids: tuple[CheckId, ...]  # that its expressions name
    uses: tuple[Matcher, ...]
    language: LanguageSettings


@lru_cache(maxsize=64)
def scheme_of(rule_filter: str, part: Part, language: LanguageSettings) -> Scheme:
    """What one of a rule's expressions may speak of. Raises `ValueError` for a filter that has no fields."""
    limits = Limits(
        expression_characters=language.max_expression_characters,
        nesting=language.max_nesting,
        set_items=language.max_set_items,
        regex_characters=language.max_regex_characters,
        regex_memory_bytes=language.max_regex_memory_bytes,
        wildcard_stars=language.max_wildcard_stars,
    )
    return gateway_scheme(rule_filter, part, limits, missing_not_equal=language.missing_not_equal)


def parse_part(rule: GatewayRule, part: Part, language: LanguageSettings) -> Expression:
    """One of the rule's three expressions. Raises `ExpressionError`."""
    return parse(getattr(rule, part), scheme_of(rule.filter.value, part, language))


class GatewayCompiler:
    """Compiles rules with the same lists and language. What several rules have in common is compiled once, and there once."""

    def __init__(self, matchers: Mapping[str, Matcher], language: LanguageSettings) -> None:
        """`matchers` by list key."""
        self._matchers = matchers
        self._language = language
        self._parts: dict[object, _Part] = {}
        self._conditions: dict[object, Condition] = {}

    def compile(self, rule: GatewayRule) -> CompiledGatewayRule:
        """Compiles a rule. Raises `ExpressionError`, and `KeyError` for a list that there is none of."""
        parts = [self._part(rule, part) for part in PARTS if getattr(rule, part)]
        found_by = _found_by(parts)
        return CompiledGatewayRule(
            rule=rule,
            match=RuleMatch("gateway_rule", rule.id, rule.name, rule.action.value),
            precedence=rule.precedence,
            blocks=rule.action is GatewayAction.BLOCK,
            report_only=rule.report_only,
            applies=self._applies(
                rule, [term for part in parts for term in part.terms if term.exactly is None or term.exactly != found_by]
            ),
            found_by=None if found_by is None else (found_by[0], tuple(found_by[1])),
            check_ids=tuple(dict.fromkeys(check_id for part in parts for check_id in part.check_ids)),
            uses=tuple({id(matcher): matcher for part in parts for matcher in part.uses}.values()),
            language=self._language,
        )

    def forget(self) -> None:
        """Lets go of what was only needed for compiling, one after the other: in one go it would hold up all other threads."""
        for known in (self._parts, self._conditions):
            while known:
                known.popitem()

    def _part(self, rule: GatewayRule, part: Part) -> "_Part":
        key = (getattr(rule, part), rule.filter, part)
        known = self._parts.get(key)
        if known is None:
            expression = parse_part(rule, part, self._language)
            known = self._parts[key] = _Part(
                terms=tuple(_terms(expression)),
                required=required_values(expression),
                check_ids=_checks_named(expression),
                uses=tuple(self._matchers[use.key] for use in list_uses(expression)),
            )
        return known

    def _applies(self, rule: GatewayRule, terms: Sequence["_Term"]) -> Condition:
        """All of the terms. The same closure for the same terms of however many rules."""
        blocks = rule.action is GatewayAction.BLOCK
        situation = (rule.filter, blocks, rule.demand)
        whole = (*(term.text for term in terms), situation)
        known = self._conditions.get(whole)
        if known is None:
            keys = posture_keys(rule.demand, unknown_fails=blocks)
            known = self._conditions[whole] = _all_of([self._condition(term, (term.text, situation), keys) for term in terms])
        return known

    def _condition(self, term: "_Term", key: object, keys: Mapping[str, Hashable]) -> Condition:
        known = self._conditions.get(key)
        if known is None:
            known = self._conditions[key] = compile_node(term.node, term.scheme, lists=self._matchers, keys=keys)
        return known


@dataclass(frozen=True, slots=True)
class _Term:
    """One of the conditions that an expression ANDs. `exactly`: the field and the values that it asks for, and nothing more."""

    text: str
    node: syntax.Boolean
    scheme: Scheme
    exactly: tuple[str, frozenset[object]] | None


@dataclass(frozen=True, slots=True)
class _Part:
    """One expression: its terms, and what it requires and names."""

    terms: tuple[_Term, ...]
    required: Mapping[str, frozenset[object]]
    check_ids: tuple[CheckId, ...]
    uses: tuple[Matcher, ...]


def _terms(expression: Expression) -> Iterator[_Term]:
    root = expression.root
    for node in root.operands if isinstance(root, syntax.And) else (root,):
        yield _Term(expression.text[slice(*node.span)], node, expression.scheme, exact_values(node))


def _all_of(conditions: Sequence[Condition]) -> Condition:
    match conditions:
        case []:
            return _always
        case [one]:
            return one
        case [one, other]:
            return lambda scene: one(scene) and other(scene)
        case [one, other, third]:
            return lambda scene: one(scene) and other(scene) and third(scene)
        case _:
            return lambda scene: all(condition(scene) for condition in conditions)


def _always(_: Scene) -> bool:
    return True


def refuse_odd_posture(expression: Expression) -> None:
    """Checks are named by `==`, `!=` and `in {…}`, where a name becomes an id; whatever else is asked of them compares ids.

    Raises `ExpressionError`: a rule that asks for a pattern of names would never match, and a block never block.
    """
    for node in walk(expression.root):
        value = node.left if isinstance(node, syntax.Comparison) else node.value if isinstance(node, syntax.Truth) else None
        named = next((one for one in walk(value) if _is_posture(one)), None) if value is not None else None
        if (
            named is None
            or value is None
            or _names_checks(node)
            or (isinstance(value, syntax.Call) and value.function.name == "len")
        ):
            continue
        start, end = node.operator_span if isinstance(node, syntax.Comparison) else value.span
        message = f'a check is named by `==`, `!=` or `in {{…}}`: write `any({named.name}[*] in {{"managed-laptop"}})`'
        raise ExpressionError("type", message, text=expression.text, position=start, length=end - start)


def _is_posture(node: syntax.Node) -> TypeGuard[syntax.Field]:
    return isinstance(node, syntax.Field) and node.name in POSTURE_FIELDS


def _names_checks(node: syntax.Node) -> bool:
    """A comparison of the ids themselves with ids written out."""
    if not isinstance(node, syntax.Comparison) or node.operator not in {"==", "!=", "in"}:
        return False
    return isinstance(node.left, syntax.Index) and isinstance(node.right, syntax.Literal | syntax.SetOf)


def _checks_named(expression: Expression) -> tuple[CheckId, ...]:
    return tuple(CheckId(use.value.decode(errors="backslashreplace")) for use in literal_uses(expression, POSTURE_FIELDS))


# ---- The index ------------------------------------------------------------------------------------------------------------


def _found_by(parts: Iterable[_Part]) -> tuple[str, frozenset[object]] | None:
    required: dict[str, frozenset[object]] = {}
    for part in parts:
        for name, values in part.required.items():
            if name not in required or len(values) < len(required[name]):
                required[name] = values
    usable = {name: values for name, values in required.items() if name not in POSTURE_FIELDS and len(values) <= _MAX_VALUES}
    best = next((name for name in (*_BEST, *usable) if name in usable), None)
    return None if best is None else (best, usable[best])


_precedence = attrgetter("precedence")
_Rules = tuple[CompiledGatewayRule, ...]


@dataclass(slots=True)
class _FieldIndex:
    """The rules that require a value of one field, by that value."""

    name: str
    is_array: bool  # an address is a tuple too, and one value
    by_value: dict[object, list[CompiledGatewayRule]]
    merged: dict[object, _Rules] = field(default_factory=dict)  # with the rules that always run; filled when first asked for


@dataclass(frozen=True, slots=True)
class GatewayIndex:
    """The enabled rules of one filter. A request is led to those that can match it, by ascending precedence."""

    rules: _Rules
    always: _Rules
    fields: tuple[_FieldIndex, ...]

    def candidates(self, scene: Scene) -> _Rules:
        """Every rule that can match, and some that cannot."""
        found: _Rules | None = None
        for index in self.fields:
            value = scene[index.name]
            if not index.is_array:
                hit = index.merged.get(value)
                if hit is None and value in index.by_value:
                    hit = self._merge(index, value)
                if hit is not None:
                    found = hit if found is None else _merged(found, hit)
            elif isinstance(value, tuple):
                for one in value:
                    if one in index.by_value:
                        hit = index.merged.get(one) or self._merge(index, one)
                        found = hit if found is None else _merged(found, hit)
        return self.always if found is None else found if len(self.always) <= _MERGED_AHEAD else _merged(found, self.always)

    def _merge(self, index: _FieldIndex, value: object) -> _Rules:
        hit = tuple(index.by_value[value])
        index.merged[value] = _merged(hit, self.always) if len(self.always) <= _MERGED_AHEAD else hit
        return index.merged[value]


NO_RULES: Final = GatewayIndex((), (), ())


def _merged(one: _Rules, other: _Rules) -> _Rules:
    unique = {id(rule): rule for rule in (*one, *other)}
    return tuple(sorted(unique.values(), key=_precedence))


def index_rules(rules: Iterable[CompiledGatewayRule]) -> GatewayIndex:
    """Arranges the rules of one filter."""
    ordered = tuple(sorted(rules, key=_precedence))
    fields: dict[str, dict[object, list[CompiledGatewayRule]]] = {}
    arrays: set[str] = set()
    for rule in ordered:
        if rule.found_by is not None:
            name, values = rule.found_by
            if isinstance(scheme_of(rule.rule.filter.value, "traffic", rule.language).fields[name], ArrayOf):
                arrays.add(name)
            buckets = fields.setdefault(name, {})
            for value in values:
                if value in buckets:
                    buckets[value].append(rule)
                else:
                    buckets[value] = [rule]
    always = tuple(rule for rule in ordered if rule.found_by is None)
    indexes = tuple(_FieldIndex(name, name in arrays, buckets) for name, buckets in fields.items())
    return GatewayIndex(ordered, always, indexes)

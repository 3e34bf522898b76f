"""Findings in Gateway rules."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from watchword_server.configuration.document.base import quoted
from watchword_server.configuration.document.expressions import excerpt_of
from watchword_server.configuration.document.gateway import SERVED_FILTERS, GatewayRule
from watchword_server.configuration.document.sections import Document
from watchword_server.core.facts import REPORTABLE
from watchword_server.core.gateway import PARTS, POSTURE_FIELDS, Part, parse_part
from watchword_server.core.language import syntax
from watchword_server.core.language.analysis import (
    absence_effects,
    beyond_gateway,
    exact_values,
    fields_used,
    literal_uses,
    required_values,
    walk,
)
from watchword_server.core.language.gateway import AUTHZEN_PROPERTIES, OWNER_FIELDS
from watchword_server.core.language.parse import Expression
from watchword_server.core.rules import GatewayAction, GatewayFilter, LanguageSettings
from watchword_server.core.rules import GatewayRule as CoreRule
from watchword_server.errors import Problem
from watchword_server.rehearsal.evidence_findings import evidence_findings
from watchword_server.rehearsal.findings import Code, Finding

FAILED: Final = "device_posture.checks.failed"
# What a request or an evaluation may come without; everything else each has.
MAY_BE_ABSENT: Final = frozenset({
    *REPORTABLE, *POSTURE_FIELDS, *OWNER_FIELDS, *AUTHZEN_PROPERTIES, "http.conn.src_ip", "net.src.ip",
    "identity.email", "identity.groups.id", "identity.groups.name", "identity.groups.email",
})  # fmt: skip
_HOSTS: Final = frozenset({"http.request.host", "http.request.domains", "net.sni.host", "net.sni.domains"})
_PATHS: Final = frozenset({"http.request.uri.path", "http.request.uri.path_and_query"})
_PORTS: Final = frozenset({"net.dst.port", "net.src.port"})
_LOWER_CASE: Final = frozenset({*_HOSTS, "identity.email"})


@dataclass(frozen=True, slots=True)
class _Read:
    """A rule of the document with its expressions."""

    index: int
    entry: GatewayRule
    parts: Mapping[Part, Expression]

    def finding(self, code: Code, part: Part, span: syntax.Span, message: str) -> Finding:
        """At a part of one of the expressions."""
        told, excerpt = excerpt_of(self.parts[part].text, span, message)
        return Finding(code, Problem(("gateway_rules", self.index, part), told, excerpt))


def gateway_findings(document: Document, language: LanguageSettings) -> Iterator[Finding]:
    """All of them; of a disabled rule no more than that it is one, where nobody wrote so."""
    for index, entry in enumerate(document.gateway_rules):
        if "enabled" not in entry.model_fields_set:
            message = "the rule is off, for it does not say `enabled`: write `enabled: true`, or `enabled: false` to say so"
            yield Finding(Code.DISABLED_RULE, Problem(("gateway_rules", index), message))
    schedules = {check.name: check.schedule_seconds for check in document.checks}
    rules = [
        _Read(index, entry, _expressions(entry, language))
        for index, entry in enumerate(document.gateway_rules)
        if entry.enabled and entry.filters[0] in SERVED_FILTERS
    ]
    for rule in rules:
        if rule.entry.report_only:
            message = "the rule is evaluated and not enforced: leave `report_only` out when the log shows what you expect"
            yield Finding(Code.REPORT_ONLY, Problem(("gateway_rules", rule.index, "report_only"), message))
        yield from _evidence(rule, schedules)
        if rule.entry.action == "block" and not rule.parts:
            message = "the rule blocks every request that gets to it: write `traffic` if it is meant for some of them"
            yield Finding(Code.BLOCKS_EVERYTHING, Problem(("gateway_rules", rule.index), message))
        for part, expression in rule.parts.items():
            yield from _absence(rule, part, expression)
            yield from _never_true(rule, part, expression)
            for span, what in beyond_gateway(expression):
                message = f"{what} is not in Gateway's documentation: it works here, and Cloudflare may refuse the rule"
                yield rule.finding(Code.BEYOND_GATEWAY, part, span, message)
        yield from _path_without_host(rule)
    yield from _hidden_blocks(rules)


def _expressions(entry: GatewayRule, language: LanguageSettings) -> dict[Part, Expression]:
    rule = CoreRule(
        id="",
        name=entry.name,
        precedence=entry.precedence,
        filter=GatewayFilter(entry.filters[0]),
        action=GatewayAction(entry.action),
        traffic=entry.traffic,
        identity=entry.identity,
        device_posture=entry.device_posture,
    )
    read = {part: parse_part(rule, part, language) for part in PARTS if getattr(rule, part)}
    return {part: expression for part, expression in read.items() if not isinstance(expression.root, syntax.Always)}


def _evidence(rule: _Read, schedules: Mapping[str, int]) -> Iterator[Finding]:
    path = ("gateway_rules", rule.index, "evidence")
    named = {use.value.decode(errors="replace") for one in rule.parts.values() for use in literal_uses(one, POSTURE_FIELDS)}
    asks = any(not POSTURE_FIELDS.isdisjoint(fields_used(expression)) for expression in rule.parts.values())
    yield from evidence_findings(path, rule.entry.evidence, named if named or not asks else schedules.keys(), schedules)


# ---- Absence --------------------------------------------------------------------------------------------------------------


def _absence(rule: _Read, part: Part, expression: Expression) -> Iterator[Finding]:
    """Each condition that falls the wrong way where a field of it is not known: once, with all such fields."""
    blocks = rule.entry.action == "block"
    found: dict[syntax.Span, list[str]] = {}
    for effect in absence_effects(expression, MAY_BE_ABSENT):
        toward = effect.toward
        if blocks and effect.field == FAILED:
            toward = not toward  # to a block, what is not known to pass has failed: the array is longer for it, not shorter
        if toward is not blocks:
            found.setdefault(effect.span, []).append(effect.field)
    for span, fields in found.items():
        code, message = _lifts(fields) if blocks else _opens(fields)
        yield rule.finding(code, part, span, message)
    for node in walk(expression.root):
        if _depends_on_all_posture(node):
            code = Code.ABSENCE_LIFTS_BLOCK if blocks else Code.ABSENCE_OPENS_ALLOW
            message = "what this is depends on which other checks are known: ask for any of them, as `any(…[*] in {…})`"
            yield rule.finding(code, part, node.span, message)


def _depends_on_all_posture(node: syntax.Node) -> bool:
    """A check by its place, or a function of the whole array: neither grows nor shrinks with what is known."""
    match node:
        case syntax.Index(key=int()):
            return _field(node) in POSTURE_FIELDS
        case syntax.Call(arguments=arguments, mapped=False):
            return any(isinstance(one, syntax.Field | syntax.Index) and _field(one) in POSTURE_FIELDS for one in arguments)
        case _:
            return False


def _lifts(fields: Sequence[str]) -> tuple[Code, str]:
    if POSTURE_FIELDS.isdisjoint(fields):
        return Code.ABSENCE_LIFTS_BLOCK, (
            f"where {_listed(fields)} is not known, the rule does not block: "
            "block whatever is not known to be right, as `not(… in {…})`"
        )
    return Code.ABSENCE_LIFTS_BLOCK, (
        "a device that nobody knows is not blocked: block what does not pass, "
        'as `not(any(device_posture.checks.passed[*] in {"…"}))`, '
        'or what fails, as `any(device_posture.checks.failed[*] in {"…"})`'
    )


def _opens(fields: Sequence[str]) -> tuple[Code, str]:
    remedy = 'allow what passes, as `any(device_posture.checks.passed[*] in {"…"})`'
    if FAILED in fields:
        return (
            Code.FAILED_NEGATED,
            f"a check that a device has no result of has not failed, so a device that nobody knows is allowed: {remedy}",
        )
    if not POSTURE_FIELDS.isdisjoint(fields):
        return Code.ABSENCE_OPENS_ALLOW, f"a device that nobody knows is allowed, past every later block: {remedy}"
    return Code.ABSENCE_OPENS_ALLOW, (
        f"where {_listed(fields)} is not known, the rule allows, past every later block: "
        "write what it has to be, as `== …` or `in {…}`, not what it must not be"
    )


def _listed(fields: Sequence[str]) -> str:
    return " and ".join(quoted(field) for field in dict.fromkeys(fields))


# ---- What never matches, and what matches too much ------------------------------------------------------------------------


def _never_true(rule: _Read, part: Part, expression: Expression) -> Iterator[Finding]:
    for node in walk(expression.root):
        if not isinstance(node, syntax.Comparison):
            continue
        name = _field(node.left)
        for value, span in _written(node):
            why = _cannot_be(name, node.operator, value)
            if why is not None:
                so = "this is true of everything" if node.operator == "!=" else "this is true of nothing"
                yield rule.finding(Code.NEVER_TRUE, part, span, f"{why}, so {so}")
    empty = [name for name, values in required_values(expression).items() if not values]
    if empty:
        message = f"nothing can be what this asks of {quoted(empty[0])}: the rule never matches"
        yield rule.finding(Code.NEVER_TRUE, part, expression.root.span, message)


def _field(value: syntax.Value) -> str | None:
    while isinstance(value, syntax.Index):
        value = value.value
    return value.name if isinstance(value, syntax.Field) else None


def _written(node: syntax.Comparison) -> Iterator[tuple[object, syntax.Span]]:
    match node.right:
        case syntax.Literal(value=bytes() | int() as value, span=span):
            yield value, span
        case syntax.SetOf(items=items):
            yield from ((item.value, item.span) for item in items)


def _cannot_be(name: str | None, operator: str, value: object) -> str | None:
    """Why the field never has the value."""
    whole = operator in {"==", "!=", "in"}
    match value:
        case bytes():
            return None if name is None else _text_cannot_be(name, value, whole=whole)
        case int(number):
            first = last = number
        case (int(first), int(last)):
            pass
        case _:
            return None
    return "a port is 1 to 65535" if whole and name in _PORTS and (last < 1 or first > 0xFFFF) else None


def _text_cannot_be(name: str, value: bytes, *, whole: bool) -> str | None:
    shown = value.decode(errors="replace")
    if name in _HOSTS and (why := _no_host(name, shown, whole=whole)):
        return why
    if name in _LOWER_CASE and value != value.lower():
        what = "emails" if name == "identity.email" else "hosts"
        return f"{what} are compared in lower case: write {quoted(shown.lower())}"
    if name == "http.request.method" and value != value.upper():
        return f"methods are in capitals: write {quoted(shown.upper())}"
    if name in _PATHS and whole and not value.startswith((b"/", b"*")):
        return f"a path begins with `/`: write {quoted('/' + shown)}"
    return None


def _no_host(name: str, shown: str, *, whole: bool) -> str | None:
    """Why no host is that, or has that in it."""
    if not shown.isascii():
        try:
            ascii_form = shown.lower().encode("idna").decode()
        except UnicodeError:
            return "hosts are in ASCII, with `xn--` for other letters: write the name that a browser sends"
        return f"hosts are in ASCII, with `xn--` for other letters: write {quoted(ascii_form)}"
    if "*" in shown:
        domain = shown.lower().removeprefix("*.")
        if "*" in domain:
            return f"`*` stands for itself here: write `{name} wildcard …`"
        domains = f"{name.rpartition('.')[0]}.domains"
        return f'`*` stands for itself here: write `any({domains}[*] == "{domain}")`'
    if "://" in shown or "/" in shown:
        host = shown.rpartition("://")[2].partition("/")[0].lower()
        return f"a host has no `/`: write {quoted(host)}, and the path as `http.request.uri.path`"
    head, colon, port = shown.rpartition(":")
    if colon and not shown.startswith("[") and (port.isdigit() or not port):
        return f"a host is without its port: write {quoted(head.lower())}" if head else "a host is without its port: remove it"
    if whole and shown != shown.strip("."):
        return f"a host neither begins nor ends with a dot: write {quoted(shown.strip('.').lower())}"
    return None


def _path_without_host(rule: _Read) -> Iterator[Finding]:
    used = {name: part for part, expression in rule.parts.items() for name in sorted(fields_used(expression))}
    paths = [name for name in used if name in _PATHS]
    if paths and _HOSTS.isdisjoint(used) and "http.request.uri" not in used:
        part = used[paths[0]]
        span = next(node.span for node in walk(rule.parts[part].root) if isinstance(node, syntax.Field) and node.name == paths[0])
        message = "the path is asked for on every host: ask for `http.request.host` as well, if one is meant"
        yield rule.finding(Code.PATH_WITHOUT_HOST, part, span, message)


def _hidden_blocks(rules: Sequence[_Read]) -> Iterator[Finding]:
    """An allow that asks for nothing more than a later block: that block is never reached."""
    blocks = [_Terms.of(rule) for rule in rules if rule.entry.action == "block"]
    by_value: dict[object, list[_Terms]] = {}
    for block in blocks:
        for name, values in block.exact:
            by_value.setdefault((name, min(values, key=repr, default=None)), []).append(block)
    for rule in rules:
        if rule.entry.action != "allow" or rule.entry.report_only or _asks_posture(rule):
            continue
        allow = _Terms.of(rule)
        possible = blocks
        if allow.exact:
            name, values = allow.exact[0]
            possible = [block for value in values for block in by_value.get((name, value), ())]
        hidden = [
            block.rule.entry
            for block in possible
            if block.rule.entry.precedence > rule.entry.precedence
            and block.rule.entry.filters == rule.entry.filters
            and allow.follows_from(block)
        ]
        if hidden:
            first = min(hidden, key=lambda entry: entry.precedence).name
            others = f" (and {len(hidden) - 1} more)" if len(hidden) > 1 else ""
            message = (
                f"{quoted(first)}{others} comes later and never blocks, for whatever it matches is allowed here first: "
                "give this rule a higher precedence number, or conditions"
            )
            yield Finding(Code.ALLOW_HIDES_BLOCK, Problem(("gateway_rules", rule.index), message))


def _asks_posture(rule: _Read) -> bool:
    """Posture is read otherwise by an allow than by a block."""
    return any(not POSTURE_FIELDS.isdisjoint(fields_used(expression)) for expression in rule.parts.values())


@dataclass(frozen=True, slots=True)
class _Terms:
    """A rule and the conditions that its expressions AND. `exact`: of those that say no more, the field and its values."""

    rule: _Read
    terms: tuple[tuple[str, syntax.Boolean], ...]  # as they are written: comparing deep trees takes Python's whole stack
    exact: tuple[tuple[str, frozenset[object]], ...]

    @classmethod
    def of(cls, rule: _Read) -> "_Terms":
        terms = tuple(
            (expression.text[slice(*node.span)], node)
            for expression in rule.parts.values()
            for node in _conjuncts(expression.root)
        )
        return cls(rule, terms, tuple(exact for _, node in terms if (exact := exact_values(node)) is not None))

    def follows_from(self, other: "_Terms") -> bool:
        """Whether whatever the other matches is matched by this one: each of its terms is one of the other's, or wider."""
        written = {text for text, _ in other.terms}
        return all(text in written or _wider(exact_values(node), other) for text, node in self.terms)


def _wider(exact: tuple[str, frozenset[object]] | None, other: _Terms) -> bool:
    return exact is not None and any(name == exact[0] and values <= exact[1] for name, values in other.exact)


def _conjuncts(node: syntax.Boolean) -> Iterator[syntax.Boolean]:
    if isinstance(node, syntax.And):
        for operand in node.operands:
            yield from _conjuncts(operand)
    else:
        yield node

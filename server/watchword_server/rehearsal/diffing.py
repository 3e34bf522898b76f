"""What a change of rules would have changed: recorded decisions made again under the old rules and under the new ones.

A record is a line of the decision log. Its checks and service tokens are known by name, for ids differ from server to file. Which
device it was, and what its caller could assert, is taken as it was recorded.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations, product
from typing import Any, Final

from watchword_server.core.decide import decide
from watchword_server.core.gateway import PARTS, CompiledGatewayRule, index_rules, parse_part
from watchword_server.core.language.analysis import fields_used, list_uses
from watchword_server.core.lists import list_key
from watchword_server.core.model.checks import Check
from watchword_server.core.model.decisions import AccessRequest, Decision, ResolvedDevice
from watchword_server.core.model.names import CheckId, Instant
from watchword_server.core.model.results import DevicePosture, EvidenceLevel, PostureResult
from watchword_server.core.rules import RuleSet
from watchword_server.core.scene import Scene
from watchword_server.core.snapshot import RuleSnapshot
from watchword_server.services.replaying import RecordUnreadableError, replayed

_READ_THE_QUERY: Final = frozenset({"http.request.uri", "http.request.uri.query", "http.request.uri.path_and_query"})
_MAX_TRIED: Final = 4  # things unknown of one request of which every combination is tried
_MAX_SUPPOSED: Final = 64  # snapshots with conditions on the query supposed, kept
_NOTHING: Final[frozenset[object]] = frozenset()
_MAX_LINES: Final = 10_000  # of one group that are told apart


@dataclass(frozen=True, slots=True)
class Why:
    """What made a decision: the outcome, the rule that decided if one did, else the reason."""

    outcome: str
    rule: str | None
    reason: str

    def __str__(self) -> str:
        return self.rule or self.reason


@dataclass(frozen=True, slots=True)
class Changed:
    """A recorded request that the new rules decide otherwise."""

    id: str
    at: str
    line: str
    before: Why
    after: Why

    @property
    def kind(self) -> str:
        """`allow→deny` and the like."""
        return f"{self.before.outcome}→{self.after.outcome}"


@dataclass(slots=True)
class Difference:
    """What came of a whole log."""

    decided: int = 0
    unchanged: int = 0
    skipped: int = 0  # lines that are no decisions
    unreadable: int = 0
    changed: list[Changed] = field(default_factory=list)
    not_told: Counter[str] = field(default_factory=Counter)  # by why

    def groups(self) -> list[tuple[str, Why, Why, Counter[str]]]:
        """The changed ones by kind and rules, the largest group first, each with its lines counted."""
        found: dict[tuple[str, Why, Why], Counter[str]] = {}
        for changed in self.changed:
            lines = found.setdefault((changed.kind, changed.before, changed.after), Counter())
            lines[changed.line if len(lines) < _MAX_LINES else "(others)"] += 1
        ordered = sorted(found.items(), key=lambda item: (item[0][0], -item[1].total(), str(item[0][1])))
        return [(kind, before, after, lines) for (kind, before, after), lines in ordered]


class Differ:
    """Decides recorded requests under two snapshots. `all_changes`: another deciding rule is a change too."""

    def __init__(self, old: RuleSnapshot, new: RuleSnapshot, *, all_changes: bool = False) -> None:
        self.difference = Difference()
        self._all = all_changes
        self._old = _Side(old)
        self._new = _Side(new)
        self._judged_anew = _judged_anew(old.rules, new.rules)

    def take(self, record: object) -> None:
        """One line of the log, as JSON; None where it was not even that."""
        difference = self.difference
        if not isinstance(record, dict):
            difference.unreadable += 1
            return
        if record.get("event") != "decision":
            difference.skipped += 1
            return
        try:
            request, device, now = replayed(record)
        except RecordUnreadableError:
            difference.decided += 1
            difference.not_told["it is in a form that this version does not read"] += 1
            return
        difference.decided += 1
        recorded = _Recorded(record, request, device, now)
        told = [
            (why(self._old.decide(recorded, holding)), why(self._new.decide(recorded, holding, judged)))
            for holding in self._suppositions(recorded)
            for judged in self._judgements(recorded)
        ]
        differs = {self._key(before) != self._key(after) for before, after in told}
        if differs == {False} and not self._tried_everything(recorded):
            difference.not_told["more is unknown of it than can be tried, a few things at a time"] += 1
        elif differs == {False}:
            difference.unchanged += 1
        elif differs == {True}:
            before, after = told[0]
            difference.changed.append(Changed(str(record.get("id")), str(record.get("at")), recorded.line, before, after))
        elif len({self._key(after) for _, after in told[: len(list(self._judgements(recorded)))]}) > 1:
            difference.not_told["a check is new or asks for something else, and nobody knows who would pass it"] += 1
        else:
            difference.not_told["a rule reads the query, which was not logged"] += 1

    def _key(self, found: Why) -> object:
        return found if self._all else found.outcome

    def _tried_everything(self, recorded: "_Recorded") -> bool:
        """Whether each combination of what is unknown was decided; what holds for some of them need not hold for all."""
        checks = len(self._judged_anew) if recorded.device.posture is not None else 0
        return checks <= _MAX_TRIED and (recorded.query_known or len(self._conditions(recorded)) <= _MAX_TRIED)

    def _conditions(self, recorded: "_Recorded") -> list[object]:
        return sorted({*self._old.conditions_on_query(recorded), *self._new.conditions_on_query(recorded)}, key=str)

    def _suppositions(self, recorded: "_Recorded") -> list[frozenset[object]]:
        """Which of the rules' conditions on the query hold: as many ways as there are, if the query is not known."""
        if recorded.query_known:
            return [_NOTHING]
        conditions = self._conditions(recorded)
        if len(conditions) > _MAX_TRIED:
            return [frozenset(), *(frozenset({one}) for one in conditions), frozenset(conditions)]
        return [frozenset(some) for size in range(len(conditions) + 1) for some in combinations(conditions, size)]

    def _judgements(self, recorded: "_Recorded") -> Iterator[Mapping[str, bool]]:
        """What may be judged of the device by checks that are new or ask for something else."""
        names = sorted(self._judged_anew) if recorded.device.posture is not None else []
        together = [(True,) * len(names), (False,) * len(names)]
        for judgement in product((True, False), repeat=len(names)) if len(names) <= _MAX_TRIED else together:
            yield dict(zip(names, judgement, strict=True))


def why(decision: Decision) -> Why:
    """What made the decision."""
    rule = next((rule for rule in reversed(decision.rules) if rule.kind != "application"), None)
    decided = rule is not None and (rule.kind == "policy" or decision.reason == "gateway_block")
    return Why(decision.outcome.value, f"{rule.kind} {rule.name}" if rule is not None and decided else None, decision.reason)


# ---- One line -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Recorded:
    """A record read, with what rules know by name."""

    record: Mapping[str, Any]
    request: AccessRequest
    device: ResolvedDevice
    now: Instant

    @property
    def query_known(self) -> bool:
        return self.record["request"].get("query_logged", True) is not False

    @cached_property
    def results(self) -> dict[str, PostureResult]:
        """By the name of the check; one that had no name any more belongs to no rule."""
        posture = self.device.posture
        names = {told.get("check_id"): told.get("check_name") for told in self.record["device"].get("results", ())}
        found = {} if posture is None else posture.results
        return {names[result.check_id]: result for result in found.values() if names.get(result.check_id)}

    @property
    def service_token(self) -> str | None:
        token = self.record["request"].get("service_token")
        return None if token is None else token.get("name")

    @property
    def line(self) -> str:
        request = self.request
        port = "" if request.port is None else f":{request.port}"
        user = "-" if request.identity is None else request.identity.email
        return f"{request.method} {request.scheme}://{request.host}{port}{request.path}  {user}"


class _Side:
    """One of the two rule sets."""

    def __init__(self, snapshot: RuleSnapshot) -> None:
        self._snapshot = snapshot
        self._checks = {check.name: check for check in snapshot.rules.checks.values()}
        self._tokens = {token.name: token.id for token in snapshot.rules.service_tokens.values()}
        rules = [rule for index in snapshot.gateway for rule in index.rules]
        self._conditions = {rule.rule.id: _condition(rule, snapshot.rules) for rule in rules if _reads_query(rule)}
        self._supposed: dict[frozenset[object], RuleSnapshot] = {}

    def decide(self, recorded: _Recorded, holding: frozenset[object], judgements: Mapping[str, bool] | None = None) -> Decision:
        """The decision if, of the conditions on an unknown query, just those hold; `judgements` stand in for results, by name."""
        request, device = self._inputs(recorded, judgements or {})
        snapshot = self._snapshot if recorded.query_known or not self._conditions else self._supposing(holding)
        return decide(request, device, snapshot, now=recorded.now)

    def conditions_on_query(self, recorded: _Recorded) -> Iterator[object]:
        """The conditions on the query of the rules that could match the request."""
        if not self._conditions:
            return
        request, device = self._inputs(recorded, {})
        scene = Scene(request, device, self._snapshot.rules.checks, recorded.now, request.path.encode())
        for index in self._supposing(frozenset()).gateway:
            yield from (self._conditions[rule.rule.id] for rule in index.candidates(scene) if rule.rule.id in self._conditions)

    def _supposing(self, holding: frozenset[object]) -> RuleSnapshot:
        found = self._supposed.get(holding)
        if found is None:
            gateway = tuple(
                index_rules(self._as_supposed(rule, holding) for rule in index.rules) for index in self._snapshot.gateway
            )
            if len(self._supposed) >= _MAX_SUPPOSED:
                self._supposed.clear()
            found = self._supposed[holding] = replace(self._snapshot, gateway=gateway)
        return found

    def _as_supposed(self, rule: CompiledGatewayRule, holding: frozenset[object]) -> CompiledGatewayRule:
        condition = self._conditions.get(rule.rule.id)
        if condition is None:
            return rule
        applies = condition in holding
        found_by = None if rule.found_by is not None and rule.found_by[0] in _READ_THE_QUERY else rule.found_by
        return replace(rule, applies=lambda _: applies, found_by=found_by)

    def _inputs(self, recorded: _Recorded, judgements: Mapping[str, bool]) -> tuple[AccessRequest, ResolvedDevice]:
        token = recorded.service_token
        request = recorded.request
        if token is not None:
            token_id = self._tokens.get(token)
            request = replace(request, service_token_id=token_id, service_token_refused=token_id is None)
        posture = recorded.device.posture
        if posture is None:
            return request, recorded.device
        results: dict[CheckId, PostureResult] = {}
        for name, check in self._checks.items():
            if name in judgements:
                results[check.id] = _judged(check, passed=judgements[name], now=recorded.now)
            elif name in recorded.results:
                results[check.id] = _under(check, recorded.results[name])
        return request, replace(recorded.device, posture=DevicePosture(posture.device, results, posture.revision))


def _judged(check: Check, *, passed: bool, now: Instant) -> PostureResult:
    """What a judgement of now would be."""
    reason = "passed" if passed else "certificate_not_found"
    return PostureResult(check.id, check.revision, passed, reason, EvidenceLevel.PROVEN, now, now, None)


def _under(check: Check, result: PostureResult) -> PostureResult:
    """The result as this check would have it; one that had expired by either reckoning has."""
    lasts = check.expiration_seconds
    ends: Sequence[Instant | None] = (result.expires_at, None if lasts is None else Instant(result.evidence_at + lasts))
    known = [end for end in ends if end is not None]
    return replace(result, check_id=check.id, check_revision=check.revision, expires_at=Instant(min(known)) if known else None)


def _judged_anew(old: RuleSet, new: RuleSet) -> frozenset[str]:
    """The names of checks that ask for something else than before."""
    before = {check.name: _asks(check, old) for check in old.checks.values()}
    return frozenset(check.name for check in new.checks.values() if before.get(check.name) != _asks(check, new))


def _asks(check: Check, rules: RuleSet) -> object:
    certificate = rules.certificates.get(check.config.certificate_id)
    return (
        check.kind,
        check.platforms,
        replace(check.config, certificate_id=check.config.certificate_id.__class__("")),
        None if certificate is None else certificate.der,
    )


def _condition(rule: CompiledGatewayRule, rules: RuleSet) -> object:
    """What the rule asks, the same in both rule sets where it says the same: ids follow from names."""
    own = rule.rule
    texts = (own.filter, own.action, own.traffic, own.identity, own.device_posture, own.demand)
    used = {use.key for part in PARTS if getattr(own, part) for use in list_uses(parse_part(own, part, rule.language))}
    return (*texts, tuple((one.id, one.values) for one in rules.lists.values() if list_key(one.id) in used))


def _reads_query(rule: CompiledGatewayRule) -> bool:
    fields: Iterable[str] = (
        name for part in PARTS if getattr(rule.rule, part) for name in fields_used(parse_part(rule.rule, part, rule.language))
    )
    return not _READ_THE_QUERY.isdisjoint(fields)

"""Changing the rules: validate all, commit, judge again what depends on them, swap, tell the agents. In force when answered."""

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from watchword_server import events
from watchword_server.configuration.build import build_rule_set
from watchword_server.configuration.document.sections import validate_document
from watchword_server.configuration.plan import plan_changes
from watchword_server.core.model import CheckId
from watchword_server.core.rules import RuleSnapshot, compile_rules
from watchword_server.errors import ServiceError
from watchword_server.ports import Clock, RuleStore, StoredObject
from watchword_server.services.connections import CheckSetChanged, Connections
from watchword_server.services.rejudging import Rejudging
from watchword_server.services.rules_in_force import RulesInForce

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying a document did: the rules revision now in force, and a line for each entry."""

    revision: int
    summary: tuple[str, ...]
    changed: bool


@dataclass(slots=True)
class Rules:
    """Loads and changes the rules; one change after the other."""

    store: RuleStore
    in_force: RulesInForce
    rejudging: Rejudging
    connections: Connections
    clock: Clock
    attest_devices_per_second: float
    on_swap: Callable[[RuleSnapshot], None] = lambda _: None
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def load(self) -> None:
        """Puts the stored rules in force, and judges what a change left unjudged that was cut off after its commit."""
        async with self._one_at_a_time:
            objects, revision = await self.store.load_rules()
            await self._take_effect(objects, revision)

    async def apply(self, document: Mapping[str, object], *, prune: bool, dry_run: bool) -> Applied:
        """Makes what the document says true; with `prune`, nothing else.

        Raises `ConfigurationError` with every problem: then nothing has changed. Raises `ConflictError`, `StoreUnavailableError`.
        """
        parsed = validate_document(document)
        async with self._one_at_a_time:
            existing, revision = await self.store.load_rules()
            if revision != self.in_force.current.rules.revision:  # committed before, by a change that was not heard of since
                await self._take_effect(existing, revision)
            plan = await asyncio.to_thread(plan_changes, parsed, existing, new_id=lambda: str(uuid.uuid4()), prune=prune)
            await asyncio.to_thread(_compile, plan.result, revision)  # what cannot be compiled must not be committed
            if dry_run or plan.changes_nothing:
                return Applied(revision, plan.summary, changed=False)
            await self.store.commit_rules(plan.change, expected_revision=revision, now=self.clock.now())
            objects, revision = await self.store.load_rules()
            await self._take_effect(objects, revision)
            return Applied(revision, plan.summary, changed=True)

    async def _take_effect(self, objects: Sequence[StoredObject], revision: int) -> None:
        snapshot = await asyncio.to_thread(_compile, objects, revision)
        changed = _changed_checks(self.in_force.current, snapshot)
        try:
            await self.rejudging.checks(changed, snapshot)
        except ServiceError:
            # Committed rules hold whatever else fails; a result judged under the old ones is no result.
            _log.exception(events.SETTLE_FAILED, checks=len(changed))
        # No await between the last commit above and this line: no decision sees new results under old rules.
        self.in_force.current = snapshot
        self.on_swap(snapshot)
        _log.info(events.RULES_CHANGED, revision=revision, checks_changed=len(changed))
        self.connections.notify_all(CheckSetChanged, devices_per_second=self.attest_devices_per_second)
        await self.rejudging.checks(changed, snapshot)  # evidence that arrived meanwhile was judged under the old rules


def _compile(objects: Sequence[StoredObject], revision: int) -> RuleSnapshot:
    return compile_rules(build_rule_set(objects, revision))


def _changed_checks(before: RuleSnapshot, after: RuleSnapshot) -> frozenset[CheckId]:
    known = before.rules.checks
    return frozenset(
        check_id
        for check_id, check in after.rules.checks.items()
        if check_id not in known or known[check_id].revision != check.revision
    )

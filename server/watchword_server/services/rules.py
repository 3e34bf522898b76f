"""Changing the rules: validate all, commit, judge again what depends on them, swap, tell the agents. In force when answered."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from watchword_server import events
from watchword_server.configuration.book import EMPTY_BOOK, RuleBook
from watchword_server.configuration.consistency import page_of, read_objects
from watchword_server.configuration.document.base import Section, did_you_mean, quoted
from watchword_server.configuration.document.expressions import DEFAULT_LANGUAGE
from watchword_server.configuration.document.sections import Document, validate_document
from watchword_server.configuration.exporting import exported
from watchword_server.configuration.plan import Plan, plan_changes, plan_entry, plan_removal
from watchword_server.configuration.rollback import plan_rollback
from watchword_server.core.model.names import CheckId
from watchword_server.core.rules import LanguageSettings
from watchword_server.core.snapshot import RuleSnapshot, compile_rules, parts_of
from watchword_server.errors import ConfigurationError, ConflictError, NotFoundError, ServiceError
from watchword_server.ports.machine import Clock
from watchword_server.ports.rules import RulesChange, RuleStore, StoredObject
from watchword_server.services.collecting import release, uncollected
from watchword_server.services.connections import CheckSetChanged, Connections
from watchword_server.services.rejudging import Rejudging
from watchword_server.services.rules_in_force import RulesInForce

_log = structlog.get_logger(__name__)

_MANY: Final = 500  # entries that are worth keeping the garbage collector from


class PlanOutdatedError(ConflictError):
    """The rules are others than those that a plan was made for."""

    code = "plan_outdated"

    def __init__(self, planned: int, now: int) -> None:
        super().__init__(f"the rules were changed meanwhile, from revision {planned} to {now}: look at the plan again")


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying a document did, or with `dry_run` would do: the rules revision now in force, and the plan."""

    revision: int
    plan: Plan
    changed: bool


@dataclass(slots=True)
class Rules:
    """Loads and changes the rules; one change after the other. Compiling runs beside the event loop."""

    store: RuleStore
    in_force: RulesInForce
    rejudging: Rejudging
    connections: Connections
    clock: Clock
    attest_devices_per_second: float
    language: LanguageSettings = DEFAULT_LANGUAGE
    before_swap: Callable[[RuleSnapshot], Awaitable[None]] | None = None
    on_swap: Callable[[RuleSnapshot], None] = lambda _: None
    _book: RuleBook = EMPTY_BOOK  # what is in force
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def disabled(self) -> int:
        """How many Gateway rules are kept and not asked."""
        return sum(page.value is None for page in self._book.pages[Section.GATEWAY_RULES].values())

    async def load(self) -> None:
        """Puts the stored rules in force, and judges what a change left unjudged that was cut off after its commit."""
        async with self._one_at_a_time:
            await self._load()

    async def apply(
        self, document: Mapping[str, object], *, prune: bool, dry_run: bool, expected_revision: int | None = None
    ) -> Applied:
        """Makes what the document says true; with `prune`, nothing else; with `expected_revision`, only if that is in force.

        Raises `ConfigurationError` with every problem: then nothing has changed. Raises `PlanOutdatedError`, `ConflictError`,
        `StoreUnavailableError`.
        """
        with uncollected(many=_entries(document) >= _MANY):
            parsed = await asyncio.to_thread(validate_document, document, language=self.language)
            async with self._one_at_a_time:
                await self._catch_up()
                if expected_revision is not None and expected_revision != self._book.rules.revision:
                    raise PlanOutdatedError(expected_revision, self._book.rules.revision)
                return await self._apply(parsed, prune=prune, dry_run=dry_run)

    async def _apply(self, parsed: Document, *, prune: bool, dry_run: bool) -> Applied:
        plan = await asyncio.to_thread(plan_changes, parsed, self._book, new_id=lambda: str(uuid.uuid4()), prune=prune)
        if plan.changes_nothing:
            return Applied(self._book.rules.revision, plan, changed=False)
        snapshot = await self._compiled(plan.book)  # what cannot be compiled must not be committed
        if dry_run:
            return Applied(self._book.rules.revision, plan, changed=False)
        await self._commit(plan.change, plan.book, snapshot)
        return Applied(self._book.rules.revision, plan, changed=True)

    async def document(self) -> tuple[dict[str, object], int]:
        """What is stored, as a document, and its revision."""
        async with self._one_at_a_time:
            await self._catch_up()
            book = self._book
        return await asyncio.to_thread(exported, book), book.rules.revision

    async def roll_back(self, number: int, *, dry_run: bool) -> Applied:
        """Makes the rules what they were as of a revision, but for secrets, which stay those of now.

        Raises `NotFoundError` for a revision that is not kept; `ConfigurationError` where it does not fit any more, and then
        nothing has changed; `ConflictError`, `StoreUnavailableError`.
        """
        async with self._one_at_a_time:
            await self._catch_up()
            states = await self.store.states_at(number)
            plan = await asyncio.to_thread(plan_rollback, states, self._book, to=number)
            if plan.changes_nothing:
                return Applied(self._book.rules.revision, plan, changed=False)
            snapshot = await self._compiled(plan.book)
            if dry_run:
                return Applied(self._book.rules.revision, plan, changed=False)
            await self._commit(plan.change, plan.book, snapshot)
            return Applied(self._book.rules.revision, plan, changed=True)

    async def amend(self, section: Section, name_or_id: str, change: Callable[[StoredObject], StoredObject]) -> StoredObject:
        """Changes one entry by what `change` makes of it; in force when this returns.

        Raises `ConfigurationError`, `NotFoundError`, `ConflictError`, `StoreUnavailableError`.
        """
        async with self._one_at_a_time:
            await self._catch_up()
            after = change(self._entry(section, name_or_id))
            [placed] = read_objects([after], language=self.language)
            book, problems = await asyncio.to_thread(self._book.changed, [page_of(placed)])
            if problems:
                raise ConfigurationError(problems)
            await self._commit(RulesChange((after,), ()), book, await self._compiled(book))
            return after

    async def write(
        self, section: Section, entry: Callable[[RuleBook], tuple[str, Mapping[str, object]]], *, entry_id: str | None
    ) -> StoredObject:
        """Puts one entry in the place of that of the id, or adds it; in force when this returns.

        `entry` makes its name and body out of what there is. Raises `ConfigurationError`: then nothing has changed;
        `ConflictError` where the name is another's, `NotFoundError`, `StoreUnavailableError`.
        """
        async with self._one_at_a_time:
            await self._catch_up()
            plan = await asyncio.to_thread(self._planned_entry, section, entry, entry_id)
            written = plan.entries[0].id
            if not plan.changes_nothing:
                await self._commit(plan.change, plan.book, await self._compiled(plan.book))
            return self._book.pages[section][written].stored

    async def remove(self, section: Section, entry_id: str) -> StoredObject:
        """Removes one entry, which is returned.

        Raises `NotFoundError`, `ConflictError` where it is in use, `StoreUnavailableError`.
        """
        async with self._one_at_a_time:
            await self._catch_up()
            plan = await asyncio.to_thread(plan_removal, section, entry_id, self._book)
            removed = self._book.pages[section][entry_id].stored
            await self._commit(plan.change, plan.book, await self._compiled(plan.book))
            return removed

    def entries(self, section: Section) -> list[StoredObject]:
        """The entries in force, in no particular order."""
        return [page.stored for page in self._book.pages[section].values()]

    def entry(self, section: Section, entry_id: str) -> StoredObject | None:
        """One of them."""
        page = self._book.page(section, entry_id)
        return None if page is None else page.stored

    def naming(self, section: Section, entry_id: str) -> list[tuple[Section, StoredObject]]:
        """The entries that name this one."""
        return [
            (page.section, page.stored)
            for pages in self._book.pages.values()
            for page in pages.values()
            if any((reference.section, reference.value) == (section, entry_id) for reference in page.references)
        ]

    def _planned_entry(
        self, section: Section, entry: Callable[[RuleBook], tuple[str, Mapping[str, object]]], entry_id: str | None
    ) -> Plan:
        name, body = entry(self._book)
        return plan_entry(section, name, body, self._book, entry_id=entry_id, new_id=lambda: str(uuid.uuid4()))

    async def _load(self) -> None:
        with uncollected(many=True):
            objects, revision = await self.store.load_rules()
            book = await asyncio.to_thread(RuleBook.read, objects, revision, self.language)
            snapshot = await self._compiled(book)
            await self._put_in_force(book, snapshot)

    async def _catch_up(self) -> None:
        """Reads what was committed by a change that was not heard of since."""
        if await self.store.rules_revision() != self.in_force.current.rules.revision:
            await self._load()

    async def _compiled(self, book: RuleBook) -> RuleSnapshot:
        return await asyncio.to_thread(compile_rules, book.rules, self.in_force.current)

    async def _commit(self, change: RulesChange, book: RuleBook, snapshot: RuleSnapshot) -> None:
        now = self.clock.now()
        before = self._book
        revision = await self.store.commit_rules(change, expected_revision=before.rules.revision, now=now)
        written = [(stored.kind, stored.id) for stored in change.upserts]
        book = await asyncio.to_thread(book.committed, written, before, revision=revision, now=now)
        del before
        # Only revisions are other than when it was compiled; of what is compiled nothing rests on them.
        await self._put_in_force(book, replace(snapshot, rules=book.rules))

    async def _put_in_force(self, book: RuleBook, snapshot: RuleSnapshot) -> None:
        let_go: list[RuleBook | RuleSnapshot] = [self._book]
        self._book = book
        await self._take_effect(snapshot)
        let_go += self.in_force.retired()
        await asyncio.to_thread(_release, let_go)

    def _entry(self, section: Section, name_or_id: str) -> StoredObject:
        """The entry of this id or, where there is none, of this name."""
        found = self._book.page(section, name_or_id) or next(iter(self._book.named(section, name_or_id)), None)
        if found is not None:
            return found.stored
        names = [page.stored.name for page in self._book.pages[section].values()]
        hint = did_you_mean(name_or_id, names) if names else f"there is none at all: add it under `{section}` and apply"
        raise NotFoundError(f"{quoted(name_or_id)} is no {section.singular}: {hint}")

    async def _take_effect(self, snapshot: RuleSnapshot) -> None:
        changed = _changed_checks(self.in_force.current, snapshot)
        try:
            if self.before_swap is not None:
                await self.before_swap(snapshot)
            await self.rejudging.checks(changed, snapshot)
        except ServiceError:
            # Committed rules hold whatever else fails; a result judged under the old ones is no result.
            _log.exception(events.SETTLE_FAILED, checks=len(changed))
        # No await between the last commit above and this line: no decision sees new results under old rules.
        self.in_force.current = snapshot
        self.on_swap(snapshot)
        _log.info(events.RULES_CHANGED, revision=snapshot.rules.revision, checks_changed=len(changed))
        self.connections.notify_all(CheckSetChanged, devices_per_second=self.attest_devices_per_second)
        await self.rejudging.checks(changed, snapshot)  # evidence that arrived meanwhile was judged under the old rules


def _changed_checks(before: RuleSnapshot, after: RuleSnapshot) -> frozenset[CheckId]:
    known = before.rules.checks
    return frozenset(
        check_id
        for check_id, check in after.rules.checks.items()
        if check_id not in known or known[check_id].revision != check.revision
    )


def _entries(document: Mapping[str, object]) -> int:
    return sum(len(entries) for entries in document.values() if isinstance(entries, list))


def _release(let_go: list[RuleBook | RuleSnapshot]) -> None:
    """Takes apart what nobody else has any more, piece by piece."""
    while let_go:
        whole = let_go.pop()
        pieces = parts_of(whole) if isinstance(whole, RuleSnapshot) else whole.all_pages()
        del whole
        release(pieces)

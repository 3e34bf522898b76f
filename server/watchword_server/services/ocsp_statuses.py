"""What responders said: part of the view in force, and a revocation outlives a restart.

A revocation holds in memory first, then it is committed, then the stored results it concerns are judged again. A strictly newer
good answer takes it back only after its row is gone. What the store does not take is tried again until it does.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import structlog

from watchword_server import events
from watchword_server.core.certificates.revocation import IssuerKey, IssuerRevocation, OcspStatus, RevocationView
from watchword_server.core.model.names import CertificateId
from watchword_server.core.snapshot import RuleSnapshot
from watchword_server.ports.machine import Clock
from watchword_server.ports.revocation import RevocationStore, StoredOcspRevocation
from watchword_server.services.revocation_effects import RevocationEffects, until_settled
from watchword_server.services.revocation_in_force import RevocationInForce

_log = structlog.get_logger(__name__)

_MAX_REVOKED: Final = 100_000
_MAX_FORGETTABLE: Final = 10_000


class About(NamedTuple):
    """A certificate, by who issued it and its number."""

    issuer: IssuerKey
    serial_number: int


@dataclass(slots=True)
class OcspStatuses:
    """Runs in the event loop.

    Of good certificates the latest 10,000 are remembered. A revoked one is kept until it has expired, a newer answer is good, or
    every entry that learned of it is gone; never to make room. Beyond 100,000, a revocation counts like any other but is
    remembered only as a good answer is, and an error in the log says so.
    """

    store: RevocationStore
    in_force: RevocationInForce
    effects: RevocationEffects
    clock: Clock
    retry_seconds: float = 1.0  # until the store is asked again; then twice as long
    max_revoked: int = _MAX_REVOKED
    _revoked: dict[About, dict[CertificateId, StoredOcspRevocation]] = field(default_factory=dict)
    _forgettable: OrderedDict[About, None] = field(default_factory=OrderedDict)
    _settling: dict[About, "asyncio.Task[None]"] = field(default_factory=dict)
    _loaded: frozenset[CertificateId] = frozenset()

    def known(self, about: About, certificate_id: CertificateId) -> OcspStatus | None:
        """The newest status; None also for a revocation that is not on record for this CA's entry."""
        status = self._status(about)
        if status is not None and status.revoked is not None and certificate_id not in self._revoked.get(about, ()):
            return None
        return status

    # ---- Rules come and go ----------------------------------------------------------------------------------------------

    async def prepare(self, snapshot: RuleSnapshot) -> None:
        """Before rules take effect: what is stored for their CAs, and no others, is in force. Raises `StoreUnavailableError`."""
        wanted = frozenset(snapshot.rules.certificates)
        new = wanted - self._loaded
        if new:
            now = self.clock.now()
            stored = [
                each for each in await self.store.ocsp_revocations() if each.certificate_id in new and each.not_after >= now
            ]
            for each in stored:
                self._hold(each)
            self._put({about: self._newest(about) for about in map(_about, stored)})
        if self._loaded - wanted:
            self._let_go(lambda each: each.certificate_id in wanted)
        self._loaded = wanted

    async def retire(self, certificate_ids: frozenset[CertificateId]) -> None:
        """Forgets what is stored for CAs other than these, and of expired certificates. Raises `StoreUnavailableError`."""
        now = self.clock.now()
        await self.store.retire_ocsp_revocations(certificate_ids, now=now)
        self._let_go(lambda each: each.not_after >= now)

    async def stop(self) -> None:
        """Settles nothing any more."""
        for about in tuple(self._settling):
            await self._end_settling(about)

    # ---- An answer arrives ----------------------------------------------------------------------------------------------

    async def take(self, learned: StoredOcspRevocation) -> None:
        """A verified answer, good or revoked. An old one is as well signed as the newest, and changes nothing."""
        about, status = _about(learned), learned.status
        before = self._status(about)
        was_revoked = before is not None and before.revoked is not None
        if before is not None and status.this_update < before.this_update and not (was_revoked and status.revoked is not None):
            return
        if status.revoked is None:
            if not was_revoked:
                self._remember(about, status)
            elif before is not None and status.this_update > before.this_update:
                await self._settle(about, lambda: self._take_back(about, status))
            return
        settled = await self._end_settling(about)
        if about not in self._revoked and self._is_full():
            self._remember(about, status)
            _log.error(events.OCSP_REVOCATIONS_FULL, kept=len(self._revoked))
        else:
            self._forgettable.pop(about, None)
            learned = self._hold(learned)
            self._put({about: self._newest(about)})
        if not was_revoked:
            self.in_force.edition += 1
        judge = not was_revoked or not settled
        await self._settle(about, lambda: self._revoke(learned, judge=judge))

    async def _revoke(self, learned: StoredOcspRevocation, *, judge: bool) -> None:
        if learned.certificate_id in self._revoked.get(_about(learned), ()):
            await self.store.commit_ocsp_revocation(learned, now=self.clock.now())
        if judge:
            await self.effects.of_certificate(learned.serial_number)

    async def _take_back(self, about: About, good: OcspStatus) -> None:
        await self.store.remove_ocsp_revocations(about.issuer, about.serial_number, before=good.this_update, now=self.clock.now())
        self._revoked.pop(about, None)
        self._remember(about, good)
        self.in_force.edition += 1
        await self.effects.of_certificate(about.serial_number)

    async def _settle(self, about: About, attempt: Callable[[], Awaitable[None]]) -> None:
        """Returns after the first attempt; the next ones go on by themselves."""
        await self._end_settling(about)
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(until_settled(attempt, first, retry_seconds=self.retry_seconds))
        self._settling[about] = task
        task.add_done_callback(lambda done: self._settling.pop(about) if self._settling.get(about) is done else None)
        await asyncio.wait([first, task], return_when=asyncio.FIRST_COMPLETED)
        if first.done():
            first.exception()  # told in the log; who waits goes on

    async def _end_settling(self, about: About) -> bool:
        """Whether there was nothing to end."""
        task = self._settling.pop(about, None)
        if task is None:
            return True
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return False

    # ---- What is held ---------------------------------------------------------------------------------------------------

    def _status(self, about: About) -> OcspStatus | None:
        known = self.in_force.current.issuers.get(about.issuer)
        return None if known is None else known.responses.get(about.serial_number)

    def _is_full(self) -> bool:
        if len(self._revoked) >= self.max_revoked:
            now = self.clock.now()
            self._let_go(lambda each: each.not_after >= now)
        return len(self._revoked) >= self.max_revoked

    def _hold(self, learned: StoredOcspRevocation) -> StoredOcspRevocation:
        """The newest of its entry, which is kept."""
        entries = self._revoked.setdefault(_about(learned), {})
        kept = entries.get(learned.certificate_id)
        if kept is None or kept.status.this_update <= learned.status.this_update:
            kept = entries[learned.certificate_id] = learned
        return kept

    def _newest(self, about: About) -> OcspStatus:
        return max((each.status for each in self._revoked[about].values()), key=lambda status: status.this_update)

    def _let_go(self, is_kept: Callable[[StoredOcspRevocation], bool]) -> None:
        changed: dict[About, OcspStatus | None] = {}
        for about, entries in tuple(self._revoked.items()):
            kept = {id_: each for id_, each in entries.items() if is_kept(each)}
            if len(kept) == len(entries):
                continue
            if kept:
                self._revoked[about] = kept
            else:
                del self._revoked[about]
            changed[about] = self._newest(about) if kept else None
        if changed:
            self._put(changed)
            self.in_force.edition += 1

    def _remember(self, about: About, status: OcspStatus) -> None:
        changes: dict[About, OcspStatus | None] = {about: status}
        self._forgettable[about] = None
        self._forgettable.move_to_end(about)
        if len(self._forgettable) > _MAX_FORGETTABLE:
            changes[self._forgettable.popitem(last=False)[0]] = None
        self._put(changes)

    def _put(self, changes: Mapping[About, OcspStatus | None]) -> None:
        view = self.in_force.current
        changed: dict[IssuerKey, dict[int, OcspStatus]] = {}
        for about, status in changes.items():
            if about.issuer not in changed:
                changed[about.issuer] = dict(view.issuers.get(about.issuer, IssuerRevocation()).responses)
            if status is None:
                changed[about.issuer].pop(about.serial_number, None)
            else:
                changed[about.issuer][about.serial_number] = status
        issuers = dict(view.issuers)
        for issuer, responses in changed.items():
            issuers[issuer] = replace(issuers.get(issuer, IssuerRevocation()), responses=responses)
        self.in_force.current = RevocationView(view.generation + 1, issuers)


def _about(learned: StoredOcspRevocation) -> About:
    return About(learned.issuer, learned.serial_number)

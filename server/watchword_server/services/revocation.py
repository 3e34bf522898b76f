"""The revocation lists in force: kept over restarts, replaced by newer ones, and what that means for who passes.

What a new list revokes takes effect in memory first, then in the stored results it concerns; then the list is committed; then
what it takes back and what it vouches for takes effect, and it is acknowledged. What the store does not take is tried again
until it does. A list that cannot be read, or that is older than the one it would replace, changes nothing.
"""

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from watchword_server import events
from watchword_server.core.certificates.revocation import (
    IssuerKey,
    IssuerRevocation,
    RevocationList,
    RevocationView,
)
from watchword_server.core.model.checks import SigningCertificate
from watchword_server.core.model.names import CertificateId
from watchword_server.core.snapshot import RuleSnapshot
from watchword_server.errors import ConflictError, NotFoundError, RevocationReadError
from watchword_server.ports.machine import Clock
from watchword_server.ports.revocation import (
    ListSource,
    ReadList,
    ReadRequest,
    RevocationReading,
    RevocationStore,
    StoredRevocationList,
)
from watchword_server.services.connections import Connections
from watchword_server.services.ocsp_statuses import OcspStatuses
from watchword_server.services.rejudging import Rejudging
from watchword_server.services.revocation_effects import RevocationEffects, until_settled
from watchword_server.services.revocation_files import new_file, passing_file, pieces_of, remove_passing_files, save, writing
from watchword_server.services.revocation_in_force import RevocationInForce
from watchword_server.services.revocation_places import (
    KeptList,
    Slot,
    is_wanted,
    only,
    place_of_upload,
    refuse_displacing,
    refuse_older,
    signers_of,
    slot_of,
)
from watchword_server.services.rules_in_force import RulesInForce

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Revocation:
    """Runs in the event loop; lists are read elsewhere. `inbox` is a directory for what is on its way to be read."""

    store: RevocationStore
    rules: RulesInForce
    in_force: RevocationInForce
    rejudging: Rejudging
    reading: RevocationReading
    statuses: OcspStatuses
    clock: Clock
    inbox: Path
    max_list_bytes: int
    fetch_timeout_seconds: float
    connections: Connections
    attest_devices_per_second: float
    retry_seconds: float = 1.0  # until the store is asked again; then twice as long
    effects: RevocationEffects = field(init=False)
    _lists: dict[Slot, KeptList] = field(default_factory=dict)  # the newest
    _stored: dict[Slot, KeptList] = field(default_factory=dict)  # the one that outlives a restart
    _settling: dict[Slot, "asyncio.Task[None]"] = field(default_factory=dict)
    _in_hand: Counter[bytes] = field(default_factory=Counter)  # read, and not in force or refused yet
    _began: bool = False
    _signers: dict[CertificateId, tuple[bytes, ...]] = field(default_factory=dict)
    _locks: defaultdict[CertificateId, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

    def __post_init__(self) -> None:
        self.effects = RevocationEffects(
            self.rules, self.in_force, self.rejudging, self.connections, self.attest_devices_per_second
        )

    # ---- What there is --------------------------------------------------------------------------------------------------

    def lists(self, certificate_id: CertificateId) -> Sequence[KeptList]:
        """The lists in force for an uploaded CA."""
        return [kept for slot, kept in self._lists.items() if slot.certificate_id == certificate_id]

    def list_at(self, slot: Slot) -> KeptList | None:
        """The list in force from this place."""
        return self._lists.get(slot)

    def certificate(self, name_or_id: str) -> SigningCertificate:
        """An uploaded CA by its name or id. Raises `NotFoundError`."""
        certificates = self.rules.current.rules.certificates
        found = certificates.get(CertificateId(name_or_id))
        found = found or next((each for each in certificates.values() if each.name == name_or_id), None)
        if found is None:
            raise NotFoundError(f"no certificate `{name_or_id}`: `watchword certificate list` shows them")
        return found

    # ---- Rules come and go ----------------------------------------------------------------------------------------------

    async def prepare(self, snapshot: RuleSnapshot) -> None:
        """Before rules take effect: their CAs' stored lists are in force, and those of CAs and places that are gone are not.

        A list that cannot be read any more is told and left out. Raises `StoreUnavailableError`.
        """
        if not self._began:  # what a server that was killed left behind
            self._began = True
            remove_passing_files(self.inbox)
            await self.reading.keep_only(())
        await self.statuses.prepare(snapshot)
        certificates = snapshot.rules.certificates
        changed = [each for each in certificates.values() if self._signers.get(each.id) != signers_of(each)]
        gone = [slot for slot in self._lists if not is_wanted(slot, certificates.get(slot.certificate_id))]
        if not changed and not gone:
            return
        stored = await self.store.revocation_lists() if changed else ()
        for signing in changed:
            await self._load(signing, stored)
            self._signers[signing.id] = signers_of(signing)
        for slot in gone:
            self._lists.pop(slot, None)
            self._stored.pop(slot, None)
            await self._end_settling(slot)
        for certificate_id in self._signers.keys() - certificates.keys():
            del self._signers[certificate_id]
        self._swap()

    async def resume(self) -> None:
        """At the start: no pass is left about a certificate that a stored list revokes. Raises `StoreUnavailableError`."""
        await self.prepare(self.rules.current)  # if the store was away when the rules were put in force
        await self.effects.at_start()

    async def stop(self) -> None:
        """Settles nothing any more."""
        for slot in tuple(self._settling):
            await self._end_settling(slot)

    async def retire(self) -> None:
        """Forgets the stored lists of CAs and places that are not in the rules in force. Raises `StoreUnavailableError`."""
        certificates = self.rules.current.rules.certificates
        await self.statuses.retire(frozenset(certificates))
        retired = [
            each
            for each in await self.store.revocation_lists()
            if not is_wanted(slot_of(each), certificates.get(each.certificate_id))
        ]
        if retired:
            await self.store.remove_revocation_lists(retired, now=self.clock.now())
        await self._tidy()

    async def _load(self, signing: SigningCertificate, stored: Sequence[StoredRevocationList]) -> None:
        kept = [each for each in stored if each.certificate_id == signing.id and is_wanted(slot_of(each), signing)]
        before = {slot: each for slot, each in self._lists.items() if slot.certificate_id == signing.id}
        with contextlib.ExitStack() as held:
            found = {slot_of(each): await self._loaded(each, signing, held) for each in kept}
            self._put(found, before)

    def _put(self, found: Mapping[Slot, KeptList | None], before: Mapping[Slot, KeptList]) -> None:
        for slot in found.keys() | before.keys():
            if slot in self._settling or self._lists.get(slot) is not before.get(slot):
                continue  # what arrived meanwhile, or is not stored yet, is newer
            read = found.get(slot)
            if read is None:
                self._lists.pop(slot, None)
                self._stored.pop(slot, None)
            else:
                self._lists[slot] = self._stored[slot] = read

    async def _loaded(
        self, stored: StoredRevocationList, signing: SigningCertificate, held: contextlib.ExitStack
    ) -> KeptList | None:
        with passing_file(self.inbox) as path:
            try:
                with new_file(path) as file:
                    await self.store.read_revocation_list(stored, writing(file))
                read = await self.reading.read(self._request(ListSource.UPLOAD, str(path), signing))
            except (RevocationReadError, NotFoundError, OSError) as error:
                _log.error(
                    events.REVOCATION_LIST_LOST, certificate=signing.name, place=stored.place, error=str(error), exc_info=False
                )
                return None
        if read is None:
            return None
        held.enter_context(self._holding(read))
        return KeptList(stored, read.revocation_list)

    # ---- A list arrives -------------------------------------------------------------------------------------------------

    async def upload(self, name_or_id: str, body: AsyncIterator[bytes]) -> KeptList:
        """An operator brings a list, in DER or PEM; in force and durable when this returns.

        Raises `NotFoundError`; `RevocationReadError`, `ConflictError`: the list is not taken, the old one stays; or
        `StoreUnavailableError`: what it revokes is revoked, and the rest follows when the store takes it; a restart forgets it.
        """
        signing = self.certificate(name_or_id)
        with passing_file(self.inbox) as path:
            await save(body, path, max_bytes=self.max_list_bytes)
            before = only([each for each in self.lists(signing.id) if each.stored.source is ListSource.UPLOAD])
            request = self._request(ListSource.UPLOAD, str(path), signing)
            if before is not None:
                request = replace(request, previous=before.stored.sha256)
            read = await self.reading.read(request)
        if read is None:
            raise RevocationReadError("list_unreadable", "there is nothing to read")
        async with self._taking(read, request, signing):
            slot = Slot(signing.id, ListSource.UPLOAD, place_of_upload(read.revocation_list))
            return await self._take(slot, read, compared_with=request.previous, rivals=self.lists(signing.id))

    async def refresh(self, slot: Slot, *, etag: str | None = None, last_modified: str | None = None) -> ReadList | None:
        """Reads a place again; None: not modified. Raises as `upload`."""
        signing = self.certificate(slot.certificate_id)
        before = self._lists.get(slot)
        request = self._request(slot.source, slot.place, signing)
        if before is not None:
            request = replace(request, previous=before.stored.sha256, etag=etag, last_modified=last_modified)
        read = await self.reading.read(request)
        if read is not None:
            async with self._taking(read, request, signing):
                rivals = [kept for kept in (self._lists.get(slot),) if kept is not None]
                await self._take(slot, read, compared_with=request.previous, rivals=rivals)
        return read

    @contextlib.asynccontextmanager
    async def _taking(self, read: ReadList, request: ReadRequest, signing: SigningCertificate) -> AsyncIterator[None]:
        """One list of a CA after the other; they may be read, which takes long, at the same time. Raises `ConflictError`."""
        try:
            with self._holding(read):
                async with self._locks[signing.id]:
                    self._refuse_stale(request, signing)
                    yield
        finally:
            await self._tidy()

    async def _take(self, slot: Slot, read: ReadList, *, compared_with: bytes | None, rivals: Sequence[KeptList]) -> KeptList:
        new, before = read.revocation_list, self._lists.get(slot)
        refuse_displacing(new, before)
        refuse_older(new, rivals)
        settled = slot not in self._settling
        if before is not None and before.stored.sha256 == new.sha256 and settled:
            return before
        stored = StoredRevocationList(*slot, sha256=new.sha256, length=read.length, received_at=self.clock.now())
        kept = self._lists[slot] = KeptList(stored, new)
        if not settled or before is None or compared_with != before.stored.sha256 or self._has_others(slot, new.issuer):
            read = replace(read, newly_revoked=None)
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        first.add_done_callback(lambda told: told.cancelled() or told.exception())  # whoever waits may be gone
        self._swap()
        await self._end_settling(slot)
        # In a task of its own: whoever brought the list may go away, and what it revokes stays revoked.
        task = self._settling[slot] = asyncio.ensure_future(
            until_settled(lambda: self._settle(slot, kept, read), first, retry_seconds=self.retry_seconds)
        )
        task.add_done_callback(lambda _: None if first.done() else first.set_exception(_cut_off()))
        await asyncio.shield(first)
        return kept

    async def _settle(self, slot: Slot, kept: KeptList, read: ReadList) -> None:
        """What narrows, the commit, what widens. Can be done again when it failed in between."""
        new, before = kept.revocation_list, self._stored.get(slot)
        if before is None or read.newly_revoked is None or read.no_longer_revoked is None:
            await self.effects.all_of(slot.certificate_id, read.issuer_certificate)
        else:
            await self.effects.of_numbers(slot.certificate_id, read.newly_revoked)
        await self.store.commit_revocation_list(kept.stored, pieces_of(read.content))
        if self._lists.get(slot) is kept:
            self._stored[slot] = kept
        self._swap()
        if before is None:
            # The first of its place takes nothing back, unless there are others of its issuer.
            alone = len(self.in_force.current.issuers[new.issuer].lists) == 1 if slot in self._stored else False
            await self.effects.all_of(slot.certificate_id, read.issuer_certificate, only_required=alone)
        elif read.newly_revoked is None or read.no_longer_revoked is None:
            await self.effects.all_of(slot.certificate_id, read.issuer_certificate)
        else:
            until = before.revocation_list.next_update
            await self.effects.of_numbers(slot.certificate_id, read.no_longer_revoked, known_until=until)
        self._settling.pop(slot, None)
        _log.info(
            events.REVOCATION_LIST_TAKEN,
            certificate_id=slot.certificate_id,
            source=slot.source.value,
            place=slot.place,
            number=new.number,
            entries=len(new.entries),
        )

    async def _end_settling(self, slot: Slot) -> None:
        task = self._settling.pop(slot, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _swap(self) -> None:
        found: defaultdict[IssuerKey, dict[bytes, RevocationList]] = defaultdict(dict)
        for kept in self._stored.values():
            found[kept.revocation_list.issuer][kept.revocation_list.sha256] = kept.revocation_list
        for kept in self._lists.values():
            coming = replace(kept.revocation_list, is_stored=False)
            found[coming.issuer].setdefault(coming.sha256, coming)
        view = self.in_force.current
        issuers = {
            issuer: IssuerRevocation(
                tuple(found[issuer].values()) if issuer in found else (),
                view.issuers[issuer].responses if issuer in view.issuers else {},
            )
            for issuer in found.keys() | {issuer for issuer, known in view.issuers.items() if known.responses}
        }
        self.in_force.current = RevocationView(view.generation + 1, issuers)
        self.in_force.edition += 1

    def _has_others(self, slot: Slot, issuer: IssuerKey) -> bool:
        """Lists of other places, whose entries a new one may take back, and which say what it does not say itself."""
        return any(kept.revocation_list.issuer == issuer for place, kept in self._lists.items() if place != slot)

    def _refuse_stale(self, request: ReadRequest, signing: SigningCertificate) -> None:
        """The entry may have gone, or name other certificates or places, since the request was made."""
        slot = Slot(signing.id, request.source, request.place)
        known = self.rules.current.rules.certificates.get(signing.id)
        if self._signers.get(signing.id) != request.issuers or not is_wanted(slot, known):
            raise ConflictError(f"the entry of `{signing.name}` changed while its list was read: bring the list again")

    # ---- Files ----------------------------------------------------------------------------------------------------------

    def _request(self, source: ListSource, place: str, signing: SigningCertificate) -> ReadRequest:
        return ReadRequest(
            source=source,
            place=place,
            issuers=signers_of(signing),
            max_bytes=self.max_list_bytes,
            timeout_seconds=self.fetch_timeout_seconds,
        )

    @contextlib.contextmanager
    def _holding(self, read: ReadList) -> Iterator[None]:
        """Meanwhile the files of a list are kept although it is not in force."""
        sha256 = read.revocation_list.sha256
        self._in_hand[sha256] += 1
        try:
            yield
        finally:
            self._in_hand[sha256] -= 1

    async def _tidy(self) -> None:
        """Lets the files of superseded and refused lists go."""
        self._in_hand = +self._in_hand
        await self.reading.keep_only({*self._in_hand, *(kept.stored.sha256 for kept in self._lists.values())})


def _cut_off() -> Exception:
    return ConflictError("the list was overtaken: by a newer one, by rules without its place, or by the server's end")

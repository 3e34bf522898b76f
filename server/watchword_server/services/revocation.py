"""The revocation lists in force: kept over restarts, replaced by newer ones, and what that means for who passes.

A new list takes effect in memory first, then in the stored results it concerns, then it is committed and acknowledged. A list
that cannot be read, or that is older than the one it would replace, changes nothing.
"""

import asyncio
import contextlib
import hashlib
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from io import BufferedWriter
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from watchword_server import events
from watchword_server.core.certificates.parsed import fingerprint, parse
from watchword_server.core.certificates.refusal import CertificateRefusedError
from watchword_server.core.certificates.revocation import (
    IssuerKey,
    IssuerRevocation,
    ListScope,
    RevocationList,
    RevocationView,
)
from watchword_server.core.model import (
    CertificateId,
    CheckId,
    Fingerprint,
    Instant,
    RevocationPolicy,
    SigningCertificate,
    Trust,
)
from watchword_server.core.snapshot import RuleSnapshot
from watchword_server.core.times import rfc3339
from watchword_server.errors import (
    ConflictError,
    NotFoundError,
    RevocationReadError,
)
from watchword_server.ports import (
    Clock,
    ListSource,
    ReadList,
    ReadRequest,
    Rejudgement,
    RevocationReading,
    RevocationStore,
    StoredClaim,
    StoredRevocationList,
)
from watchword_server.services.rejudging import Rejudging
from watchword_server.services.revocation_in_force import RevocationInForce
from watchword_server.services.rules_in_force import RulesInForce

_log = structlog.get_logger(__name__)

_PIECE: Final = 1 << 20


class Slot(NamedTuple):
    """Where there is one list at most: a place of an uploaded CA."""

    certificate_id: CertificateId
    source: ListSource
    place: str


@dataclass(frozen=True, slots=True)
class KeptList:
    """A list in force, and how it is stored."""

    stored: StoredRevocationList
    revocation_list: RevocationList

    @property
    def kind(self) -> str:
        """What lists of one issuer replace each other."""
        return _kind(self.revocation_list)


@dataclass(slots=True)
class Revocation:
    """Runs in the event loop; lists are read elsewhere. `inbox` is a directory for what is on its way to be read."""

    store: RevocationStore
    rules: RulesInForce
    in_force: RevocationInForce
    rejudging: Rejudging
    reading: RevocationReading
    clock: Clock
    inbox: Path
    max_list_bytes: int
    fetch_timeout_seconds: float
    _lists: dict[Slot, KeptList] = field(default_factory=dict)
    _reading_now: int = 0
    _unsettled: set[Slot] = field(default_factory=set)  # what hangs on their list is not judged, or it is not stored yet
    _signers: dict[CertificateId, tuple[bytes, ...]] = field(default_factory=dict)
    _locks: defaultdict[CertificateId, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

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
        certificates = snapshot.rules.certificates
        changed = [each for each in certificates.values() if self._signers.get(each.id) != _signers(each)]
        gone = [slot for slot in self._lists if not _is_wanted(slot, certificates.get(slot.certificate_id))]
        if not changed and not gone:
            return
        stored = await self.store.revocation_lists() if changed else ()
        for signing in changed:
            kept = [each for each in stored if each.certificate_id == signing.id and _is_wanted(_slot(each), signing)]
            with self._reading():
                found = {_slot(each): await self._loaded(each, signing) for each in kept}
                for slot in [slot for slot in self._lists if slot.certificate_id == signing.id]:
                    del self._lists[slot]
                self._lists.update({slot: read for slot, read in found.items() if read is not None})
            self._signers[signing.id] = _signers(signing)
        for slot in gone:
            self._lists.pop(slot, None)
        for certificate_id in self._signers.keys() - certificates.keys():
            del self._signers[certificate_id]
        self._swap()

    async def retire(self) -> None:
        """Forgets the stored lists of CAs and places that are not in the rules in force. Raises `StoreUnavailableError`."""
        certificates = self.rules.current.rules.certificates
        retired = [
            each
            for each in await self.store.revocation_lists()
            if not _is_wanted(_slot(each), certificates.get(each.certificate_id))
        ]
        if retired:
            await self.store.remove_revocation_lists(retired, now=self.clock.now())
        if not self._reading_now:  # whose files are nobody's yet
            await self.reading.keep_only([kept.stored.sha256 for kept in self._lists.values()])

    async def _loaded(self, stored: StoredRevocationList, signing: SigningCertificate) -> KeptList | None:
        with self._file() as path:
            try:
                with path.open("xb") as file:
                    await self.store.read_revocation_list(stored, _writing(file))
                read = await self.reading.read(self._request(ListSource.UPLOAD, str(path), signing))
            except (RevocationReadError, NotFoundError, OSError) as error:
                _log.error(
                    events.REVOCATION_LIST_LOST, certificate=signing.name, place=stored.place, error=str(error), exc_info=False
                )
                return None
        return None if read is None else KeptList(stored, read.revocation_list)

    # ---- A list arrives -------------------------------------------------------------------------------------------------

    async def upload(self, name_or_id: str, body: AsyncIterator[bytes]) -> KeptList:
        """An operator brings a list, in DER or PEM; in force and durable when this returns.

        Raises `NotFoundError`; `RevocationReadError`, `ConflictError`: the list is not taken, the old one stays; or
        `StoreUnavailableError`: it is in force, but only until the next restart.
        """
        signing = self.certificate(name_or_id)
        with self._reading(), self._file() as path:
            await _save(body, path, max_bytes=self.max_list_bytes)
            async with self._locks[signing.id]:
                before = _only([each for each in self.lists(signing.id) if each.stored.source is ListSource.UPLOAD])
                request = self._request(ListSource.UPLOAD, str(path), signing)
                if before is not None:
                    request = replace(request, previous=before.stored.sha256)
                read = await self.reading.read(request)
                if read is None:
                    raise RevocationReadError("list_unreadable", "there is nothing to read")
                revocation_list = read.revocation_list
                place = _place_of_upload(revocation_list)
                slot = Slot(signing.id, ListSource.UPLOAD, place)
                return await self._take(slot, read, compared_with=request.previous, rivals=self.lists(signing.id))

    async def refresh(self, slot: Slot, *, etag: str | None = None, last_modified: str | None = None) -> ReadList | None:
        """Reads a place again; None: not modified. Raises as `upload`."""
        signing = self.certificate(slot.certificate_id)
        async with self._locks[signing.id]:
            before = self._lists.get(slot)
            request = self._request(slot.source, slot.place, signing)
            if before is not None:
                request = replace(request, previous=before.stored.sha256, etag=etag, last_modified=last_modified)
            with self._reading():
                read = await self.reading.read(request)
                if read is not None and _is_wanted(slot, self.rules.current.rules.certificates.get(signing.id)):
                    await self._take(slot, read, compared_with=request.previous, rivals=[] if before is None else [before])
            return read

    async def _take(self, slot: Slot, read: ReadList, *, compared_with: bytes | None, rivals: Sequence[KeptList]) -> KeptList:
        new, before = read.revocation_list, self._lists.get(slot)
        _refuse_displacing(new, before)
        _refuse_older(new, rivals)
        stored = StoredRevocationList(*slot, sha256=new.sha256, length=read.length, received_at=self.clock.now())
        settled = slot not in self._unsettled
        if before is not None and before.stored.sha256 == new.sha256 and settled:
            return before
        kept = self._lists[slot] = KeptList(stored, new)
        self._unsettled.add(slot)
        self._swap()
        diffed = before is not None and settled and compared_with == before.stored.sha256 and not self._has_delta(new.issuer)
        if before is None or not diffed or read.newly_revoked is None or read.no_longer_revoked is None:
            await self._rejudge_all(slot, read.issuer_certificate)
            await self._commit(stored, read.content)
        else:
            await self._rejudge(slot, read.newly_revoked, known_until=before.revocation_list.next_update)
            await self._commit(stored, read.content)
            await self._rejudge(slot, read.no_longer_revoked)  # widens
        self._unsettled.discard(slot)
        _log.info(
            events.REVOCATION_LIST_TAKEN,
            certificate_id=slot.certificate_id,
            source=slot.source.value,
            place=slot.place,
            number=new.number,
            entries=len(new.entries),
        )
        return kept

    async def _commit(self, stored: StoredRevocationList, content: Path) -> None:
        await self.store.commit_revocation_list(stored, _pieces(content))

    def _swap(self) -> None:
        found: defaultdict[IssuerKey, dict[bytes, RevocationList]] = defaultdict(dict)
        for kept in self._lists.values():
            found[kept.revocation_list.issuer][kept.revocation_list.sha256] = kept.revocation_list
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

    # ---- Whom it concerns -----------------------------------------------------------------------------------------------

    async def _rejudge_all(self, slot: Slot, issuer: Fingerprint) -> None:
        """All claims of the checks whose paths may lead through the list's issuer."""
        snapshot = self.rules.current
        concerned = self._checks(snapshot, slot, issuer)
        await self._rejudging(self.rejudging.after_revocation(snapshot, check_ids=concerned), checks=len(concerned))

    async def _rejudge(self, slot: Slot, numbers: frozenset[int], *, known_until: Instant | None = None) -> None:
        """Claims about these serial numbers or with them in their chain; and those whose pass would end with the old list."""
        snapshot = self.rules.current
        checks = snapshot.rules.checks
        chains = frozenset(id_ for id_, check in checks.items() if check.config.trust is Trust.CHAIN) if numbers else frozenset()
        required = (
            frozenset(id_ for id_, check in checks.items() if check.config.revocation is RevocationPolicy.REQUIRE)
            if known_until is not None
            else frozenset()
        )
        above = _numbers(snapshot.rules.certificates[slot.certificate_id].intermediates) if chains else frozenset()

        def is_concerned(claim: StoredClaim) -> bool:
            result = claim.judged.result
            if result.check_id in required and (
                result.reason == "revocation_unknown"
                or (
                    result.passed
                    and result.expires_at is not None
                    and known_until is not None
                    and result.expires_at <= known_until
                )
            ):
                return True
            if result.check_id not in chains:
                return False
            below = [der for candidate in claim.judged.claim.candidates for der in candidate.chain]
            return bool(numbers & above) or not numbers.isdisjoint(_numbers(below))

        again = self.rejudging.after_revocation(
            snapshot, serial_numbers=numbers, check_ids=chains | required, is_concerned=is_concerned
        )
        await self._rejudging(again, checks=len(chains | required), serial_numbers=len(numbers))

    async def _rejudging(self, work: Awaitable[Sequence[Rejudgement]], **about: int) -> None:
        judged = await work
        _log.info(events.REVOCATION_REJUDGED, results=len(judged), **about)

    def _checks(self, snapshot: RuleSnapshot, slot: Slot, issuer: Fingerprint) -> frozenset[CheckId]:
        certificates = snapshot.rules.certificates
        return frozenset(
            check.id
            for check in snapshot.rules.checks.values()
            if check.config.revocation is not RevocationPolicy.OFF
            if check.config.trust is Trust.CHAIN
            or check.config.certificate_id == slot.certificate_id
            or fingerprint(certificates[check.config.certificate_id].der) == issuer
        )

    def _has_delta(self, issuer: IssuerKey) -> bool:
        found = self.in_force.current.issuers[issuer].lists
        return any(each.base_number is not None for each in found)

    # ---- Files ----------------------------------------------------------------------------------------------------------

    def _request(self, source: ListSource, place: str, signing: SigningCertificate) -> ReadRequest:
        return ReadRequest(
            source=source,
            place=place,
            issuers=_signers(signing),
            max_bytes=self.max_list_bytes,
            timeout_seconds=self.fetch_timeout_seconds,
        )

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Meanwhile files are kept that belong to no list in force yet."""
        self._reading_now += 1
        try:
            yield
        finally:
            self._reading_now -= 1

    @contextlib.contextmanager
    def _file(self) -> Iterator[Path]:
        """A file to be written and read, gone afterwards."""
        self.inbox.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.inbox / f"{secrets.token_hex(16)}.crl"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)


def _signers(signing: SigningCertificate) -> tuple[bytes, ...]:
    return (signing.der, *signing.intermediates, *signing.list_signers)


def _slot(stored: StoredRevocationList) -> Slot:
    return Slot(stored.certificate_id, stored.source, stored.place)


def _is_wanted(slot: Slot, signing: SigningCertificate | None) -> bool:
    """Whether the entry of a CA, if there is one, still names the place."""
    if signing is None:
        return False
    match slot.source:
        case ListSource.URL:
            return any(place.url == slot.place for place in signing.list_places)
        case ListSource.PATH:
            return any(place.path == slot.place for place in signing.list_places)
        case ListSource.UPLOAD:
            return True


def _kind(revocation_list: RevocationList) -> str:
    return "complete" if revocation_list.base_number is None else "delta"


def _place_of_upload(revocation_list: RevocationList) -> str:
    """Where uploaded lists replace each other: an issuer's key, the kind of list, and which certificates it is about."""
    issuer, scope = revocation_list.issuer.public_key_sha256.hex(), revocation_list.scope
    if scope == ListScope():
        return f"{issuer} {_kind(revocation_list)}"
    told = repr((scope.end_entities, scope.authorities, sorted(scope.places) if scope.places is not None else None))
    return f"{issuer} {_kind(revocation_list)} {hashlib.sha256(told.encode()).hexdigest()}"


def _what(revocation_list: RevocationList) -> tuple[IssuerKey, str, ListScope]:
    """Lists that tell the same of other times: of these, the newest counts."""
    return revocation_list.issuer, _kind(revocation_list), revocation_list.scope


def _only(found: Sequence[KeptList]) -> KeptList | None:
    return found[0] if len(found) == 1 else None


def _refuse_displacing(new: RevocationList, before: KeptList | None) -> None:
    """A place goes on telling what it told: else whoever answers there could make a list go by showing another good one."""
    if before is not None and _what(before.revocation_list) != _what(new):
        raise ConflictError(
            "the list is of another issuer, or for other certificates, than the one in force from there: "
            "name its place besides, or take this one out of the rules and put it back"
        )


def _refuse_older(new: RevocationList, rivals: Iterable[KeptList]) -> None:
    """An old list is as well signed as the newest, and does not know of the latest revocations."""
    for kept in rivals:
        known = kept.revocation_list
        if _what(known) != _what(new):
            continue
        if known.number is not None and new.number is not None and new.number < known.number:
            raise ConflictError(f"the list has number {new.number}, and {known.number} is in force: bring the newest")
        if new.this_update < known.this_update:
            ours, theirs = rfc3339(known.this_update), rfc3339(new.this_update)
            raise ConflictError(f"the list is of {theirs}, and one of {ours} is in force: bring the newest")


def _numbers(certificates: Iterable[bytes]) -> frozenset[int]:
    found = set()
    for der in certificates:
        with contextlib.suppress(CertificateRefusedError):
            found.add(parse(der).serial_number)
    return frozenset(found)


async def _save(body: AsyncIterator[bytes], path: Path, *, max_bytes: int) -> None:
    length = 0
    with path.open("xb") as file:
        async for piece in body:
            length += len(piece)
            if length > max_bytes:
                raise RevocationReadError("list_too_large", f"a list has at most {max_bytes} bytes: `revocation.max_list_bytes`")
            await asyncio.to_thread(file.write, piece)


def _writing(file: BufferedWriter) -> Callable[[bytes], None]:
    def take(piece: bytes) -> None:
        file.write(piece)

    return take


def _pieces(content: Path) -> Iterator[bytes]:
    with content.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece

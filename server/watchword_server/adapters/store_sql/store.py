"""The store: the ports' methods, each one write operation or one read.

Raises as the ports say. `OverloadedError` where a bounded queue is full.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from sqlalchemy import select

from watchword_server.adapters.store_sql import (
    audit_log,
    bindings,
    device_keys,
    devices,
    enrollments,
    evidence,
    history,
    migrate,
    ocsp_revocations,
    posture_log,
    revisions,
    revocation_lists,
    rules,
    tokens,
)
from watchword_server.adapters.store_sql.data_directory import DataDirectory
from watchword_server.adapters.store_sql.engine import reader_engine, sqlite_url, writer_engine
from watchword_server.adapters.store_sql.reader import Reader
from watchword_server.adapters.store_sql.schema import meta
from watchword_server.adapters.store_sql.writer import Writer, WriteTransaction
from watchword_server.core.audit import Act, Link
from watchword_server.core.certificates.revocation import IssuerKey
from watchword_server.core.enrollment import EnrollmentToken, ProvenEnrollment
from watchword_server.core.model.devices import Device, DeviceState
from watchword_server.core.model.names import CertificateId, CheckId, DeviceId, Instant, KeyFingerprint
from watchword_server.core.model.results import CertificateBinding, DevicePosture
from watchword_server.core.revisions import EntryChange, Revision, State
from watchword_server.ports.audit import AuditQuery, AuditStore, Retention
from watchword_server.ports.devices import DeviceStore, EvidenceCommit, KeyRotationCommit, Rejudgement, StoredClaim
from watchword_server.ports.posture_log import PostureEntry, PostureQuery
from watchword_server.ports.revocation import RevocationStore, StoredOcspRevocation, StoredRevocationList
from watchword_server.ports.rules import RulesChange, RuleStore, StoredObject
from watchword_server.ports.tokens import ApiToken, TokenStore


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """What waits, what runs, what is kept. `kept_changes` counts revisions of the change log."""

    pending_writes: int = 10_000
    writes_per_commit: int = 200
    pending_reads: int = 1_000
    read_threads: int = 4
    kept_changes: int = 100_000


@dataclass(frozen=True, slots=True)
class StoreIdentity:
    """What never changes in a store's life, and the latest instant it knew when it was opened."""

    store_id: str
    account_id: str
    clock_floor: Instant


class SqlStore(DeviceStore, RuleStore, RevocationStore, TokenStore, AuditStore):
    """A store in an SQLite file, in a data directory that it holds until `close`. Made by `open`."""

    def __init__(self, directory: DataDirectory, writer: Writer, reader: Reader, identity: StoreIdentity) -> None:
        self._directory = directory
        self._writer = writer
        self._reader = reader
        self.identity = identity

    @classmethod
    async def open(cls, data_dir: Path, *, limits: StoreLimits = StoreLimits()) -> Self:
        """Locks the data directory and opens its store, which is created if there is none.

        Raises `DataDirectoryBusyError`; `ConfigurationError` if the directory cannot be used or the schema is not this version's;
        `StoreUnavailableError`.
        """
        directory = await asyncio.to_thread(DataDirectory, data_dir)
        try:
            await asyncio.to_thread(migrate.prepare, sqlite_url(directory.database))
            writer = Writer(
                writer_engine(directory.database),
                max_pending=limits.pending_writes,
                batch_size=limits.writes_per_commit,
                kept_changes=limits.kept_changes,
            )
            try:
                identity = await writer.submit(_identity)  # a write transaction: what cannot be written to is not opened
            except BaseException:
                await writer.close()
                raise
        except BaseException:
            directory.release()
            raise
        engine = reader_engine(directory.database, connections=limits.read_threads)
        reader = Reader(engine, threads=limits.read_threads, max_pending=limits.pending_reads)
        return cls(directory, writer, reader, identity)

    async def close(self) -> None:
        """Finishes what was asked for, closes the database and lets the data directory go."""
        await self._reader.close()
        await self._writer.close()  # last, as the last connection: it checkpoints
        self._directory.release()

    # ---- Time -----------------------------------------------------------------------------------------------------------

    async def save_clock_floor(self, now: Instant) -> None:
        """Keeps `now` for the next start; every commit does so with its own instants."""
        await self._writer.submit(lambda transaction: transaction.saw(now))

    # ---- Devices --------------------------------------------------------------------------------------------------------

    async def posture(self, device_id: DeviceId) -> DevicePosture | None:
        """See `DeviceStore`."""
        return await self._reader.run(partial(devices.posture, device_id=device_id))

    async def bindings(self, key: KeyFingerprint) -> tuple[Sequence[CertificateBinding], int]:
        """See `DeviceStore`."""
        return await self._reader.run(partial(bindings.bindings, key=key))

    async def commit_evidence(self, commit: EvidenceCommit) -> int:
        """See `DeviceStore`."""
        return await self._writer.submit(partial(evidence.commit_evidence, commit=commit))

    async def commit_key_rotation(self, commit: KeyRotationCommit) -> int:
        """See `DeviceStore`."""
        return await self._writer.submit(partial(device_keys.propose, commit=commit))

    async def commit_rejudged(self, rejudged: Sequence[Rejudgement]) -> int:
        """See `DeviceStore`."""
        return await self._writer.submit(partial(evidence.commit_rejudged, rejudged=tuple(rejudged)))

    async def claims(
        self,
        *,
        check_ids: frozenset[CheckId] | None = None,
        key: KeyFingerprint | None = None,
        device_id: DeviceId | None = None,
        serial_numbers: frozenset[int] | None = None,
    ) -> Sequence[StoredClaim]:
        """See `DeviceStore`. With several given, any suffices; with none, all claims of active devices."""
        return await self._reader.run(
            partial(evidence.claims, check_ids=check_ids, key=key, device_id=device_id, serial_numbers=serial_numbers)
        )

    async def enroll(self, enrollment: ProvenEnrollment, *, now: Instant) -> Device:
        """See `DeviceStore`."""
        return await self._writer.submit(partial(enrollments.enroll, enrollment=enrollment, now=now))

    async def set_device_state(self, device_id: DeviceId, state: DeviceState, *, now: Instant) -> int:
        """See `DeviceStore`. Approves only what is pending; a device in the wanted state already is a `ConflictError`."""
        return await self._writer.submit(partial(devices.set_state, device_id=device_id, state=state, now=now))

    async def set_device_lock(self, device_id: DeviceId, reason: str | None, *, now: Instant) -> int:
        """See `DeviceStore`."""
        return await self._writer.submit(partial(devices.set_lock, device_id=device_id, reason=reason, now=now))

    async def set_device_owner(self, device_id: DeviceId, owner: str | None, *, now: Instant) -> int:
        """See `DeviceStore`."""
        return await self._writer.submit(partial(devices.set_owner, device_id=device_id, owner=owner, now=now))

    async def clear_key_clone(self, device_id: DeviceId, *, now: Instant) -> int:
        """See `DeviceStore`."""
        return await self._writer.submit(partial(devices.clear_key_clone, device_id=device_id, now=now))

    async def devices(self) -> Sequence[DevicePosture]:
        """See `DeviceStore`."""
        return await self._reader.run(devices.all_postures)

    async def devices_page(self, *, after: DeviceId | None, limit: int, without_revoked: bool = False) -> Sequence[DevicePosture]:
        """See `DeviceStore`."""
        return await self._reader.run(partial(devices.page, after=after, limit=limit, without_revoked=without_revoked))

    # ---- The posture log ------------------------------------------------------------------------------------------------

    async def posture_entries(self, query: PostureQuery) -> Sequence[PostureEntry]:
        """See `PostureLogStore`."""
        return await self._reader.run(partial(posture_log.entries, query=query))

    async def trim_posture_log(self, *, rows: int, older_than: Instant) -> None:
        """See `PostureLogStore`."""
        await self._writer.submit(lambda transaction: posture_log.trim(transaction.connection, rows=rows, older_than=older_than))

    # ---- Rules ----------------------------------------------------------------------------------------------------------

    async def load_rules(self) -> tuple[Sequence[StoredObject], int]:
        """See `RuleStore`."""
        return await self._reader.run(rules.load)

    async def rules_revision(self) -> int:
        """See `RuleStore`."""
        return await self._reader.run(rules.revision)

    async def commit_rules(self, change: RulesChange, *, expected_revision: int, now: Instant) -> int:
        """See `RuleStore`. An entry whose name and body stay the same keeps its revision."""
        return await self._writer.submit(partial(rules.commit, change=change, expected_revision=expected_revision, now=now))

    async def revisions(self, *, before: int | None, limit: int) -> Sequence[Revision]:
        """See `RuleStore`."""
        return await self._reader.run(partial(revisions.page, before=before, limit=limit))

    async def revision(self, number: int) -> tuple[Revision, Sequence[EntryChange]]:
        """See `RuleStore`."""
        return await self._reader.run(partial(revisions.one, number=number))

    async def states_at(self, number: int) -> Mapping[tuple[str, str], State | None]:
        """See `RuleStore`."""
        return await self._reader.run(partial(revisions.states_at, number=number))

    # ---- Revocation -----------------------------------------------------------------------------------------------------

    async def revocation_lists(self) -> Sequence[StoredRevocationList]:
        """See `RevocationStore`."""
        return await self._reader.run(revocation_lists.all_lists)

    async def read_revocation_list(self, stored: StoredRevocationList, take: Callable[[bytes], None]) -> None:
        """See `RevocationStore`. `take` is called in another thread."""
        await self._reader.run(partial(revocation_lists.read, stored=stored, take=take))

    async def commit_revocation_list(self, stored: StoredRevocationList, pieces: Iterable[bytes]) -> int:
        """See `RevocationStore`. `pieces` is gone through in another thread."""
        return await self._writer.submit(partial(revocation_lists.commit, stored=stored, pieces=pieces))

    async def remove_revocation_lists(self, lists: Sequence[StoredRevocationList], *, now: Instant) -> int:
        """See `RevocationStore`."""
        return await self._writer.submit(partial(revocation_lists.remove, lists=tuple(lists), now=now))

    async def ocsp_revocations(self) -> Sequence[StoredOcspRevocation]:
        """See `RevocationStore`."""
        return await self._reader.run(ocsp_revocations.all_revocations)

    async def commit_ocsp_revocation(self, stored: StoredOcspRevocation, *, now: Instant) -> int:
        """See `RevocationStore`."""
        return await self._writer.submit(partial(ocsp_revocations.commit, stored=stored, now=now))

    async def remove_ocsp_revocations(self, issuer: IssuerKey, serial_number: int, *, before: Instant, now: Instant) -> int:
        """See `RevocationStore`."""
        return await self._writer.submit(
            partial(ocsp_revocations.remove, issuer=issuer, serial_number=serial_number, before=before, now=now)
        )

    async def retire_ocsp_revocations(self, certificate_ids: Collection[CertificateId], *, now: Instant) -> int:
        """See `RevocationStore`."""
        return await self._writer.submit(partial(ocsp_revocations.retire, certificate_ids=frozenset(certificate_ids), now=now))

    # ---- Tokens ---------------------------------------------------------------------------------------------------------

    async def add_enrollment_token(self, token: EnrollmentToken) -> None:
        """See `TokenStore`."""
        await self._writer.submit(partial(tokens.add_enrollment_token, token=token))

    async def enrollment_tokens(self) -> Sequence[EnrollmentToken]:
        """See `TokenStore`."""
        return await self._reader.run(tokens.all_enrollment_tokens)

    async def add_api_token(self, token: ApiToken) -> None:
        """See `TokenStore`."""
        await self._writer.submit(partial(tokens.add_api_token, token=token))

    async def api_token(self, token_id: str) -> ApiToken | None:
        """See `TokenStore`."""
        return await self._reader.run(partial(tokens.find_api_token, token_id=token_id))

    async def api_tokens(self) -> Sequence[ApiToken]:
        """See `TokenStore`."""
        return await self._reader.run(tokens.all_api_tokens)

    async def revoke_token(self, token_id: str, *, now: Instant) -> None:
        """See `TokenStore`."""
        await self._writer.submit(partial(tokens.revoke_token, token_id=token_id, now=now))

    async def save_token_uses(self, used: Mapping[str, Instant]) -> None:
        """See `TokenStore`."""
        await self._writer.submit(partial(tokens.save_uses, used=dict(used)))

    # ---- The audit log --------------------------------------------------------------------------------------------------

    async def audit_records(self, query: AuditQuery) -> Sequence[Mapping[str, object]]:
        """See `AuditStore`."""
        return await self._reader.run(partial(audit_log.records, query=query))

    async def audit_head(self) -> Link:
        """See `AuditStore`."""
        return await self._reader.run(audit_log.head)

    async def record(self, acts: Sequence[Act]) -> None:
        """See `AuditStore`."""
        await self._writer.submit(partial(history.record, acts=tuple(acts)))

    async def trim_history(self, retention: Retention, *, now: Instant) -> None:
        """See `AuditStore`."""
        await self._writer.submit(partial(history.trim, retention=retention, now=now))


def _identity(transaction: WriteTransaction) -> StoreIdentity:
    row = transaction.connection.execute(select(meta)).one()
    history.begin(transaction, row.store_id)
    return StoreIdentity(row.store_id, row.account_id, Instant(row.clock_floor))

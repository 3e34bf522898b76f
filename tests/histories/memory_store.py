"""A store in memory with the contract of the real one (`test_memory_store.py` holds it to that), and with a way to fail.

Every method is one step: nothing happens beside it, as in a transaction.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from watchword_server.core.enrollment import EnrollmentAction, EnrollmentToken, ProvenEnrollment, plan_enrollment
from watchword_server.core.model.devices import Device, DeviceState
from watchword_server.core.model.names import CheckId, DeviceId, Fingerprint, Instant, KeyFingerprint
from watchword_server.core.model.results import CertificateBinding, DevicePosture, JudgedClaim
from watchword_server.errors import (
    ConflictError,
    DeviceNotActiveError,
    EnrollmentRefusedError,
    NotFoundError,
    StoreUnavailableError,
    SupersededError,
)
from watchword_server.ports.devices import EvidenceCommit, Rejudgement, StoredClaim
from watchword_server.ports.rules import RulesChange, StoredObject

_T = TypeVar("_T")
_BEGINNING: Final = Instant(0.0)


@dataclass(slots=True)
class _Row:
    """What is stored of a check on a device: the newest claim, and until when it and the ones before it proved a certificate."""

    judged: JudgedClaim | None = None
    proven_until: dict[tuple[Fingerprint, KeyFingerprint], Instant | None] = field(default_factory=dict)

    def end(self, at: Instant) -> None:
        """Neither the claim nor what it proved holds any longer."""
        self.judged = None
        for proven, until in self.proven_until.items():
            if until is None or until > at:
                self.proven_until[proven] = at


@dataclass(slots=True)
class MemoryStore:
    """Devices, claims, rules. `fails` names a method whose next calls raise; with `fails_after`, once they did their work."""

    revision: int = 0
    clock_floor: Instant = _BEGINNING
    fails: str | None = None
    fails_after: bool = False
    fails_times: int = 1
    found: dict[DeviceId, Device] = field(default_factory=dict)
    rows: dict[tuple[DeviceId, CheckId], _Row] = field(default_factory=dict)
    entries: dict[tuple[str, str], StoredObject] = field(default_factory=dict)
    rules_at: int = 0
    tokens: dict[str, EnrollmentToken] = field(default_factory=dict)
    enrolled_by: dict[DeviceId, str] = field(default_factory=dict)

    # ---- Reading --------------------------------------------------------------------------------------------------------

    async def posture(self, device_id: DeviceId) -> DevicePosture | None:
        return self._do("posture", lambda: self._posture(device_id))

    async def bindings(self, key: KeyFingerprint) -> tuple[Sequence[CertificateBinding], int]:
        return self._do("bindings", lambda: (self._bindings(key), self.revision))

    async def claims(
        self,
        *,
        check_ids: frozenset[CheckId] | None = None,
        key: KeyFingerprint | None = None,
        device_id: DeviceId | None = None,
        serial_numbers: frozenset[int] | None = None,
    ) -> Sequence[StoredClaim]:
        wanted: list[Callable[[DeviceId, JudgedClaim], bool]] = []
        if check_ids is not None:
            wanted.append(lambda _, judged: judged.result.check_id in check_ids)
        if key is not None:
            wanted.append(lambda _, judged: judged.proven_key == key)
        if device_id is not None:
            wanted.append(lambda of_device, _: of_device == device_id)
        if serial_numbers is not None:
            wanted.append(lambda _, judged: judged.serial_number in serial_numbers)
        return self._do("claims", lambda: self._claims(wanted))

    async def devices(self) -> Sequence[DevicePosture]:
        order = sorted(self.found.values(), key=lambda device: (device.enrolled_at, device.id))
        return [posture for device in order if (posture := self._posture(device.id)) is not None]

    def _posture(self, device_id: DeviceId) -> DevicePosture | None:
        device = self.found.get(device_id)
        if device is None:
            return None
        judged = [row.judged for (of_device, _), row in self.rows.items() if of_device == device_id and row.judged is not None]
        return DevicePosture(device, {claim.result.check_id: claim.result for claim in judged}, self.revision)

    def _bindings(self, key: KeyFingerprint) -> list[CertificateBinding]:
        ends: dict[tuple[DeviceId, Fingerprint], list[Instant | None]] = {}
        for (device_id, _), row in self.rows.items():
            for (certificate, of_key), until in row.proven_until.items():
                if of_key == key:
                    ends.setdefault((device_id, certificate), []).append(until)
        return [
            CertificateBinding(certificate, device_id, self.found[device_id].state, _last(ends[device_id, certificate]), key)
            for device_id, certificate in sorted(ends)
        ]

    def _claims(self, wanted: Sequence[Callable[[DeviceId, JudgedClaim], bool]]) -> list[StoredClaim]:
        return [
            StoredClaim(self.found[device_id], row.judged)
            for (device_id, _), row in sorted(self.rows.items())
            if row.judged is not None and self.found[device_id].state is DeviceState.ACTIVE
            if not wanted or any(is_wanted(device_id, row.judged) for is_wanted in wanted)
        ]

    # ---- Writing --------------------------------------------------------------------------------------------------------

    async def commit_evidence(self, commit: EvidenceCommit) -> int:
        return self._do("commit_evidence", lambda: self._commit_evidence(commit))

    async def commit_rejudged(self, rejudged: Sequence[Rejudgement]) -> int:
        return self._do("commit_rejudged", lambda: self._commit_rejudged(rejudged))

    async def set_device_state(self, device_id: DeviceId, state: DeviceState, *, now: Instant) -> int:
        return self._do("set_device_state", lambda: self._set_device_state(device_id, state, now))

    async def enroll(self, enrollment: ProvenEnrollment, *, now: Instant) -> Device:
        """A new device: what `DeviceStore` says without replacing keys, which no history does."""
        plan = plan_enrollment(
            enrollment,
            token=self.tokens.get(enrollment.token_id),
            device_with_key=None,
            key_token_id=None,
            device_with_serial=None,
            bound_device=None,
            now=now,
        )
        if plan.action is not EnrollmentAction.CREATE or plan.device_id in self.found:
            raise EnrollmentRefusedError("conflict")
        token, told = self.tokens[enrollment.token_id], enrollment.inventory
        self.tokens[token.id] = replace(token, uses=token.uses + 1)
        device = Device(
            plan.device_id, enrollment.key, plan.state, told.platform, told.hostname, told.serial_number, epoch=0, enrolled_at=now
        )
        self.found[device.id] = device
        self._changed(now)
        return device

    async def clear_key_clone(self, device_id: DeviceId, *, now: Instant) -> int:
        device = self.found.get(device_id)
        if device is None:
            raise NotFoundError(f"no device `{device_id}`")
        if device.key_cloned_at is None:
            raise ConflictError(f"device `{device_id}` has nothing to clear")
        self.found[device_id] = replace(device, key_cloned_at=None, boots=(), epoch=device.epoch + 1)
        return self._changed(now)

    async def add_enrollment_token(self, token: EnrollmentToken) -> None:
        self.tokens[token.id] = token
        self._changed(token.created_at)

    async def enrollment_tokens(self) -> Sequence[EnrollmentToken]:
        return list(self.tokens.values())

    def _commit_evidence(self, commit: EvidenceCommit) -> int:
        device = self.found.get(commit.device_id)
        if device is None or device.state is not DeviceState.ACTIVE:
            raise DeviceNotActiveError(f"device `{commit.device_id}` is not active")
        if device.epoch != commit.epoch - commit.claims_epoch:
            raise SupersededError(f"device `{commit.device_id}`: a newer session holds the epoch")
        self.found[device.id] = replace(
            device,
            epoch=commit.epoch,
            hostname=commit.hostname,
            last_seen_at=commit.seen_at,
            boots=commit.boots,
            key_cloned_at=commit.key_cloned_at,
        )
        if commit.leaves:
            for (of_device, _), row in self.rows.items():
                if of_device == device.id:
                    row.end(commit.seen_at)
        for judged in commit.judged:
            self._put(device.id, judged, ended_at=commit.seen_at)
        return self._changed(commit.seen_at)

    def _commit_rejudged(self, rejudged: Sequence[Rejudgement]) -> int:
        for item in rejudged:
            device = self.found.get(item.device_id)
            row = self.rows.get((item.device_id, item.judged.result.check_id))
            if device is None or device.state is not DeviceState.ACTIVE or row is None or row.judged is None:
                continue
            if row.judged.context.received_at == item.claim_received_at:
                kept = replace(item.judged, claim=row.judged.claim, context=row.judged.context)
                self._put(device.id, kept, ended_at=item.judged.result.evaluated_at)
                self._changed(item.judged.result.evaluated_at)
        return self.revision

    def _put(self, device_id: DeviceId, judged: JudgedClaim, *, ended_at: Instant) -> None:
        row = self.rows.setdefault((device_id, judged.result.check_id), _Row())
        row.end(ended_at)
        row.judged = judged
        if judged.proven_certificate is not None and judged.proven_key is not None:
            row.proven_until[judged.proven_certificate, judged.proven_key] = judged.result.expires_at

    def _set_device_state(self, device_id: DeviceId, state: DeviceState, now: Instant) -> int:
        device = self.found.get(device_id)
        if device is None:
            raise NotFoundError(f"no device `{device_id}`")
        approves = (device.state, state) == (DeviceState.PENDING, DeviceState.ACTIVE)
        if not approves and (device.state is DeviceState.REVOKED or state is not DeviceState.REVOKED):
            raise ConflictError(f"device `{device_id}` is {device.state}")
        self.found[device_id] = replace(device, state=state)
        return self._changed(now)

    # ---- Rules ----------------------------------------------------------------------------------------------------------

    async def load_rules(self) -> tuple[Sequence[StoredObject], int]:
        entries = sorted(self.entries.values(), key=lambda entry: (entry.kind, entry.name))
        return self._do("load_rules", lambda: (entries, self.rules_at))

    async def rules_revision(self) -> int:
        return self._do("rules_revision", lambda: self.rules_at)

    async def commit_rules(self, change: RulesChange, *, expected_revision: int, now: Instant) -> int:
        return self._do("commit_rules", lambda: self._commit_rules(change, expected_revision, now))

    def _commit_rules(self, change: RulesChange, expected_revision: int, now: Instant) -> int:
        if self.rules_at != expected_revision:
            raise ConflictError(f"the rules are at revision {self.rules_at}: load them and try again")
        after = {key: entry for key, entry in self.entries.items() if key not in change.deletes}
        new = self.revision + 1
        differs = len(after) != len(self.entries)
        given: set[tuple[str, str]] = set()
        for entry in change.upserts:
            key = (entry.kind, entry.id)
            before = after.get(key)
            if key in given:
                raise ConflictError(f"`{entry.id}` is given twice")
            given.add(key)
            if before is None or (before.name, _text(before)) != (entry.name, _text(entry)):
                created = now if before is None else before.created_at
                after[key] = replace(entry, revision=new, created_at=created, updated_at=now)
                differs = True
        names: dict[tuple[str, str], str] = {}
        for entry in after.values():
            if names.setdefault((entry.kind, entry.name), entry.id) != entry.id:
                raise ConflictError(f"`{entry.name}` exists already in {entry.kind}: choose another name")
        if differs:
            self.entries = after
            self.rules_at = self._changed(now)
        return self.rules_at

    # ---- All ------------------------------------------------------------------------------------------------------------

    def _changed(self, at: Instant) -> int:
        self.revision += 1
        self.clock_floor = max(self.clock_floor, at)
        return self.revision

    def _do(self, method: str, work: Callable[[], _T]) -> _T:
        if self.fails != method:
            return work()
        self.fails_times -= 1
        if self.fails_times == 0:
            self.fails = None
        if self.fails_after:
            work()
        raise StoreUnavailableError("the store does not answer")


def _last(ends: Sequence[Instant | None]) -> Instant | None:
    known = [end for end in ends if end is not None]
    return max(known) if len(known) == len(ends) else None


def _text(entry: StoredObject) -> str:
    return json.dumps(entry.body, sort_keys=True)

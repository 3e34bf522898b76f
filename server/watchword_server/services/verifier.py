"""The verifier (RFC 9334): judges a session's envelopes, keeps the results, and lets them take effect in the right order.

What narrows access holds in memory before it is committed; what widens it only after. An acknowledgement follows the commit.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import structlog

from watchword_server import events
from watchword_server.core.boots import with_boot
from watchword_server.core.model.checks import OnClone
from watchword_server.core.model.devices import Device, DeviceKey, DeviceState
from watchword_server.core.model.evidence import Evidence
from watchword_server.core.model.names import DeviceId, Instant, KeyFingerprint
from watchword_server.core.model.results import DevicePosture, JudgedClaim, PostureResult
from watchword_server.core.session import AttestSession, JudgeEnvelope
from watchword_server.core.snapshot import RuleSnapshot
from watchword_server.core.verify import as_cloned, as_key_cloned, verify_evidence
from watchword_server.errors import EvidenceRejectedError, ServiceError, SupersededError
from watchword_server.ports.decisions import EventLog
from watchword_server.ports.devices import DeviceStore, EvidenceCommit
from watchword_server.ports.machine import Clock
from watchword_server.ports.memory import PostureMemory
from watchword_server.services.judging import fails_clones, is_live, judge_evidence, mark_clone, posture_event
from watchword_server.services.rejudging import Rejudging
from watchword_server.services.revocation_in_force import RevocationInForce
from watchword_server.services.revocation_responses import RevocationResponses
from watchword_server.services.rules_in_force import RulesInForce

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Accepted:
    """Evidence that is verified and durable, and what it led to."""

    device: Device
    evidence: Evidence
    results: tuple[PostureResult, ...]


@dataclass(slots=True)
class Verifier:
    """Runs in the event loop; a session's envelopes come one after the other, those of different sessions side by side."""

    store: DeviceStore
    memory: PostureMemory
    rules: RulesInForce
    revocation: RevocationInForce
    rejudging: Rejudging
    clock: Clock
    posture_log: EventLog
    parse: Callable[[bytes], Evidence]
    stand_in_epoch: Callable[[DeviceId], int]
    responses: RevocationResponses | None = None  # None: nobody is asked
    # Whose last commit failed or lost, with the keys it was about: what is known of these is read again.
    _doubtful: dict[DeviceId, set[KeyFingerprint]] = field(default_factory=dict)

    async def stored_epoch(self, device_id: DeviceId) -> int:
        """The epoch a session of this device starts from; a stand-in for one that is unknown. Changes nothing."""
        if device_id in self._doubtful:
            posture = await self.store.posture(device_id)
            keys = self._doubtful.pop(device_id, set())
            if posture is not None:
                self.memory.forget_device(device_id, revision=posture.revision)
                for key in keys:
                    self.memory.forget_key(key, revision=posture.revision)
        posture = await self.memory.posture(device_id)
        return self.stand_in_epoch(device_id) if posture is None else posture.device.epoch

    async def accept(self, session: AttestSession, action: JudgeEnvelope) -> Accepted:
        """Verifies an envelope, judges it, commits it and lets it take effect.

        Raises an `EvidenceRejectedError`: nothing happened; or a `ServiceError`: nothing is promised, what narrows holds all the
        same.
        """
        device_id = session.device_id
        posture = None if device_id is None else await self.memory.posture(device_id)
        now, snapshot = self.clock.now(), self.rules.current
        verified = verify_evidence(
            action.envelope,
            device=None if posture is None else posture.device,
            expected=action.expected,
            now=now,
            parse=self.parse,
        )
        assert posture is not None  # noqa: S101 - verified: the device is known
        self.check_epoch(session, posture.device)
        if self.responses is not None and await self.responses.prepare(verified, snapshot):  # time passed
            before, posture = posture.device, await self.memory.posture(posture.device.id) or posture
            now, snapshot = self.clock.now(), self.rules.current
            self.check_epoch(session, posture.device)
            if (posture.device.key, posture.device.pending_key) != (before.key, before.pending_key):
                raise SupersededError(f"`{before.id}` has got another key since its evidence was verified")
        edition = self.revocation.edition
        device = with_boot(posture.device, verified.evidence.boot_id, claims_epoch=session.claims_epoch, now=now)
        judged = judge_evidence(verified, device, snapshot, self.revocation.current, now=now)
        device = replace(device, hostname=verified.evidence.inventory.hostname)
        promotes_key = device.pending_key if verified.promotes_key else None
        if promotes_key is not None:
            device = replace(device, key=promotes_key, pending_key=None, pending_until=None)
        device, results = await self.commit(session, posture, device, judged, snapshot, promotes_key=promotes_key, now=now)
        if self.rules.current is not snapshot:  # the rules changed while this was on its way
            judged_checks = frozenset(claim.result.check_id for claim in judged)
            await self.rejudging.checks(judged_checks & self.rules.check_ids, self.rules.current)
        if self.revocation.edition != edition:  # as above, with what is known of revocation
            await self.rejudging.device(device.id, self.rules.current)
        session.accepted()
        return Accepted(device=device, evidence=verified.evidence, results=results)

    def check_epoch(self, session: AttestSession, device: Device) -> None:
        """Raises `SupersededError` if another session holds the epoch. The store has the last word; this saves asking it."""
        if device.epoch != session.epoch - session.claims_epoch:
            self.doubt(device.id)
            raise SupersededError(f"epoch {session.epoch} of `{device.id}` is not the newest")

    def doubt(self, device_id: DeviceId) -> None:
        """What memory has of the device may not be what is stored: its next session starts from the store's."""
        self._doubtful.setdefault(device_id, set())

    async def commit(
        self,
        session: AttestSession,
        posture: DevicePosture,
        device: Device,
        judged: Sequence[JudgedClaim],
        snapshot: RuleSnapshot,
        *,
        now: Instant,
        promotes_key: DeviceKey | None = None,
        leaves: bool = False,
    ) -> tuple[Device, tuple[PostureResult, ...]]:
        """Makes what was judged durable and lets it take effect; the device and its results then. Raises as `accept`.

        `posture` is what was known before, `device` with what the message told.
        """
        # Finished even if the agent leaves meanwhile: a half-done commit would leave memory and store apart.
        work = asyncio.ensure_future(
            self._commit(session, posture, device, judged, snapshot, now=now, promotes_key=promotes_key, leaves=leaves)
        )
        work.add_done_callback(_retrieve)
        return await asyncio.shield(work)

    async def _commit(
        self,
        session: AttestSession,
        posture: DevicePosture,
        device: Device,
        judged: Sequence[JudgedClaim],
        snapshot: RuleSnapshot,
        *,
        now: Instant,
        promotes_key: DeviceKey | None,
        leaves: bool,
    ) -> tuple[Device, tuple[PostureResult, ...]]:
        device = replace(device, epoch=session.epoch, last_seen_at=now)
        key_cloned = _newly_key_cloned(posture, device, judged, snapshot)
        narrowings = [self.memory.narrow(device.id, [claim.result for claim in judged])]
        # What is not committed here, but judged again afterwards: this device's other checks, and other devices.
        narrowed_others = [self.memory.narrow(device.id, key_cloned)] if key_cloned else []
        cloned: set[KeyFingerprint] = set()
        try:
            judged, cloned, clones = await self._with_clones(judged, device, snapshot, now=now)
            narrowings.append(self.memory.narrow(device.id, [claim.result for claim in judged]))
            narrowed_others += [self.memory.narrow(other, results) for other, results in clones]
            revision = await self.store.commit_evidence(
                EvidenceCommit(
                    device_id=device.id,
                    epoch=session.epoch,
                    claims_epoch=session.claims_epoch,
                    seen_at=now,
                    hostname=device.hostname,
                    judged=tuple(judged),
                    boots=device.boots,
                    key_cloned_at=device.key_cloned_at,
                    promotes_key=None if promotes_key is None else promotes_key.key_id,
                    leaves=leaves,
                )
            )
        except EvidenceRejectedError:
            self.doubt(device.id)
            for narrowing in (*narrowings, *narrowed_others):
                self.memory.settle(narrowing)
            raise
        except ServiceError:
            self.doubt(device.id)  # it may have been committed all the same; what narrows stays narrowed
            self._doubtful[device.id] |= _touched(posture, judged, now=now)
            for narrowing in (*narrowings, *narrowed_others):
                self.memory.hold(narrowing)
            raise
        results = [claim.result for claim in judged]
        self.memory.committed(device, results, revision=revision)
        touched = _touched(posture, judged, now=now) | cloned
        for key in {claim.proven_key for claim in judged} | touched:
            if key is not None:
                self.memory.forget_key(key, revision=revision)
        if device.key_cloned_at is not None and posture.device.key_cloned_at is None:
            _log.warning(events.DEVICE_KEY_CLONED, device_id=device.id)
        if promotes_key is not None:
            _log.info(
                events.DEVICE_KEY_ROTATED,
                device_id=device.id,
                key_id=promotes_key.key_id,
                key_protection=promotes_key.protection,
            )
        self._write_posture_log(device, judged, posture)
        for narrowing in narrowings:
            self.memory.settle(narrowing, revision=revision)
        try:
            if key_cloned:
                await self.rejudging.device(device.id, self.rules.current)
            results = await self._settle_holders(touched, device, results, now=now)
        except ServiceError:
            # This device's evidence is durable and may be acknowledged; the others stay narrowed in memory until their next.
            _log.exception(events.SETTLE_FAILED, device_id=device.id)
            for narrowing in narrowed_others:
                self.memory.hold(narrowing)
        else:
            for narrowing in narrowed_others:
                self.memory.settle(narrowing, revision=revision)
        return device, tuple(results)

    async def _with_clones(
        self, judged: Sequence[JudgedClaim], device: Device, snapshot: RuleSnapshot, *, now: Instant
    ) -> tuple[list[JudgedClaim], set[KeyFingerprint], list[tuple[DeviceId, list[PostureResult]]]]:
        """The claims, flagged where another live device proves their key; keys that fail results of others; those results.

        Those others are told of only if they pass so far.
        """
        marked: list[JudgedClaim] = []
        cloned: set[KeyFingerprint] = set()
        clones: list[tuple[DeviceId, list[PostureResult]]] = []
        for claim in judged:
            others = await self._other_holders(claim.proven_key, device.id, now=now)
            marked.append(mark_clone(claim, [other.device.id for other in others], snapshot))
            if claim.proven_key is None or not others:
                continue
            _log.warning(events.CERTIFICATE_CLONED, device_id=device.id, others=[other.device.id for other in others])
            for other in others:
                failing = _cloned_results(other, claim.proven_key, device.id, snapshot)
                if failing:
                    clones.append((other.device.id, failing))
                    cloned.add(claim.proven_key)
        return marked, cloned, clones

    async def _other_holders(self, key: KeyFingerprint | None, device_id: DeviceId, *, now: Instant) -> list[DevicePosture]:
        """The other active devices that prove this key now, with whatever certificate."""
        if key is None:
            return []
        holders = {
            binding.device_id
            for binding in await self.memory.bindings(key)
            if binding.device_id != device_id and is_live(binding.proven_until, now)
        }
        postures = [await self.memory.posture(holder) for holder in sorted(holders)]
        return [posture for posture in postures if posture is not None and posture.device.state is DeviceState.ACTIVE]

    async def _settle_holders(
        self, touched: set[KeyFingerprint], device: Device, results: list[PostureResult], *, now: Instant
    ) -> list[PostureResult]:
        """Judges the other holders of a touched key again, and this device if two arrived at the same moment."""
        by_check = {result.check_id: result for result in results}
        for key in touched:
            if await self._other_holders(key, device.id, now=now):
                for rejudged in await self.rejudging.key(key, self.rules.current):
                    if rejudged.device_id == device.id:
                        by_check[rejudged.judged.result.check_id] = rejudged.judged.result
        return list(by_check.values())

    def _write_posture_log(self, device: Device, judged: Sequence[JudgedClaim], posture: DevicePosture) -> None:
        checks = self.rules.current.rules.checks
        for claim in judged:
            check = checks.get(claim.result.check_id)
            if check is not None:
                before = posture.results.get(check.id)
                self.posture_log.write(posture_event(device, check, claim, before=before))


def _touched(posture: DevicePosture, judged: Sequence[JudgedClaim], *, now: Instant) -> set[KeyFingerprint]:
    """Keys that gained or lost this device as a holder. One whose proof had expired had lost it already."""
    touched: set[KeyFingerprint] = set()
    for claim in judged:
        known = posture.results.get(claim.result.check_id)
        before = known.proven_key if known is not None and is_live(known.expires_at, now) else None
        if before != claim.proven_key:
            touched.update(key for key in (before, claim.proven_key) if key is not None)
    return touched


def _newly_key_cloned(
    posture: DevicePosture, device: Device, judged: Sequence[JudgedClaim], snapshot: RuleSnapshot
) -> list[PostureResult]:
    """The device's passing results on checks that this evidence is not about, failed if it shows a second machine."""
    if device.key_cloned_at is None or posture.device.key_cloned_at is not None:
        return []
    here = {claim.result.check_id for claim in judged}
    return [
        as_key_cloned(result, device.key_cloned_at)
        for result in posture.results.values()
        if result.check_id not in here and result.passed and fails_clones(result, snapshot)
    ]


def _cloned_results(
    other: DevicePosture, key: KeyFingerprint, device_id: DeviceId, snapshot: RuleSnapshot
) -> list[PostureResult]:
    """The other holder's passing results on this key, failed as clones of this device's."""
    return [
        as_cloned(result, [device_id], OnClone.FAIL)
        for result in other.results.values()
        if result.passed and result.proven_key == key and fails_clones(result, snapshot)
    ]


def _retrieve(work: "asyncio.Future[tuple[Device, tuple[PostureResult, ...]]]") -> None:
    """Marks the outcome as seen: nobody may be left to await it."""
    if not work.cancelled():
        work.exception()

"""The verifier (RFC 9334): judges a session's envelopes, keeps the results, and lets them take effect in the right order.

What narrows access holds in memory before it is committed; what widens it only after. An acknowledgement follows the commit.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import structlog

from watchword_server import events
from watchword_server.core.model import (
    Device,
    DeviceId,
    DevicePosture,
    DeviceState,
    Evidence,
    Fingerprint,
    Instant,
    JudgedClaim,
    PostureResult,
)
from watchword_server.core.session import AttestSession, JudgeEnvelope
from watchword_server.core.snapshot import RuleSnapshot
from watchword_server.core.verify import VerifiedEvidence, verify_evidence
from watchword_server.errors import EvidenceRejectedError, ServiceError, SupersededError
from watchword_server.ports import Clock, DeviceStore, EventLog, EvidenceCommit, Narrowing, PostureMemory
from watchword_server.services.judging import is_live, judge_evidence, mark_clone, posture_event, proven_by
from watchword_server.services.rejudging import Rejudging
from watchword_server.services.revocation_in_force import RevocationInForce
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
    _doubtful: set[DeviceId] = field(default_factory=set)  # whose last commit failed, or lost: their epoch is read again

    async def stored_epoch(self, device_id: DeviceId) -> int:
        """The epoch a session of this device starts from; a stand-in for one that is unknown. Changes nothing."""
        if device_id in self._doubtful:
            posture = await self.store.posture(device_id)
            self._doubtful.discard(device_id)
            if posture is not None:
                self.memory.forget_device(device_id, revision=posture.revision)
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
        if posture.device.epoch != session.epoch - session.claims_epoch:  # the store has the last word; this saves asking it
            self._doubtful.add(posture.device.id)
            raise SupersededError(f"epoch {session.epoch} of `{posture.device.id}` is not the newest")
        judged = judge_evidence(verified, snapshot, self.revocation.current, now=now)
        # Finished even if the agent leaves meanwhile: a half-done commit would leave memory and store apart.
        work = asyncio.ensure_future(self._commit(session, verified, posture, judged, snapshot, now=now))
        work.add_done_callback(_retrieve)
        accepted = await asyncio.shield(work)
        if self.rules.current is not snapshot:  # the rules changed while this was on its way
            judged_checks = frozenset(claim.result.check_id for claim in judged)
            await self.rejudging.checks(judged_checks & self.rules.check_ids, self.rules.current)
        session.accepted()
        return accepted

    async def _commit(
        self,
        session: AttestSession,
        verified: VerifiedEvidence,
        posture: DevicePosture,
        judged: Sequence[JudgedClaim],
        snapshot: RuleSnapshot,
        *,
        now: Instant,
    ) -> Accepted:
        device = replace(posture.device, epoch=session.epoch, hostname=verified.evidence.inventory.hostname, last_seen_at=now)
        narrowings = [self.memory.narrow(device.id, [claim.result for claim in judged])]
        narrowed_others: list[Narrowing] = []
        cloned: list[JudgedClaim] = []
        try:
            judged, cloned, clones = await self._with_clones(judged, device, snapshot, now=now)
            narrowings.append(self.memory.narrow(device.id, [claim.result for claim in judged]))
            narrowed_others = [self.memory.narrow(other, results) for other, results in clones]
            revision = await self.store.commit_evidence(
                EvidenceCommit(
                    device_id=device.id,
                    epoch=session.epoch,
                    claims_epoch=session.claims_epoch,
                    seen_at=now,
                    hostname=device.hostname,
                    judged=tuple(judged),
                )
            )
        except EvidenceRejectedError:
            self._doubtful.add(device.id)
            for narrowing in (*narrowings, *narrowed_others):
                self.memory.settle(narrowing)
            raise
        except ServiceError:
            self._doubtful.add(device.id)  # it may have been committed all the same; what narrows stays narrowed
            for narrowing in (*narrowings, *narrowed_others):
                self.memory.hold(narrowing)
            raise
        results = [claim.result for claim in judged]
        self.memory.committed(device, results, revision=revision)
        touched = _touched(posture, judged, now=now) | {claim.proven_certificate for claim in cloned if claim.proven_certificate}
        for certificate in {claim.proven_certificate for claim in judged} | touched:
            if certificate is not None:
                self.memory.forget_certificate(certificate, revision=revision)
        self._write_posture_log(device, judged, posture)
        for narrowing in narrowings:
            self.memory.settle(narrowing, revision=revision)
        try:
            results = await self._settle_holders(touched, device, results, now=now)
        except ServiceError:
            # This device's evidence is durable and may be acknowledged; the others stay narrowed in memory until their next.
            _log.exception(events.SETTLE_FAILED, device_id=device.id)
            for narrowing in narrowed_others:
                self.memory.hold(narrowing)
        else:
            for narrowing in narrowed_others:
                self.memory.settle(narrowing, revision=revision)
        return Accepted(device=device, evidence=verified.evidence, results=tuple(results))

    async def _with_clones(
        self, judged: Sequence[JudgedClaim], device: Device, snapshot: RuleSnapshot, *, now: Instant
    ) -> tuple[list[JudgedClaim], list[JudgedClaim], list[tuple[DeviceId, list[PostureResult]]]]:
        """The claims, failed where another live device proves their certificate; which those are; what it means for the others.

        Those others are told of only if they pass so far.
        """
        marked: list[JudgedClaim] = []
        cloned: list[JudgedClaim] = []
        clones: list[tuple[DeviceId, list[PostureResult]]] = []
        for claim in judged:
            others = await self._other_holders(claim.proven_certificate, device.id, now=now)
            if not others:
                marked.append(claim)
                continue
            _log.warning(events.CERTIFICATE_CLONED, device_id=device.id, others=[other.device.id for other in others])
            now_marked = mark_clone(claim, [other.device.id for other in others], snapshot)
            marked.append(now_marked)
            if now_marked is not claim:
                passing = [(other.device.id, _cloned_results(other, claim)) for other in others]
                clones += [(other, results) for other, results in passing if results]
                cloned += [claim] if any(results for _, results in passing) else []
        return marked, cloned, clones

    async def _other_holders(self, certificate: Fingerprint | None, device_id: DeviceId, *, now: Instant) -> list[DevicePosture]:
        if certificate is None:
            return []
        postures = [
            await self.memory.posture(binding.device_id)
            for binding in await self.memory.bindings(certificate)
            if binding.device_id != device_id and is_live(binding.proven_until, now)
        ]
        return [posture for posture in postures if posture is not None and posture.device.state is DeviceState.ACTIVE]

    async def _settle_holders(
        self, touched: set[Fingerprint], device: Device, results: list[PostureResult], *, now: Instant
    ) -> list[PostureResult]:
        """Judges the other holders of a touched certificate again, and this device if two arrived at the same moment."""
        by_check = {result.check_id: result for result in results}
        for certificate in touched:
            if await self._other_holders(certificate, device.id, now=now):
                for rejudged in await self.rejudging.certificate(certificate, self.rules.current):
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


def _touched(posture: DevicePosture, judged: Sequence[JudgedClaim], *, now: Instant) -> set[Fingerprint]:
    """Certificates that gained or lost this device as a holder. One whose proof had expired had lost it already."""
    touched: set[Fingerprint] = set()
    for claim in judged:
        known = posture.results.get(claim.result.check_id)
        before = proven_by(known) if known is not None and is_live(known.expires_at, now) else None
        if before != claim.proven_certificate:
            touched.update(certificate for certificate in (before, claim.proven_certificate) if certificate is not None)
    return touched


def _cloned_results(other: DevicePosture, claim: JudgedClaim) -> list[PostureResult]:
    """The other holder's passing result on the same check and certificate, failed as a clone."""
    result = other.results.get(claim.claim.check_id)
    if result is None or not result.passed or result.certificate != claim.proven_certificate:
        return []
    return [replace(result, passed=False, reason="certificate_cloned")]


def _retrieve(work: "asyncio.Future[Accepted]") -> None:
    """Marks the outcome as seen: nobody may be left to await it."""
    if not work.cancelled():
        work.exception()

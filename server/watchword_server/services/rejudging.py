"""Judging stored claims again: when a check or its CA changed, and when a certificate gained or lost a holder."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from watchword_server.core.certificates.revocation import RevocationView
from watchword_server.core.model import CheckId, DeviceId, DeviceState, Fingerprint, Instant, JudgedClaim
from watchword_server.core.snapshot import RuleSnapshot
from watchword_server.core.verify import judge_claim
from watchword_server.errors import ServiceError
from watchword_server.ports import Clock, DeviceStore, EventLog, Narrowing, PostureMemory, Rejudgement, StoredClaim
from watchword_server.services.judging import is_live, mark_clone, posture_event
from watchword_server.services.revocation_in_force import RevocationInForce

_SLICE = 100  # claims judged between two breaths of the event loop


@dataclass(frozen=True, slots=True)
class _Again:
    stored: StoredClaim
    judged: JudgedClaim


@dataclass(frozen=True, slots=True)
class Rejudging:
    """Judges stored claims again and lets the outcome take effect: what narrows before the commit, what widens after."""

    store: DeviceStore
    memory: PostureMemory
    revocation: RevocationInForce
    clock: Clock
    posture_log: EventLog

    async def certificate(self, certificate: Fingerprint, snapshot: RuleSnapshot) -> Sequence[Rejudgement]:
        """A certificate gained or lost a holder: all claims that prove it."""
        return await self._run(await self.store.claims(certificate=certificate), snapshot)

    async def checks(self, check_ids: frozenset[CheckId], snapshot: RuleSnapshot) -> Sequence[Rejudgement]:
        """Checks changed: all claims that were last judged under another revision of them."""
        if not check_ids:
            return ()
        stale = [
            claim
            for claim in await self.store.claims(check_ids=check_ids)
            if claim.judged.result.check_revision != snapshot.rules.checks[claim.judged.claim.check_id].revision
        ]
        return await self._run(stale, snapshot)

    async def _run(self, claims: Sequence[StoredClaim], snapshot: RuleSnapshot) -> Sequence[Rejudgement]:
        now = self.clock.now()
        again = await _judge(claims, snapshot, self.revocation.current, now=now)
        holders = await self._holders(again, now=now)
        changed: list[tuple[StoredClaim, Rejudgement]] = []
        for entry in again:
            device_id, certificate = entry.stored.device.id, entry.judged.proven_certificate
            others = holders[certificate] - {device_id} if certificate is not None else frozenset()
            marked = mark_clone(entry.judged, sorted(others), snapshot)
            if _differs(entry.stored.judged, marked):
                changed.append((entry.stored, Rejudgement(device_id, marked)))
        if not changed:
            return ()
        rejudged = [rejudgement for _, rejudgement in changed]
        narrowings = [self.memory.narrow(item.device_id, [item.judged.result]) for item in rejudged]
        try:
            revision = await self.store.commit_rejudged(rejudged)
        except ServiceError:
            for narrowing in narrowings:
                self.memory.hold(narrowing)
            raise
        self._settled(changed, narrowings, snapshot, revision=revision)  # and no await from here to the caller
        return rejudged

    def _settled(
        self,
        changed: Iterable[tuple[StoredClaim, Rejudgement]],
        narrowings: Iterable[Narrowing],
        snapshot: RuleSnapshot,
        *,
        revision: int,
    ) -> None:
        for narrowing in narrowings:
            self.memory.forget_device(narrowing.device_id, revision=revision)
            # Without the revision: judging older claims again does not end what newer evidence holds that the store did not take.
            self.memory.settle(narrowing)
        for stored, item in changed:
            for certificate in {stored.judged.proven_certificate, item.judged.proven_certificate}:
                if certificate is not None:
                    self.memory.forget_certificate(certificate, revision=revision)
            check = snapshot.rules.checks[item.judged.result.check_id]
            self.posture_log.write(posture_event(stored.device, check, item.judged, before=stored.judged.result))

    async def _holders(self, again: Sequence[_Again], *, now: Instant) -> dict[Fingerprint, set[DeviceId]]:
        """Who proves each certificate now: by what was judged here, and by the store for devices that are not among these."""
        holders: dict[Fingerprint, set[DeviceId]] = defaultdict(set)
        here = {entry.stored.device.id for entry in again}
        for entry in again:
            certificate = entry.judged.proven_certificate
            if certificate is not None and is_live(entry.judged.result.expires_at, now):
                holders[certificate].add(entry.stored.device.id)
        for certificate in list(holders):
            bindings, _ = await self.store.bindings(certificate)
            holders[certificate].update(
                binding.device_id
                for binding in bindings
                if binding.device_id not in here
                and binding.device_state is DeviceState.ACTIVE
                and is_live(binding.proven_until, now)
            )
        return holders


async def _judge(
    claims: Iterable[StoredClaim], snapshot: RuleSnapshot, revocation: RevocationView, *, now: Instant
) -> list[_Again]:
    again = []
    for index, stored in enumerate(claims):
        check = snapshot.rules.checks.get(stored.judged.claim.check_id)
        if check is not None and stored.device.state is DeviceState.ACTIVE:
            judged = judge_claim(
                stored.judged.claim,
                stored.judged.context,
                device=stored.device,
                check=check,
                signing_certificates=snapshot.rules.certificates,
                revocation=revocation,
                now=now,
            )
            again.append(_Again(stored, judged))
        if index % _SLICE == _SLICE - 1:
            await asyncio.sleep(0)  # decisions go first
    return again


def _differs(before: JudgedClaim, after: JudgedClaim) -> bool:
    return before.proven_certificate != after.proven_certificate or any(
        getattr(before.result, name) != getattr(after.result, name)
        for name in ("check_revision", "passed", "reason", "expires_at", "certificate", "received")
    )

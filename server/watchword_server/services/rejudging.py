"""Judging stored claims again: when a check or its CA changed, and when a key gained or lost a holder."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from watchword_server.core.certificates.revocation import RevocationView
from watchword_server.core.model.devices import DeviceState
from watchword_server.core.model.names import CheckId, DeviceId, Instant, KeyFingerprint
from watchword_server.core.model.results import JudgedClaim
from watchword_server.core.snapshot import RuleSnapshot
from watchword_server.core.verify import judge_claim
from watchword_server.errors import ServiceError
from watchword_server.ports.decisions import EventLog
from watchword_server.ports.devices import DeviceStore, Rejudgement, StoredClaim
from watchword_server.ports.machine import Clock
from watchword_server.ports.memory import Narrowing, PostureMemory
from watchword_server.services.judging import is_live, mark_clone, posture_event
from watchword_server.services.revocation_in_force import RevocationInForce

_BREATH_SECONDS = 0.002  # at most so long, and a claim more, does the event loop wait


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

    async def key(self, key: KeyFingerprint, snapshot: RuleSnapshot) -> Sequence[Rejudgement]:
        """A certificate's key gained or lost a holder: all claims that prove it."""
        return await self._run(await self.store.claims(key=key), snapshot)

    async def device(self, device_id: DeviceId, snapshot: RuleSnapshot) -> Sequence[Rejudgement]:
        """Something is known of a device that all its claims are judged by."""
        return await self._run(await self.store.claims(device_id=device_id), snapshot)

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

    async def after_revocation(
        self,
        snapshot: RuleSnapshot,
        *,
        serial_numbers: frozenset[int] = frozenset(),
        check_ids: frozenset[CheckId] = frozenset(),
        is_concerned: Callable[[StoredClaim], bool] = lambda _: True,
    ) -> Sequence[Rejudgement]:
        """What is known of revocation changed: claims about certificates so numbered, and the concerned ones of the checks."""
        claims = list(await self.store.claims(serial_numbers=serial_numbers)) if serial_numbers else []
        known = {(claim.device.id, claim.judged.claim.check_id) for claim in claims}
        breath = _Breath()
        for claim in await self.store.claims(check_ids=check_ids) if check_ids else ():
            if (claim.device.id, claim.judged.claim.check_id) not in known and is_concerned(claim):
                claims.append(claim)
            await breath.take()
        return await self._run(claims, snapshot)

    async def _run(self, claims: Sequence[StoredClaim], snapshot: RuleSnapshot) -> Sequence[Rejudgement]:
        while True:
            edition, now = self.revocation.edition, self.clock.now()
            again = await _judge(claims, snapshot, self.revocation.current, now=now)
            holders = await self._holders(again, now=now)
            if self.revocation.edition == edition:  # else these verdicts are not what the newest list says
                break
        changed: list[tuple[StoredClaim, Rejudgement]] = []
        for entry in again:
            device_id, key = entry.stored.device.id, entry.judged.proven_key
            others = holders[key] - {device_id} if key is not None else frozenset()
            marked = mark_clone(entry.judged, others, snapshot)
            if _differs(entry.stored.judged, marked):
                is_another = _verdict(entry.stored.judged) != _verdict(marked)
                changed.append((entry.stored, Rejudgement(device_id, marked, is_another)))
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
            for key in {stored.judged.proven_key, item.judged.proven_key}:
                if key is not None:
                    self.memory.forget_key(key, revision=revision)
            check = snapshot.rules.checks[item.judged.result.check_id]
            self.posture_log.write(posture_event(stored.device, check, item.judged, before=stored.judged.result))

    async def _holders(self, again: Sequence[_Again], *, now: Instant) -> dict[KeyFingerprint, set[DeviceId]]:
        """Who proves each key now: by what was judged here, and by the store for what is not among this."""
        holders: dict[KeyFingerprint, set[DeviceId]] = defaultdict(set)
        here = {entry.stored.device.id for entry in again}
        claims = {(entry.stored.device.id, entry.judged.result.check_id) for entry in again}
        for entry in again:
            key = entry.judged.proven_key
            if key is not None and is_live(entry.judged.result.expires_at, now):
                holders[key].add(entry.stored.device.id)
        for key in list(holders):
            bindings, _ = await self.store.bindings(key)
            holders[key].update(
                binding.device_id
                for binding in bindings
                if binding.device_id not in here
                and binding.device_state is DeviceState.ACTIVE
                and is_live(binding.proven_until, now)
            )
            for device_id in {binding.device_id for binding in bindings} & here - holders[key]:
                posture = await self.memory.posture(device_id)
                if posture is not None and any(  # by a check that is not judged here
                    result.proven_key == key and is_live(result.expires_at, now) and (device_id, result.check_id) not in claims
                    for result in posture.results.values()
                ):
                    holders[key].add(device_id)
        return holders


async def _judge(
    claims: Iterable[StoredClaim], snapshot: RuleSnapshot, revocation: RevocationView, *, now: Instant
) -> list[_Again]:
    again = []
    breath = _Breath()
    for stored in claims:
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
        await breath.take()
    return again


class _Breath:
    """Lets the event loop go on, decisions first, where work has taken it for long enough."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._taken_at = self._loop.time()

    async def take(self) -> None:
        """At once, unless it is time."""
        if self._loop.time() - self._taken_at >= _BREATH_SECONDS:
            await asyncio.sleep(0)
            self._taken_at = self._loop.time()


def _verdict(judged: JudgedClaim) -> tuple[bool, str]:
    return judged.result.passed, judged.result.reason


def _differs(before: JudgedClaim, after: JudgedClaim) -> bool:
    return (before.proven_certificate, before.proven_key) != (after.proven_certificate, after.proven_key) or any(
        getattr(before.result, name) != getattr(after.result, name)
        for name in ("check_revision", "passed", "reason", "expires_at", "certificate", "received")
    )

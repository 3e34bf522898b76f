"""A device wants another key: kept as pending until it has signed evidence. `Verifier` promotes it then."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from watchword_server import events
from watchword_server.core.model.devices import Device
from watchword_server.core.model.evidence import KeyRotation
from watchword_server.core.model.names import Instant
from watchword_server.core.session import AttestSession, RotateKey
from watchword_server.core.verify import VerifiedKeyRotation, verify_key_rotation
from watchword_server.errors import EvidenceRejectedError, ServiceError
from watchword_server.ports.devices import KeyRotationCommit
from watchword_server.services.verifier import Verifier

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class KeyRotations:
    """Takes proposals of new keys. The enrolled key goes on until the new one has proven itself a second time, by evidence."""

    verifier: Verifier
    parse: Callable[[bytes], KeyRotation]
    pending_seconds: float

    async def propose(self, session: AttestSession, action: RotateKey) -> tuple[str, float]:
        """The id of the key that is pending now, durably, and for how many seconds. Proposing the same one again starts anew.

        Raises as `Verifier.accept`, and `NewKeyRefusedError`.
        """
        verifier = self.verifier
        posture = None if session.device_id is None else await verifier.memory.posture(session.device_id)
        now = verifier.clock.now()
        verified = verify_key_rotation(
            action.envelope,
            device=None if posture is None else posture.device,
            expected=action.expected,
            now=now,
            parse=self.parse,
        )
        verifier.check_epoch(session, verified.device)
        work = asyncio.ensure_future(self._commit(session, verified, now=now))  # finished even if the agent leaves meanwhile
        work.add_done_callback(_retrieve)
        device = await asyncio.shield(work)
        session.accepted()
        new_key = verified.new_key
        _log.info(events.DEVICE_KEY_PENDING, device_id=device.id, key_id=new_key.key_id, key_protection=new_key.protection)
        return new_key.key_id, self.pending_seconds

    async def _commit(self, session: AttestSession, verified: VerifiedKeyRotation, *, now: Instant) -> Device:
        verifier, new_key, pending_until = self.verifier, verified.new_key, Instant(now + self.pending_seconds)
        device = replace(verified.device, pending_key=new_key, pending_until=pending_until, last_seen_at=now)
        commit = KeyRotationCommit(
            device_id=device.id, epoch=session.epoch, seen_at=now, new_key=new_key, pending_until=pending_until
        )
        try:
            revision = await verifier.store.commit_key_rotation(commit)
        except (EvidenceRejectedError, ServiceError):
            verifier.doubt(device.id)  # whatever became of it, the next session asks the store
            raise
        verifier.memory.committed(device, (), revision=revision)
        return device


def _retrieve(work: "asyncio.Future[Device]") -> None:
    """Marks the outcome as seen: nobody may be left to await it."""
    if not work.cancelled():
        work.exception()

"""Operators' acts on devices: approve, revoke, lock, say whose one is, clear what was seen of a second machine."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from watchword_server import events
from watchword_server.core.model.devices import Device, DeviceState, Lock
from watchword_server.core.model.names import DeviceId, KeyFingerprint
from watchword_server.errors import ConflictError, NotFoundError, ServiceError
from watchword_server.ports.devices import DeviceStore
from watchword_server.ports.machine import Clock
from watchword_server.ports.memory import PostureMemory
from watchword_server.services.connections import Connections, Drain
from watchword_server.services.rejudging import Rejudging
from watchword_server.services.rules_in_force import RulesInForce

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Devices:
    """Changes the state of devices."""

    store: DeviceStore
    memory: PostureMemory
    rejudging: Rejudging
    rules: RulesInForce
    connections: Connections
    clock: Clock
    _one_approval: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def revoke(self, device_id: DeviceId) -> None:
        """Ends a device for good: in memory at once, durable when this returns, its stream closed.

        Raises `NotFoundError`, `ConflictError` (revoked already), `StoreUnavailableError` (the lock in memory stays).
        """
        posture = await self.memory.posture(device_id)
        if posture is None:
            raise NotFoundError(f"no device `{device_id}`: `watchword devices list` shows them")
        narrowing = self.memory.narrow(device_id, state=DeviceState.REVOKED)
        try:
            revision = await self.store.set_device_state(device_id, DeviceState.REVOKED, now=self.clock.now())
        except ServiceError:
            self.memory.hold(narrowing)
            self.connections.close(device_id, "device_revoked")
            raise
        except Exception:  # whatever refused it: the lock was for nothing
            self.memory.settle(narrowing)
            raise
        self.connections.close(device_id, "device_revoked")
        self.memory.forget_device(device_id, revision=revision)
        self.memory.settle(narrowing, revision=revision)
        _log.info(events.DEVICE_STATE_CHANGED, device_id=device_id, state=DeviceState.REVOKED.value)
        for key in {result.proven_key for result in posture.results.values()} - {None}:
            if key is not None:
                self.memory.forget_key(key, revision=revision)
                await self._rejudge(key)

    async def _rejudge(self, key: KeyFingerprint) -> None:
        try:
            await self.rejudging.key(key, self.rules.current)
        except ServiceError:
            # The device is revoked all the same; others that its key flagged are judged again with their next evidence.
            _log.exception(events.SETTLE_FAILED, key_sha256=key.hex())

    async def lock(self, device_id: DeviceId, reason: str) -> None:
        """Denies every request of a device from now on, in memory at once, until it is unlocked; it goes on attesting.

        Raises `NotFoundError`, `ConflictError` (revoked), `StoreUnavailableError` (the lock in memory stays).
        """
        now = self.clock.now()
        narrowing = self.memory.narrow(device_id, lock=Lock(now, reason))
        try:
            revision = await self.store.set_device_lock(device_id, reason, now=now)
        except ServiceError:
            self.memory.hold(narrowing)
            raise
        except Exception:  # whatever refused it: the lock was for nothing
            self.memory.settle(narrowing)
            raise
        self.memory.forget_device(device_id, revision=revision)
        self.memory.settle(narrowing, revision=revision)
        _log.info(events.DEVICE_LOCKED, device_id=device_id, reason=reason)

    async def unlock(self, device_id: DeviceId) -> None:
        """Lets what the device proves count again. Raises `NotFoundError`, `ConflictError` (not locked)."""
        try:
            revision = await self.store.set_device_lock(device_id, None, now=self.clock.now())
        except ConflictError:
            if not self.memory.release_lock(device_id):  # one that the store did not take
                raise
        else:
            self.memory.release_lock(device_id)
            self.memory.forget_device(device_id, revision=revision)
        _log.info(events.DEVICE_UNLOCKED, device_id=device_id)

    async def set_owner(self, device_id: DeviceId, owner: str | None) -> None:
        """Says whose a device is; None: nobody's. Raises `NotFoundError`, `ConflictError` (revoked)."""
        revision = await self.store.set_device_owner(device_id, owner, now=self.clock.now())
        self.memory.forget_device(device_id, revision=revision)
        _log.info(events.DEVICE_OWNER_CHANGED, device_id=device_id, owner=owner)

    async def clear_key_clone(self, device_id: DeviceId) -> None:
        """Forgets that two machines were seen with the device's key: its claims are judged again, its stream is to begin anew.

        Raises `NotFoundError`, `ConflictError` (nothing to clear), `StoreUnavailableError` (what it proved may still fail until
        its next evidence).
        """
        revision = await self.store.clear_key_clone(device_id, now=self.clock.now())
        self.memory.forget_device(device_id, revision=revision)
        for connection in self.connections:
            if connection.device.id == device_id:  # its session has ended
                connection.notify(Drain(reconnect_within_seconds=1.0))
        _log.info(events.DEVICE_KEY_CLONE_CLEARED, device_id=device_id)
        await self.rejudging.device(device_id, self.rules.current)

    async def approve(self, device_id: DeviceId) -> None:
        """Lets a pending device attest; it revokes another with its serial number, in memory at once. Raises as `revoke`."""
        async with self._one_approval:
            replaced = _replaced_by(device_id, [posture.device for posture in await self.store.devices()])
            locks = [self.memory.narrow(other, state=DeviceState.REVOKED) for other in replaced]
            try:
                revision = await self.store.set_device_state(device_id, DeviceState.ACTIVE, now=self.clock.now())
            except ServiceError:
                for lock in locks:
                    self.memory.hold(lock)
                raise
            except Exception:  # as above
                for lock in locks:
                    self.memory.settle(lock)
                raise
            self.memory.forget_device(device_id, revision=revision)
            for lock in locks:
                self.memory.forget_device(lock.device_id, revision=revision)
                self.memory.settle(lock, revision=revision)
                self.connections.close(lock.device_id, "device_revoked")
        _log.info(events.DEVICE_STATE_CHANGED, device_id=device_id, state=DeviceState.ACTIVE.value)
        for other in replaced:
            _log.info(events.DEVICE_STATE_CHANGED, device_id=other, state=DeviceState.REVOKED.value)


def _replaced_by(device_id: DeviceId, devices: Sequence[Device]) -> list[DeviceId]:
    """The active devices with the serial number of a pending one."""
    numbers = {device.serial_number for device in devices if device.id == device_id and device.state is DeviceState.PENDING} - {
        None
    }
    return [device.id for device in devices if device.state is DeviceState.ACTIVE and device.serial_number in numbers]

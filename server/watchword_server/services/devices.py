"""Operators' acts on devices: approve, revoke."""

from dataclasses import dataclass

import structlog

from watchword_server import events
from watchword_server.core.model import DeviceId, DeviceState
from watchword_server.errors import NotFoundError, ServiceError
from watchword_server.ports import Clock, DeviceStore, PostureMemory
from watchword_server.services.connections import Connections
from watchword_server.services.judging import proven_by
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
        except Exception:
            self.memory.settle(narrowing)
            raise
        self.connections.close(device_id, "device_revoked")
        self.memory.forget_device(device_id, revision=revision)
        self.memory.settle(narrowing, revision=revision)
        _log.info(events.DEVICE_STATE_CHANGED, device_id=device_id, state=DeviceState.REVOKED.value)
        for certificate in {proven_by(result) for result in posture.results.values()} - {None}:
            if certificate is not None:
                self.memory.forget_certificate(certificate, revision=revision)
                await self.rejudging.certificate(certificate, self.rules.current)

    async def approve(self, device_id: DeviceId) -> None:
        """Lets a pending device attest; a device that held its serial number is revoked by it. Raises as `revoke`."""
        before = {posture.device.id: posture.device.state for posture in await self.store.devices()}
        revision = await self.store.set_device_state(device_id, DeviceState.ACTIVE, now=self.clock.now())
        for posture in await self.store.devices():
            if before.get(posture.device.id) is not posture.device.state:
                self.memory.forget_device(posture.device.id, revision=revision)
                if posture.device.state is DeviceState.REVOKED:
                    self.connections.close(posture.device.id, "device_revoked")
                _log.info(events.DEVICE_STATE_CHANGED, device_id=posture.device.id, state=posture.device.state.value)

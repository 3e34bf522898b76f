"""Devices and their results."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Depends

from watchword_server.core.audit import Action, Target
from watchword_server.core.model import Check, DeviceId, DevicePosture, DeviceState, Instant, KeyFingerprint, PostureResult
from watchword_server.core.times import rfc3339
from watchword_server.doors.operators.authentication import Authentication
from watchword_server.errors import NotFoundError
from watchword_server.ports import Clock, DeviceStore
from watchword_server.services.auditing import Auditing
from watchword_server.services.connections import AttestNow, Connections
from watchword_server.services.devices import Devices
from watchword_server.services.judging import is_live
from watchword_server.services.rules_in_force import RulesInForce


@dataclass(frozen=True, slots=True)
class DeviceRoutes:
    """`/api/v1/devices` and `/api/v1/results`."""

    store: DeviceStore
    devices: Devices
    connections: Connections
    in_force: RulesInForce
    clock: Clock
    auditing: Auditing

    def router(self, authentication: Authentication) -> APIRouter:
        """The routes."""
        read, write = Depends(authentication.require("read")), Depends(authentication.require("write"))
        router = APIRouter(prefix="/api/v1")
        router.add_api_route("/devices", self.list, methods=["GET"], dependencies=[read])
        router.add_api_route("/devices/{device_id}/revoke", self.revoke, methods=["POST"], dependencies=[write])
        router.add_api_route("/devices/{device_id}/approve", self.approve, methods=["POST"], dependencies=[write])
        router.add_api_route("/devices/{device_id}/clear-clone", self.clear_clone, methods=["POST"], dependencies=[write])
        router.add_api_route("/devices/{device_id}/attest", self.attest, methods=["POST"], dependencies=[write])
        router.add_api_route("/results", self.results, methods=["GET"], dependencies=[read])
        return router

    async def list(self) -> dict[str, object]:
        """Every device with what it passes now."""
        connected = {connection.device.id for connection in self.connections}
        postures = await self.store.devices()
        holders = _holders(postures, now=self.clock.now())
        return {"devices": [self._device(posture, connected, holders) for posture in postures]}

    async def revoke(self, device_id: str) -> dict[str, str]:
        """Ends a device for good."""
        await self.devices.revoke(DeviceId(device_id))
        return {"id": device_id, "state": "revoked"}

    async def approve(self, device_id: str) -> dict[str, str]:
        """Lets a pending device attest."""
        await self.devices.approve(DeviceId(device_id))
        return {"id": device_id, "state": "active"}

    async def clear_clone(self, device_id: str) -> dict[str, object]:
        """Forgets that two machines were seen with its key."""
        await self.devices.clear_key_clone(DeviceId(device_id))
        return {"id": device_id, "key_cloned_at": None}

    async def attest(self, device_id: str) -> dict[str, object]:
        """Asks a connected device to look again now."""
        for connection in self.connections:
            if connection.device.id == device_id:
                target = Target("device", connection.device.id, connection.device.hostname)
                await self.auditing.act(Action.DEVICE_ATTEST_ASKED, target)
                connection.notify(AttestNow(0.0))
                return {"id": device_id, "asked": True}
        raise NotFoundError(f"`{device_id}` is not connected")

    async def results(self, device: str | None = None) -> dict[str, object]:
        """The newest result of each check, of one device or of all that are not revoked."""
        everybody = await self.store.devices()
        if device is None:
            postures = [posture for posture in everybody if posture.device.state is not DeviceState.REVOKED]
        else:
            postures = [posture for posture in everybody if posture.device.id == device]
            if not postures:
                raise NotFoundError(f"no device `{device}`: `watchword devices list` shows them")
        return {"results": [result for posture in postures for result in self._results(posture)]}

    def _device(
        self, posture: DevicePosture, connected: set[DeviceId], holders: Mapping[KeyFingerprint, set[DeviceId]]
    ) -> dict[str, object]:
        device = posture.device
        proven = {result.proven_key for result in posture.results.values()} & holders.keys()
        sharing = {other for key in proven if key is not None and device.id in holders[key] for other in holders[key]}
        return {
            "id": device.id,
            "state": device.state.value,
            "name": device.hostname,
            "platform": device.platform,
            "serial_number": device.serial_number,
            "key_id": device.key.key_id,
            "key_algorithm": device.key.algorithm.value,
            "key_protection": device.key.protection,
            "enrolled_at": rfc3339(device.enrolled_at),
            "last_seen_at": rfc3339(device.last_seen_at),
            "key_cloned_at": rfc3339(device.key_cloned_at),
            "certificate_cloned_with": sorted(sharing - {device.id}),
            "connected": device.id in connected,
            "passed": sorted(result["check"] for result in self._results(posture) if result["standing"] == "passed"),
        }

    def _results(self, posture: DevicePosture) -> "Sequence[dict[str, Any]]":
        now, checks = self.clock.now(), self.in_force.current.rules.checks
        return [
            _result(posture, check, result, now=now)
            for result in posture.results.values()
            if (check := checks.get(result.check_id)) is not None and check.revision == result.check_revision
        ]


def _holders(postures: Iterable[DevicePosture], *, now: Instant) -> dict[KeyFingerprint, set[DeviceId]]:
    """The active devices that prove each key now."""
    holders: dict[KeyFingerprint, set[DeviceId]] = defaultdict(set)
    for posture in postures:
        for result in posture.results.values():
            if posture.device.state is DeviceState.ACTIVE and result.proven_key is not None and is_live(result.expires_at, now):
                holders[result.proven_key].add(posture.device.id)
    return holders


def _result(posture: DevicePosture, check: Check, result: PostureResult, *, now: Instant) -> dict[str, Any]:
    standing = "passed" if result.passed else "failed"
    if result.expires_at is not None and now >= result.expires_at:
        standing = "result_expired"
    return {
        "device_id": posture.device.id,
        "device": posture.device.hostname,
        "device_state": posture.device.state.value,
        "check_id": check.id,
        "check": check.name,
        "standing": standing,
        "reason": result.reason,
        "evidence_level": result.level.value,
        "evidence_age_seconds": round(max(0.0, now - result.evidence_at), 3),
        "evaluated_at": rfc3339(result.evaluated_at),
        "expires_at": rfc3339(result.expires_at),
        "certificate_sha256": None if result.certificate is None else result.certificate.hex(),
        "expected_values": dict(result.expected),
        "received_values": dict(result.received),
    }

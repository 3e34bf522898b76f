"""Devices and their results."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from watchword_server.core.audit import Action, Target
from watchword_server.core.model.checks import Check
from watchword_server.core.model.devices import DeviceState
from watchword_server.core.model.names import DeviceId, Instant, KeyFingerprint
from watchword_server.core.model.results import DevicePosture, PostureResult
from watchword_server.core.times import rfc3339
from watchword_server.doors.operators.authentication import Authentication
from watchword_server.doors.operators.queries import Email, Limit, Text
from watchword_server.errors import NotFoundError
from watchword_server.ports.devices import DeviceStore
from watchword_server.ports.machine import Clock
from watchword_server.services.auditing import Auditing
from watchword_server.services.connections import AttestNow, Connections
from watchword_server.services.devices import Devices
from watchword_server.services.judging import is_live
from watchword_server.services.rules_in_force import RulesInForce


class LockRequest(BaseModel):
    """`reason` is for operators: it is listed with the device and kept in the audit log."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")]


class OwnerRequest(BaseModel):
    """`owner` is the user's email address, as proxies tell it; null: nobody's."""

    model_config = ConfigDict(extra="forbid")

    owner: Email | None


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
        router.add_api_route("/devices/{device_id}/lock", self.lock, methods=["POST"], dependencies=[write])
        router.add_api_route("/devices/{device_id}/unlock", self.unlock, methods=["POST"], dependencies=[write])
        router.add_api_route("/devices/{device_id}/owner", self.set_owner, methods=["PUT"], dependencies=[write])
        router.add_api_route("/devices/{device_id}/clear-clone", self.clear_clone, methods=["POST"], dependencies=[write])
        router.add_api_route("/devices/{device_id}/attest", self.attest, methods=["POST"], dependencies=[write])
        router.add_api_route("/results", self.results, methods=["GET"], dependencies=[read])
        return router

    async def list(self, limit: Limit = 100, after: Text = None) -> dict[str, object]:
        """Devices with what they pass now, by time of enrollment. `next` is the `after` to ask with for more."""
        connected = {connection.device.id for connection in self.connections}
        postures = await self.store.devices_page(after=_device_id(after), limit=limit)
        holders = await self._holders(postures)
        devices = [self._device(posture, connected, holders) for posture in postures]
        return {"devices": devices, "next": _next(postures, limit)}

    async def revoke(self, device_id: str) -> dict[str, str]:
        """Ends a device for good."""
        await self.devices.revoke(DeviceId(device_id))
        return {"id": device_id, "state": "revoked"}

    async def approve(self, device_id: str) -> dict[str, str]:
        """Lets a pending device attest."""
        await self.devices.approve(DeviceId(device_id))
        return {"id": device_id, "state": "active"}

    async def lock(self, device_id: str, body: LockRequest) -> dict[str, object]:
        """Denies every request of a device until it is unlocked."""
        await self.devices.lock(DeviceId(device_id), body.reason)
        return {"id": device_id, "lock_reason": body.reason}

    async def unlock(self, device_id: str) -> dict[str, object]:
        """Lets what a device proves count again."""
        await self.devices.unlock(DeviceId(device_id))
        return {"id": device_id, "lock_reason": None}

    async def set_owner(self, device_id: str, body: OwnerRequest) -> dict[str, object]:
        """Says whose a device is."""
        await self.devices.set_owner(DeviceId(device_id), body.owner)
        return {"id": device_id, "owner": body.owner}

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

    async def results(self, device: Text = None, limit: Limit = 100, after: Text = None) -> dict[str, object]:
        """The newest result of each check, of one device or of all that are not revoked.

        Of so many devices as `limit` says; `next` is the `after` to ask with for those of more.
        """
        if device is None:
            postures = await self.store.devices_page(after=_device_id(after), limit=limit, without_revoked=True)
            more = _next(postures, limit)
        else:
            posture = await self.store.posture(DeviceId(device))
            if posture is None:
                raise NotFoundError(f"no device `{device}`: `watchword devices list` shows them")
            postures, more = [posture], None
        return {"results": [result for posture in postures for result in self._results(posture)], "next": more}

    async def _holders(self, postures: Iterable[DevicePosture]) -> dict[KeyFingerprint, set[DeviceId]]:
        """The active devices that prove each key of these devices' certificates now."""
        holders: dict[KeyFingerprint, set[DeviceId]] = {}
        now = self.clock.now()
        for key in {result.proven_key for posture in postures for result in posture.results.values()} - {None}:
            if key is not None:
                bindings, _ = await self.store.bindings(key)
                holders[key] = {
                    binding.device_id
                    for binding in bindings
                    if binding.device_state is DeviceState.ACTIVE and is_live(binding.proven_until, now)
                }
        return holders

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
            "owner": device.owner,
            "key_id": device.key.key_id,
            "key_algorithm": device.key.algorithm.value,
            "key_protection": device.key.protection,
            "enrolled_at": rfc3339(device.enrolled_at),
            "last_seen_at": rfc3339(device.last_seen_at),
            "key_cloned_at": rfc3339(device.key_cloned_at),
            "locked_at": None if device.lock is None else rfc3339(device.lock.at),
            "lock_reason": None if device.lock is None else device.lock.reason,
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


def _device_id(text: str | None) -> DeviceId | None:
    return None if text is None else DeviceId(text)


def _next(postures: Sequence[DevicePosture], limit: int) -> DeviceId | None:
    return postures[-1].device.id if len(postures) == limit else None


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

"""Devices and their registrations. Here a device has one registration, its enrollment, by the same id."""

import base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse

from watchword_server.configuration.document.base import quoted
from watchword_server.core.model.devices import Device, DeviceState
from watchword_server.core.model.names import DeviceId
from watchword_server.core.times import rfc3339
from watchword_server.doors.cloudflare.envelope import Envelope, answer
from watchword_server.doors.cloudflare.resources import EntryId, Wire, router
from watchword_server.doors.operators.authentication import Authentication
from watchword_server.errors import ConfigurationError, NotFoundError, Problem
from watchword_server.ports.devices import DeviceStore
from watchword_server.services.devices import Devices

_Cursor = Annotated[str | None, Query(max_length=256)]
_PerPage = Annotated[int, Query(ge=1, le=1000)]
_Ids = Annotated[list[str], Query(min_length=1, max_length=1000)]


def routes(store: DeviceStore, devices: Devices, authentication: Authentication) -> APIRouter:
    """`/accounts/{account_id}/devices/physical-devices` and `/devices/registrations`."""
    made = router("/devices")
    read, write = [Depends(authentication.require("read"))], [Depends(authentication.require("write"))]
    known = _Known(store, devices)
    _physical_routes(made, known, read, write)
    _registration_routes(made, known, read, write)
    return made


@dataclass(frozen=True, slots=True)
class _Known:
    """The enrolled devices."""

    store: DeviceStore
    devices: Devices

    async def found(self, device_id: str) -> Device:
        """Raises `NotFoundError`."""
        posture = await self.store.posture(DeviceId(device_id))
        if posture is None:
            raise NotFoundError(f"{quoted(device_id)} is no device: list them for their ids")
        return posture.device

    async def ended(self, device_ids: Iterable[str]) -> None:
        """Revokes those that are not revoked yet; first, all of them have to be there."""
        for device in [await self.found(device_id) for device_id in device_ids]:
            if device.state is not DeviceState.REVOKED:
                await self.devices.revoke(device.id)

    async def page(
        self, tell: Callable[[Device], Wire], wanted: Callable[[Device], bool], *, cursor: str | None, per_page: int
    ) -> JSONResponse:
        """A page of those that are wanted."""
        known = sorted((posture.device for posture in await self.store.devices()), key=lambda each: (each.enrolled_at, each.id))
        return _page([device for device in known if wanted(device)], tell, cursor=cursor, per_page=per_page)


def _physical_routes(made: APIRouter, known: _Known, read: list[Any], write: list[Any]) -> None:
    @made.get("/physical-devices", dependencies=read, response_model=Envelope[list[dict[str, Any]]])
    async def list_devices(
        id: Annotated[list[str] | None, Query()] = None,  # noqa: A002 -- the API's name
        search: str | None = None,
        active_registrations: Literal["include", "only", "exclude"] = "only",
        cursor: _Cursor = None,
        per_page: _PerPage = 100,
    ) -> JSONResponse:
        """Devices, the earliest enrolled first; without those revoked, unless `active_registrations` says otherwise."""

        def wanted(device: Device) -> bool:
            revoked = device.state is DeviceState.REVOKED
            shown = active_registrations == "include" or revoked == (active_registrations == "exclude")
            return shown and (not id or device.id in id) and _is_about(device, search)

        return await known.page(_physical, wanted, cursor=cursor, per_page=per_page)

    @made.get("/physical-devices/{device_id}", dependencies=read, response_model=Envelope[dict[str, Any]])
    async def get_device(device_id: EntryId) -> JSONResponse:
        """One device, also a revoked one."""
        return answer(_physical(await known.found(device_id)))

    @made.delete("/physical-devices/{device_id}", dependencies=write, response_model=Envelope[dict[str, Any]])
    async def delete_device(device_id: EntryId) -> JSONResponse:
        """Revokes a device, which is not listed any more; what was recorded of it is kept."""
        await known.ended([device_id])
        return answer({"id": device_id})

    @made.post("/physical-devices/{device_id}/revoke", dependencies=write, response_model=Envelope[dict[str, Any]])
    async def revoke_device(device_id: EntryId) -> JSONResponse:
        """Revokes a device, for good."""
        await known.ended([device_id])
        return answer({"id": device_id})


def _registration_routes(made: APIRouter, known: _Known, read: list[Any], write: list[Any]) -> None:
    @made.get("/registrations", dependencies=read, response_model=Envelope[list[dict[str, Any]]])
    async def list_registrations(
        status: Literal["active", "all", "revoked"] = "active",
        id: Annotated[list[str] | None, Query()] = None,  # noqa: A002
        device_id: Annotated[list[str] | None, Query(alias="device.id")] = None,
        search: str | None = None,
        cursor: _Cursor = None,
        per_page: _PerPage = 100,
    ) -> JSONResponse:
        """Registrations, the earliest first."""

        def wanted(device: Device) -> bool:
            shown = status == "all" or (device.state is DeviceState.REVOKED) == (status == "revoked")
            named = (not id or device.id in id) and (not device_id or device.id in device_id)
            return shown and named and _is_about(device, search)

        return await known.page(_registration, wanted, cursor=cursor, per_page=per_page)

    @made.delete("/registrations", dependencies=write, response_model=Envelope[Any])
    async def delete_registrations(id: _Ids) -> JSONResponse:  # noqa: A002
        """Revokes devices; all of the ids have to be there."""
        await known.ended(id)
        return answer(None)

    @made.post("/registrations/revoke", dependencies=write, response_model=Envelope[Any])
    async def revoke_registrations(id: _Ids) -> JSONResponse:  # noqa: A002
        """Revokes devices, for good."""
        await known.ended(id)
        return answer(None)

    @made.post("/registrations/unrevoke", dependencies=write, response_model=Envelope[Any])
    async def unrevoke_registrations(id: _Ids) -> JSONResponse:  # noqa: A002, ARG001
        """Refused: revoking is for good, and the device enrolls anew."""
        raise ConfigurationError(
            [Problem((), "a revoked device stays revoked: enroll it anew with a token of `watchword token enroll`")]
        )

    @made.get("/registrations/{registration_id}", dependencies=read, response_model=Envelope[dict[str, Any]])
    async def get_registration(registration_id: EntryId) -> JSONResponse:
        """One registration, also a revoked one."""
        return answer(_registration(await known.found(registration_id)))

    @made.delete("/registrations/{registration_id}", dependencies=write, response_model=Envelope[Any])
    async def delete_registration(registration_id: EntryId) -> JSONResponse:
        """Revokes a device."""
        await known.ended([registration_id])
        return answer(None)


def _physical(device: Device) -> Wire:
    active = device.state is DeviceState.ACTIVE
    return {
        "id": device.id,
        "name": device.hostname or device.id,
        "device_type": device.platform,
        "serial_number": device.serial_number,
        "created_at": rfc3339(device.enrolled_at),
        "updated_at": rfc3339(device.last_seen_at or device.enrolled_at),
        "last_seen_at": rfc3339(device.last_seen_at),
        "active_registrations": int(active),
        "tags": {},
    }


def _registration(device: Device) -> Wire:
    return {
        "id": device.id,
        "created_at": rfc3339(device.enrolled_at),
        "updated_at": rfc3339(device.last_seen_at or device.enrolled_at),
        "last_seen_at": rfc3339(device.last_seen_at or device.enrolled_at),
        "key": base64.b64encode(device.key.public_key_der).decode("ascii"),
        "key_type": device.key.algorithm.value,
        "registration_type": "warp",
        "device": {"id": device.id, "name": device.hostname or device.id},
        "status": device.state.value,
    }


def _is_about(device: Device, search: str | None) -> bool:
    wanted = (search or "").casefold()
    return any(wanted in (text or "").casefold() for text in (device.id, device.hostname, device.serial_number))


def _page(found: Sequence[Device], tell: Callable[[Device], Wire], *, cursor: str | None, per_page: int) -> JSONResponse:
    """The devices behind the one that the cursor names; it stays right when others come and go."""
    start = 0
    if cursor:
        after = _read_cursor(cursor)
        start = next((place for place, device in enumerate(found) if (device.enrolled_at, device.id) > after), len(found))
    here = found[start : start + per_page]
    more = start + per_page < len(found)
    return answer(
        [tell(device) for device in here],
        result_info={"count": len(here), "per_page": per_page, "cursor": _cursor(here[-1]) if more else ""},
    )


def _cursor(device: Device) -> str:
    return base64.urlsafe_b64encode(f"{device.enrolled_at!r} {device.id}".encode()).decode("ascii")


def _read_cursor(cursor: str) -> tuple[float, DeviceId]:
    try:
        at, _, device_id = base64.urlsafe_b64decode(cursor.encode()).decode().partition(" ")
        return float(at), DeviceId(device_id)
    except ValueError:
        raise ConfigurationError([Problem((), f"{quoted(cursor)} is no cursor of this server: begin without one")]) from None

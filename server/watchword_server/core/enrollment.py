"""Whether a proven key may become a device: tokens, serial numbers, approvals. Pure; the store runs it inside one transaction."""

from dataclasses import dataclass
from enum import StrEnum
from hmac import compare_digest
from typing import TypeGuard

from watchword_server.core.model.devices import Device, DeviceKey, DeviceState, Inventory
from watchword_server.core.model.names import DeviceId, Instant
from watchword_server.errors import EnrollmentRefusedError


@dataclass(frozen=True, slots=True)
class EnrollmentToken:
    """An operator's permission to enroll. The secret is kept only as its SHA-256; `None` binds nothing."""

    id: str
    secret_sha256: bytes
    max_uses: int
    uses: int
    created_at: Instant
    expires_at: Instant
    revoked: bool = False
    needs_approval: bool = False
    serial_number: str | None = None
    platform: str | None = None
    device_id: DeviceId | None = None  # re-enrolls this device with a new key
    owner: str | None = None  # of the devices that it enrolls


@dataclass(frozen=True, slots=True)
class ProvenEnrollment:
    """A request to enroll whose key has signed our challenge. `new_device_id` is used if a device is made."""

    token_id: str
    token_secret_sha256: bytes
    key: DeviceKey
    inventory: Inventory
    new_device_id: DeviceId


class EnrollmentAction(StrEnum):
    """What the store has to do."""

    RETURN_EXISTING = "return_existing"  # the answer was lost; nothing changes
    CREATE = "create"
    REPLACE_KEY = "replace_key"


@dataclass(frozen=True, slots=True)
class EnrollmentPlan:
    """The outcome of `plan_enrollment`."""

    action: EnrollmentAction
    device_id: DeviceId
    state: DeviceState
    owner: str | None = None  # None: as it is


def normal_serial_number(text: str) -> str | None:
    """A serial number as it is kept and compared: without space around it, in capitals. None: none.

    Raises `ValueError` for what is no serial number: anything but printable ASCII, or what reads like a variable.
    """
    serial_number = text.strip().upper()
    if not serial_number.isascii() or not serial_number.isprintable() or "${" in serial_number:
        raise ValueError("a serial number is printable ASCII")
    return serial_number or None


def plan_enrollment(
    enrollment: ProvenEnrollment,
    *,
    token: EnrollmentToken | None,
    device_with_key: Device | None,
    key_token_id: str | None,
    device_with_serial: Device | None,
    bound_device: Device | None,
    now: Instant,
) -> EnrollmentPlan:
    """Decides what an enrollment leads to.

    `device_with_key` holds the same key already, enrolled by token `key_token_id`; `device_with_serial` is a device, not revoked,
    with the same serial number, the active one if there is one; `bound_device` is the one the token names.

    Raises `EnrollmentRefusedError` with the reason for the operator's log.
    """
    serial_number = enrollment.inventory.serial_number
    if token is None or not compare_digest(token.secret_sha256, enrollment.token_secret_sha256):  # (1) an operator made it
        raise EnrollmentRefusedError("token_unknown")
    if token.revoked:  # (2) and did not take it back
        raise EnrollmentRefusedError("token_revoked")
    if device_with_key is not None:  # (3) a key belongs to one device for good
        if device_with_key.state is not DeviceState.REVOKED and key_token_id == token.id:
            return EnrollmentPlan(EnrollmentAction.RETURN_EXISTING, device_with_key.id, device_with_key.state)
        raise EnrollmentRefusedError("key_already_enrolled")
    if now >= token.expires_at:  # (4) in time
        raise EnrollmentRefusedError("token_expired")
    if token.uses >= token.max_uses:  # (5) and not used up
        raise EnrollmentRefusedError("token_used")
    if token.platform is not None and token.platform != enrollment.inventory.platform:  # (6) for such a device
        raise EnrollmentRefusedError("platform_not_allowed")
    if token.serial_number is not None and token.serial_number != serial_number:
        raise EnrollmentRefusedError("serial_number_not_allowed")
    if token.device_id is not None:  # (7) bound to a device: its key is replaced
        if bound_device is None or bound_device.state is DeviceState.REVOKED:
            raise EnrollmentRefusedError("bound_device_not_active")
        if None not in (bound_device.serial_number, serial_number) and bound_device.serial_number != serial_number:
            raise EnrollmentRefusedError("serial_number_not_allowed")  # another machine than the one that is bound
        if _is_taken(device_with_serial) and device_with_serial.id != bound_device.id:
            raise EnrollmentRefusedError("serial_number_taken")
        state = DeviceState.PENDING if token.needs_approval else bound_device.state
        return EnrollmentPlan(EnrollmentAction.REPLACE_KEY, bound_device.id, state, token.owner)
    if _is_taken(device_with_serial) and not token.needs_approval:  # (8) a new key never takes over a serial number
        raise EnrollmentRefusedError("serial_number_taken")
    state = DeviceState.PENDING if token.needs_approval else DeviceState.ACTIVE
    return EnrollmentPlan(EnrollmentAction.CREATE, enrollment.new_device_id, state, token.owner)


def _is_taken(device: Device | None) -> TypeGuard[Device]:
    """Whether an active device holds the serial number. One that waits for approval has shown nothing and blocks nobody."""
    return device is not None and device.state is DeviceState.ACTIVE

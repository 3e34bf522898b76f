"""Who may become a device, and which: every condition of `plan_enrollment`, and which of two comes first."""

import hashlib
from dataclasses import dataclass, replace
from typing import Final

import pytest

from watchword_server.core.enrollment import (
    EnrollmentAction,
    EnrollmentPlan,
    EnrollmentToken,
    ProvenEnrollment,
    normal_serial_number,
    plan_enrollment,
)
from watchword_server.core.model.devices import Device, DeviceKey, DeviceState, Inventory, KeyAlgorithm
from watchword_server.core.model.names import DeviceId, Instant
from watchword_server.errors import EnrollmentRefusedError

NOW: Final = Instant(1_790_000_000.0)
SECRET: Final = hashlib.sha256(b"secret").digest()
NEW: Final = DeviceId("dev_new")


def a_key(name: str) -> DeviceKey:
    return DeviceKey(name, name.encode(), KeyAlgorithm.ED25519)


def a_device(name: str, state: DeviceState = DeviceState.ACTIVE) -> Device:
    return Device(DeviceId(name), a_key(name), state, "linux", "host", "5CG-1", epoch=1, enrolled_at=NOW)


TOKEN: Final = EnrollmentToken(id="token", secret_sha256=SECRET, max_uses=1, uses=0, created_at=NOW, expires_at=Instant(NOW + 10))
FOR_DEV_1: Final = replace(TOKEN, device_id=DeviceId("dev_1"))


@dataclass(frozen=True, slots=True)
class Case:
    """What the store found; by default, a good token and nothing else."""

    token: EnrollmentToken | None = TOKEN
    secret: bytes = SECRET
    platform: str = "linux"
    serial_number: str | None = "5CG-1"
    with_key: Device | None = None
    key_token_id: str | None = None
    with_serial: Device | None = None
    bound: Device | None = None
    now: Instant = NOW


def plan(case: Case) -> EnrollmentPlan:
    enrollment = ProvenEnrollment(
        "token", case.secret, a_key("new"), Inventory(case.platform, "host", case.serial_number), new_device_id=NEW
    )
    return plan_enrollment(
        enrollment,
        token=case.token,
        device_with_key=case.with_key,
        key_token_id=case.key_token_id,
        device_with_serial=case.with_serial,
        bound_device=case.bound,
        now=case.now,
    )


# In the order of the conditions: who fails two of them is told, in the log, the earlier one.
REFUSED: Final[dict[str, tuple[str, Case]]] = {
    "(1) another secret": ("token_unknown", Case(secret=hashlib.sha256(b"another").digest())),
    "(1) no such token": ("token_unknown", Case(token=None)),
    "(1) another secret of a revoked token": ("token_unknown", Case(replace(TOKEN, revoked=True), secret=b"")),
    "(1) another secret, and a key that is enrolled": (
        "token_unknown",
        Case(secret=b"", with_key=a_device("dev_1"), key_token_id="token"),
    ),
    "(2) revoked": ("token_revoked", Case(replace(TOKEN, revoked=True))),
    "(2) revoked, and a key it enrolled": (
        "token_revoked",
        Case(replace(TOKEN, revoked=True), with_key=a_device("dev_1"), key_token_id="token"),
    ),
    "(3) a key another token enrolled": ("key_already_enrolled", Case(with_key=a_device("dev_1"), key_token_id="another")),
    "(3) a key of a revoked device": (
        "key_already_enrolled",
        Case(with_key=a_device("dev_1", DeviceState.REVOKED), key_token_id="token"),
    ),
    "(3) a key of another device than the token's": (
        "key_already_enrolled",
        Case(FOR_DEV_1, with_key=a_device("dev_2"), key_token_id="another", bound=a_device("dev_1")),
    ),
    "(4) expired": ("token_expired", Case(now=Instant(NOW + 10))),
    "(4) expired and used": ("token_expired", Case(replace(TOKEN, uses=1), now=Instant(NOW + 11))),
    "(5) used": ("token_used", Case(replace(TOKEN, uses=1))),
    "(5) used more often than it may": ("token_used", Case(replace(TOKEN, uses=7))),
    "(6) another platform": ("platform_not_allowed", Case(replace(TOKEN, platform="windows"))),
    "(6) another serial number": ("serial_number_not_allowed", Case(replace(TOKEN, serial_number="5CG-2"))),
    "(6) no serial number": ("serial_number_not_allowed", Case(replace(TOKEN, serial_number="5CG-1"), serial_number=None)),
    "(7) its device is revoked": (
        "bound_device_not_active",
        Case(FOR_DEV_1, bound=a_device("dev_1", DeviceState.REVOKED)),
    ),
    "(7) its device is gone": ("bound_device_not_active", Case(FOR_DEV_1)),
    "(7) another serial number than its device's": (
        "serial_number_not_allowed",
        Case(FOR_DEV_1, serial_number="5CG-2", bound=a_device("dev_1")),
    ),
    "(7) the serial number of another device": (
        "serial_number_taken",
        Case(FOR_DEV_1, bound=a_device("dev_1"), with_serial=a_device("dev_2")),
    ),
    "(7) the serial number of another device, with approval": (
        "serial_number_taken",
        Case(replace(FOR_DEV_1, needs_approval=True), bound=a_device("dev_1"), with_serial=a_device("dev_2")),
    ),
    "(8) a serial number that is taken": ("serial_number_taken", Case(with_serial=a_device("dev_2"))),
}


@pytest.mark.parametrize(("reason", "case"), [pytest.param(*given, id=name) for name, given in REFUSED.items()])
def test_a_condition_that_does_not_hold_refuses(reason: str, case: Case) -> None:
    with pytest.raises(EnrollmentRefusedError) as refused:
        plan(case)
    assert refused.value.reason == reason


PLANNED: Final[dict[str, tuple[EnrollmentPlan, Case]]] = {
    "a new device": (EnrollmentPlan(EnrollmentAction.CREATE, NEW, DeviceState.ACTIVE), Case()),
    "at the last moment": (EnrollmentPlan(EnrollmentAction.CREATE, NEW, DeviceState.ACTIVE), Case(now=Instant(NOW + 9.999))),
    "the last use": (
        EnrollmentPlan(EnrollmentAction.CREATE, NEW, DeviceState.ACTIVE),
        Case(replace(TOKEN, max_uses=3, uses=2)),
    ),
    "a device that has no serial number": (
        EnrollmentPlan(EnrollmentAction.CREATE, NEW, DeviceState.ACTIVE),
        Case(serial_number=None),
    ),
    "as the token is bound": (
        EnrollmentPlan(EnrollmentAction.CREATE, NEW, DeviceState.ACTIVE),
        Case(replace(TOKEN, platform="linux", serial_number="5CG-1")),
    ),
    "with approval": (
        EnrollmentPlan(EnrollmentAction.CREATE, NEW, DeviceState.PENDING),
        Case(replace(TOKEN, needs_approval=True)),
    ),
    "a serial number that is taken, with approval": (
        EnrollmentPlan(EnrollmentAction.CREATE, NEW, DeviceState.PENDING),
        Case(replace(TOKEN, needs_approval=True), with_serial=a_device("dev_2")),
    ),
    "a serial number of a device that waits for approval": (
        EnrollmentPlan(EnrollmentAction.CREATE, NEW, DeviceState.ACTIVE),
        Case(with_serial=a_device("dev_2", DeviceState.PENDING)),
    ),
    "again": (
        EnrollmentPlan(EnrollmentAction.RETURN_EXISTING, DeviceId("dev_1"), DeviceState.ACTIVE),
        Case(with_key=a_device("dev_1"), key_token_id="token"),
    ),
    "again, while it waits for approval": (
        EnrollmentPlan(EnrollmentAction.RETURN_EXISTING, DeviceId("dev_1"), DeviceState.PENDING),
        Case(with_key=a_device("dev_1", DeviceState.PENDING), key_token_id="token"),
    ),
    "again, though the token has expired, is used up and is for others": (
        EnrollmentPlan(EnrollmentAction.RETURN_EXISTING, DeviceId("dev_1"), DeviceState.ACTIVE),
        Case(
            replace(TOKEN, uses=1, platform="windows"),
            with_key=a_device("dev_1"),
            key_token_id="token",
            with_serial=a_device("dev_1"),
            now=Instant(NOW + 99),
        ),
    ),
    "another key for a device": (
        EnrollmentPlan(EnrollmentAction.REPLACE_KEY, DeviceId("dev_1"), DeviceState.ACTIVE),
        Case(FOR_DEV_1, bound=a_device("dev_1"), with_serial=a_device("dev_1")),
    ),
    "another key for a device, which does not know its serial number": (
        EnrollmentPlan(EnrollmentAction.REPLACE_KEY, DeviceId("dev_1"), DeviceState.ACTIVE),
        Case(FOR_DEV_1, serial_number=None, bound=a_device("dev_1")),
    ),
    "another key for a device that had no serial number": (
        EnrollmentPlan(EnrollmentAction.REPLACE_KEY, DeviceId("dev_1"), DeviceState.ACTIVE),
        Case(FOR_DEV_1, serial_number="5CG-2", bound=replace(a_device("dev_1"), serial_number=None)),
    ),
    "another key for a device, with approval": (
        EnrollmentPlan(EnrollmentAction.REPLACE_KEY, DeviceId("dev_1"), DeviceState.PENDING),
        Case(replace(FOR_DEV_1, needs_approval=True), bound=a_device("dev_1")),
    ),
    "another key for a device that waits for approval": (
        EnrollmentPlan(EnrollmentAction.REPLACE_KEY, DeviceId("dev_1"), DeviceState.PENDING),
        Case(FOR_DEV_1, bound=a_device("dev_1", DeviceState.PENDING)),
    ),
}


@pytest.mark.parametrize(("planned", "case"), [pytest.param(*given, id=name) for name, given in PLANNED.items()])
def test_what_an_enrollment_leads_to(planned: EnrollmentPlan, case: Case) -> None:
    assert plan(case) == planned


@pytest.mark.parametrize(
    ("text", "normal"), [("5cg-1", "5CG-1"), (" 5CG-1\t", "5CG-1"), ("", None), ("  ", None), ("A B", "A B")]
)
def test_a_serial_number_has_one_form(text: str, normal: str | None) -> None:
    assert normal_serial_number(text) == normal


@pytest.mark.parametrize("text", ["5CG-Ä", "5CG\x00", "5CG\n1", "${hostname}", "x${serial_number}", "\u0130"])
def test_what_is_no_serial_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        normal_serial_number(text)

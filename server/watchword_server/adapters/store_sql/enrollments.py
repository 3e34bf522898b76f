"""Enrolling: the rows a plan needs are read, and what it says is done, in one write transaction."""

from sqlalchemy import Connection, case, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from watchword_server.adapters.store_sql.bindings import end_all
from watchword_server.adapters.store_sql.device_keys import NO_PENDING_KEY
from watchword_server.adapters.store_sql.devices import device_from_row, find
from watchword_server.adapters.store_sql.schema import ChangeKind, devices, enrollment_tokens, results
from watchword_server.adapters.store_sql.tokens import find_enrollment_token
from watchword_server.adapters.store_sql.writer import WriteTransaction
from watchword_server.core.audit import Action, Actor, Target
from watchword_server.core.enrollment import EnrollmentAction, EnrollmentPlan, ProvenEnrollment, plan_enrollment
from watchword_server.core.model.devices import Device, DeviceState
from watchword_server.core.model.names import DeviceId, Instant
from watchword_server.errors import EnrollmentRefusedError


def enroll(transaction: WriteTransaction, enrollment: ProvenEnrollment, *, now: Instant) -> Device:
    """Plans and executes. The unique indexes are the backstop: what they refuse is a refused enrollment."""
    connection = transaction.connection
    plan = _plan(connection, enrollment, now=now)
    if plan.action is not EnrollmentAction.RETURN_EXISTING:
        try:
            _use_token(transaction, enrollment.token_id, now=now)
            if plan.action is EnrollmentAction.CREATE:
                _create(connection, plan, enrollment, now=now)
            else:
                _replace_key(transaction, plan, enrollment, now=now)
        except IntegrityError as error:
            raise EnrollmentRefusedError("conflict") from error
        transaction.changed(ChangeKind.DEVICE, plan.device_id, at=now)
        _record(transaction, plan, enrollment, now=now)
    device = find(connection, plan.device_id)
    if device is None:
        raise EnrollmentRefusedError("conflict")
    return device


def _plan(connection: Connection, enrollment: ProvenEnrollment, *, now: Instant) -> EnrollmentPlan:
    token = find_enrollment_token(connection, enrollment.token_id)
    bound_to = None if token is None else token.device_id
    key_id = enrollment.key.key_id
    with_key = connection.execute(
        select(devices).where(or_(devices.c.key_id == key_id, devices.c.pending_key_id == key_id))
    ).one_or_none()
    return plan_enrollment(
        enrollment,
        token=token,
        device_with_key=None if with_key is None else device_from_row(with_key),
        # A pending key was brought by no token: it is taken, and leads nobody to the device.
        key_token_id=None if with_key is None or with_key.key_id != key_id else with_key.enrolled_by,
        device_with_serial=_with_serial_number(connection, enrollment.inventory.serial_number, bound_to),
        bound_device=None if bound_to is None else find(connection, bound_to),
        now=now,
    )


def _record(transaction: WriteTransaction, plan: EnrollmentPlan, enrollment: ProvenEnrollment, *, now: Instant) -> None:
    """By the token: whoever holds it enrolls."""
    inventory = enrollment.inventory
    transaction.recorded(
        Action.DEVICE_ENROLLED if plan.action is EnrollmentAction.CREATE else Action.DEVICE_KEY_REPLACED,
        Target("device", plan.device_id, inventory.hostname),
        at=now,
        actor=Actor("enrollment_token", enrollment.token_id, address=transaction.actor.address),
        details={
            "state": plan.state.value,
            "platform": inventory.platform,
            "serial_number": inventory.serial_number,
            "key_id": enrollment.key.key_id,
            **({} if plan.owner is None else {"owner": plan.owner}),
        },
    )


def _with_serial_number(connection: Connection, serial_number: str | None, bound_to: DeviceId | None) -> Device | None:
    """A device, not revoked, with this serial number: of several the active one, then the one the token is bound to."""
    if serial_number is None:
        return None
    row = connection.execute(
        select(devices)
        .where(devices.c.serial_number == serial_number, devices.c.state != DeviceState.REVOKED.value)
        .order_by(
            case((devices.c.state == DeviceState.ACTIVE.value, 0), else_=1),
            case((devices.c.id == bound_to, 0), else_=1),
            devices.c.id,
        )
        .limit(1)
    ).one_or_none()
    return None if row is None else device_from_row(row)


def _use_token(transaction: WriteTransaction, token_id: str, *, now: Instant) -> None:
    used = transaction.connection.execute(
        update(enrollment_tokens)
        .where(enrollment_tokens.c.id == token_id, enrollment_tokens.c.uses < enrollment_tokens.c.max_uses)
        .values(uses=enrollment_tokens.c.uses + 1)
    )
    if used.rowcount != 1:
        raise EnrollmentRefusedError("token_used")
    transaction.changed(ChangeKind.ENROLLMENT_TOKEN, token_id, at=now)


def _create(connection: Connection, plan: EnrollmentPlan, enrollment: ProvenEnrollment, *, now: Instant) -> None:
    connection.execute(
        insert(devices).values(
            **_key_columns(enrollment),
            id=plan.device_id,
            state=plan.state.value,
            platform=enrollment.inventory.platform,
            hostname=enrollment.inventory.hostname,
            serial_number=enrollment.inventory.serial_number,
            epoch=0,
            enrolled_at=now,
            owner=plan.owner,
        )
    )


def _replace_key(transaction: WriteTransaction, plan: EnrollmentPlan, enrollment: ProvenEnrollment, *, now: Instant) -> None:
    """The device stays; what its old key signed does not count any more. What is not known now stays known.

    The epoch goes up: a session of the old key that is in the middle of a commit must not get through after this.
    """
    inventory = enrollment.inventory
    known = {"hostname": inventory.hostname, "serial_number": inventory.serial_number, "owner": plan.owner}
    transaction.connection.execute(
        update(devices)
        .where(devices.c.id == plan.device_id)
        .values(
            **_key_columns(enrollment),
            state=plan.state.value,
            platform=inventory.platform,
            epoch=devices.c.epoch + 1,
            boots=None,
            key_cloned_at=None,
            **{name: value for name, value in known.items() if value is not None},
        )
    )
    transaction.connection.execute(delete(results).where(results.c.device_id == plan.device_id))
    end_all(transaction, plan.device_id, at=now)


def _key_columns(enrollment: ProvenEnrollment) -> dict[str, object]:
    key = enrollment.key
    return {
        "key_id": key.key_id,
        "public_key_der": key.public_key_der,
        "algorithm": key.algorithm.value,
        "key_protection": key.protection,
        "enrolled_by": enrollment.token_id,
        **NO_PENDING_KEY,
    }

"""Enrollments that have to be refused, and everything a refused device is told."""

import hashlib
from dataclasses import dataclass
from typing import Final, cast

import grpc
import pytest

from server.operators import EnrollmentToken
from support.device import HONEST, Ended, Lie, SimulatedDevice, _apply
from watchword.envelope import ENROLL_TYPE
from watchword.v1 import posture_pb2 as wire
from watchword.v1.posture_pb2_grpc import PostureServiceStub

REFUSED: Final = Ended(grpc.StatusCode.PERMISSION_DENIED, "enrollment_refused")


@dataclass(frozen=True, slots=True)
class Attempt:
    """A device, the text it shows as its token, and its lie. `token` is what must not be used up by it."""

    device: SimulatedDevice
    text: str
    lie: Lie = HONEST
    token: EnrollmentToken | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Everything a refused device is told. `correlation_id` is for the operator's log, and new each time."""

    code: grpc.StatusCode
    details: str
    metadata: tuple[tuple[str, str], ...]
    correlation_id: str


REFUSAL: Final = Refusal(REFUSED.code, REFUSED.details, metadata=(("watchword-code", "enrollment_refused"),), correlation_id="")


async def refusal(attempt: Attempt) -> Refusal:
    """What a device is told that has to be refused, trailing metadata and all."""
    async with attempt.device._channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await _enroll(PostureServiceStub(channel).Enroll(), attempt)
    metadata = {key: str(value) for key, value in refused.value.trailing_metadata() or ()}
    correlation_id = metadata.pop("watchword-correlation-id", "")
    return Refusal(refused.value.code(), refused.value.details() or "", tuple(sorted(metadata.items())), correlation_id)


async def _enroll(call: "grpc.aio.StreamStreamCall[wire.EnrollRequest, wire.EnrollResponse]", attempt: Attempt) -> None:
    device, lie = attempt.device, attempt.lie
    init = wire.EnrollInit(token=attempt.text, public_key=device.public_key)
    _apply(lie.init, init)
    await call.write(wire.EnrollRequest(init=init))
    challenge = cast("wire.EnrollResponse", await call.read()).challenge
    statement = wire.EnrollStatement(
        token_id=attempt.text.split(".")[1],
        audience=challenge.audience,
        session_id=challenge.session_id,
        nonce=challenge.nonce,
        public_key_sha256=hashlib.sha256(device.public_key).digest(),
        inventory=device.inventory,
    )
    _apply(lie.statement, statement)
    await call.write(wire.EnrollRequest(envelope=device.seal(ENROLL_TYPE, statement, lie)))
    await call.read()

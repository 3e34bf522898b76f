"""Enrolling: the one short conversation that makes this device known. Repeating it with the same key and token is harmless."""

import asyncio
import hashlib
import re
from dataclasses import dataclass
from typing import Final

import grpc

from watchword.envelope import ENROLL_TYPE
from watchword.v1 import posture_pb2 as pb
from watchword.v1.posture_pb2_grpc import PostureServiceStub
from watchword_agent.channel import failure_of, write
from watchword_agent.device_key import DeviceKey
from watchword_agent.errors import (
    EnrollmentRefusedError,
    ProtocolViolationError,
    ServerSilentError,
    ServerUnreachableError,
    SettingsError,
)
from watchword_agent.identity import Identity
from watchword_agent.session import check_challenge, inventory
from watchword_agent.signing import signed

_TOKEN: Final = re.compile(r"ww1\.([A-Za-z0-9_-]{1,64})\.[A-Za-z0-9_-]{16,128}")
_MAX_NAME: Final = 1024


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What the server answered."""

    device_id: str
    audience: str
    pending_approval: bool


def token_id(token: str) -> str:
    """The public part of an enrollment token. Raises `SettingsError`; never repeats the token."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise SettingsError("the token is not of the form `ww1.<id>.<secret>`: ask an operator for one")
    return match[1]


async def enroll(
    channel: grpc.aio.Channel, *, token: str, key: DeviceKey, identity: Identity, agent_version: str, timeout_seconds: float
) -> Enrolled:
    """Enrolls the key with the token.

    Raises `EnrollmentRefusedError`, `ServerError`, `DeviceKeyError`; in any case it may be tried again.
    """
    opening = pb.EnrollInit(token=token, public_key=key.public_key_der, agent_version=agent_version)
    call = PostureServiceStub(channel).Enroll()
    try:
        async with asyncio.timeout(timeout_seconds):
            await write(call, pb.EnrollRequest(init=opening))
            challenge = _challenge(await call.read())
            statement = _statement(challenge, token_id=token_id(token), key=key, identity=identity)
            # Half the time: who waits for a TPM is told so, and not that the server is silent.
            envelope = await signed(key, ENROLL_TYPE, statement.SerializeToString(), timeout_seconds=timeout_seconds / 2)
            await write(call, pb.EnrollRequest(envelope=envelope))
            await call.done_writing()
            return _result(await call.read(), audience=challenge.audience)
    except TimeoutError as error:
        raise ServerSilentError(f"no answer within {timeout_seconds:g} s; try again") from error
    except grpc.aio.AioRpcError as error:
        failure = failure_of(error)
        if failure.is_refusal:
            raise EnrollmentRefusedError(failure.text) from error
        raise ServerUnreachableError(failure.text) from error
    finally:
        call.cancel()


def _challenge(response: object) -> pb.EnrollChallenge:
    if not isinstance(response, pb.EnrollResponse) or response.WhichOneof("message") != "challenge":
        raise ProtocolViolationError("the server did not answer with a challenge")
    challenge = response.challenge
    check_challenge(challenge.session_id, challenge.nonce, challenge.nonce_ttl_seconds)
    _check_name(challenge.audience, "audience")
    return challenge


def _statement(challenge: pb.EnrollChallenge, *, token_id: str, key: DeviceKey, identity: Identity) -> pb.EnrollStatement:
    return pb.EnrollStatement(
        token_id=token_id,
        audience=challenge.audience,
        session_id=challenge.session_id,
        nonce=challenge.nonce,
        public_key_sha256=hashlib.sha256(key.public_key_der).digest(),
        inventory=inventory(identity.platform, identity.hostname, identity.serial_number),
        key_protection=key.protection,
    )


def _result(response: object, *, audience: str) -> Enrolled:
    if not isinstance(response, pb.EnrollResponse) or response.WhichOneof("message") != "result":
        raise ProtocolViolationError("the server did not say what came of it")
    result = response.result
    _check_name(result.device_id, "device id")
    if result.audience != audience:
        raise ProtocolViolationError("the server changed its audience between challenge and result")
    if result.state not in (pb.DEVICE_STATE_ACTIVE, pb.DEVICE_STATE_PENDING_APPROVAL):
        raise ProtocolViolationError("the server names a device state that this agent does not know: update it")
    return Enrolled(result.device_id, audience, pending_approval=result.state == pb.DEVICE_STATE_PENDING_APPROVAL)


def _check_name(name: str, what: str) -> None:
    if not 0 < len(name.encode()) <= _MAX_NAME or not name.isprintable():
        raise ProtocolViolationError(f"the server sent no usable {what}")

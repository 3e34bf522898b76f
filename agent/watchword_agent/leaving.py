"""Saying goodbye: a stream of its own, on which the first thing signed is that this device leaves."""

import asyncio
from collections.abc import Callable
from typing import Final

import grpc

from watchword.envelope import GOODBYE_TYPE
from watchword.v1 import posture_pb2 as pb
from watchword_agent.channel import failure_of, write
from watchword_agent.device_keys import DeviceKeys
from watchword_agent.errors import (
    ForeignAudienceError,
    GoodbyeRefusedError,
    ProtocolViolationError,
    ServerSilentError,
    ServerUnreachableError,
)
from watchword_agent.session import PROTOCOL_VERSION, Attester, check_challenge
from watchword_agent.signing import signed
from watchword_agent.transport import AttestCall

_UNKNOWN_KEY: Final = "envelope_invalid"


async def say_goodbye(
    open_call: Callable[[], AttestCall], *, attester: Attester, keys: DeviceKeys, timeout_seconds: float
) -> None:
    """Ends all results of this device; the server has them ended durably when this returns.

    Raises `GoodbyeRefusedError` if it does not take the goodbye, `ServerError` if it could not be asked,
    `DeviceKeyError`.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            code = await _say(open_call, attester, keys, timeout_seconds)
            if code == _UNKNOWN_KEY and keys.refused():  # a rotation was under way: the other key, then
                code = await _say(open_call, attester, keys, timeout_seconds)
    except TimeoutError as error:
        raise ServerSilentError(f"no answer within {timeout_seconds:g} s") from error
    except grpc.aio.AioRpcError as error:
        raise ServerUnreachableError(failure_of(error).text) from error
    if code != "goodbye":
        raise GoodbyeRefusedError(f"the server did not take the goodbye: `{code}`; this device's results stay as they are")


async def _say(open_call: Callable[[], AttestCall], attester: Attester, keys: DeviceKeys, timeout_seconds: float) -> str:
    """One try; the code of the server's verdict."""
    call = open_call()
    try:
        hello = pb.Hello(
            device_id=attester.device_id,
            instance_id=attester.instance_id,
            agent_version=attester.version,
            protocol_version=PROTOCOL_VERSION,
        )
        await write(call, pb.AttestRequest(hello=hello))
        challenge = await _challenge(call)
        if challenge.audience != attester.audience:
            raise ForeignAudienceError(
                f"the server is `{challenge.audience}`, and this device is enrolled with `{attester.audience}`"
            )
        check_challenge(challenge.session_id, challenge.nonce, challenge.nonce_ttl_seconds)
        goodbye = pb.Goodbye(
            device_id=attester.device_id,
            key_id=keys.signing.key_id,
            audience=attester.audience,
            session_id=challenge.session_id,
            epoch=challenge.epoch,
            nonce=challenge.nonce,
            sequence=1,
        )
        # Half the time: who waits for a TPM is told so, and not that the server is silent.
        envelope = await signed(keys.signing, GOODBYE_TYPE, goodbye.SerializeToString(), timeout_seconds=timeout_seconds / 2)
        await write(call, pb.AttestRequest(envelope=envelope))
        return await _verdict(call)
    finally:
        call.cancel()


async def _challenge(call: AttestCall) -> pb.Challenge:
    response = await _next(call)
    if response.WhichOneof("message") == "closing":
        raise ServerUnreachableError(f"the server closes: `{response.closing.code}`")
    if response.WhichOneof("message") != "challenge":
        raise ProtocolViolationError(f"the server sent `{response.WhichOneof('message')}` where a challenge belongs")
    return response.challenge


async def _verdict(call: AttestCall) -> str:
    while True:  # what else a server may say meanwhile is nothing to somebody who leaves
        response = await _next(call)
        match response.WhichOneof("message"):
            case "closing":
                return response.closing.code
            case "rejected":
                return response.rejected.code
            case _:
                continue


async def _next(call: AttestCall) -> pb.AttestResponse:
    response = await call.read()
    if not isinstance(response, pb.AttestResponse):
        raise ServerUnreachableError("the server ended the stream")
    return response

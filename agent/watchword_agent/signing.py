"""Signing beside the event loop: a TPM takes its time, and one that hangs must not stop the agent."""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from watchword.v1 import posture_pb2 as pb
from watchword_agent.device_key import DeviceKey
from watchword_agent.errors import DeviceKeyError
from watchword_agent.worker import Worker

_T = TypeVar("_T")
# One: a TPM does one thing at a time, and while one call hangs no second one starts.
_WORKER: Final = Worker("device-key")


async def signed(key: DeviceKey, payload_type: str, payload: bytes, *, timeout_seconds: float) -> pb.SignedEnvelope:
    """As `key.sign`. Raises `DeviceKeyError`, also where it takes longer."""
    return await beside(lambda: key.sign(payload_type, payload), timeout_seconds=timeout_seconds)


async def beside(use: Callable[[], _T], *, timeout_seconds: float) -> _T:
    """What `use` makes of device keys, in the one thread that may. Raises as it does, and `DeviceKeyError` where it takes longer.

    What takes longer goes on until the hardware lets it end; nobody hears of its outcome.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            return await _WORKER.run(use)
    except TimeoutError as error:
        raise DeviceKeyError(
            f"what keeps the device key did not answer within {timeout_seconds:g} s: is the TPM busy, or used by a program that "
            "holds on to it? `tpm_tcti` says how to reach it"
        ) from error

"""Limits on how much one address and one stream may send: they hold before anything expensive happens."""

from typing import Final

import grpc
import pytest

from server.scene import Scene, passes
from support.device import Ended
from watchword.v1 import posture_pb2 as wire
from watchword.v1.posture_pb2_grpc import PostureServiceStub

_BURST: Final = 10
LIMITS: Final = {
    "messages_per_second": 0.001,
    "messages_burst": _BURST,
    "streams_per_second": 0.001,
    "streams_burst": 3 * _BURST,
    "enrollments_per_second": 0.001,
    "enrollments_burst": _BURST,
}
LIMITED: Final = Ended(grpc.StatusCode.RESOURCE_EXHAUSTED, "rate_limited")


async def test_floods_are_stopped_and_streams_that_are_there_go_on(scene: Scene) -> None:
    """In this order, since each uses up what is left for this address."""
    device = await scene.enrolled()
    async with device.attesting() as honest:
        assert passes(await honest.settle(), device)
        await _messages(scene)
        await _streams(scene)
        await _enrollments(scene)
        assert passes(await honest.attest(), device)


async def _messages(scene: Scene) -> None:
    async with scene.device(device_id="dev_unknown").attesting() as stream:
        for _ in range(_BURST - 1):  # hello was one
            assert isinstance(await stream.ask_for_challenge(), wire.Challenge)
        assert await stream.ask_for_challenge() == LIMITED


async def _streams(scene: Scene) -> None:
    stranger = scene.device(device_id="dev_unknown")
    for _ in range(3 * _BURST - 2):  # the honest stream was one, that of many messages another
        async with stranger.connected() as stream:
            assert isinstance(await stream.hello(), wire.Challenge)
    async with stranger.connected() as stream:
        assert await stream.receive() == LIMITED  # before it has said anything


async def _enrollments(scene: Scene) -> None:
    token = scene.operators.enrollment_token()
    for _ in range(_BURST - 1):  # one was well spent
        assert await scene.device().enroll("ww1.nonsense") == Ended(grpc.StatusCode.PERMISSION_DENIED, "enrollment_refused")
    async with grpc.aio.insecure_channel(scene.server.endpoints.agents) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as limited:  # before it has said anything
            await PostureServiceStub(channel).Enroll().read()
    assert Ended(limited.value.code(), limited.value.details() or "") == LIMITED
    assert scene.operators.uses(token) == 0

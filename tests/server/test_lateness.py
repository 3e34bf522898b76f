"""Step 5 of verification, and the other limits of the server's patience. This server's are short; a real one's are not.

Nobody naps here: a device that answers late watches its own clock until it is late. An honest one can be late too on a slow
machine, and then does what an honest agent does: it answers the fresh challenge.
"""

import time
from typing import Final

import grpc
import pytest

from server.scene import LAPTOP, Scene, challenge_of, closing_of, passes, twin
from support.device import HONEST, Answer, AttestStream, Ended, Lie, SimulatedDevice, fields
from support.processes import wait_until
from watchword.v1 import posture_pb2 as wire
from watchword.v1.posture_pb2_grpc import PostureServiceStub

_CHALLENGE_SECONDS: Final = 0.25
_FIRST_EVIDENCE_SECONDS: Final = 1.5
LIMITS: Final = {
    "hello_timeout_seconds": 1.0,
    "first_evidence_timeout_seconds": _FIRST_EVIDENCE_SECONDS,
    "challenge_max_age_seconds": _CHALLENGE_SECONDS,
}
_TOO_LATE: Final = Ended(grpc.StatusCode.INVALID_ARGUMENT, "protocol_violation")


async def test_an_answer_to_an_old_challenge_is_rejected_and_a_fresh_one_comes_with_it(scene: Scene) -> None:
    device = await enrolled(scene)
    assert passes(await answered(device), device)
    before = scene.knows(device)
    async with device.attesting() as stream:
        old = challenge_of(stream)
        too_late()
        rejected = await stream.attest()
        assert isinstance(rejected, wire.Rejected), rejected
        assert rejected.code == "challenge_stale"
        fresh = challenge_of(stream)
        assert rejected.next_challenge == fresh
        assert (fresh.session_id, fresh.epoch) == (old.session_id, old.epoch)
        assert fresh.nonce != old.nonce
        assert scene.knows(device) == before
        assert passes(await in_time(stream), device)


async def test_an_answer_within_a_claimed_session_can_be_late_too(scene: Scene) -> None:
    device = await enrolled(scene)
    assert passes(await answered(device), device)
    async with device.attesting() as stream:
        assert passes(await in_time(stream), device)
        sequence, before = stream.sequence, scene.knows(device)
        too_late()
        rejected = await stream.attest()
        assert isinstance(rejected, wire.Rejected), rejected
        assert rejected.code == "challenge_stale"
        assert scene.knows(device) == before
        assert passes(await in_time(stream), device)
        assert stream.sequence == sequence + 1  # the late one does not count


async def test_a_proof_made_for_a_challenge_that_got_old_proves_nothing_under_the_next(scene: Scene) -> None:
    device = await enrolled(scene)
    assert passes(await answered(device), device)
    async with device.attesting() as stream:
        old = challenge_of(stream).nonce
        too_late()
        assert isinstance(await stream.attest(), wire.Rejected)
        answer = await in_time(stream, Lie(possession={"nonce": old}))
        assert isinstance(answer, wire.Ack), answer
        assert [result.reason for result in answer.results] == ["possession_invalid"]
        assert passes(await in_time(stream), device)


async def test_a_late_answer_is_no_way_to_learn_of_a_device_or_to_pass_another_step(scene: Scene) -> None:
    """The steps before come first: whoever is late and lies is told the lie."""
    device = await enrolled(scene)
    assert passes(await answered(device), device)
    lies = {
        "envelope_invalid": Lie(payload_type="text/plain"),
        "evidence_malformed": Lie(payload=lambda _: b"\xff"),
        "evidence_foreign": Lie(evidence=fields(nonce=bytes(32))),
        "challenge_stale": Lie(evidence=fields(sequence=7)),
    }
    for code, lie in lies.items():
        async with device.attesting() as stream:
            too_late()
            answer = await stream.attest(lie)
            assert isinstance(answer, wire.Rejected), answer
            assert answer.code == code


async def test_who_is_late_again_and_again_is_sent_away(scene: Scene) -> None:
    device = await enrolled(scene)
    assert passes(await answered(device), device)
    async with device.attesting() as stream:
        assert passes(await in_time(stream), device)
        before = scene.operators.results(device.device_id)
        for _ in range(20):
            too_late()
            answer = await stream.attest()
            assert isinstance(answer, wire.Rejected), answer
            assert answer.code == "challenge_stale"
        assert stream.challenge is None
        assert await closing_of(stream) == "challenge_stale"
    assert scene.operators.results(device.device_id) == before
    assert passes(await answered(device), device)


async def test_a_stream_without_hello_is_closed(scene: Scene) -> None:
    device = await enrolled(scene)
    async with device.connected() as stream:
        await stream.finish()
        assert await stream.receive() == Ended(grpc.StatusCode.OK, "")  # it left by itself
    async with device.connected() as stream:
        assert await stream.receive() == _TOO_LATE


@pytest.mark.parametrize("busy", [False, True], ids=["silent", "asking for challenges"])
async def test_a_stream_that_proves_nothing_is_closed(scene: Scene, busy: bool) -> None:
    device = await enrolled(scene)
    async with device.attesting() as stream, twin(device).attesting() as honest:
        assert isinstance(await in_time(honest), wire.Ack)
        started = time.monotonic()
        while busy and isinstance(answer := await stream.ask_for_challenge(), wire.Challenge):
            assert time.monotonic() - started < 10 * _FIRST_EVIDENCE_SECONDS, "it may go on for ever"
        if busy:
            assert isinstance(answer, Ended)  # of which code, grpc's client does not know if it was just writing
        else:
            assert await stream.receive() == _TOO_LATE
        assert isinstance(await in_time(honest), wire.Ack)  # it proved something: no limit any more


async def test_an_enrollment_that_takes_too_long_ends_and_uses_nothing(scene: Scene) -> None:
    token, device = scene.operators.enrollment_token(), scene.device()
    async with grpc.aio.insecure_channel(device.target) as channel:
        call = PostureServiceStub(channel).Enroll()
        await call.write(wire.EnrollRequest(init=wire.EnrollInit(token=token.text, public_key=device.public_key)))
        assert isinstance(await call.read(), wire.EnrollResponse)
        with pytest.raises(grpc.aio.AioRpcError) as ended:  # it says nothing more
            await call.read()
    assert Ended(ended.value.code(), ended.value.details() or "") == _TOO_LATE
    assert scene.operators.uses(token) == 0


async def test_a_result_stays_what_it_was_while_its_device_is_late(scene: Scene) -> None:
    device = await enrolled(scene)
    assert passes(await answered(device), device)
    before = scene.operators.results(device.device_id)[LAPTOP]
    async with device.attesting() as stream:
        too_late()
        assert isinstance(await stream.attest(), wire.Rejected)
    assert scene.operators.results(device.device_id)[LAPTOP] == before


def too_late() -> None:
    """Returns when a challenge received before is too old to answer."""
    until = time.monotonic() + 1.1 * _CHALLENGE_SECONDS
    wait_until(lambda: time.monotonic() > until, what="the challenge got old")


async def enrolled(scene: Scene) -> SimulatedDevice:
    """An active device. Whoever is too slow tries again: the same key with the same token is the same device."""
    device = scene.device()
    for _ in range(20):
        if isinstance(await device.enroll(scene.token.text), wire.EnrollResult):
            return device
    pytest.fail("not enrolled, however often it tried")


async def answered(device: SimulatedDevice) -> Answer:
    """Attests on streams of its own until evidence for the server's checks is acknowledged."""
    for _ in range(20):
        async with device.attesting() as stream:
            answer = await in_time(stream)
            if device.checks is None:
                await stream.receive_until(wire.CheckSet)
            elif isinstance(answer, wire.Ack) and answer.results:
                return answer
    pytest.fail(f"never acknowledged: {answer}")


async def in_time(stream: AttestStream, lie: Lie = HONEST) -> Answer:
    """Answers until an answer was not late."""
    while True:
        answer = await stream.attest(lie)
        if not (isinstance(answer, wire.Rejected) and answer.HasField("next_challenge")):
            return answer

"""Who may say what when on an attestation stream: out of turn ends the stream, and only that stream."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import grpc
import pytest

from server.scene import LAPTOP, Scene, challenge_of, passes, twin
from support.device import Answer, AttestStream, Ended, Lie, fields
from support.processes import wait_until
from watchword.v1 import posture_pb2 as wire

VIOLATION: Final = Ended(grpc.StatusCode.INVALID_ARGUMENT, "protocol_violation")
_ATTEST: Final = "/watchword.v1.PostureService/Attest"
_ENROLL: Final = "/watchword.v1.PostureService/Enroll"

# ---- Out of turn --------------------------------------------------------------------------------------------------------


async def _envelope_first(stream: AttestStream) -> None:
    stream.challenge = wire.Challenge(session_id=bytes(16), epoch=1, nonce=bytes(32), audience="watchword")
    await stream.send(wire.AttestRequest(envelope=stream.envelope()))


async def _challenge_request_first(stream: AttestStream) -> None:
    await stream.send(wire.AttestRequest(challenge_request=wire.ChallengeRequest()))


async def _empty_message_first(stream: AttestStream) -> None:
    await stream.send(wire.AttestRequest())


async def _message_of_a_later_version_first(stream: AttestStream) -> None:
    await stream.send(wire.AttestRequest.FromString(bytes.fromhex("7a020801")))  # field 15


async def _another_protocol_version(stream: AttestStream) -> None:
    await stream.hello(Lie(hello=fields(protocol_version=2)))


async def _no_protocol_version(stream: AttestStream) -> None:
    await stream.hello(Lie(hello=fields(protocol_version=0)))


async def _hello_without_a_device(stream: AttestStream) -> None:
    await stream.hello(Lie(hello=fields(device_id="")))


async def _hello_of_a_device_with_a_long_id(stream: AttestStream) -> None:
    await stream.hello(Lie(hello=fields(device_id="d" * 129)))


async def _second_hello(stream: AttestStream) -> None:
    await stream.hello()
    await stream.hello()


async def _second_hello_after_evidence(stream: AttestStream) -> None:
    await stream.hello()
    assert isinstance(await stream.settle(), wire.Ack)
    await stream.hello()


async def _empty_message(stream: AttestStream) -> None:
    await stream.hello()
    await stream.send(wire.AttestRequest())


async def _two_signatures(stream: AttestStream) -> None:
    await stream.hello()
    envelope = stream.envelope()
    envelope.signatures.append(envelope.signatures[0])
    await stream.send(wire.AttestRequest(envelope=envelope))


async def _no_signature(stream: AttestStream) -> None:
    await stream.hello()
    envelope = stream.envelope()
    del envelope.signatures[:]
    await stream.send(wire.AttestRequest(envelope=envelope))


OUT_OF_TURN: Final[dict[str, Callable[[AttestStream], Awaitable[None]]]] = {
    "an envelope before hello": _envelope_first,
    "a challenge request before hello": _challenge_request_first,
    "an empty message before hello": _empty_message_first,
    "a message of a later version before hello": _message_of_a_later_version_first,
    "another protocol version": _another_protocol_version,
    "no protocol version": _no_protocol_version,
    "hello without a device id": _hello_without_a_device,
    "hello with too long a device id": _hello_of_a_device_with_a_long_id,
    "a second hello": _second_hello,
    "a second hello after evidence": _second_hello_after_evidence,
    "an empty message after hello": _empty_message,
    "two signatures": _two_signatures,
    "no signature": _no_signature,
}


@pytest.mark.parametrize("say", [pytest.param(say, id=name) for name, say in OUT_OF_TURN.items()])
async def test_a_message_out_of_turn_ends_the_stream_and_nothing_else(
    scene: Scene, say: Callable[[AttestStream], Awaitable[None]]
) -> None:
    device, other = await scene.enrolled(), await scene.enrolled()
    async with other.attesting() as others:
        assert passes(await others.settle(), other)
        async with device.connected() as stream:
            await say(stream)
            assert await _end_of(stream) == VIOLATION
        assert passes(await others.attest(), other)
    assert passes(await device.attest_once(), device)


# ---- Too much, and no message at all ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [_ATTEST, _ENROLL])
@pytest.mark.parametrize(
    "sent", [b"\xff" * 100, b"\x0a\x7f", b"\x12\x05\x0a\xff\xff\xff\xff"], ids=["noise", "cut short", "odd lengths"]
)
async def test_bytes_that_are_no_message_end_the_stream(scene: Scene, method: str, sent: bytes) -> None:
    assert _sent_raw(scene, method, sent) == VIOLATION
    device = await scene.enrolled()
    assert passes(await device.attest_once(), device)


def test_a_method_that_does_not_exist_is_not_there(scene: Scene) -> None:
    ended = _sent_raw(scene, "/watchword.v1.PostureService/Revoke", b"")
    assert ended.code is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    "compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip], ids=["as it is", "in a small gzip"]
)
async def test_five_megabytes_of_evidence_are_refused(scene: Scene, compression: grpc.Compression) -> None:
    device = await scene.enrolled()
    async with device.attesting() as stream:
        assert passes(await stream.settle(), device)
        before = scene.knows(device)
        envelope = stream.envelope(Lie(payload=lambda payload: payload + b"\x7a\xff\xff\xbf\x02" + bytes(5 * 1024 * 1024 - 1)))
        request = wire.AttestRequest(envelope=envelope).SerializeToString()
        ended = _sent_raw(scene, _ATTEST, request, compression=compression)
        assert ended.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert scene.knows(device) == before
        assert passes(await stream.attest(), device)


# ---- Again, and out of order --------------------------------------------------------------------------------------------


async def test_an_envelope_that_was_accepted_is_not_accepted_again(scene: Scene) -> None:
    device = await scene.enrolled()
    async with device.attesting() as stream:
        assert passes(await stream.settle(), device)
        envelope = stream.envelope()
        assert isinstance(await _sent(stream, envelope), wire.Ack)
        before = scene.operators.results(device.device_id)
        assert await _sent(stream, envelope) == wire.Rejected(code="evidence_foreign")
    assert scene.operators.results(device.device_id) == before
    assert passes(await device.attest_once(), device)


async def test_an_envelope_is_not_accepted_in_another_session(scene: Scene) -> None:
    """Neither one that was accepted in its own, nor one that was kept back."""
    device, other = await scene.enrolled(), await scene.enrolled()
    async with device.attesting() as honest, other.attesting() as others:
        assert passes(await honest.settle(), device)
        accepted = honest.envelope()
        assert isinstance(await _sent(honest, accepted), wire.Ack)
        kept_back = honest.envelope()
        before = scene.knows(device)
        for envelope in (accepted, kept_back):
            async with twin(device).attesting() as stream:
                assert await _sent(stream, envelope) == wire.Rejected(code="evidence_foreign")
        assert await _sent(others, kept_back) == wire.Rejected(code="envelope_invalid")
        assert scene.knows(device) == before
        assert passes(await _sent(honest, kept_back), device)


@pytest.mark.parametrize("back", [1, 2], ids=["previous", "pre-previous"])
async def test_a_challenge_is_answered_once(scene: Scene, back: int) -> None:
    device = await scene.enrolled()
    async with device.attesting() as stream:
        nonces = [challenge_of(stream).nonce]
        for _ in range(back):
            assert isinstance(await stream.attest(), wire.Ack)
            nonces.append(challenge_of(stream).nonce)
        assert len(set(nonces)) == back + 1
        assert await stream.attest(Lie(evidence=fields(nonce=nonces[0]))) == wire.Rejected(code="evidence_foreign")
    assert passes(await device.attest_once(), device)


async def test_a_challenge_that_was_replaced_is_void(scene: Scene) -> None:
    device = await scene.enrolled()
    async with device.attesting() as stream:
        old = challenge_of(stream)
        fresh = await stream.ask_for_challenge()
        assert isinstance(fresh, wire.Challenge)
        assert (fresh.session_id, fresh.epoch) == (old.session_id, old.epoch)
        assert fresh.nonce != old.nonce
        assert await stream.attest(Lie(evidence=fields(nonce=old.nonce))) == wire.Rejected(code="evidence_foreign")
    assert passes(await device.attest_once(), device)


@pytest.mark.parametrize("sequence", [2, 1, 0, 4, 2**64 - 1], ids=["repeat", "rollback", "beginning", "gap", "leap"])
async def test_a_sequence_that_is_not_the_next_is_rejected(scene: Scene, sequence: int) -> None:
    device = await scene.enrolled()
    async with device.attesting() as stream:
        assert passes(await stream.settle(), device)
        assert stream.sequence == 2
        before = scene.operators.results(device.device_id)
        assert await stream.attest(Lie(evidence=fields(sequence=sequence))) == wire.Rejected(code="out_of_sequence")
    assert scene.operators.results(device.device_id) == before
    assert passes(await device.attest_once(), device)


async def test_every_challenge_is_new(scene: Scene) -> None:
    device = await scene.enrolled()
    challenges = []
    for _ in range(20):
        async with device.attesting() as stream:
            challenges.append(challenge_of(stream))
            for _ in range(10):
                assert isinstance(await stream.ask_for_challenge(), wire.Challenge)
                challenges.append(challenge_of(stream))
    assert len({challenge.nonce for challenge in challenges}) == len(challenges) == 220
    assert {len(challenge.nonce) for challenge in challenges} == {32}
    assert len({challenge.session_id for challenge in challenges}) == 20


# ---- Two streams of one device ------------------------------------------------------------------------------------------


async def test_an_older_stream_is_superseded_by_evidence_and_by_nothing_less(scene: Scene) -> None:
    device = await scene.enrolled()
    async with device.attesting() as older, twin(device).attesting() as newer:
        assert passes(await older.settle(), device)  # newer has said hello; that is nothing
        assert await newer.attest() == wire.Rejected(code="session_superseded")  # its epoch was taken meanwhile
        assert passes(await older.attest(), device)
        async with twin(device).attesting() as newest:
            assert passes(await older.attest(), device)
            assert isinstance(await newest.settle(), wire.Ack)
            assert await _end_of(older) == Ended(grpc.StatusCode.OK, "")
            assert isinstance(older.received[-2], wire.Closing)
            assert older.received[-2].code == "session_superseded"
            assert isinstance(await newest.attest(), wire.Ack)


async def test_of_two_streams_that_claim_an_epoch_in_the_same_moment_one_gets_it(scene: Scene) -> None:
    device = await scene.enrolled()
    assert passes(await device.attest_once(), device)
    for _ in range(10):
        async with device.attesting() as one, twin(device).attesting() as another:
            assert challenge_of(one).epoch == challenge_of(another).epoch
            answers = await asyncio.gather(one.attest(), another.attest())
            assert sorted(type(answer).__name__ for answer in answers) == ["Ack", "Rejected"]
            assert [answer.code for answer in answers if isinstance(answer, wire.Rejected)] == ["session_superseded"]


async def test_a_late_write_of_an_older_stream_is_no_write(scene: Scene) -> None:
    """The newer stream said that the certificate is gone, and is gone itself: what it said stays."""
    device = await scene.enrolled()
    assert passes(await device.attest_once(), device)
    without = twin(device)
    without.found_for = {}
    async with device.attesting() as older, without.attesting() as newer:
        assert not passes(await newer.attest(), without)
        newer.hang_up()
        before = scene.operators.results(device.device_id)
        assert before[LAPTOP]["standing"] == "failed"
        assert await older.attest() == wire.Rejected(code="session_superseded")
        assert scene.operators.results(device.device_id) == before
    assert passes(await device.attest_once(), device)


# ---- Somebody else's device ---------------------------------------------------------------------------------------------


async def test_an_unsigned_hello_does_nothing_to_the_device_it_names(scene: Scene) -> None:
    device = await scene.enrolled()
    async with device.attesting() as stream:
        assert passes(await stream.settle(), device)
        before, heard = scene.knows(device), len(stream.received)
        stranger = scene.device(device_id=device.device_id, audience=device.audience)
        for number in range(20):
            async with stranger.attesting() as strange:
                if number % 2:
                    assert await strange.attest() == wire.Rejected(code="envelope_invalid")
        assert scene.knows(device) == before
        assert passes(await stream.attest(), device)
        assert len(stream.received) == heard + 1  # the acknowledgement: nobody told it anything else


async def test_a_device_does_not_speak_for_the_one_its_hello_names(scene: Scene) -> None:
    victim, attacker = await scene.enrolled(), await scene.enrolled()
    async with victim.attesting() as stream:
        assert passes(await stream.settle(), victim)
        before = scene.knows(victim), scene.knows(attacker)
        for lie in (Lie(), Lie(evidence=fields(device_id=victim.device_id))):
            async with attacker.connected() as strange:
                await strange.hello(Lie(hello=fields(device_id=victim.device_id)))
                assert await strange.attest(lie) == wire.Rejected(code="envelope_invalid")
        assert (scene.knows(victim), scene.knows(attacker)) == before
        assert passes(await stream.attest(), victim)


@pytest.mark.parametrize("leave", [AttestStream.finish, None], ids=["half-closed", "cancelled"])
async def test_the_end_of_a_stream_says_nothing_about_the_device(
    scene: Scene, leave: Callable[[AttestStream], Awaitable[None]] | None
) -> None:
    device = await scene.enrolled()
    async with device.attesting() as stream:
        assert passes(await stream.settle(), device)
        before = scene.operators.results(device.device_id)
        if leave is None:
            stream.hang_up()
        else:
            await leave(stream)
            assert await _end_of(stream) == Ended(grpc.StatusCode.OK, "")
        wait_until(lambda: not scene.operators.devices()[device.device_id]["connected"], what="the server notices the end")
    assert scene.operators.results(device.device_id) == before
    assert before[LAPTOP]["standing"] == "passed"


# ---- Helpers ------------------------------------------------------------------------------------------------------------


async def _end_of(stream: AttestStream) -> Ended:
    while not isinstance(message := await stream.receive(), Ended):
        pass
    return message


async def _sent(stream: AttestStream, envelope: wire.SignedEnvelope) -> Answer:
    await stream.send(wire.AttestRequest(envelope=envelope))
    return await stream.answer()


def _sent_raw(
    scene: Scene, method: str, request: bytes, *, compression: grpc.Compression = grpc.Compression.NoCompression
) -> Ended:
    """How a call ends that sends these bytes. Not by grpc.aio: an end that comes while it writes is to it a fault of its own."""
    with grpc.insecure_channel(scene.server.endpoints.agents, compression=compression) as channel:
        conversation: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(method)
        call = conversation(iter([request]), timeout=20)
        with pytest.raises(grpc.RpcError):
            list(call)
        return Ended(call.code(), call.details())

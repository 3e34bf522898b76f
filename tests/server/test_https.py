"""Evidence by single requests: believed for the same reasons as on a stream, and for no other."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from grpc import StatusCode

from server.scene import Scene, closing_of, passes, twin
from support.device import AttestStream, Ended, Lie, SimulatedDevice, fields
from support.pki import generate_key
from support.single_requests import SingleSession, post
from watchword.envelope import ENROLL_TYPE
from watchword.v1 import posture_pb2 as wire

ENVIRONMENT: Final = {"WATCHWORD_AGENTS__HTTPS": "true"}
_ENDED: Final = Ended(StatusCode.OK, "")


async def session(scene: Scene, device: SimulatedDevice) -> SingleSession:
    """A session with its challenge."""
    single = SingleSession(device, scene.server.endpoints.agents_http)
    assert isinstance(await single.hello(), wire.Challenge)
    return single


async def attested(scene: Scene, device: SimulatedDevice) -> wire.Ack:
    """A whole session that has to be accepted."""
    answer = await (await session(scene, device)).attest()
    assert isinstance(answer, wire.Ack), answer
    return answer


async def settled(scene: Scene, **options: Any) -> SimulatedDevice:
    """An enrolled device that passes, by single requests alone."""
    device = await scene.enrolled(**options)
    first = await session(scene, device)
    assert isinstance(await first.attest(), wire.Ack)
    assert isinstance(await first.receive(), wire.CheckSet)
    assert await first.receive() == _ENDED
    assert passes(await attested(scene, device), device)
    return device


@asynccontextmanager
async def streaming(device: SimulatedDevice) -> AsyncIterator[AttestStream]:
    async with twin(device).attesting() as stream:
        assert passes(await stream.settle(), stream.device)
        yield stream


async def test_a_device_passes_and_learns_its_checks_with_an_answer(scene: Scene) -> None:
    device = await settled(scene)
    another = await session(scene, device)
    answer = await another.attest()
    assert isinstance(answer, wire.Ack)
    assert not answer.HasField("next_challenge")
    assert await another.receive() == _ENDED, "it knows its checks"
    device.found_for = {}
    assert not passes(await attested(scene, device), device)


async def test_each_session_claims_the_next_epoch(scene: Scene) -> None:
    device = await settled(scene)
    first, second = await session(scene, device), await session(scene, device)
    assert first.challenge is not None
    assert second.challenge is not None
    first_epoch = first.challenge.epoch
    assert first_epoch == second.challenge.epoch
    assert first.challenge.session_id != second.challenge.session_id
    assert isinstance(await second.attest(), wire.Ack)
    assert await first.attest() == wire.Rejected(code="session_superseded"), "of two that were challenged at once one is believed"
    third = await session(scene, device)
    assert third.challenge is not None
    assert third.challenge.epoch == first_epoch + 1


async def test_it_supersedes_a_stream_and_a_stream_supersedes_it(scene: Scene) -> None:
    device = await settled(scene)
    async with streaming(device) as stream:
        early = await session(scene, device)
        assert isinstance(await early.attest(), wire.Ack)
        assert await closing_of(stream) == "session_superseded"
        late = await session(scene, device)
        async with streaming(device) as other:
            assert await late.attest() == wire.Rejected(code="session_superseded")
            assert passes(await other.attest(), other.device), "nothing happened to it"


# ---- Who may answer which challenge --------------------------------------------------------------------------------------


async def rejected(single: SingleSession, lie: Lie, code: str) -> None:
    assert await single.attest(lie) == wire.Rejected(code=code)
    assert await closing_of(single) == code


@pytest.mark.parametrize(
    ("code", "lie"),
    [
        ("envelope_invalid", Lie(signing_key=generate_key())),
        ("envelope_invalid", Lie(payload_type=ENROLL_TYPE)),
        ("evidence_malformed", Lie(payload=lambda _: b"\xff")),
        ("evidence_foreign", Lie(evidence=fields(nonce=bytes(32)))),
        ("evidence_foreign", Lie(evidence=fields(session_id=bytes(16)))),
        ("evidence_foreign", Lie(evidence=fields(audience="watchword/elsewhere"))),
        ("evidence_foreign", Lie(evidence=fields(epoch=7))),
        ("out_of_sequence", Lie(evidence=fields(sequence=2))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_lie_is_rejected_with_its_reason_changes_nothing_and_spends_the_challenge(
    scene: Scene, code: str, lie: Lie
) -> None:
    device = await settled(scene)
    before = scene.knows(device)
    single = await session(scene, device)
    challenge = single.challenge
    await rejected(single, lie, code)
    assert scene.knows(device) == before
    single.challenge = challenge
    await rejected(single, Lie(), "challenge_stale")
    assert scene.knows(device) == before


async def test_a_challenge_is_answered_once_whether_the_first_answer_was_good_or_bad(scene: Scene) -> None:
    device = await settled(scene)
    single = await session(scene, device)
    envelope = wire.AttestRequest(envelope=single.envelope())
    await single.send(envelope)
    assert isinstance(await single.answer(), wire.Ack)
    assert await single.receive() == _ENDED
    before = scene.knows(device)
    await single.send(envelope)  # the very same bytes
    assert await single.answer() == wire.Rejected(code="challenge_stale")
    assert scene.knows(device) == before


async def test_another_devices_challenge_is_of_no_use(scene: Scene) -> None:
    mine, other = await settled(scene), await settled(scene)
    ours, theirs = await session(scene, mine), await session(scene, other)
    ours.challenge, ours.seal = theirs.challenge, theirs.seal
    await rejected(ours, Lie(), "envelope_invalid")
    ours, theirs = await session(scene, mine), await session(scene, other)
    ours.seal = theirs.seal
    await rejected(ours, Lie(), "envelope_invalid")
    ours, theirs = await session(scene, mine), await session(scene, mine)
    ours.seal = theirs.seal
    await rejected(ours, Lie(), "evidence_foreign")


async def test_evidence_of_a_stream_is_of_no_use_here_and_the_reverse(scene: Scene) -> None:
    device = await settled(scene)
    async with streaming(device) as stream:
        single = await session(scene, device)
        before = scene.knows(device)
        overheard = wire.AttestRequest(envelope=stream.envelope())
        await single.send(overheard)
        assert await single.answer() == wire.Rejected(code="evidence_foreign")
        single = await session(scene, device)
        await stream.send(wire.AttestRequest(envelope=single.envelope()))
        assert await stream.answer() == wire.Rejected(code="evidence_foreign")
        assert scene.knows(device) == before


async def test_a_seal_that_was_changed_or_made_by_another_process_is_stale(scene: Scene) -> None:
    device = await settled(scene)
    single = await session(scene, device)
    honest, challenge = single.seal, single.challenge
    for seal in (b"", b"\0", honest[:-1], honest[:-1] + bytes([honest[-1] ^ 1]), bytes([honest[0] ^ 1]) + honest[1:]):
        single.seal, single.challenge = seal, challenge
        await rejected(single, Lie(), "challenge_stale")
    single.seal, single.challenge = honest, challenge
    assert isinstance(await single.attest(), wire.Ack), "none of these spent it"


async def test_an_unknown_device_is_challenged_like_any_other_and_then_rejected(scene: Scene) -> None:
    device = await settled(scene)
    stranger = scene.device(device_id="dev_" + "0" * 32, audience=device.audience)
    single = await session(scene, stranger)
    await rejected(single, Lie(), "device_not_active")
    scene.operators.revoke(device.device_id)
    await rejected(await session(scene, device), Lie(), "device_not_active")


async def test_a_goodbye_ends_the_results(scene: Scene) -> None:
    device = await settled(scene)
    single = await session(scene, device)
    assert await single.goodbye() == wire.Closing(code="goodbye")
    [result] = scene.operators.results(device.device_id).values()
    assert (result["standing"], result["reason"]) == ("failed", "device_said_goodbye")
    assert passes(await attested(scene, device), device), "new evidence brings it back"


async def test_a_key_is_not_rotated_here(scene: Scene) -> None:
    device = await settled(scene)
    single = await session(scene, device)
    await single.send(wire.AttestRequest(envelope=single.rotation(generate_key())))
    ended = await single.receive()
    assert isinstance(ended, Ended)
    assert "protocol_violation" in ended.details


# ---- What is not served ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "method", "path", "body", "content_type"),
    [
        (415, "POST", "challenge", b"", "application/json"),
        (415, "POST", "evidence", b"", "application/x-protobuf; charset=utf-8"),
        (405, "GET", "challenge", b"", "application/x-protobuf"),
        (405, "PUT", "evidence", b"", "application/x-protobuf"),
        (404, "POST", "attest", b"", "application/x-protobuf"),
        (413, "POST", "challenge", b"\0" * 4097, "application/x-protobuf"),
        (413, "POST", "evidence", b"\0" * (256 * 1024 + 1), "application/x-protobuf"),
        (400, "POST", "challenge", b"\xff", "application/x-protobuf"),
        (400, "POST", "evidence", b"\xff", "application/x-protobuf"),
        (400, "POST", "challenge", b"", "application/x-protobuf"),
    ],
)
def test_what_is_not_understood_is_refused_by_its_status(
    scene: Scene, status: int, method: str, path: str, body: bytes, content_type: str
) -> None:
    posted = post(scene.server.endpoints.agents_http, f"/v1/agent/{path}", body, content_type=content_type, method=method)
    assert posted.status == status
    assert posted.headers["content-type"] == "application/json"
    assert json.loads(posted.body)["error"].keys() == {"code", "message"}


def test_a_hello_of_another_protocol_or_without_a_sensible_device_is_refused(scene: Scene) -> None:
    for hello in (
        wire.Hello(device_id="dev_1", protocol_version=2),
        wire.Hello(device_id="", protocol_version=1),
        wire.Hello(device_id="\N{SNOWMAN}" * 43, protocol_version=1),  # 129 bytes
    ):
        assert post(scene.server.endpoints.agents_http, "/v1/agent/challenge", hello.SerializeToString()).status == 400

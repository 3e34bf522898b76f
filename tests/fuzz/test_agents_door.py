"""The agents' door before anybody has proven anything: whatever arrives, a typed error ends it, and devices still get in."""

import hashlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from core.test_codec import damaged, inventories, texts
from fuzz.conftest import Served
from fuzz.effort import spoiled, tries
from support.device import Lie, SimulatedDevice
from support.pki import generate_key
from support.signing import public_key_der
from watchword.envelope import ENROLL_TYPE, EVIDENCE_TYPE, GOODBYE_TYPE, KEY_ROTATE_TYPE
from watchword.v1 import posture_pb2 as wire
from watchword_server.doors.status import grpc_status
from watchword_server.errors import WatchwordError
from watchword_server.peer import Peer

KEY = public_key_der(generate_key("p256"))
TOKEN = f"ww1.{'a' * 16}.{'b' * 43}"
PEER = Peer("192.0.2.9")
Method = Callable[[AsyncIterator[Any], Peer], AsyncIterator[Any]]

blobs = st.binary(max_size=60) | st.just(bytes(70_000))
envelopes = st.builds(
    wire.SignedEnvelope,
    payload=blobs,
    payload_type=texts | st.sampled_from([ENROLL_TYPE, EVIDENCE_TYPE, GOODBYE_TYPE, KEY_ROTATE_TYPE]),
    signatures=st.lists(st.builds(wire.Signature, keyid=texts, sig=blobs), max_size=3),
)
inits = st.builds(wire.EnrollInit, token=spoiled(TOKEN), public_key=damaged(KEY) | st.just(KEY) | blobs, agent_version=texts)
hellos = st.builds(
    wire.Hello,
    device_id=texts | st.just("dev_1") | st.just("d" * 200),
    instance_id=blobs,
    agent_version=texts,
    protocol_version=st.sampled_from([0, 1, 1, 1, 2, 2**32 - 1]),
)
enroll_requests = (
    st.builds(wire.EnrollRequest, init=inits) | st.builds(wire.EnrollRequest, envelope=envelopes) | st.just(wire.EnrollRequest())
)
attest_requests = (
    st.builds(wire.AttestRequest, hello=hellos)
    | st.builds(wire.AttestRequest, envelope=envelopes)
    | st.just(wire.AttestRequest(challenge_request=wire.ChallengeRequest()))
    | st.just(wire.AttestRequest())
)


async def _ends(method: Method, messages: list[Any]) -> str:
    """How a call with these messages ends; anything but a `WatchwordError` gets out of here."""

    async def sent() -> AsyncIterator[Any]:
        for message in messages:
            yield message

    try:
        async for _ in method(sent(), PEER):
            pass
    except WatchwordError as error:
        grpc_status(error)
        return error.code
    return "ok"


@tries(150)
@given(messages=st.lists(enroll_requests, max_size=3))
def test_whatever_is_sent_to_enroll_nobody_is_enrolled(served: Served, messages: list[wire.EnrollRequest]) -> None:
    assert served.run(_ends(served.world.house.agents.enroll, messages)) != "ok"


@tries(200)
@given(hello=hellos, messages=st.lists(attest_requests, max_size=4))
def test_whatever_is_sent_to_attest_nothing_is_acknowledged(
    served: Served, hello: wire.Hello, messages: list[wire.AttestRequest]
) -> None:
    async def acknowledged() -> list[str]:
        kinds: list[str] = []

        async def sent() -> AsyncIterator[wire.AttestRequest]:
            for message in [wire.AttestRequest(hello=hello), *messages]:
                yield message

        try:
            async for response in served.world.house.agents.attest(sent(), PEER):
                kinds.append(response.WhichOneof("message"))  # noqa: PERF401 - what came before an error counts too
        except WatchwordError as error:
            grpc_status(error)
        return kinds

    assert set(served.run(acknowledged())) <= {"challenge", "rejected", "closing"}


@tries(200)
@given(
    raw=st.lists(
        attest_requests.flatmap(lambda message: damaged(message.SerializeToString())) | st.binary(max_size=80), max_size=4
    )
)
def test_bytes_are_no_message_or_one_that_ends_as_any_other(served: Served, raw: list[bytes]) -> None:
    for method, kind in (
        (served.world.house.agents.attest, wire.AttestRequest),
        (served.world.house.agents.enroll, wire.EnrollRequest),
    ):
        messages = []
        for one in raw:
            try:
                messages.append(kind.FromString(one))
            except DecodeError:  # which ends the call, in the transport
                break
        served.run(_ends(method, messages))


statements = st.builds(
    wire.EnrollStatement,
    token_id=texts,
    audience=texts,
    session_id=blobs,
    nonce=blobs,
    public_key_sha256=blobs,
    inventory=inventories,
).map(lambda statement: statement.SerializeToString())


@tries(150)
@given(data=st.data())
def test_whatever_a_key_of_ones_own_signs_enrolls_nobody_without_a_token(served: Served, data: st.DataObject) -> None:
    """The honest answer, damaged, or another statement: signed, so that it is read."""
    device = SimulatedDevice("")

    async def enrolls() -> str:
        answer: list[wire.EnrollRequest] = []

        async def sent() -> AsyncIterator[wire.EnrollRequest]:
            yield wire.EnrollRequest(init=wire.EnrollInit(token=TOKEN, public_key=device.public_key))
            yield answer[0]

        try:
            async for response in served.world.house.agents.enroll(sent(), PEER):
                challenge = response.challenge
                honest = wire.EnrollStatement(
                    token_id="a" * 16,
                    audience=challenge.audience,
                    session_id=challenge.session_id,
                    nonce=challenge.nonce,
                    public_key_sha256=hashlib.sha256(device.public_key).digest(),
                    inventory=wire.Inventory(platform="linux", hostname="laptop-1"),
                ).SerializeToString()
                payload = data.draw(st.just(honest) | damaged(honest) | statements)
                sealed = device.seal(ENROLL_TYPE, wire.EnrollStatement(), Lie(payload=_always(payload)))
                answer.append(wire.EnrollRequest(envelope=sealed))
        except WatchwordError as error:
            return error.code
        return "ok"

    assert served.run(enrolls()) == "enrollment_refused"


def _always(payload: bytes) -> Callable[[bytes], bytes]:
    return lambda _: payload


def test_after_all_that_an_honest_device_gets_in(served: Served) -> None:
    async def attests() -> None:
        credential = served.world.pki.issuing.issue()
        device = await served.world.device("laptop-1", credential)
        await served.world.attest(device)
        assert (await served.world.ask(credential)).allowed

    served.run(attests())

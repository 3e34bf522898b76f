"""Lies to get in: tokens, keys, proofs, and other devices' names."""

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from adversary.arena import LAPTOP, Arena, told
from adversary.attack import NO_EFFECT, Attack, Outcome
from adversary.telling import Perform
from server.refusals import REFUSAL, Attempt, refusal
from server.scene import enroll
from support.device import HONEST, Ended, Lie, SimulatedDevice, fields
from support.pki import generate_key
from watchword.envelope import ENROLL_TYPE, EVIDENCE_TYPE
from watchword.v1 import posture_pb2 as wire

_REFUSED: Final = "enrollment_refused"
_ED25519_INFO: Final = bytes.fromhex("302a300506032b6570032100")
_NEUTRAL: Final = bytes.fromhex("01" + "00" * 31)
_OF_ORDER_8: Final = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")


def _lie(lie: Lie = HONEST, *, key: Callable[[], Any] = generate_key, token: Callable[[str], str] = str, **bound: Any) -> Perform:
    """An enrollment that would succeed, but for one thing. With the same token the same device gets in honestly."""

    async def perform(arena: Arena) -> Outcome:
        operators = arena.scene.operators
        made = operators.enrollment_token(**bound)
        before = operators.devices().keys()
        credential = arena.certificate()
        device = arena.scene.device(key=key(), found_for={LAPTOP: (credential,)}, serial_number="")
        told_twice = [await refusal(Attempt(device, token(made.text), lie)) for _ in range(2)]
        assert {(each.code, each.details, each.metadata) for each in told_twice} == {
            (REFUSAL.code, REFUSAL.details, REFUSAL.metadata)
        }, "refusals differ"
        assert operators.uses(made) == 0, "the token was used up"
        assert operators.devices().keys() == before, "a device was made"

        async def honestly() -> None:
            honest = await arena.device(LAPTOP, credential, token=None if bound else made)
            await arena.passes_with(honest, credential)

        return Outcome(told_twice[0].details, LAPTOP, shown=[credential], honestly=honestly)

    return perform


def _point(point: bytes) -> Lie:
    """Anybody can sign for it: the neutral element and zero."""
    public_key = _ED25519_INFO + point

    def forged(envelope: wire.SignedEnvelope) -> None:
        envelope.signatures[0].sig = b"\x01" + bytes(63)

    return Lie(
        init=fields(public_key=public_key),
        statement=fields(public_key_sha256=hashlib.sha256(public_key).digest()),
        envelope=forged,
    )


async def _hundred_at_once(arena: Arena) -> Outcome:
    operators = arena.scene.operators
    token = operators.enrollment_token()
    devices = [arena.scene.device(found_for={}) for _ in range(100)]
    answers = await asyncio.gather(*(device.enroll(token.text) for device in devices))
    enrolled = [device for device, answer in zip(devices, answers, strict=True) if isinstance(answer, wire.EnrollResult)]
    refused = {answer.details for answer in answers if isinstance(answer, Ended)}
    assert (len(enrolled), operators.uses(token)) == (1, 1)
    return Outcome("".join(refused), LAPTOP, devices[:0])


async def _takes_over(arena: Arena, *, bound: bool) -> Outcome:
    """Another key comes with the victim's serial number, or with a token that was bound to another device."""
    credential, serial = arena.certificate(), f"5CG-{generate_key().private_numbers().private_value % 10**9}"  # type: ignore[union-attr]  # P-256
    victim = await arena.device(LAPTOP, credential, serial_number=serial)
    await arena.passes_with(victim, credential)
    operators = arena.scene.operators
    other = await arena.device()
    token = operators.enrollment_token(device_id=other.device_id) if bound else operators.enrollment_token()
    thief = arena.scene.device(found_for={}, serial_number=serial)
    answer = await thief.enroll(token.text)
    assert isinstance(answer, Ended), answer
    assert operators.devices()[victim.device_id]["state"] == "active"
    return Outcome(answer.details, LAPTOP, unharmed=(victim, credential))


async def _token_at_rest(arena: Arena) -> Outcome:
    """Reads the store and all logs, after tokens were used and refused."""
    token = arena.scene.operators.enrollment_token(max_uses=2)
    secret = token.text.rpartition(".")[2]
    await enroll(arena.scene.device(found_for={}), token)
    await refusal(Attempt(arena.scene.device(found_for={}), token.text, Lie(signing_key=generate_key())))
    data = arena.scene.server.data
    places = [path for path in data.parent.rglob("*") if path.is_file()]
    assert any(path.suffix in {".db", ".sqlite", ".sqlite3"} or "wal" in path.name for path in places), places
    found = [path.name for path in places if secret.encode() in path.read_bytes()]
    assert found == []
    return Outcome(NO_EFFECT, LAPTOP)


async def _pending(arena: Arena) -> Outcome:
    """The token wants an operator's approval, and the device does not wait for it."""
    token = arena.scene.operators.enrollment_token(needs_approval=True)
    device = await arena.device(LAPTOP, credential := arena.certificate(), token=token)
    async with device.attesting() as stream:
        answer = await stream.attest()

    async def honestly() -> None:
        arena.scene.operators.approve(device.device_id)
        await arena.passes_with(device, credential)

    return Outcome(told(answer, device), LAPTOP, [device], [credential], honestly=honestly)


async def _revoked(arena: Arena) -> Outcome:
    """The operator ended the device; it goes on as if nothing had happened."""
    device = await arena.device(LAPTOP, credential := arena.certificate())
    await arena.passes_with(device, credential)
    arena.scene.operators.revoke(device.device_id)
    async with device.attesting() as stream:
        answer = await stream.attest()
    return Outcome(told(answer, device), LAPTOP, shown=[credential])


async def _made_up(arena: Arena) -> Outcome:
    device: SimulatedDevice = arena.scene.device(device_id="dev_" + "1" * 32, audience="", found_for={})
    device.checks = arena.checks(LAPTOP)
    credential = arena.certificate()
    device.found_for = {LAPTOP: (credential,)}
    async with device.attesting() as stream:
        answer = await stream.attest()
    return Outcome(told(answer, device), LAPTOP, shown=[credential])


async def _init_of_an_unknown_kind(arena: Arena) -> Outcome:
    """The token is good; an empty message comes before it."""
    import grpc

    from watchword.v1.posture_pb2_grpc import PostureServiceStub

    device = arena.scene.device(found_for={})
    async with device._channel() as channel:
        call = PostureServiceStub(channel).Enroll(iter([wire.EnrollRequest.FromString(bytes.fromhex("7a020801"))]))
        try:
            async for _ in call:
                pass
        except grpc.aio.AioRpcError as error:
            return Outcome(error.details() or "", LAPTOP)
    return Outcome("", LAPTOP)


def _other_secret(text: str) -> str:
    version, token_id, secret = text.split(".")
    return f"{version}.{token_id}.{('B' if secret[0] == 'A' else 'A') + secret[1:]}"


ATTACKS: Final = (
    Attack("small-order-key", (7,), "Enrolls a point for which nobody needs a private key.", _REFUSED, _lie(_point(_NEUTRAL))),
    Attack("key-of-order-eight", (7,), "Enrolls another point of small order.", _REFUSED, _lie(_point(_OF_ORDER_8))),
    Attack("device-key-on-another-curve", (9,), "Enrolls a key on P-384.", _REFUSED, _lie(key=lambda: generate_key("p384"))),
    Attack(
        "device-key-on-the-bitcoin-curve",
        (9,),
        "Enrolls a key on secp256k1.",
        _REFUSED,
        _lie(key=lambda: ec.generate_private_key(ec.SECP256K1())),
    ),
    Attack(
        "device-key-of-rsa-512",
        (9,),
        "Enrolls an RSA key that a laptop breaks.",
        _REFUSED,
        _lie(key=lambda: rsa.generate_private_key(65537, 1024)),
    ),
    Attack(
        "enrollment-signed-as-evidence",
        (2,),
        "Signs the statement as evidence and states that it is an enrollment.",
        _REFUSED,
        _lie(Lie(payload_type=EVIDENCE_TYPE, envelope=fields(payload_type=ENROLL_TYPE))),
    ),
    Attack("hundred-uses-of-one-token", (19,), "Shows a token for one use a hundred times at once.", _REFUSED, _hundred_at_once),
    Attack(
        "token-without-a-proof",
        (20, 22),
        "Has a token and names a key that is not its own.",
        _REFUSED,
        _lie(Lie(signing_key=generate_key())),
    ),
    Attack(
        "token-with-another-session",
        (11, 20, 22),
        "Has a token and a statement for another session.",
        _REFUSED,
        _lie(Lie(statement=fields(session_id=bytes(16)))),
    ),
    Attack(
        "token-with-another-nonce",
        (11, 20, 22),
        "Has a token and a statement over a nonce of its own.",
        _REFUSED,
        _lie(Lie(statement=fields(nonce=bytes(32)))),
    ),
    Attack(
        "token-for-another-key",
        (20, 22),
        "Has a statement that was signed for another key.",
        _REFUSED,
        _lie(Lie(statement=fields(public_key_sha256=bytes(32)))),
    ),
    Attack("token-with-a-guessed-secret", (22,), "Knows a token's id and guesses the rest.", _REFUSED, _lie(token=_other_secret)),
    Attack(
        "token-for-another-platform", (22,), "Has a token for devices of another platform.", _REFUSED, _lie(platform="windows")
    ),
    Attack(
        "token-for-another-serial-number",
        (21, 22),
        "Has a token for a device with a serial number it does not have.",
        _REFUSED,
        _lie(serial_number="5CG-OTHER"),
    ),
    Attack(
        "serial-number-of-the-victim",
        (21,),
        "Enrolls a key of its own with a victim's serial number.",
        _REFUSED,
        lambda arena: _takes_over(arena, bound=False),
    ),
    Attack(
        "token-of-another-device-for-the-victim",
        (21,),
        "Has a token for one device and uses it to take over another.",
        _REFUSED,
        lambda arena: _takes_over(arena, bound=True),
    ),
    Attack(
        "enrollment-message-of-an-unknown-kind",
        (24,),
        "Begins with a message that this version does not have.",
        "protocol_violation",
        _init_of_an_unknown_kind,
    ),
    Attack("tokens-at-rest", (26,), "Reads the disk and every log for the secret of a token.", NO_EFFECT, _token_at_rest),
    Attack(
        "evidence-before-approval",
        (53,),
        "Enrolled with a token that needs approval, and does not wait.",
        "device_not_active",
        _pending,
    ),
    Attack("evidence-of-a-revoked-device", (53,), "Goes on after an operator ended its device.", "device_not_active", _revoked),
    Attack("evidence-of-a-made-up-device", (53,), "Never enrolled.", "device_not_active", _made_up),
)

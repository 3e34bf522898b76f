"""Enrollment: whoever lies to get in is refused like anybody else who is refused, and uses nothing up."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from server.refusals import REFUSAL, REFUSED, Attempt, refusal
from server.scene import Scene, enroll, passes
from support.device import HONEST, Ended, Lie, fields
from support.pki import generate_key
from support.processes import wait_until
from watchword.envelope import ENROLL_TYPE, EVIDENCE_TYPE, GOODBYE_TYPE
from watchword.v1 import posture_pb2 as wire
from watchword.v1.posture_pb2_grpc import PostureServiceStub

VIOLATION: Final = Ended(grpc.StatusCode.INVALID_ARGUMENT, "protocol_violation")

Try = Callable[[Scene], Attempt]


def _lying(lie: Lie, **fields: object) -> Try:
    """With a good token."""

    def attempt(scene: Scene) -> Attempt:
        token = scene.operators.enrollment_token()
        return Attempt(scene.device(**fields), token.text, lie, token)

    return attempt


def _showing(change: Callable[[str], str]) -> Try:
    """Something that is made of a good token's text."""

    def attempt(scene: Scene) -> Attempt:
        token = scene.operators.enrollment_token()
        return Attempt(scene.device(), change(token.text), HONEST, token)

    return attempt


def _bound(**options: object) -> Try:
    """With a token for devices of another kind."""

    def attempt(scene: Scene) -> Attempt:
        token = scene.operators.enrollment_token(**options)
        return Attempt(scene.device(serial_number=""), token.text, HONEST, token)

    return attempt


# ---- Tokens -------------------------------------------------------------------------------------------------------------


def _other_secret(text: str) -> str:
    version, token_id, secret = text.split(".")
    return f"{version}.{token_id}.{('B' if secret[0] == 'A' else 'A') + secret[1:]}"


def _other_id(text: str) -> str:
    version, token_id, secret = text.split(".")
    return f"{version}.{token_id[::-1]}.{secret}"


def _expired(scene: Scene) -> Attempt:
    token = scene.operators.enrollment_token(expires_in_seconds=1)
    until = time.time() + 1
    wait_until(lambda: time.time() > until, what="the token expired")
    return Attempt(scene.device(), token.text, HONEST, token)


def _revoked(scene: Scene) -> Attempt:
    token = scene.operators.enrollment_token()
    scene.operators.revoke_token(token)
    return Attempt(scene.device(), token.text, HONEST, token)


def _for_a_device_that_is_revoked(scene: Scene) -> Attempt:
    device_id = next(device["id"] for device in scene.operators.devices().values() if device["state"] == "active")
    token = scene.operators.enrollment_token(device_id=device_id)
    scene.operators.revoke(device_id)
    return Attempt(scene.device(), token.text, HONEST, token)


TOKENS: Final[dict[str, Try]] = {
    "no token": _showing(lambda _: ""),
    "noise": _showing(lambda _: "open sesame"),
    "the secret alone": _showing(lambda text: text.rpartition(".")[2]),
    "another version": _showing(lambda text: text.replace("ww1.", "ww2.")),
    "a token cut short": _showing(lambda text: text[:-1]),
    "a token with more behind it": _showing(lambda text: text + "\n"),
    "an API token": _showing(lambda text: text.replace("ww1.", "wwa.")),
    "a token as long as a message may be": _showing(lambda text: text + "A" * 200_000),
    "another secret": _showing(_other_secret),
    "another token's id": _showing(_other_id),
    "an expired token": _expired,
    "a revoked token": _revoked,
    "a token for another platform": _bound(platform="windows"),
    "a token for another serial number": _bound(serial_number="5CG-OTHER"),
    "a token for a device that is revoked": _for_a_device_that_is_revoked,
}

# ---- Keys ---------------------------------------------------------------------------------------------------------------

# protocols.md 2.2: as they are, and with the top bit set.
SMALL_ORDER: Final = tuple(
    bytes.fromhex(encoding[:62] + f"{int(encoding[62:], 16) | top:02x}")
    for encoding in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
    for top in (0x00, 0x80)
)
_ED25519_INFO: Final = bytes.fromhex("302a300506032b6570032100")
_KEYLESS_SIGNATURE: Final = b"\x01" + bytes(63)  # R = the neutral element, S = 0


def _forged_with(point: bytes) -> Try:
    """Nobody has a private key for such a point, and nobody needs one."""
    public_key = _ED25519_INFO + point

    def forged(envelope: wire.SignedEnvelope) -> None:
        envelope.signatures[0].sig = _KEYLESS_SIGNATURE

    return _lying(
        Lie(
            init=fields(public_key=public_key),
            statement=fields(public_key_sha256=hashlib.sha256(public_key).digest()),
            envelope=forged,
        )
    )


def _public(change: Callable[[bytes], bytes]) -> Try:
    def changed(init: wire.EnrollInit) -> None:
        init.public_key = change(init.public_key)

    return _lying(Lie(init=changed))


def _compressed(_: bytes) -> bytes:
    point = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    return bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + point


def _off_the_curve(der: bytes) -> bytes:
    return der[:-1] + bytes([der[-1] ^ 1])


KEYS: Final[dict[str, Try]] = {
    **{f"the point {point.hex()}": _forged_with(point) for point in SMALL_ORDER},
    "a key on P-384": _lying(HONEST, key=generate_key("p384")),
    "a key on P-224": _lying(HONEST, key=generate_key("p224")),
    "a key on secp256k1": _lying(HONEST, key=ec.generate_private_key(ec.SECP256K1())),
    "an RSA key": _lying(HONEST, key=rsa.generate_private_key(65537, 2048)),
    "a key with more behind it": _public(lambda der: der + b"\x00"),
    "a key cut short": _public(lambda der: der[:-1]),
    "a key in another encoding": _public(_compressed),
    "a point that is not on the curve": _public(_off_the_curve),
    "no key": _public(lambda _: b""),
    "a key that is noise": _public(lambda _: b"noise"),
}

# ---- Proofs -------------------------------------------------------------------------------------------------------------


def _platform(platform: str) -> Lie:
    return Lie(statement=lambda statement: fields(platform=platform)(statement.inventory))


def _hostname(hostname: str) -> Lie:
    return Lie(statement=lambda statement: fields(hostname=hostname)(statement.inventory))


def _changed_after_signing(envelope: wire.SignedEnvelope) -> None:
    statement = wire.EnrollStatement.FromString(envelope.payload)
    statement.inventory.serial_number = "5CG-BETTER"
    envelope.payload = statement.SerializeToString()


PROOFS: Final[dict[str, Try]] = {
    "signed by another key": _lying(Lie(signing_key=generate_key())),
    "signed by a key of another kind": _lying(Lie(signing_key=ed25519.Ed25519PrivateKey.generate())),
    "signed as evidence": _lying(Lie(payload_type=EVIDENCE_TYPE)),
    "signed as a goodbye": _lying(Lie(payload_type=GOODBYE_TYPE)),
    "signed as evidence, stated as an enrollment": _lying(
        Lie(payload_type=EVIDENCE_TYPE, envelope=fields(payload_type=ENROLL_TYPE))
    ),
    "changed after it was signed": _lying(Lie(envelope=_changed_after_signing)),
    "no statement": _lying(Lie(payload=lambda _: b"")),
    "a statement that is noise": _lying(Lie(payload=lambda _: b"\xff" * 9)),
    "another token's id in the statement": _lying(Lie(statement=fields(token_id="A" * 16))),
    "another audience": _lying(Lie(statement=fields(audience="watchword/another"))),
    "another session": _lying(Lie(statement=fields(session_id=bytes(16)))),
    "another nonce": _lying(Lie(statement=fields(nonce=bytes(32)))),
    "another key's hash": _lying(Lie(statement=fields(public_key_sha256=bytes(32)))),
    "a platform nobody knows": _lying(_platform("amiga")),
    "no platform": _lying(_platform("")),
    "a hostname with control characters": _lying(_hostname("laptop\n")),
    "a hostname without end": _lying(_hostname("x" * 1025)),
}


@pytest.mark.parametrize(
    "attempt",
    [
        pytest.param(attempt, id=f"{kind}: {name}")
        for kind, attempts in {"token": TOKENS, "key": KEYS, "proof": PROOFS}.items()
        for name, attempt in attempts.items()
    ],
)
async def test_a_lie_is_refused_like_any_other_and_uses_nothing_up(scene: Scene, attempt: Try) -> None:
    await scene.enrolled()
    tried = attempt(scene)
    before = scene.operators.devices()
    refusals = [await refusal(tried) for _ in range(2)]
    assert {replace(refused, correlation_id="") for refused in refusals} == {REFUSAL}
    assert len({refused.correlation_id for refused in refusals} - {""}) == 2
    assert scene.operators.devices() == before
    if tried.token is not None:
        assert scene.operators.uses(tried.token) == 0
    for refused in refusals:  # the operator finds the reason by it
        [line] = [line for line in scene.server.program.stderr().splitlines() if refused.correlation_id in line]
        assert '"event": "enrollment_refused"' in line
        assert '"reason": "' in line


async def test_a_token_that_was_shown_with_a_lie_is_as_good_as_before(scene: Scene) -> None:
    token = scene.operators.enrollment_token()
    for lie in (Lie(signing_key=generate_key()), Lie(statement=fields(nonce=bytes(32))), _platform("amiga")):
        assert await scene.device().enroll(token.text, lie) == REFUSED
    device = scene.device()
    await enroll(device, token)
    assert scene.operators.uses(token) == 1
    assert passes(await device.attest_once(), device)


# ---- Out of turn --------------------------------------------------------------------------------------------------------


def _init(scene: Scene) -> wire.EnrollRequest:
    return wire.EnrollRequest(init=wire.EnrollInit(token=scene.token.text, public_key=scene.device().public_key))


def _envelope(scene: Scene, signatures: int) -> wire.EnrollRequest:
    return wire.EnrollRequest(
        envelope=wire.SignedEnvelope(
            payload=b"", payload_type=ENROLL_TYPE, signatures=[wire.Signature(sig=b"signature")] * signatures
        )
    )


OUT_OF_TURN: Final[dict[str, Callable[[Scene], Sequence[wire.EnrollRequest]]]] = {
    "nothing": lambda _: [],
    "an empty message": lambda _: [wire.EnrollRequest()],
    "an envelope first": lambda scene: [_envelope(scene, 1)],
    "nothing after init": lambda scene: [_init(scene)],
    "init twice": lambda scene: [_init(scene), _init(scene)],
    "an empty message after init": lambda scene: [_init(scene), wire.EnrollRequest()],
    "an envelope without a signature": lambda scene: [_init(scene), _envelope(scene, 0)],
    "an envelope with two signatures": lambda scene: [_init(scene), _envelope(scene, 2)],
}


@pytest.mark.parametrize("say", [pytest.param(say, id=name) for name, say in OUT_OF_TURN.items()])
async def test_a_message_out_of_turn_ends_an_enrollment(
    scene: Scene, say: Callable[[Scene], Sequence[wire.EnrollRequest]]
) -> None:
    before, uses = _lasting(scene.operators.devices()), scene.operators.uses(scene.token)
    async with scene.device()._channel() as channel:
        call = PostureServiceStub(channel).Enroll(iter(say(scene)))
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            async for _ in call:
                pass
    assert Ended(ended.value.code(), ended.value.details() or "") == VIOLATION
    assert (_lasting(scene.operators.devices()), scene.operators.uses(scene.token)) == (before, uses)


def _lasting(devices: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Without what the end of an earlier device's stream changes when it is noticed."""
    return {id_: {key: value for key, value in device.items() if key != "connected"} for id_, device in devices.items()}

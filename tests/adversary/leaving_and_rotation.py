"""Lies about the end of a session, the departure of a device, and the change of its key."""

from collections.abc import Callable
from typing import Final

from adversary.arena import LAPTOP, Arena, claimed, told
from adversary.attack import NO_EFFECT, Attack, Outcome
from adversary.telling import Perform
from server.scene import twin
from support.device import HONEST, AttestStream, Ended, Lie, SimulatedDevice, fields
from support.pki import Credential, PrivateKey, generate_key
from support.signing import public_key_der, sign_envelope
from watchword.envelope import GOODBYE_TYPE, KEY_ROTATE_TYPE, key_id, pre_authentication_encoding
from watchword.v1 import posture_pb2 as wire


def goodbye_of(stream: AttestStream, lie: Lie = HONEST, **changes: object) -> wire.SignedEnvelope:
    """What the stream's device signs when it leaves."""
    challenge, device = stream.challenge, stream.device
    assert challenge is not None
    message = wire.Goodbye(
        device_id=device.device_id,
        key_id=key_id(device.public_key),
        audience=device.audience,
        session_id=challenge.session_id,
        epoch=challenge.epoch,
        nonce=challenge.nonce,
        sequence=stream.sequence + 1,
    )
    fields(**changes)(message)
    return device.seal(GOODBYE_TYPE, message, lie)


def rotation_of(
    stream: AttestStream,
    new: PrivateKey,
    *,
    old_signer: PrivateKey | None = None,
    new_signer: PrivateKey | None = None,
    **changes: object,
) -> wire.SignedEnvelope:
    """What the stream's device signs for a new key: by the enrolled key first, by the new one last."""
    challenge, device = stream.challenge, stream.device
    assert challenge is not None
    message = wire.KeyRotate(
        device_id=device.device_id,
        key_id=key_id(device.public_key),
        audience=device.audience,
        session_id=challenge.session_id,
        epoch=challenge.epoch,
        nonce=challenge.nonce,
        sequence=stream.sequence + 1,
        new_public_key=public_key_der(new),
    )
    fields(**changes)(message)
    envelope = device.seal(KEY_ROTATE_TYPE, message, Lie(signing_key=old_signer))
    signed = pre_authentication_encoding(KEY_ROTATE_TYPE, envelope.payload)
    envelope.signatures.append(wire.Signature(keyid=key_id(public_key_der(new)), sig=sign_envelope(new_signer or new, signed)))
    return envelope


async def sent(stream: AttestStream, envelope: wire.SignedEnvelope) -> object:
    """The answer to an envelope."""
    await stream.send(wire.AttestRequest(envelope=envelope))
    return await stream.receive_until(wire.KeyPending, wire.Rejected, wire.Closing)


async def _victim(arena: Arena) -> tuple[SimulatedDevice, Credential]:
    credential = arena.certificate()
    victim = await arena.device(LAPTOP, credential)
    await arena.passes_with(victim, credential)
    return victim, credential


def _goodbye(make: Callable[[AttestStream], wire.SignedEnvelope]) -> Perform:
    """Somebody wants the victim gone."""

    async def perform(arena: Arena) -> Outcome:
        victim, credential = await _victim(arena)
        async with twin(victim).attesting() as stream:
            answer = await sent(stream, make(stream))
        return Outcome(told(answer, victim), LAPTOP, unharmed=(victim, credential))

    return perform


async def _replayed_goodbye(arena: Arena) -> Outcome:
    """It left, and is back; its goodbye is sent again."""
    victim, credential = await _victim(arena)
    async with victim.attesting() as stream:
        envelope = goodbye_of(stream)
        assert told(await sent(stream, envelope), victim) == "goodbye"
    assert arena.standing(victim, LAPTOP) == "failed"
    await arena.passes_with(victim, credential)
    async with twin(victim).attesting() as stream:
        answer = await sent(stream, envelope)
    return Outcome(told(answer, victim), LAPTOP, unharmed=(victim, credential))


async def _after_a_goodbye(arena: Arena) -> Outcome:
    """The device was handed back; who kept its certificate and key uses them at the proxy."""
    victim, credential = await _victim(arena)
    async with victim.attesting() as stream:
        assert told(await sent(stream, goodbye_of(stream)), victim) == "goodbye"
    result = arena.scene.operators.results(victim.device_id)[LAPTOP]
    return Outcome(str(result["reason"]), LAPTOP, [victim], [credential], honestly=lambda: arena.passes_with(victim, credential))


async def _evidence_after_a_goodbye(arena: Arena) -> Outcome:
    """On the stream that said goodbye, evidence follows at once."""
    victim, credential = await _victim(arena)
    async with victim.attesting() as stream:
        follow_up = stream.envelope(Lie(evidence=fields(sequence=2)))
        assert told(await sent(stream, goodbye_of(stream)), victim) == "goodbye"
        await stream.send(wire.AttestRequest(envelope=follow_up))
        assert isinstance(await stream.receive(), Ended)
    result = arena.scene.operators.results(victim.device_id)[LAPTOP]
    return Outcome(str(result["reason"]), LAPTOP, [victim], [credential], honestly=lambda: arena.passes_with(victim, credential))


async def _unsigned_hello(arena: Arena) -> Outcome:
    """A stranger says hello in the victim's name, again and again, while the victim's stream is open."""
    victim, credential = await _victim(arena)
    async with victim.attesting() as stream:
        assert told(await stream.attest(), victim) == "passed"
        stranger = arena.scene.device(device_id=victim.device_id, audience=victim.audience, found_for={})
        stranger.checks = arena.checks(LAPTOP)
        for _ in range(5):
            async with stranger.attesting() as strange:
                answer = await strange.attest()
        assert told(await stream.attest(), victim) == "passed"
    return Outcome(told(answer, victim), LAPTOP, unharmed=(victim, credential))


async def _stream_that_ends(arena: Arena) -> Outcome:
    """The network cuts the victim's stream: nobody left."""
    victim, credential = await _victim(arena)
    async with victim.attesting() as stream:
        assert told(await stream.attest(), victim) == "passed"
        stream.hang_up()
    return Outcome(NO_EFFECT, LAPTOP, unharmed=(victim, credential))


Rotate = Callable[[Arena, AttestStream, PrivateKey], wire.SignedEnvelope]


def _rotation(make: Rotate, *, key: Callable[[], PrivateKey] = generate_key, before_evidence: bool = False) -> Perform:
    """Somebody wants a key of its own to be the device's. Evidence by that key is refused afterwards."""

    async def perform(arena: Arena) -> Outcome:
        victim, credential = await _victim(arena)
        new = key()
        async with twin(victim).attesting() as stream:
            if not before_evidence:
                assert told(await stream.attest(), victim) == "passed"
            answer = await sent(stream, make(arena, stream, new))
        await _cannot_attest(victim, new)
        return Outcome(
            told(answer, victim), LAPTOP, unharmed=(victim, credential), honestly=lambda: _rotates(arena, victim, credential)
        )

    return perform


async def _cannot_attest(victim: SimulatedDevice, key: PrivateKey) -> None:
    thief = twin(victim)
    thief.key = key
    async with thief.attesting() as stream:
        assert told(await stream.attest(), thief) == "envelope_invalid"


async def _rotates(arena: Arena, device: SimulatedDevice, credential: Credential) -> None:
    """The honest rotation: proposed by both keys, in force with the first evidence by the new one."""
    new = generate_key()
    async with device.attesting() as stream:
        assert told(await stream.attest(), device) == "passed"
        assert isinstance(await sent(stream, rotation_of(stream, new)), wire.KeyPending)
    device.key = new
    await arena.passes_with(device, credential)


async def _old_key_after_rotation(arena: Arena) -> Outcome:
    victim, credential = await _victim(arena)
    thief = twin(victim)
    await _rotates(arena, victim, credential)
    async with thief.attesting() as stream:
        answer = await stream.attest()
    return Outcome(told(answer, thief), LAPTOP, unharmed=(victim, credential))


async def _replayed_rotation(arena: Arena) -> Outcome:
    """A rotation that never came into force is sent again in another session."""
    victim, credential = await _victim(arena)
    async with claimed(victim) as stream:
        envelope = rotation_of(stream, new := generate_key())
    await arena.passes_with(victim, credential)
    async with victim.attesting() as stream:
        assert told(await stream.attest(), victim) == "passed"
        answer = await sent(stream, envelope)
    await _cannot_attest(victim, new)
    return Outcome(told(answer, victim), LAPTOP, unharmed=(victim, credential))


async def _key_of_another_device(arena: Arena) -> Outcome:
    """The attacker has an enrolled device of its own, whose key is to be the victim's too; the victim's agent signs."""
    victim, credential = await _victim(arena)
    own = await arena.device()
    async with victim.attesting() as stream:
        assert told(await stream.attest(), victim) == "passed"
        answer = await sent(stream, rotation_of(stream, own.key))
    return Outcome(told(answer, victim), LAPTOP, unharmed=(victim, credential))


def _one_signature(_: Arena, stream: AttestStream, new: PrivateKey) -> wire.SignedEnvelope:
    envelope = rotation_of(stream, new)
    del envelope.signatures[1]
    return envelope


def _in_the_other_order(_: Arena, stream: AttestStream, new: PrivateKey) -> wire.SignedEnvelope:
    envelope = rotation_of(stream, new)
    first, second = envelope.signatures
    swapped = [wire.Signature.FromString(each.SerializeToString()) for each in (second, first)]
    del envelope.signatures[:]
    envelope.signatures.extend(swapped)
    return envelope


ATTACKS: Final = (
    Attack(
        "hello-in-the-name-of-the-victim",
        (25,),
        "Knows a device's id and opens streams in its name.",
        "envelope_invalid",
        _unsigned_hello,
    ),
    Attack("stream-that-is-cut", (25,), "Cuts the victim's connection.", NO_EFFECT, _stream_that_ends),
    Attack(
        "goodbye-without-the-key",
        (25,),
        "Says goodbye for the victim with a key of its own.",
        "envelope_invalid",
        _goodbye(lambda stream: goodbye_of(stream, Lie(signing_key=generate_key()))),
    ),
    Attack(
        "goodbye-for-another-nonce",
        (12, 25),
        "Says goodbye for the victim over a nonce of its own.",
        "evidence_foreign",
        _goodbye(lambda stream: goodbye_of(stream, nonce=bytes(32))),
    ),
    Attack(
        "evidence-stated-as-goodbye",
        (2, 25),
        "States signed evidence as a goodbye.",
        "envelope_invalid",
        _goodbye(lambda stream: stream.envelope(Lie(envelope=fields(payload_type=GOODBYE_TYPE)))),
    ),
    Attack(
        "replayed-goodbye",
        (14, 25),
        "Recorded the victim's last goodbye and sends it again.",
        "evidence_foreign",
        _replayed_goodbye,
    ),
    Attack(
        "certificate-of-a-device-that-left",
        (53,),
        "Kept the certificate of a device that said goodbye.",
        "device_said_goodbye",
        _after_a_goodbye,
    ),
    Attack(
        "evidence-behind-a-goodbye",
        (16, 53),
        "Lets evidence follow a goodbye on its stream.",
        "device_said_goodbye",
        _evidence_after_a_goodbye,
    ),
    Attack(
        "rotation-by-the-old-key-alone",
        (6, 27),
        "Has the device key for a moment, and no key that signs for itself.",
        "protocol_violation",
        _rotation(_one_signature),
    ),
    Attack(
        "rotation-by-the-new-key-alone",
        (27,),
        "Signs twice with the key it wants to bring in.",
        "envelope_invalid",
        _rotation(lambda _, stream, new: rotation_of(stream, new, old_signer=new)),
    ),
    Attack(
        "rotation-not-signed-by-the-new-key",
        (27,),
        "Names a key that it does not have.",
        "new_key_refused",
        _rotation(lambda _, stream, new: rotation_of(stream, new, new_signer=generate_key())),
    ),
    Attack(
        "rotation-signed-twice-by-the-old-key",
        (27,),
        "Names a key that it does not have, and signs twice with the enrolled one.",
        "new_key_refused",
        _rotation(lambda _, stream, new: rotation_of(stream, new, new_signer=stream.device.key)),
    ),
    Attack("rotation-in-the-other-order", (27,), "Swaps the two signatures.", "envelope_invalid", _rotation(_in_the_other_order)),
    Attack(
        "rotation-to-another-curve",
        (9, 27),
        "Brings in a key on P-384.",
        "new_key_refused",
        _rotation(lambda _, stream, new: rotation_of(stream, new), key=lambda: generate_key("p384")),
    ),
    Attack(
        "rotation-to-the-key-of-another-device",
        (21, 27),
        "Brings in the key of its own enrolled device.",
        "new_key_refused",
        _key_of_another_device,
    ),
    Attack(
        "rotation-before-evidence",
        (27,),
        "Rotates in a session that has proven nothing.",
        "protocol_violation",
        _rotation(lambda _, stream, new: rotation_of(stream, new), before_evidence=True),
    ),
    Attack(
        "rotation-for-another-device",
        (5, 27),
        "Names another device in the rotation.",
        "evidence_foreign",
        _rotation(lambda _, stream, new: rotation_of(stream, new, device_id="dev_another")),
    ),
    Attack(
        "replayed-rotation", (14, 27), "Recorded a rotation that never came into force.", "evidence_foreign", _replayed_rotation
    ),
    Attack(
        "old-key-after-the-rotation", (27,), "Has the key that was rotated away.", "envelope_invalid", _old_key_after_rotation
    ),
)

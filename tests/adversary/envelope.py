"""Lies about the message: who signed what, and as what."""

from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from adversary.arena import LAPTOP, Arena, claimed, told
from adversary.attack import Attack, Outcome
from adversary.telling import Liar, Perform, evidence, fixed
from support.device import Ended, Lie, fields, reencoded
from support.pki import generate_key
from watchword.envelope import ENROLL_TYPE, EVIDENCE_TYPE, GOODBYE_TYPE, KEY_ROTATE_TYPE, key_id, pre_authentication_encoding
from watchword.v1 import posture_pb2 as wire

P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # FIPS 186-5, D.1.2.3
_INVALID: Final = "envelope_invalid"


def rewritten(signature: bytes) -> bytes:
    """The other form of an ECDSA P-256 signature: as valid, in other bytes."""
    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, P256_ORDER - s)


def _signature(change: Callable[[bytes], bytes]) -> Lie:
    def changed(envelope: wire.SignedEnvelope) -> None:
        envelope.signatures[0].sig = change(envelope.signatures[0].sig)

    return Lie(envelope=changed)


def _payload(change: Callable[[bytes], bytes]) -> Lie:
    def changed(envelope: wire.SignedEnvelope) -> None:
        envelope.payload = change(envelope.payload)

    return Lie(envelope=changed)


def _raw(signature: bytes) -> bytes:
    r, s = decode_dss_signature(signature)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _over(message: Callable[[wire.SignedEnvelope], bytes], digest: hashes.HashAlgorithm) -> Callable[[Liar], Lie]:
    """The device's own key signs something else."""

    def tell(liar: Liar) -> Lie:
        def signed(envelope: wire.SignedEnvelope) -> None:
            key = liar.device.key
            assert isinstance(key, ec.EllipticCurvePrivateKey)
            envelope.signatures[0].sig = key.sign(message(envelope), ec.ECDSA(digest))

        return Lie(envelope=signed)

    return tell


def _as_stated(envelope: wire.SignedEnvelope) -> bytes:
    return pre_authentication_encoding(envelope.payload_type, envelope.payload)


def _counting_characters(envelope: wire.SignedEnvelope) -> bytes:
    stated = EVIDENCE_TYPE.replace("evidence", "évidence")
    envelope.payload_type = stated
    return b"DSSEv1 %d %b %d %b" % (len(stated), stated.encode(), len(envelope.payload), envelope.payload)


async def _signed_by_another_device(liar: Liar) -> Lie:
    other = (await liar.another()).device
    return Lie(signing_key=other.key, envelope=lambda envelope: fields(keyid=key_id(other.public_key))(envelope.signatures[0]))


async def _borrowed_envelope(liar: Liar) -> Lie:
    borrowed = (await liar.another()).envelope()
    return Lie(envelope=lambda envelope: envelope.CopyFrom(borrowed))


async def _borrowed_key_id(arena: Arena) -> Outcome:
    """The attacker is enrolled, signs with its own key, and names the victim's beside it: what counts is the session's device."""
    victim, attacker = await arena.device(), await arena.device(LAPTOP, credential := arena.certificate())
    async with attacker.connected() as stream:
        await stream.hello(Lie(hello=fields(device_id=victim.device_id)))
        answer = await stream.attest(
            Lie(
                evidence=fields(device_id=victim.device_id, key_id=key_id(victim.public_key)),
                envelope=lambda envelope: fields(keyid=key_id(victim.public_key))(envelope.signatures[0]),
            )
        )
    return Outcome(told(answer, attacker), LAPTOP, liars=[victim, attacker], shown=[credential])


async def _named_inside(liar: Liar) -> Lie:
    return Lie(evidence=fields(device_id=(await liar.another()).device.device_id))


async def _second_device_id(liar: Liar) -> Lie:
    """Protobuf takes the last of two values: what is compared is what is read."""
    other = (await liar.another()).device.device_id
    return Lie(payload=lambda payload: payload + wire.Evidence(device_id=other).SerializeToString())


def _with_signatures(count: int) -> Perform:
    async def perform(arena: Arena) -> Outcome:
        device = await arena.device(LAPTOP, credential := arena.certificate())
        async with claimed(device) as stream:
            envelope = stream.envelope()
            first = envelope.signatures[0]
            del envelope.signatures[:]
            envelope.signatures.extend([first] * count)
            await stream.send(wire.AttestRequest(envelope=envelope))
            answer = await stream.answer()
        return Outcome(
            told(answer, device), LAPTOP, [device], [credential], honestly=lambda: arena.passes_with(device, credential)
        )

    return perform


async def _rewritten_signature(arena: Arena) -> Outcome:
    """The evidence was true an hour ago; sent again with the other form of its signature it is still the same evidence."""
    credential = arena.certificate()
    device = await arena.device(LAPTOP, credential)
    async with claimed(device) as stream:
        envelope = stream.envelope()
        await stream.send(wire.AttestRequest(envelope=envelope))
        assert told(await stream.answer(), device) == "passed"
        device.found_for = {}
        assert told(await stream.attest(), device) == "certificate_not_found"
        envelope.signatures[0].sig = rewritten(envelope.signatures[0].sig)
        await stream.send(wire.AttestRequest(envelope=envelope))
        answer = await stream.answer()
    device.found_for = {LAPTOP: (credential,)}
    return Outcome(told(answer, device), LAPTOP, [device], [credential], honestly=lambda: arena.passes_with(device, credential))


async def _unknown_message(arena: Arena) -> Outcome:
    device = await arena.device(LAPTOP, credential := arena.certificate())
    async with claimed(device) as stream:
        await stream.send(wire.AttestRequest.FromString(bytes.fromhex("7a020801")))  # field 15
        answer = await stream.answer()
    assert isinstance(answer, Ended)
    return Outcome(answer.details, LAPTOP, [device], [credential], honestly=lambda: arena.passes_with(device, credential))


def _type(stated: str) -> Callable[[Liar], Lie]:
    return fixed(Lie(payload_type=stated))


ATTACKS: Final = (
    Attack(
        "payload-type-counted-in-characters",
        (1,),
        "Holds the device key and signs with a type of two-byte characters, its length counted in characters.",
        _INVALID,
        evidence(_over(_counting_characters, hashes.SHA256())),
    ),
    Attack("evidence-signed-as-enrollment", (2,), "Signs evidence as an enrollment.", _INVALID, evidence(_type(ENROLL_TYPE))),
    Attack(
        "evidence-signed-as-goodbye", (2,), "Signs evidence as a goodbye.", "evidence_malformed", evidence(_type(GOODBYE_TYPE))
    ),
    Attack(
        "evidence-signed-as-rotation",
        (2,),
        "Signs evidence as a key rotation.",
        "protocol_violation",
        evidence(_type(KEY_ROTATE_TYPE)),
    ),
    Attack(
        "enrollment-stated-as-evidence",
        (2,),
        "Has evidence signed as an enrollment and states the type of evidence beside it.",
        _INVALID,
        evidence(fixed(Lie(payload_type=ENROLL_TYPE, envelope=fields(payload_type=EVIDENCE_TYPE)))),
    ),
    Attack("no-payload-type", (2,), "Takes the type away.", _INVALID, evidence(fixed(Lie(envelope=fields(payload_type=""))))),
    Attack(
        "re-encoded-evidence",
        (3,),
        "Encodes signed evidence anew, meaning the same.",
        _INVALID,
        evidence(fixed(Lie(envelope=reencoded))),
    ),
    Attack(
        "payload-with-more-behind-it",
        (3, 4),
        "Adds an empty unknown field behind signed evidence.",
        _INVALID,
        evidence(fixed(_payload(lambda payload: payload + b"\x7a\x00"))),
    ),
    Attack(
        "second-device-id-behind-the-first",
        (4,),
        "Signs evidence that names its device first and a victim last, as protobuf reads it.",
        "evidence_foreign",
        evidence(_second_device_id),
    ),
    Attack(
        "signed-payload-that-is-no-message",
        (4, 24),
        "Signs bytes that no parser can read.",
        "evidence_malformed",
        evidence(fixed(Lie(payload=lambda _: b"\xff" * 20))),
    ),
    Attack(
        "key-id-of-the-victim",
        (5,),
        "Is enrolled, and attests in the name of a victim with the victim's key id.",
        _INVALID,
        _borrowed_key_id,
    ),
    Attack(
        "signed-by-another-device",
        (5,),
        "Has another enrolled device sign, which says so.",
        _INVALID,
        evidence(_signed_by_another_device),
    ),
    Attack(
        "envelope-of-another-device",
        (5, 11),
        "Sends what another enrolled device would have sent.",
        _INVALID,
        evidence(_borrowed_envelope),
    ),
    Attack(
        "evidence-that-names-another-device",
        (5,),
        "Signs evidence about another device.",
        "evidence_foreign",
        evidence(_named_inside),
    ),
    Attack("two-signatures", (6,), "Signs evidence twice.", "protocol_violation", _with_signatures(2)),
    Attack("no-signature", (6,), "Leaves the signature out.", "protocol_violation", _with_signatures(0)),
    Attack(
        "rewritten-envelope-signature",
        (8, 14),
        "Sends old evidence again with the other form of its signature.",
        "evidence_foreign",
        _rewritten_signature,
    ),
    Attack(
        "signed-by-an-unknown-key",
        (9,),
        "Knows all but the device key.",
        _INVALID,
        evidence(fixed(Lie(signing_key=generate_key()))),
    ),
    Attack(
        "signed-on-another-curve",
        (9,),
        "Signs with a key on P-384.",
        _INVALID,
        evidence(fixed(Lie(signing_key=generate_key("p384")))),
    ),
    Attack(
        "signed-with-another-algorithm",
        (9,),
        "Signs with an Ed25519 key where the enrolled one is on P-256.",
        _INVALID,
        evidence(fixed(Lie(signing_key=ed25519.Ed25519PrivateKey.generate()))),
    ),
    Attack(
        "signed-over-another-digest",
        (9,),
        "Signs over SHA-384 with a P-256 key.",
        _INVALID,
        evidence(_over(_as_stated, hashes.SHA384())),
    ),
    Attack(
        "envelope-signature-in-raw-form",
        (9,),
        "Sends the two numbers of the signature side by side.",
        _INVALID,
        evidence(fixed(_signature(_raw))),
    ),
    Attack(
        "envelope-signature-of-zeros",
        (9,),
        "Sends a signature of which both numbers are zero.",
        _INVALID,
        evidence(fixed(_signature(lambda _: encode_dss_signature(0, 0)))),
    ),
    Attack(
        "ed25519-signature-with-more-behind-it",
        (9,),
        "Adds a byte to the signature of an Ed25519 device.",
        _INVALID,
        evidence(fixed(_signature(lambda sig: sig + b"\x00")), key=generate_key("ed25519")),
    ),
    Attack(
        "message-of-an-unknown-kind",
        (24,),
        "Sends a message that this version does not have.",
        "protocol_violation",
        _unknown_message,
    ),
)

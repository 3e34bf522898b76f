"""Steps 1 to 6 of verification: whoever lies about the message itself is rejected with the step's reason, and nothing changes.

Each lie is told on a stream of its own, by somebody who may hold the device's key, while the honest agent has a stream open.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from server.scene import Scene, challenge_of, closing_of, passes, twin
from support.device import AttestStream, Lie, SimulatedDevice, fields, reencoded
from support.pki import generate_key
from watchword.envelope import (
    ENROLL_TYPE,
    EVIDENCE_TYPE,
    GOODBYE_TYPE,
    KEY_ROTATE_TYPE,
    key_id,
    pre_authentication_encoding,
)
from watchword.v1 import posture_pb2 as wire

_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_MAX_UINT64: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Liar:
    """Who lies: `stream` is on it; `honest` is the device's other stream; `other` is another enrolled device's."""

    device: SimulatedDevice
    stream: AttestStream
    honest: AttestStream
    other: AttestStream


Tell = Callable[[Liar], Lie]


# ---- Step 2: the device's key signed exactly these bytes as evidence ----------------------------------------------------


def _signature(change: Callable[[bytes], bytes]) -> Lie:
    def changed(envelope: wire.SignedEnvelope) -> None:
        envelope.signatures[0].sig = change(envelope.signatures[0].sig)

    return Lie(envelope=changed)


def _payload(change: Callable[[bytes], bytes]) -> Lie:
    def changed(envelope: wire.SignedEnvelope) -> None:
        envelope.payload = change(envelope.payload)

    return Lie(envelope=changed)


def _flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def _raw(signature: bytes) -> bytes:
    r, s = decode_dss_signature(signature)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _signed_by_device(
    liar: Liar, message: Callable[[wire.SignedEnvelope], bytes], *, digest: hashes.HashAlgorithm | None = None
) -> Lie:
    """The device's own key signs something else than it should."""

    def signed(envelope: wire.SignedEnvelope) -> None:
        key = liar.device.key
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        envelope.signatures[0].sig = key.sign(message(envelope), ec.ECDSA(digest or hashes.SHA256()))

    return Lie(envelope=signed)


def _as_stated(envelope: wire.SignedEnvelope) -> bytes:
    return pre_authentication_encoding(envelope.payload_type, envelope.payload)


def _multibyte_type(liar: Liar) -> Lie:
    """DSSE's reference implementation counts characters where the specification says bytes; so might a verifier."""
    stated = EVIDENCE_TYPE.replace("evidence", "évidence")

    def message(envelope: wire.SignedEnvelope) -> bytes:
        envelope.payload_type = stated
        return b"DSSEv1 %d %b %d %b" % (len(stated), stated.encode(), len(envelope.payload), envelope.payload)

    return _signed_by_device(liar, message)


def _signed_in_capitals(liar: Liar) -> Lie:
    stated = EVIDENCE_TYPE.upper()

    def message(envelope: wire.SignedEnvelope) -> bytes:
        envelope.payload_type = stated
        return b"DSSEv1 %d %b %d %b" % (len(stated), stated.encode(), len(envelope.payload), envelope.payload)

    return _signed_by_device(liar, message)


def _of_another_device(liar: Liar) -> Lie:
    other = liar.other.envelope()
    return Lie(envelope=lambda envelope: envelope.CopyFrom(other))


def _by_another_device(liar: Liar) -> Lie:
    """Another enrolled device signs, and says so."""
    other = liar.other.device

    def named(envelope: wire.SignedEnvelope) -> None:
        envelope.signatures[0].keyid = key_id(other.public_key)

    return Lie(signing_key=other.key, envelope=named)


ENVELOPE_INVALID: Final[dict[str, Tell]] = {
    "signed by another key": lambda _: Lie(signing_key=generate_key()),
    "signed by a key of another kind": lambda _: Lie(signing_key=ed25519.Ed25519PrivateKey.generate()),
    "signed on another curve": lambda _: Lie(signing_key=generate_key("p384")),
    "signed by another device's key under its key id": _by_another_device,
    "signed by another device's key under this one's key id": lambda liar: Lie(signing_key=liar.other.device.key),
    "an envelope of another device": _of_another_device,
    "signed over another digest": lambda liar: _signed_by_device(liar, _as_stated, digest=hashes.SHA384()),
    "signed over the payload alone": lambda liar: _signed_by_device(liar, lambda envelope: envelope.payload),
    "signed over the nonce alone": lambda liar: _signed_by_device(liar, lambda _: challenge_of(liar.stream).nonce),
    "a signature in the raw form": lambda _: _signature(_raw),
    "a signature with a bit changed": lambda _: _signature(_flipped),
    "a signature cut short": lambda _: _signature(lambda sig: sig[:-1]),
    "a signature with more behind it": lambda _: _signature(lambda sig: sig + b"\x00"),
    "an empty signature": lambda _: _signature(lambda _: b""),
    "a signature of zeros": lambda _: _signature(lambda _: encode_dss_signature(0, 0)),
    "a payload with a bit changed": lambda _: _payload(_flipped),
    "a payload cut short": lambda _: _payload(lambda payload: payload[:-1]),
    "a payload with more behind it": lambda _: _payload(lambda payload: payload + b"\x00"),
    "a payload that means the same in other bytes": lambda _: Lie(envelope=reencoded),
    "an empty payload": lambda _: _payload(lambda _: b""),
    "signed as an enrollment": lambda _: Lie(payload_type=ENROLL_TYPE),
    "signed as evidence, stated as a goodbye": lambda _: Lie(envelope=fields(payload_type=GOODBYE_TYPE)),
    "signed as a goodbye, stated as evidence": lambda _: Lie(
        payload_type=GOODBYE_TYPE, envelope=fields(payload_type=EVIDENCE_TYPE)
    ),
    "signed as a key rotation, stated as evidence": lambda _: Lie(
        payload_type=KEY_ROTATE_TYPE, envelope=fields(payload_type=EVIDENCE_TYPE)
    ),
    "signed as evidence, stated as an enrollment": lambda _: Lie(envelope=fields(payload_type=ENROLL_TYPE)),
    "signed as an enrollment, stated as evidence": lambda _: Lie(
        payload_type=ENROLL_TYPE, envelope=fields(payload_type=EVIDENCE_TYPE)
    ),
    "no payload type": lambda _: Lie(envelope=fields(payload_type="")),
    "a payload type in capitals": _signed_in_capitals,
    "a payload type of characters that take two bytes": _multibyte_type,
}


# ---- Step 3: the signed bytes are evidence, within limits ---------------------------------------------------------------


def _checks(*claims: wire.CheckEvidence) -> Lie:
    def replaced(evidence: wire.Evidence) -> None:
        del evidence.checks[:]
        evidence.checks.extend(claims)

    return Lie(evidence=replaced)


def _nothing_found(check_id: str) -> wire.CheckEvidence:
    return wire.CheckEvidence(check_id=check_id, client_certificate=wire.ClientCertificateEvidence())


def _found(*candidates: wire.CertificateCandidate) -> Lie:
    found = wire.ClientCertificateEvidence(candidates=candidates)
    return Lie(check=lambda check: check.client_certificate.CopyFrom(found))


def _candidate(**values: Any) -> Lie:
    return _found(wire.CertificateCandidate(**{"chain": [b"certificate"], **values}))


def _inventory(**values: str) -> Lie:
    return Lie(evidence=lambda evidence: fields(**values)(evidence.inventory))


def _error(**values: str) -> Lie:
    return Lie(check=lambda check: check.error.CopyFrom(wire.CollectionError(**values)))


EVIDENCE_MALFORMED: Final[dict[str, Tell]] = {
    "bytes that are no message": lambda _: Lie(payload=lambda _: b"\xff" * 20),
    "evidence that ends within a field": lambda _: Lie(payload=lambda payload: payload + b"\x0a\x05ab"),
    "text that is not UTF-8": lambda _: Lie(payload=lambda payload: payload + b"\x0a\x02\xc3\x28"),
    "groups within groups without end": lambda _: Lie(payload=lambda payload: payload + b"\x7b" * 20_000),
    "an image of an enrollment statement": lambda _: Lie(
        payload=lambda _: wire.EnrollStatement(session_id=b"\xff" * 16, nonce=bytes(32)).SerializeToString()
    ),
    "signed as a goodbye": lambda _: Lie(payload_type=GOODBYE_TYPE),
    "too many checks": lambda _: _checks(*(_nothing_found(str(number)) for number in range(257))),
    "two claims for one check": lambda _: _checks(_nothing_found("check"), _nothing_found("check")),
    "a claim without content": lambda _: _checks(wire.CheckEvidence(check_id="check")),
    "too many candidates": lambda _: _found(*([wire.CertificateCandidate(chain=[b"certificate"])] * 9)),
    "a candidate without a certificate": lambda _: _candidate(chain=[]),
    "an empty certificate": lambda _: _candidate(chain=[b""]),
    "too long a chain": lambda _: _candidate(chain=[b"certificate"] * 9),
    "too large a certificate": lambda _: _candidate(chain=[bytes(32 * 1024 + 1)]),
    "too large a proof": lambda _: _candidate(possession_signature=bytes(2049)),
    "too long a text": lambda _: _candidate(location="x" * 1025),
    "a location with control characters": lambda _: _candidate(location="/etc/\x1b[2J"),
    "a scheme with control characters": lambda _: _candidate(possession_scheme="ed25519\n"),
    "a hostname with control characters": lambda _: _inventory(hostname="laptop-1\r\nX-Header: 1"),
    "a hostname that reads backwards": lambda _: _inventory(hostname="laptop\u202e1"),
    "a serial number with a zero byte": lambda _: _inventory(serial_number="5CG\x00"),
    "an error code with control characters": lambda _: _error(code="path_missing\n"),
    "an error detail with control characters": lambda _: _error(code="path_missing", detail="\x07"),
    "a claim older than a year": lambda _: Lie(check=fields(age_ms=367 * 24 * 3600 * 1000)),
    "a claim as old as can be said": lambda _: Lie(check=fields(age_ms=_MAX_UINT64)),
}


# ---- Step 4: for this device, session, epoch, audience and challenge ----------------------------------------------------

EVIDENCE_FOREIGN: Final[dict[str, Tell]] = {
    "evidence of no device": lambda _: Lie(evidence=fields(device_id="")),
    "evidence that names another device": lambda liar: Lie(evidence=fields(device_id=liar.other.device.device_id)),
    "evidence that names another key": lambda liar: Lie(evidence=fields(key_id=key_id(liar.other.device.public_key))),
    "evidence for another audience": lambda _: Lie(evidence=fields(audience="watchword/another")),
    "evidence for no audience": lambda _: Lie(evidence=fields(audience="")),
    "evidence of the device's other session": lambda liar: Lie(evidence=fields(session_id=challenge_of(liar.honest).session_id)),
    "evidence of another device's session": lambda liar: Lie(evidence=fields(session_id=challenge_of(liar.other).session_id)),
    "a session id cut short": lambda liar: Lie(evidence=fields(session_id=challenge_of(liar.stream).session_id[:-1])),
    "no session id": lambda _: Lie(evidence=fields(session_id=b"")),
    "the epoch before": lambda liar: Lie(evidence=fields(epoch=challenge_of(liar.stream).epoch - 1)),
    "the epoch after": lambda liar: Lie(evidence=fields(epoch=challenge_of(liar.stream).epoch + 1)),
    "epoch 0": lambda _: Lie(evidence=fields(epoch=0)),
    "the last epoch there is": lambda _: Lie(evidence=fields(epoch=_MAX_UINT64)),
    "a nonce of its own making": lambda _: Lie(evidence=fields(nonce=os.urandom(32))),
    "the nonce of the device's other stream": lambda liar: Lie(evidence=fields(nonce=challenge_of(liar.honest).nonce)),
    "the nonce of another device's stream": lambda liar: Lie(evidence=fields(nonce=challenge_of(liar.other).nonce)),
    "a nonce cut short": lambda liar: Lie(evidence=fields(nonce=challenge_of(liar.stream).nonce[:-1])),
    "no nonce": lambda _: Lie(evidence=fields(nonce=b"")),
    "everything of the device's other stream": lambda liar: Lie(
        evidence=fields(
            session_id=challenge_of(liar.honest).session_id,
            epoch=challenge_of(liar.honest).epoch,
            nonce=challenge_of(liar.honest).nonce,
        )
    ),
    "nothing at all, signed": lambda _: Lie(payload=lambda _: b""),
    # Protobuf takes the last of two values: what was verified is what is read, so the later one counts here too.
    "a second device id behind the first": lambda liar: Lie(
        payload=lambda payload: payload + wire.Evidence(device_id=liar.other.device.device_id).SerializeToString()
    ),
}


# ---- Step 6: exactly the next in its session ----------------------------------------------------------------------------

OUT_OF_SEQUENCE: Final[dict[str, Tell]] = {
    "sequence 0": lambda _: Lie(evidence=fields(sequence=0)),
    "sequence 2 where 1 is next": lambda _: Lie(evidence=fields(sequence=2)),
    "the last sequence there is": lambda _: Lie(evidence=fields(sequence=_MAX_UINT64)),
}

LIES: Final[dict[str, dict[str, Tell]]] = {
    "envelope_invalid": ENVELOPE_INVALID,
    "evidence_malformed": EVIDENCE_MALFORMED,
    "evidence_foreign": EVIDENCE_FOREIGN,
    "out_of_sequence": OUT_OF_SEQUENCE,
}


@pytest.mark.parametrize(
    ("code", "tell"),
    [pytest.param(code, tell, id=f"{code}: {name}") for code, lies in LIES.items() for name, tell in lies.items()],
)
async def test_a_lie_is_rejected_with_its_reason_and_changes_nothing(scene: Scene, code: str, tell: Tell) -> None:
    device, other = await scene.enrolled(), await scene.enrolled()
    async with device.attesting() as honest, other.attesting() as others:
        assert passes(await honest.settle(), device)
        before = scene.knows(device), scene.knows(other)

        async with twin(device).attesting() as stream:
            answer = await stream.attest(tell(Liar(stream.device, stream, honest, others)))
            assert answer == wire.Rejected(code=code)
            assert await closing_of(stream) == code

        assert (scene.knows(device), scene.knows(other)) == before
        assert passes(await honest.attest(), device)  # it did not lie, and its stream goes on
    assert passes(await device.attest_once(), device)  # nor is it barred from another


@pytest.mark.parametrize(
    "tell",
    [
        pytest.param(Lie(signing_key=generate_key()), id="signed by another key of another kind"),
        pytest.param(Lie(signing_key=generate_key("ed25519")), id="signed by another key of that kind"),
        pytest.param(_signature(_flipped), id="a signature with a bit changed"),
        pytest.param(_signature(lambda _: bytes(64)), id="a signature of zeros"),
        pytest.param(_signature(lambda sig: sig + b"\x00"), id="a signature with more behind it"),
    ],
)
async def test_the_signature_of_an_ed25519_device_is_verified_as_strictly(scene: Scene, tell: Lie) -> None:
    device = await scene.enrolled(key=generate_key("ed25519"))
    assert passes(await device.attest_once(), device)
    async with device.attesting() as stream:
        assert await stream.attest(tell) == wire.Rejected(code="envelope_invalid")
    assert passes(await device.attest_once(), device)

"""Step 9 of verification: a certificate without a fresh proof of its private key is a picture of a certificate.

The certificates here are good. The lies are about the key: that it is not there, that somebody else signed, or that something
else was signed than this nonce, for this check, by this device, in this session.
"""

from collections.abc import Callable
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

from server import failing_checks as checks
from server.scene import LAPTOP, Scene, challenge_of, check_named, verdicts
from support.device import HONEST, AttestStream, Lie, SimulatedDevice, fields
from support.pki import Credential, KeyKind, generate_key
from watchword import possession
from watchword.v1 import posture_pb2 as wire
from watchword_server.core.kinds.client_certificate import _NO_SIGNATURE

rule_document = checks.rule_document

Tell = Callable[[AttestStream, Credential], Lie]


def _always(lie: Lie) -> Tell:
    return lambda _stream, _credential: lie


def _statement(stream: AttestStream, credential: Credential, **lies: Any) -> bytes:
    honest = {
        "nonce": challenge_of(stream).nonce,
        "audience": stream.device.audience,
        "device_id": stream.device.device_id,
        "session_id": challenge_of(stream).session_id,
        "check_id": check_named(stream.device, LAPTOP).id,
        "certificate_der": credential.der,
    }
    return possession.statement(**{**honest, **lies})


def _signature(make: Callable[[Any, bytes], bytes]) -> Tell:
    """The certificate's own key signs the honest statement, in a way of its own."""

    def tell(stream: AttestStream, credential: Credential) -> Lie:
        signature = make(credential.key, _statement(stream, credential))
        return Lie(candidate=fields(possession_signature=signature))

    return tell


def _raw(key: ec.EllipticCurvePrivateKey, statement: bytes) -> bytes:
    r, s = decode_dss_signature(key.sign(statement, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _pss(*, salt_length: int, digest: hashes.HashAlgorithm | None = None) -> Tell:
    hashed = digest or hashes.SHA256()

    def sign(key: rsa.RSAPrivateKey, statement: bytes) -> bytes:
        return key.sign(statement, padding.PSS(padding.MGF1(hashed), salt_length), hashed)

    return _signature(sign)


def _pkcs1(key: rsa.RSAPrivateKey, statement: bytes) -> bytes:
    return key.sign(statement, padding.PKCS1v15(), hashes.SHA256())


def _twice_hashed(key: ec.EllipticCurvePrivateKey, statement: bytes) -> bytes:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(statement)
    return key.sign(digest.finalize(), ec.ECDSA(hashes.SHA256()))


def _hash_alone(key: ec.EllipticCurvePrivateKey, statement: bytes) -> bytes:
    return key.sign(statement[-32:], ec.ECDSA(Prehashed(hashes.SHA256())))


def _without(word: "wire.PrivateKeyState") -> Tell:
    """No signature, and a word about the key."""
    return _always(Lie(candidate=fields(possession_signature=b"", possession_scheme="", private_key=word)))


def _with_a_flipped_bit(_: AttestStream, __: Credential) -> Lie:
    def flipped(candidate: wire.CertificateCandidate) -> None:
        signature = candidate.possession_signature
        candidate.possession_signature = signature[:-1] + bytes([signature[-1] ^ 1])

    return Lie(candidate=flipped)


def _over(**lies: Any) -> Tell:
    return _always(Lie(possession=lies))


def _over_the_certificate_in_another_encoding(_: AttestStream, credential: Credential) -> Lie:
    return Lie(possession={"certificate_der": credential.pem})


def _over_the_checks_name(_: AttestStream, __: Credential) -> Lie:
    return Lie(possession={"check_id": LAPTOP})


def _over_the_bare_nonce(stream: AttestStream, credential: Credential) -> Lie:
    key = credential.key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signature = key.sign(challenge_of(stream).nonce, ec.ECDSA(hashes.SHA256()))
    return Lie(candidate=fields(possession_signature=signature))


def _scheme(scheme: str) -> Tell:
    return _always(Lie(possession_scheme=scheme))


FAILURES: Final[dict[str, tuple[str, KeyKind, Tell]]] = {
    "it says that the key is absent": ("private_key_absent", "p256", _without(wire.PRIVATE_KEY_STATE_ABSENT)),
    "it says that the key cannot be read": ("private_key_unreadable", "p256", _without(wire.PRIVATE_KEY_STATE_UNREADABLE)),
    "it says that the key is locked": ("private_key_locked", "p256", _without(wire.PRIVATE_KEY_STATE_LOCKED)),
    "it says that the store does not let it": ("private_key_denied", "p256", _without(wire.PRIVATE_KEY_STATE_DENIED)),
    "it says that the store would ask": ("private_key_needs_ui", "p256", _without(wire.PRIVATE_KEY_STATE_NEEDS_UI)),
    "it says that the password is wrong": (
        "private_key_password_wrong",
        "p256",
        _without(wire.PRIVATE_KEY_STATE_WRONG_PASSWORD),
    ),
    "it says that the key did not sign": ("private_key_failed", "p256", _without(wire.PRIVATE_KEY_STATE_FAILED)),
    "it says that the key is another's": ("private_key_mismatch", "p256", _without(wire.PRIVATE_KEY_STATE_MISMATCH)),
    "it says that it cannot use the key": (
        "possession_key_unsupported",
        "p256",
        _without(wire.PRIVATE_KEY_STATE_UNSUPPORTED),
    ),
    "it says that the key is usable, and leaves it at that": (
        "possession_missing",
        "p256",
        _without(wire.PRIVATE_KEY_STATE_USABLE),
    ),
    "it says nothing of the key": ("possession_missing", "p256", _without(wire.PRIVATE_KEY_STATE_UNSPECIFIED)),
    "another nonce": ("possession_invalid", "p256", _over(nonce=bytes(32))),
    "another audience": ("possession_invalid", "p256", _over(audience="watchword/another")),
    "another device": ("possession_invalid", "p256", _over(device_id="dev_another")),
    "another session": ("possession_invalid", "p256", _over(session_id=bytes(16))),
    "another check": ("possession_invalid", "p256", _over(check_id="another")),
    "the check's name for its id": ("possession_invalid", "p256", _over_the_checks_name),
    "another certificate": ("possession_invalid", "p256", _over(certificate_der=b"another")),
    "the certificate in PEM": ("possession_invalid", "p256", _over_the_certificate_in_another_encoding),
    "the bare nonce": ("possession_invalid", "p256", _over_the_bare_nonce),
    "signed by another key": ("possession_invalid", "p256", _always(Lie(possession_key=generate_key()))),
    "signed by another RSA key": ("possession_invalid", "rsa2048", _always(Lie(possession_key=generate_key("rsa2048")))),
    "signed by another Ed25519 key": ("possession_invalid", "ed25519", _always(Lie(possession_key=generate_key("ed25519")))),
    "an ECDSA signature in the raw form": ("possession_invalid", "p256", _signature(_raw)),
    "an ECDSA signature over the hash": ("possession_invalid", "p256", _signature(_twice_hashed)),
    "an ECDSA signature over the end of the statement": ("possession_invalid", "p256", _signature(_hash_alone)),
    "an ECDSA signature over another digest": (
        "possession_invalid",
        "p256",
        _signature(lambda key, statement: bytes(key.sign(statement, ec.ECDSA(hashes.SHA384())))),
    ),
    "a P-384 signature over SHA-256": (
        "possession_invalid",
        "p384",
        _signature(lambda key, statement: bytes(key.sign(statement, ec.ECDSA(hashes.SHA256())))),
    ),
    "a bit of the signature changed": ("possession_invalid", "ed25519", _with_a_flipped_bit),
    "a signature that is noise": ("possession_invalid", "p256", _always(Lie(candidate=fields(possession_signature=b"noise")))),
    "a signature as long as may be sent": (
        "possession_invalid",
        "rsa2048",
        _always(Lie(candidate=fields(possession_signature=bytes(2048)))),
    ),
    "PSS without salt": ("possession_invalid", "rsa2048", _pss(salt_length=0)),
    "PSS with a salt of 20": ("possession_invalid", "rsa2048", _pss(salt_length=20)),
    "PSS with the longest salt": ("possession_invalid", "rsa2048", _pss(salt_length=256 - 32 - 2)),
    "PSS over another digest": ("possession_invalid", "rsa2048", _pss(salt_length=32, digest=hashes.SHA384())),
    "PKCS#1 stated as PSS": ("possession_invalid", "rsa2048", _signature(_pkcs1)),
    "PKCS#1 where the check does not allow it": (
        "possession_scheme_refused",
        "rsa2048",
        _scheme(possession.RSA_PKCS1_SHA256),
    ),
    "ECDSA stated as Ed25519": ("possession_scheme_refused", "p256", _scheme(possession.ED25519)),
    "P-256 stated as P-384": ("possession_scheme_refused", "p256", _scheme(possession.ECDSA_P384_SHA384)),
    "RSA stated as ECDSA": ("possession_scheme_refused", "rsa2048", _scheme(possession.ECDSA_P256_SHA256)),
    "a scheme nobody knows": ("possession_scheme_refused", "p256", _scheme("none")),
    "a signature without a scheme": ("possession_scheme_refused", "p256", _always(Lie(candidate=fields(possession_scheme="")))),
}


@pytest.mark.parametrize(
    ("reason", "key", "tell"),
    [pytest.param(*case, id=f"{case[0]}: {name}") for name, case in FAILURES.items()],
)
async def test_a_certificate_without_a_proof_fails_with_the_reason(scene: Scene, reason: str, key: KeyKind, tell: Tell) -> None:
    credential = scene.certificate(key=key)
    device = await scene.enrolled(found_for={LAPTOP: (credential,)})
    async with device.attesting() as stream:
        assert verdicts(await stream.settle(), device)[LAPTOP] == "passed"
        assert verdicts(await stream.attest(tell(stream, credential)), device)[LAPTOP] == reason
        stored = scene.operators.results(device.device_id)[LAPTOP]
        assert (stored["standing"], stored["reason"], stored["evidence_level"]) == ("failed", reason, "signed")
        assert stored["certificate_sha256"] == credential.sha256
        assert verdicts(await stream.attest(), device)[LAPTOP] == "passed"


def test_every_word_about_a_key_has_its_lie() -> None:
    assert set(_NO_SIGNATURE.values()) <= {reason for reason, _, _ in FAILURES.values()}


async def test_a_proof_is_good_for_one_challenge(scene: Scene) -> None:
    credential = scene.certificate()
    device = await scene.enrolled(found_for={LAPTOP: (credential,)})
    async with device.attesting() as stream:
        assert verdicts(await stream.settle(), device)[LAPTOP] == "passed"
        evidence = stream.evidence()
        assert verdicts(await stream.attest(claims=evidence.checks), device)[LAPTOP] == "passed"
        assert verdicts(await stream.attest(claims=evidence.checks), device)[LAPTOP] == "possession_invalid"


async def test_a_proof_is_good_for_one_check(scene: Scene) -> None:
    credential = scene.certificate()
    device = await scene.enrolled(found_for={LAPTOP: (credential,), checks.BY_HOSTNAME: (credential,)})
    async with device.attesting() as stream:
        assert verdicts(await stream.settle(), device)[checks.BY_HOSTNAME] == "passed"
        claims = {claim.check_id: claim for claim in stream.evidence().checks}
        laptop, by_hostname = (check_named(device, name).id for name in (LAPTOP, checks.BY_HOSTNAME))
        claims[by_hostname].client_certificate.CopyFrom(claims[laptop].client_certificate)
        told = verdicts(await stream.attest(claims=list(claims.values())), device)
        assert (told[LAPTOP], told[checks.BY_HOSTNAME]) == ("passed", "possession_invalid")


async def test_a_proof_made_by_another_device_is_good_for_that_device(scene: Scene) -> None:
    """The thief gets another device to sign for the thief's challenge: a relay. The statement names who signs for whom."""
    credential = scene.certificate()
    victim = await scene.enrolled(found_for={LAPTOP: (credential,)})
    thief = await scene.enrolled()
    async with victim.attesting() as victims, thief.attesting() as stream:
        assert verdicts(await victims.settle(), victim)[LAPTOP] == "passed"
        assert isinstance(await stream.settle(), wire.Ack)
        claims = _signed_by(victim, stream, Lie())
        assert verdicts(await stream.attest(claims=claims), thief)[LAPTOP] == "possession_invalid"
        assert verdicts(await victims.attest(), victim)[LAPTOP] == "passed"


def _signed_by(victim: SimulatedDevice, stream: AttestStream, lie: Lie) -> list[wire.CheckEvidence]:
    """What the victim's agent says when it is handed the challenge of another device's stream."""
    relayed = AttestStream(victim, stream._call)
    relayed.challenge = challenge_of(stream)
    return list(relayed.evidence(lie).checks)


# ---- What passes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", [wire.PRIVATE_KEY_STATE_ABSENT, wire.PRIVATE_KEY_STATE_MISMATCH, 77])
async def test_a_word_about_the_key_takes_nothing_from_a_proof(scene: Scene, word: Any) -> None:
    device = await scene.enrolled()
    async with device.attesting() as stream:
        assert isinstance(await stream.settle(), wire.Ack)
        answer = await stream.attest(Lie(candidate=fields(private_key=word)))
        assert verdicts(answer, device)[LAPTOP] == "passed"


@pytest.mark.parametrize("scheme", [possession.RSA_PSS_SHA256, possession.RSA_PKCS1_SHA256])
async def test_both_rsa_paddings_pass_where_the_check_allows_the_older_one(scene: Scene, scheme: str) -> None:
    credential = scene.certificate(key="rsa2048")
    device = await scene.enrolled(found_for={checks.OLD_RSA: (credential,)})
    async with device.attesting() as stream:
        assert isinstance(await stream.settle(), wire.Ack)
        answer = await stream.attest(Lie(possession_scheme=scheme))
        assert verdicts(answer, device)[checks.OLD_RSA] == "passed"
        assert scene.operators.results(device.device_id)[checks.OLD_RSA]["evidence_level"] == "proven"


@pytest.mark.parametrize("lie", [HONEST, Lie(candidate=fields(possession_signature=b"noise", possession_scheme="none"))])
async def test_where_no_proof_is_asked_for_a_pass_is_signed_and_never_proven(scene: Scene, lie: Lie) -> None:
    device = await scene.enrolled(found_for={checks.UNPROVEN: (scene.certificate(),)})
    async with device.attesting() as stream:
        assert isinstance(await stream.settle(), wire.Ack)
        assert verdicts(await stream.attest(lie), device)[checks.UNPROVEN] == "passed"
        assert scene.operators.results(device.device_id)[checks.UNPROVEN]["evidence_level"] == "signed"

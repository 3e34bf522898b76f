"""What a key may be, and that no bytes make a signature check do anything but say yes or no."""

from dataclasses import replace
from typing import Final

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.bench import PATIENT
from core.test_codec import damaged
from support.pki import PrivateKey, generate_key
from watchword import possession
from watchword.envelope import ENROLL_TYPE, EVIDENCE_TYPE, pre_authentication_encoding
from watchword_server.core import keys
from watchword_server.core.model.devices import DeviceKey, KeyAlgorithm
from watchword_server.core.model.evidence import Envelope

P256: Final = ec.generate_private_key(ec.SECP256R1())
ED25519: Final = ed25519.Ed25519PrivateKey.generate()
RSA: Final = rsa.generate_private_key(65537, 2048)
SCHEMES: Final = (
    possession.RSA_PSS_SHA256,
    possession.RSA_PKCS1_SHA256,
    possession.ECDSA_P256_SHA256,
    possession.ECDSA_P384_SHA384,
    possession.ED25519,
)


def _der(key: PrivateKeyTypes) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


REFUSED: Final = {
    "P-384": _der(generate_key("p384")),
    "P-521": _der(generate_key("p521")),
    "secp256k1": _der(ec.generate_private_key(ec.SECP256K1())),
    "Brainpool": _der(ec.generate_private_key(ec.BrainpoolP256R1())),
    "RSA": _der(RSA),
    "DSA": _der(dsa.generate_private_key(2048)),
    "X25519": _der(x25519.X25519PrivateKey.generate()),
    "Ed448": _der(generate_key("ed448")),
    "nothing": b"",
    "PEM": P256.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    "a bare point": P256.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
    "a compressed point": bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    + P256.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint),
    "a private key": P256.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
}


@pytest.mark.parametrize("der", [pytest.param(der, id=name) for name, der in REFUSED.items()])
def test_only_p256_and_ed25519_in_canonical_form_can_be_device_keys(der: bytes) -> None:
    with pytest.raises(keys.KeyRefusedError):
        keys.load_device_key(der)


@pytest.mark.parametrize(
    ("key", "algorithm"), [(P256, KeyAlgorithm.ECDSA_P256_SHA256), (ED25519, KeyAlgorithm.ED25519)], ids=["P-256", "Ed25519"]
)
def test_the_algorithm_follows_from_the_key(key: PrivateKeyTypes, algorithm: KeyAlgorithm) -> None:
    loaded = keys.load_device_key(_der(key))
    assert (loaded.algorithm, loaded.public_key_der) == (algorithm, _der(key))
    assert len(loaded.key_id) == 43


@settings(PATIENT, max_examples=500)
@given(st.binary(max_size=120) | st.sampled_from([*REFUSED.values(), _der(P256), _der(ED25519)]).flatmap(damaged))
@example(_der(P256))
@example(_der(ED25519))
def test_any_bytes_are_refused_or_a_key_in_its_canonical_form(der: bytes) -> None:
    try:
        loaded = keys.load_device_key(der)
    except keys.KeyRefusedError:
        return
    assert loaded.public_key_der == der
    assert loaded.algorithm in KeyAlgorithm


# ---- Signatures ---------------------------------------------------------------------------------------------------------


def _signed(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, message: bytes) -> bytes:
    return key.sign(message, ec.ECDSA(hashes.SHA256())) if isinstance(key, ec.EllipticCurvePrivateKey) else key.sign(message)


@pytest.mark.parametrize("key", [P256, ED25519], ids=["P-256", "Ed25519"])
def test_an_envelope_is_signed_by_its_key_over_its_type_and_payload(
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey,
) -> None:
    device_key = keys.load_device_key(_der(key))
    signature = _signed(key, pre_authentication_encoding(EVIDENCE_TYPE, b"payload"))
    envelope = Envelope(b"payload", EVIDENCE_TYPE, "any hint", signature)
    assert keys.envelope_is_signed_by(device_key, envelope, payload_type=EVIDENCE_TYPE)
    assert not keys.envelope_is_signed_by(device_key, envelope, payload_type=ENROLL_TYPE)
    for other in (
        replace(envelope, payload=b"payloaD"),
        replace(envelope, payload_type=ENROLL_TYPE),
        replace(envelope, signature=signature[:-1]),
        replace(envelope, signature=b""),
    ):
        assert not keys.envelope_is_signed_by(device_key, other, payload_type=EVIDENCE_TYPE)
    other_algorithm = next(algorithm for algorithm in KeyAlgorithm if algorithm is not device_key.algorithm)
    assert not keys.envelope_is_signed_by(replace(device_key, algorithm=other_algorithm), envelope, payload_type=EVIDENCE_TYPE)


@settings(PATIENT, max_examples=300)
@given(
    st.sampled_from([keys.load_device_key(_der(P256)), keys.load_device_key(_der(ED25519))]),
    st.binary(max_size=80),
    st.text(max_size=12) | st.just(EVIDENCE_TYPE),
    st.binary(max_size=80) | st.just(_signed(P256, b"x")).flatmap(damaged),
)
def test_no_envelope_made_up_is_signed(key: DeviceKey, payload: bytes, payload_type: str, signature: bytes) -> None:
    envelope = Envelope(payload, payload_type, "key", signature)
    assert not keys.envelope_is_signed_by(key, envelope, payload_type=EVIDENCE_TYPE)


@settings(PATIENT, max_examples=300)
@given(
    st.sampled_from([P256, ED25519, RSA, generate_key("p384"), generate_key("ed448")]),
    st.sampled_from(SCHEMES) | st.text(max_size=8),
    st.binary(max_size=80),
    st.binary(max_size=600)
    | st.just(_signed(P256, b"x")).flatmap(damaged)
    | st.sampled_from([bytes(256), bytes(1024), bytes(2048)]),
)
def test_no_proof_made_up_proves_anything(key: PrivateKey, scheme: str, statement: bytes, signature: bytes) -> None:
    public_key = key.public_key()
    assert not keys.proves_possession(public_key, scheme=scheme, statement=statement, signature=signature)
    assert keys.possession_scheme(public_key, claimed=scheme, allow_pkcs1=True) in {*SCHEMES, None}


@pytest.mark.parametrize("allow_pkcs1", [True, False])
@pytest.mark.parametrize("claimed", [*SCHEMES, "", "none"])
def test_a_claimed_scheme_chooses_between_the_rsa_paddings_and_nothing_else(claimed: str, allow_pkcs1: bool) -> None:
    legacy = allow_pkcs1 and claimed == possession.RSA_PKCS1_SHA256
    for key, scheme in (
        (RSA, possession.RSA_PKCS1_SHA256 if legacy else possession.RSA_PSS_SHA256),
        (P256, possession.ECDSA_P256_SHA256),
        (generate_key("p384"), possession.ECDSA_P384_SHA384),
        (ED25519, possession.ED25519),
        (generate_key("p521"), None),
        (generate_key("ed448"), None),
    ):
        assert keys.possession_scheme(key.public_key(), claimed=claimed, allow_pkcs1=allow_pkcs1) == scheme

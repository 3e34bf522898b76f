"""The bytes that devices sign are frozen: an agent and a server of different versions, in any language, agree on them.

A change here breaks every device in the field. The expected bytes stand in the JSON files and are made again below, without
the code under test.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from watchword import possession
from watchword.envelope import key_id, pre_authentication_encoding

HERE = Path(__file__).parent
POSSESSION: dict[str, Any] = json.loads((HERE / "possession.json").read_text())
ENVELOPE: dict[str, Any] = json.loads((HERE / "envelope.json").read_text())
STATEMENTS = POSSESSION["statements"]

FIELDS: dict[str, Any] = {
    "nonce": bytes(32),
    "audience": "a",
    "device_id": "d",
    "session_id": b"s",
    "check_id": "c",
    "certificate_der": b"",
}


def statement_by_hand(vector: dict[str, str]) -> bytes:
    """RFC 8446, 4.4.3 as `possession.py` adapts it, written out."""
    values = [
        bytes.fromhex(vector["nonce"]),
        vector["audience"].encode("utf-8"),
        vector["device_id"].encode("utf-8"),
        bytes.fromhex(vector["session_id"]),
        vector["check_id"].encode("utf-8"),
        hashlib.sha256(bytes.fromhex(vector["certificate_der"])).digest(),
    ]
    made = b"\x20" * 64 + b"Watchword client certificate possession v1" + b"\x00"
    for value in values:
        made += bytes([len(value) >> 8, len(value) & 0xFF]) + value
    return made


def encoding_by_hand(payload_type: bytes, payload: bytes) -> bytes:
    """DSSE v1.0.2, "Pre-Authentication Encoding", written out."""
    parts = [b"DSSEv1", str(len(payload_type)).encode(), payload_type, str(len(payload)).encode(), payload]
    return b"\x20".join(parts)


@pytest.mark.parametrize("vector", STATEMENTS, ids=lambda vector: str(vector["name"]))
def test_the_possession_statement_is_these_bytes(vector: dict[str, str]) -> None:
    made = possession.statement(
        nonce=bytes.fromhex(vector["nonce"]),
        audience=vector["audience"],
        device_id=vector["device_id"],
        session_id=bytes.fromhex(vector["session_id"]),
        check_id=vector["check_id"],
        certificate_der=bytes.fromhex(vector["certificate_der"]),
    )
    assert made.hex() == vector["statement"]
    assert made == statement_by_hand(vector)


@pytest.mark.parametrize("vector", STATEMENTS, ids=lambda vector: str(vector["name"]))
def test_the_possession_signature_is_these_bytes(vector: dict[str, str]) -> None:
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(POSSESSION["ed25519_seed"]))
    assert key.sign(bytes.fromhex(vector["statement"])).hex() == vector["ed25519_signature"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"nonce": bytes(31)},
        {"nonce": bytes(33)},
        {"audience": ""},
        {"device_id": ""},
        {"session_id": b""},
        {"check_id": ""},
        {"audience": "a" * 65_536},
        {"device_id": "ä" * 32_768},  # 65,536 bytes
    ],
    ids=lambda wrong: ",".join(f"{name} of {len(value)}" for name, value in wrong.items()),
)
def test_a_statement_with_an_impossible_field_is_not_made(wrong: dict[str, Any]) -> None:
    assert possession.statement(**{**FIELDS, "audience": "a" * 65_535})
    with pytest.raises(ValueError, match=r"nonce has 32 bytes|empty or over 65,535 bytes"):
        possession.statement(**{**FIELDS, **wrong})


def test_no_two_statements_share_their_bytes_by_moving_a_boundary() -> None:
    one = possession.statement(**{**FIELDS, "audience": "ab", "device_id": "c"})
    other = possession.statement(**{**FIELDS, "audience": "a", "device_id": "bc"})
    assert one != other


def test_the_encoding_is_that_of_the_dsse_specification() -> None:
    vector = ENVELOPE["dsse_specification"]
    encoded = encoding_by_hand(vector["payload_type"].encode(), bytes.fromhex(vector["payload"]))
    assert encoded.hex() == vector["pae"]
    numbers = ec.EllipticCurvePublicNumbers(
        int(vector["public_key"]["x"], 16), int(vector["public_key"]["y"], 16), ec.SECP256R1()
    )
    raw = bytes.fromhex(vector["signature_r_s"])
    der = utils.encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    numbers.public_key().verify(der, encoded, ec.ECDSA(hashes.SHA256()))
    with pytest.raises(InvalidSignature):
        numbers.public_key().verify(der, encoded + b"\x20", ec.ECDSA(hashes.SHA256()))


def test_payload_types_outside_our_alphabet_are_refused() -> None:
    """The specification's own example has a colon and capitals: ours are a subset, where bytes and characters agree."""
    for payload_type in (ENVELOPE["dsse_specification"]["payload_type"], "", "ä", "a b", "a\n", "a" * 129):
        with pytest.raises(ValueError, match="payload type outside"):
            pre_authentication_encoding(payload_type, b"")


def test_our_envelope_vector() -> None:
    vector = ENVELOPE["ed25519"]
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vector["seed"]))
    public = key.public_key()
    assert public.public_bytes_raw().hex() == vector["public_key"]
    assert key_id(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)) == vector["key_id"]
    encoded = pre_authentication_encoding(vector["payload_type"], bytes.fromhex(vector["payload"]))
    assert encoded.hex() == vector["pae"]
    assert key.sign(encoded).hex() == vector["signature"]


@given(st.from_regex(r"[a-z0-9./+;=-]{1,128}", fullmatch=True), st.binary(max_size=300))
def test_the_encoding_made_by_hand_agrees(payload_type: str, payload: bytes) -> None:
    assert pre_authentication_encoding(payload_type, payload) == encoding_by_hand(payload_type.encode(), payload)

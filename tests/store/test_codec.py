"""Claims, contexts and results survive their JSON; what was not written by it is refused."""

import json
from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.builders import CERTIFICATE, NOW, a_judged_claim, later
from watchword_server.adapters.store_sql.codec import (
    DecodeError,
    decode_body,
    decode_boots,
    decode_claim,
    decode_context,
    decode_result,
    encode_body,
    encode_boots,
    encode_claim,
    encode_context,
    encode_result,
)
from watchword_server.core.model.devices import SeenBoot
from watchword_server.core.model.evidence import Candidate, Claim, PrivateKeyState, ProofContext
from watchword_server.core.model.names import CheckId, DeviceId, Fingerprint, Instant, KeyFingerprint, SessionId
from watchword_server.core.model.results import EvidenceLevel, PostureResult

_text = st.text(st.characters(), max_size=20)
_instant = st.floats(allow_nan=False, allow_infinity=False).map(Instant)
_whole = st.integers(-(2**63), 2**63 - 1)
_fingerprint = st.binary(max_size=40).map(Fingerprint)
_json = st.recursive(
    st.none() | st.booleans() | _whole | st.floats(allow_nan=False, allow_infinity=False) | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=10,
)
_json_object = st.dictionaries(_text, _json, max_size=3).map(MappingProxyType)

_candidates = st.builds(
    Candidate,
    chain=st.lists(st.binary(max_size=40), max_size=3).map(tuple),
    location=_text,
    private_key=st.sampled_from(PrivateKeyState),
    possession_scheme=_text,
    possession_signature=st.binary(max_size=40),
)
_claims = st.builds(
    Claim,
    check_id=_text.map(CheckId),
    check_revision=_whole,
    age_seconds=_instant,
    candidates=st.lists(_candidates, max_size=3).map(tuple),
    error_code=st.none() | _text,
    error_detail=st.none() | _text,
)
_contexts = st.builds(
    ProofContext,
    device_id=_text.map(DeviceId),
    audience=_text,
    session_id=st.binary(max_size=40).map(SessionId),
    nonce=st.binary(max_size=40),
    received_at=_instant,
    hostname=st.none() | _text,
    reported_serial_number=st.none() | _text,
)
_results = st.builds(
    PostureResult,
    check_id=_text.map(CheckId),
    check_revision=_whole,
    passed=st.booleans(),
    reason=_text,
    level=st.sampled_from(EvidenceLevel),
    evaluated_at=_instant,
    evidence_at=_instant,
    expires_at=st.none() | _instant,
    certificate=st.none() | _fingerprint,
    chain=st.lists(_fingerprint, max_size=3).map(tuple),
    expected=_json_object,
    received=_json_object,
    proven_key=st.none() | _fingerprint.map(KeyFingerprint),
)


@given(_claims)
def test_a_claim_comes_back_equal(claim: Claim) -> None:
    assert decode_claim(encode_claim(claim)) == claim


@given(_contexts)
def test_a_context_comes_back_equal(context: ProofContext) -> None:
    assert decode_context(encode_context(context)) == context


@given(_results)
def test_a_result_comes_back_equal_to_the_last_type(result: PostureResult) -> None:
    assert repr(decode_result(encode_result(result))) == repr(result), "1, 1.0 and True are told apart"


@given(_json_object, _json_object)
def test_bodies_are_equal_exactly_when_their_texts_are(one: dict[str, object], two: dict[str, object]) -> None:
    assert json.dumps(dict(decode_body(encode_body(one))), sort_keys=True) == json.dumps(dict(one), sort_keys=True)
    assert (encode_body(one) == encode_body(two)) == (
        json.dumps(dict(one), sort_keys=True) == json.dumps(dict(two), sort_keys=True)
    )


@given(_json)
def test_other_json_is_refused(value: object) -> None:
    for decode in (decode_claim, decode_context, decode_result):
        with pytest.raises(DecodeError):
            decode(json.dumps(value))


_judged = a_judged_claim("d", proves=CERTIFICATE, expires_at=later(1))
_STORED = [
    (decode_claim, encode_claim(_judged.claim)),
    (decode_context, encode_context(_judged.context)),
    (decode_result, encode_result(_judged.result)),
]


@pytest.mark.parametrize(("decode", "text"), _STORED, ids=["claim", "context", "result"])
def test_every_field_has_its_one_type_and_none_is_missing_or_new(decode: object, text: str) -> None:
    assert callable(decode)
    decode(text)
    for name, value in json.loads(text).items():
        stranger = 1 if isinstance(value, float | bool) else 1.5  # 1 is neither 1.0 nor true here
        missing = {key: kept for key, kept in json.loads(text).items() if key != name}
        for broken in (
            *([] if name == "proven_key" else [missing]),  # rows of before do not have it
            json.loads(text) | {name: stranger},
            json.loads(text) | {f"{name}_": value},
        ):
            with pytest.raises(DecodeError):
                decode(json.dumps(broken))


def test_a_result_of_before_keys_were_kept_proves_none() -> None:
    stored = json.loads(encode_result(_judged.result))
    del stored["proven_key"]
    assert decode_result(json.dumps(stored)) == replace(_judged.result, proven_key=None)


def test_boots_come_back_equal_and_none_is_no_text() -> None:
    boots = (SeenBoot(b"\0A", NOW, later(1)), SeenBoot(b"B", later(2), later(3)))
    text = encode_boots(boots)
    assert text is not None
    assert decode_boots(text) == boots
    assert encode_boots(()) is None
    for broken in ("{}", '{"boots": 1}', '{"boots": [{}]}', text.replace("0041", "xyzt")):
        with pytest.raises(DecodeError):
            decode_boots(broken)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_json_does_not_know_is_refused(number: str) -> None:
    text = encode_result(_judged.result)
    broken = text.replace(f'"expires_at":{_judged.result.expires_at}', f'"expires_at":{number}')
    assert broken != text
    with pytest.raises(DecodeError, match=number):
        decode_result(broken)


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_what_is_not_json_of_ours_is_refused(text: str) -> None:
    for decode in (decode_claim, decode_context, decode_result):
        with pytest.raises(DecodeError):
            decode(text)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("chain", ["not base64!"]),
        ("chain", ["YQ"]),
        ("chain", ["ü"]),
        ("chain", [1]),
        ("certificate", "YQ=\n="),
        ("level", "certain"),
        ("expected", []),
        ("evaluated_at", 1),
        ("passed", 1),
        ("check_revision", True),
    ],
)
def test_a_value_out_of_place_is_refused(field: str, value: object) -> None:
    with pytest.raises(DecodeError, match=rf"result\.{field}"):
        decode_result(json.dumps(json.loads(encode_result(_judged.result)) | {field: value}))


def test_what_has_no_form_in_json_is_not_stored() -> None:
    with pytest.raises(TypeError, match="bytes"):
        encode_body({"x": b"bytes"})
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode_body({"x": float("nan")})


def test_a_read_only_mapping_inside_is_stored_as_what_it_shows() -> None:
    assert decode_body(encode_body({"x": MappingProxyType({"y": 1})})) == {"x": {"y": 1}}

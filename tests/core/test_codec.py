"""What a signed payload may do to a parser: be refused as malformed, or be evidence within every limit. Nothing else."""

from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.bench import CA, CHECK, NOW, PATIENT, Bench
from watchword.v1 import posture_pb2 as wire
from watchword_server.core.certificates.revocation import NOTHING_KNOWN
from watchword_server.core.model.evidence import Claim, Evidence
from watchword_server.core.model.results import EvidenceLevel
from watchword_server.core.verify import judge_claim
from watchword_server.doors import codec
from watchword_server.errors import EnrollmentRefusedError, EvidenceMalformedError, ProtocolViolationError

MAX_TEXT: Final = 1024
MAX_CERTIFICATE: Final = 32 * 1024
MAX_AGE_MS: Final = 366 * 24 * 3600 * 1000
_YEAR_SECONDS: Final = 366 * 24 * 3600

_BENCH: Final = Bench()
_ENVELOPE: Final = _BENCH.envelope()
HONEST: Final = _ENVELOPE.payload
VERIFIED: Final = _BENCH.verify_envelope(_ENVELOPE)
PROVEN: Final = [
    (candidate.chain[0], candidate.possession_signature) for claim in VERIFIED.evidence.claims for candidate in claim.candidates
]
CANDIDATE: Final = wire.CertificateCandidate(chain=[b"certificate"])

# ---- Generated messages -------------------------------------------------------------------------------------------------

texts = st.text(max_size=8) | st.sampled_from(["", "x" * MAX_TEXT, "x" * (MAX_TEXT + 1), "\x00", "\u202e", "\x7f", "check-1"])
blobs = st.binary(max_size=40) | st.sampled_from([b"", bytes(2048), bytes(2049)])
ders = st.binary(min_size=1, max_size=40) | st.sampled_from([b"", bytes(MAX_CERTIFICATE), bytes(MAX_CERTIFICATE + 1)])
uint64s = st.integers(0, 2**64 - 1)


def _messages(kind: Callable[..., Any], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({}, optional=fields).map(lambda values: kind(**values))


inventories = _messages(wire.Inventory, platform=texts, hostname=texts, serial_number=texts)
candidates = _messages(
    wire.CertificateCandidate,
    chain=st.lists(ders, max_size=9),
    location=texts,
    private_key=st.integers(0, 7),
    possession_scheme=texts,
    possession_signature=blobs,
)
claims = _messages(
    wire.CheckEvidence,
    check_id=texts,
    check_revision=uint64s,
    age_ms=uint64s | st.integers(0, MAX_AGE_MS + 1),
    client_certificate=st.lists(candidates, max_size=9).map(lambda found: wire.ClientCertificateEvidence(candidates=found)),
) | _messages(wire.CheckEvidence, check_id=texts, error=_messages(wire.CollectionError, code=texts, detail=texts))
evidences = _messages(
    wire.Evidence,
    device_id=texts,
    key_id=texts,
    audience=texts,
    session_id=blobs,
    epoch=uint64s,
    nonce=blobs,
    sequence=uint64s,
    inventory=inventories,
    check_set_revision=uint64s,
    checks=st.lists(claims, max_size=4),
).map(lambda message: message.SerializeToString())
statements = _messages(
    wire.EnrollStatement,
    token_id=texts,
    audience=texts,
    session_id=blobs,
    nonce=blobs,
    public_key_sha256=blobs,
    inventory=inventories,
).map(lambda message: message.SerializeToString())


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes that were a message once: some replaced, some cut out, some put in."""
    payload = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(payload)))
        payload[place : place + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(payload)


payloads = st.binary(max_size=300) | damaged(HONEST) | evidences


@settings(PATIENT, max_examples=400)
@given(payloads)
@example(HONEST)
def test_any_payload_is_malformed_or_evidence_within_every_limit(payload: bytes) -> None:
    try:
        evidence = codec.parse_evidence(payload)
    except EvidenceMalformedError:
        return
    assert _faults(evidence) == []


@settings(PATIENT, max_examples=400)
@given(payloads | statements)
def test_any_payload_is_refused_or_a_statement_with_an_inventory_within_limits(payload: bytes) -> None:
    try:
        statement = codec.parse_enrollment_statement(payload)
    except EnrollmentRefusedError:
        return
    inventory = statement.inventory
    assert _odd_texts(inventory.platform, inventory.hostname, inventory.serial_number) == []


@settings(PATIENT, max_examples=300)
@given(evidences | damaged(HONEST))
@example(HONEST)
def test_whatever_was_parsed_can_be_judged_and_nothing_made_up_passes(payload: bytes) -> None:
    """Judging takes any claim of any content; without the CA's signature and the key's, there is only a failed result."""
    try:
        evidence = codec.parse_evidence(payload)
    except EvidenceMalformedError:
        return
    for claim in evidence.claims:
        judged = judge_claim(
            claim,
            VERIFIED.context,
            device=VERIFIED.device,
            check=CHECK,
            signing_certificates={CA.id: CA},
            revocation=NOTHING_KNOWN,
            now=NOW,
        )
        if judged.result.passed:
            assert [(found.chain[0], found.possession_signature) for found in claim.candidates] == PROVEN
        else:
            assert judged.result.level is EvidenceLevel.SIGNED
            assert judged.proven_certificate is None


def _faults(evidence: Evidence) -> list[object]:
    faults: list[object] = _odd_texts(evidence.device_id, evidence.key_id, evidence.audience, evidence.inventory.platform)
    faults += _odd_texts(evidence.inventory.hostname, evidence.inventory.serial_number)
    if len(evidence.claims) > 256 or len({claim.check_id for claim in evidence.claims}) != len(evidence.claims):
        faults.append(evidence.claims)
    for claim in evidence.claims:
        faults += _claim_faults(claim)
    return faults


def _claim_faults(claim: Claim) -> list[object]:
    faults = _odd_texts(claim.check_id, claim.error_code, claim.error_detail)
    if not 0 <= claim.age_seconds <= _YEAR_SECONDS or len(claim.candidates) > 8 or (claim.error_code and claim.candidates):
        faults.append(claim)
    for candidate in claim.candidates:
        faults += _odd_texts(candidate.location, candidate.possession_scheme)
        if not 1 <= len(candidate.chain) <= 8 or len(candidate.possession_signature) > 2048:
            faults.append(candidate)
        faults += [der for der in candidate.chain if not 0 < len(der) <= MAX_CERTIFICATE]
    return faults


def _odd_texts(*values: str | None) -> list[object]:
    """Those too long, or with characters that a terminal or a log would act upon; an empty one where None belongs."""
    return [value for value in values if value is not None and (len(value) > MAX_TEXT or not value.isprintable())]


# ---- The edge of each limit ---------------------------------------------------------------------------------------------


def _claim(**values: Any) -> wire.Evidence:
    return wire.Evidence(checks=[wire.CheckEvidence(check_id="check", **values)])


def _found(*found: wire.CertificateCandidate) -> wire.Evidence:
    return _claim(client_certificate=wire.ClientCertificateEvidence(candidates=found))


def _candidate(**values: Any) -> wire.Evidence:
    return _found(wire.CertificateCandidate(**{"chain": [b"certificate"], **values}))


def _failed(**values: str) -> wire.Evidence:
    return _claim(error=wire.CollectionError(**{"code": "path_missing", **values}))


def _many(count: int, *, name: str = "check-{}") -> wire.Evidence:
    nothing = wire.ClientCertificateEvidence()
    return wire.Evidence(
        checks=[wire.CheckEvidence(check_id=name.format(number), client_certificate=nothing) for number in range(count)]
    )


EDGES: Final[dict[str, tuple[wire.Evidence, wire.Evidence]]] = {
    "checks": (_many(256), _many(257)),
    "claims for one check": (_many(1, name="check"), _many(2, name="check")),
    "what a claim says": (_claim(error=wire.CollectionError()), _claim()),
    "the age of a claim": (
        _failed(),
        wire.Evidence(checks=[wire.CheckEvidence(age_ms=MAX_AGE_MS + 1, error=wire.CollectionError())]),
    ),
    "candidates": (_found(*[CANDIDATE] * 8), _found(*[CANDIDATE] * 9)),
    "certificates of a chain, at most": (_candidate(chain=[b"der"] * 8), _candidate(chain=[b"der"] * 9)),
    "certificates of a chain, at least": (_candidate(chain=[b"der"]), _candidate(chain=[])),
    "bytes of a certificate, at most": (
        _candidate(chain=[bytes(MAX_CERTIFICATE)]),
        _candidate(chain=[bytes(MAX_CERTIFICATE + 1)]),
    ),
    "bytes of a certificate, at least": (_candidate(chain=[b"d"]), _candidate(chain=[b"der", b""])),
    "bytes of a proof": (_candidate(possession_signature=bytes(2048)), _candidate(possession_signature=bytes(2049))),
    "OCSP responses, at most": (_candidate(ocsp_responses=[b"der"] * 4), _candidate(ocsp_responses=[b"der"] * 5)),
    "bytes of an OCSP response, at most": (
        _candidate(ocsp_responses=[bytes(16 * 1024)]),
        _candidate(ocsp_responses=[bytes(16 * 1024 + 1)]),
    ),
    "bytes of an OCSP response, at least": (_candidate(ocsp_responses=[b"d"]), _candidate(ocsp_responses=[b""])),
    "a location's length": (_candidate(location="x" * MAX_TEXT), _candidate(location="x" * (MAX_TEXT + 1))),
    "a location's characters": (_candidate(location="/etc/Zürich \u4e2d"), _candidate(location="/etc/\x9b2J")),
    "a scheme's characters": (_candidate(possession_scheme="ed25519"), _candidate(possession_scheme="ed\t25519")),
    "an error's code": (_failed(code="x" * MAX_TEXT), _failed(code="x" * (MAX_TEXT + 1))),
    "an error's detail": (_failed(detail="x"), _failed(detail="\u2028")),
    "a device id": (wire.Evidence(device_id="x" * MAX_TEXT), wire.Evidence(device_id="x" * (MAX_TEXT + 1))),
    "a key id": (wire.Evidence(key_id="x"), wire.Evidence(key_id="\x00")),
    "an audience": (wire.Evidence(audience="x"), wire.Evidence(audience="\n")),
    "a platform": (wire.Evidence(inventory=wire.Inventory(platform="x")), wire.Evidence(inventory=wire.Inventory(platform="\n"))),
    "a hostname": (
        wire.Evidence(inventory=wire.Inventory(hostname="x")),
        wire.Evidence(inventory=wire.Inventory(hostname="\u200b")),
    ),
    "a serial number": (
        wire.Evidence(inventory=wire.Inventory(serial_number="x")),
        wire.Evidence(inventory=wire.Inventory(serial_number="x" * (MAX_TEXT + 1))),
    ),
    "a serial number's characters": (
        wire.Evidence(inventory=wire.Inventory(serial_number="5CG-1")),
        wire.Evidence(inventory=wire.Inventory(serial_number="${hostname}")),
    ),
    "a boot's id": (
        wire.Evidence(boot=wire.Boot(boot_id=bytes(64))),
        wire.Evidence(boot=wire.Boot(boot_id=bytes(65))),
    ),
    "a check's id": (_many(1), wire.Evidence(checks=[wire.CheckEvidence(check_id="\x1b", error=wire.CollectionError())])),
}


@pytest.mark.parametrize(("within", "beyond"), [pytest.param(*edge, id=name) for name, edge in EDGES.items()])
def test_up_to_its_limit_a_payload_is_evidence_and_beyond_it_malformed(within: wire.Evidence, beyond: wire.Evidence) -> None:
    assert _faults(codec.parse_evidence(within.SerializeToString())) == []
    with pytest.raises(EvidenceMalformedError):
        codec.parse_evidence(beyond.SerializeToString())


def test_what_is_empty_on_the_wire_is_not_known() -> None:
    inventory = codec.parse_evidence(wire.Evidence().SerializeToString()).inventory
    assert (inventory.hostname, inventory.serial_number) == (None, None)


@pytest.mark.parametrize("signatures", [0, 2, 3])
def test_an_envelope_has_exactly_one_signature(signatures: int) -> None:
    message = wire.SignedEnvelope(payload=b"payload", signatures=[wire.Signature(sig=b"signature")] * signatures)
    with pytest.raises(ProtocolViolationError):
        codec.envelope_from(message)

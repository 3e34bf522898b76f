"""What one piece of evidence costs to verify and judge, beside the bare cryptography in it.

One device, one check, one candidate: an envelope signed by the device's key, a client certificate that the uploaded CA signed, a
proof of possession; all keys P-256. `new`: a certificate never seen before, three signatures. `again`: one that was verified
before, two signatures. The floor is the library's own calls for these and nothing else, on bytes that lie ready: for a new
certificate, reading it and its key, `verify_directly_issued_by`, and a verification each for the two other signatures, with the
device's key read before. Both are the pure part, without the store's commit and the wire.

Example:  python -m benchmarks.evidence --seconds 10
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from benchmarks.measure import Call, arguments, report, settle, table, talk, time_in_turns
from core.bench import AUDIENCE, CA, CHECK, CONFIG, DEVICE_ID, NOW, PKI, SESSION_ID, Bench
from watchword import possession
from watchword.envelope import EVIDENCE_TYPE, pre_authentication_encoding
from watchword_server.core.certificates import path
from watchword_server.core.certificates.revocation import NOTHING_KNOWN
from watchword_server.core.model.checks import Check, Trust
from watchword_server.core.model.devices import Device
from watchword_server.core.model.evidence import Envelope
from watchword_server.core.verify import Expectation, judge_claim, verify_evidence
from watchword_server.doors import codec

_DEVICES: Final = 64
_ECDSA: Final = ec.ECDSA(hashes.SHA256())
_SIGNATURES: Final = {"new": 3, "again": 2}


def main() -> None:
    options = arguments(__doc__, seconds=4.0).parse_args()
    talk(f"making {_DEVICES} devices with a certificate each")
    benches = [_bench() for _ in range(_DEVICES)]
    subjects: dict[str, list[Call]] = {"floor new": [], "floor again": []}
    issuer = x509.load_der_x509_certificate(CA.der)
    for bench in benches:
        device, possessed, der = _proofs(bench)
        subjects["floor again"].append(partial(_both_hold, device, possessed))
        subjects["floor new"].append(partial(_all_hold, device, possessed, der, issuer))
    for trust in Trust:
        check = replace(CHECK, config=replace(CONFIG, trust=trust, common_name="laptop-1.corp.example"))
        for seen, forget in (("again", None), ("new", _forget)):
            subjects[f"{trust} {seen}"] = [
                partial(_judge, bench.envelope(), bench.device, bench.expected, check, forget) for bench in benches
            ]
    for calls in subjects.values():
        for call in calls:
            call()
    settle()
    talk(f"timing {len(subjects)} subjects in turns, {options.seconds:g} s each")
    timings = time_in_turns(subjects, seconds=options.seconds)
    ratios = {
        f"{trust} {seen}": timings[f"{trust} {seen}"].median / timings[f"floor {seen}"].median
        for trust in Trust
        for seen in _SIGNATURES
    }
    rows = [
        [
            f"{seen}: {count} signatures",
            timings[f"floor {seen}"].median,
            *(value for trust in Trust for value in (timings[f"{trust} {seen}"].median, f"{ratios[f'{trust} {seen}']:.2f}x")),
        ]
        for seen, count in _SIGNATURES.items()
    ]
    header = ["evidence, µs", "floor", *(text for trust in Trust for text in (f"trust: {trust}", "ratio"))]
    figures = {name: {"median_us": timing.median, "p99_us": timing.p99} for name, timing in timings.items()}
    report("evidence", {"figures": figures, "ratios": ratios}, as_json=options.json, text=table(header, rows))


def _bench() -> Bench:
    bench = Bench()
    return Bench(simulated=replace(bench.simulated, found=(PKI.issuing.issue(),)))


def _judge(envelope: Envelope, device: Device, expected: Expectation, check: Check, forget: Callable[[], None] | None) -> None:
    """What the server does with an envelope, but for storing the outcome."""
    if forget is not None:
        forget()
    verified = verify_evidence(envelope, device=device, expected=expected, now=NOW, parse=codec.parse_evidence)
    [claim] = verified.evidence.claims
    judged = judge_claim(
        claim,
        verified.context,
        device=device,
        check=check,
        signing_certificates={CA.id: CA},
        revocation=NOTHING_KNOWN,
        now=NOW,
    )
    if not judged.result.passed:
        raise SystemExit(f"evidence that has to pass is refused: {judged.result.reason}")


def _forget() -> None:
    """As if no certificate had been seen."""
    path._KNOWN.clear()  # noqa: SLF001 - the server has no reason to forget


_Proof = tuple[ec.EllipticCurvePublicKey, bytes, bytes]


def _proofs(bench: Bench) -> tuple[_Proof, _Proof, bytes]:
    """Key, signature and message of the device's envelope and of its certificate's possession, and the certificate."""
    envelope = bench.envelope()
    [claim] = codec.parse_evidence(envelope.payload).claims
    [candidate] = claim.candidates
    leaf = x509.load_der_x509_certificate(candidate.chain[0])
    statement = possession.statement(
        nonce=bench.nonce,
        audience=AUDIENCE,
        device_id=DEVICE_ID,
        session_id=SESSION_ID,
        check_id=CHECK.id,
        certificate_der=candidate.chain[0],
    )
    signed = pre_authentication_encoding(EVIDENCE_TYPE, envelope.payload)
    return (
        (_p256(load_der_public_key(bench.simulated.public_key)), envelope.signature, signed),
        (_p256(leaf.public_key()), candidate.possession_signature, statement),
        candidate.chain[0],
    )


def _p256(key: object) -> ec.EllipticCurvePublicKey:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise SystemExit("every key here has to be on P-256")
    return key


def _both_hold(device: _Proof, possessed: _Proof) -> None:
    for key, signature, message in (device, possessed):
        key.verify(signature, message, _ECDSA)


def _all_hold(device: _Proof, possessed: _Proof, der: bytes, issuer: x509.Certificate) -> None:
    certificate = x509.load_der_x509_certificate(der)
    key = certificate.public_key()
    certificate.verify_directly_issued_by(issuer)
    _both_hold(device, (_p256(key), *possessed[1:]))


if __name__ == "__main__":
    main()

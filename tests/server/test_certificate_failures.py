"""Step 8 of verification: a certificate that is not as its check wants it fails the check, with the condition as the reason.

Each device here is honest but for its certificate, and holds the certificate's private key.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from server import failing_checks as checks
from server.failing_checks import authority
from server.odd_certificates import X400_ADDRESS_AS_ALTERNATIVE_NAME, certificate_with
from server.scene import COMMON_NAME, HOSTNAME, LAPTOP, Scene, verdicts
from support.device import HONEST, Lie
from support.pki import DAY, HOUR, Credential, generate_key, root_authority
from watchword.v1 import posture_pb2 as wire
from watchword_server.core.certificates.refusal import ORDER

rule_document = checks.rule_document


@dataclass(frozen=True, slots=True)
class Case:
    """A certificate, what is wrong with it for which check, and what the device says of itself."""

    reason: str
    certificate: Callable[[Scene], Credential]
    check: str = LAPTOP
    device: Mapping[str, Any] = field(default_factory=dict)
    lie: Lie = HONEST


def _presenting(change: Callable[[bytes], bytes]) -> Lie:
    """Sends something else than the certificate it has."""

    def changed(candidate: wire.CertificateCandidate) -> None:
        candidate.chain[0] = change(candidate.chain[0])

    return Lie(candidate=changed)


def _in_pem(der: bytes) -> bytes:
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)


def _issued(**options: Any) -> Callable[[Scene], Credential]:
    return lambda scene: scene.certificate(**options)


def _reporting(**values: str) -> Lie:
    """Says something else of itself in evidence than when it enrolled."""

    def reported(evidence: wire.Evidence) -> None:
        for name, value in values.items():
            setattr(evidence.inventory, name, value)

    return Lie(evidence=reported)


def _namesake(scene: Scene) -> Credential:
    """Of an authority with the same name and another key."""
    subject = scene.pki.issuing.credential.certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return root_authority(str(subject[0].value)).issue(COMMON_NAME)


def _with_the_key_of_the_ca(scene: Scene) -> Credential:
    return scene.certificate(key=scene.pki.issuing.credential.key)


def _of(check: str) -> Callable[[Scene], Credential]:
    return lambda _: authority(check).issue(COMMON_NAME)


SERIAL: Final = {"serial_number": "5CG1234XYZ"}

FAILURES: Final[dict[str, Case]] = {
    "no certificate at all": Case("certificate_malformed", _issued(), lie=_presenting(lambda _: b"not a certificate")),
    "a certificate with more behind it": Case("certificate_malformed", _issued(), lie=_presenting(lambda der: der + b"\x00")),
    "a certificate cut short": Case("certificate_malformed", _issued(), lie=_presenting(lambda der: der[:-1])),
    "a certificate in PEM": Case("certificate_malformed", _issued(), lie=_presenting(_in_pem)),
    "a certificate of version 1": Case("certificate_malformed", _issued(version=1)),
    "an alternative name of a kind nobody uses": Case(
        "certificate_malformed", lambda scene: certificate_with(scene.pki.issuing, (X400_ADDRESS_AS_ALTERNATIVE_NAME, False))
    ),
    "the certificate of the CA itself": Case("certificate_is_the_issuer", lambda scene: scene.pki.issuing.credential),
    "a certificate for the CA's own key": Case("certificate_is_the_issuer", _with_the_key_of_the_ca),
    "of another CA": Case("certificate_wrong_issuer", lambda scene: scene.pki.web.issue(COMMON_NAME)),
    "of the root above the CA": Case("certificate_wrong_issuer", lambda scene: scene.pki.root.issue(COMMON_NAME)),
    "of a CA below the CA": Case(
        "certificate_wrong_issuer", lambda scene: scene.pki.issuing.issue_authority("Below").issue(COMMON_NAME)
    ),
    "self-signed": Case("certificate_wrong_issuer", lambda _: root_authority(COMMON_NAME).credential),
    "a signature with a bit changed": Case(
        "certificate_signature_invalid", lambda scene: scene.certificate().with_corrupt_signature()
    ),
    "of another CA with the same name": Case("certificate_signature_invalid", _namesake),
    "signed by another key": Case("certificate_signature_invalid", _issued(signing_key=generate_key())),
    "a CA's": Case("certificate_is_a_ca", _issued(ca=True)),
    "a key usage that lets it sign certificates": Case("certificate_is_a_ca", _issued(ca=None, key_cert_sign=True)),
    "a critical extension nobody knows": Case("certificate_extension_not_understood", _issued(unknown_critical_extension=True)),
    "an RSA key of 1024 bits": Case("certificate_key_weak", _issued(key="rsa1024")),
    "a key on P-224": Case("certificate_key_weak", _issued(key="p224")),
    "an Ed448 key": Case("certificate_key_weak", _issued(key="ed448")),
    "signed over SHA-1": Case("certificate_algorithm_refused", _issued(sha1=True)),
    "the CA has expired": Case("issuer_not_valid_now", _of(checks.OF_AN_EXPIRED_CA), check=checks.OF_AN_EXPIRED_CA),
    "the CA is not valid yet": Case("issuer_not_valid_now", _of(checks.OF_A_FUTURE_CA), check=checks.OF_A_FUTURE_CA),
    "not valid yet": Case("certificate_not_yet_valid", _issued(not_before=HOUR)),
    "expired": Case("certificate_expired", _issued(not_before=-2 * DAY, not_after=-HOUR)),
    "no extended key usage": Case("extended_key_usage_missing", _issued(extended_key_usage=None)),
    "for servers": Case("extended_key_usage_missing", _issued(extended_key_usage=("serverAuth",))),
    "for one of two usages": Case("extended_key_usage_missing", _issued(), check=checks.FOR_MAIL),
    "the device enrolled without a serial number": Case(
        "serial_number_unknown", _issued(common_name=None), check=checks.BY_SERIAL_NUMBER
    ),
    "the device tells a serial number only in evidence": Case(
        "serial_number_unknown",
        _issued(common_name="5CG1234XYZ"),
        check=checks.BY_SERIAL_NUMBER,
        lie=_reporting(serial_number="5CG1234XYZ"),
    ),
    "the device tells another serial number than when it enrolled": Case(
        "serial_number_mismatch",
        _issued(common_name="5CG1234ABC"),
        check=checks.BY_SERIAL_NUMBER,
        device={"serial_number": "5CG1234ABC"},
        lie=_reporting(serial_number="5CG9999ABC"),
    ),
    "the device has no hostname": Case(
        "hostname_unknown", _issued(common_name=".corp.example"), check=checks.BY_HOSTNAME, device={"hostname": ""}
    ),
    "another device's name": Case("common_name_mismatch", _issued(common_name="laptop-2.corp.example"), check=checks.BY_HOSTNAME),
    "a name that goes on": Case("common_name_mismatch", _issued(common_name=COMMON_NAME + ".evil"), check=checks.BY_HOSTNAME),
    "the variable itself as its name": Case(
        "common_name_mismatch", _issued(common_name="${hostname}.corp.example"), check=checks.BY_HOSTNAME
    ),
    "no name": Case("common_name_mismatch", _issued(common_name=None), check=checks.BY_HOSTNAME),
    "the right name only as an alternative": Case(
        "common_name_mismatch",
        _issued(common_name="x", subject_alternative_names=(COMMON_NAME,)),
        check=checks.BY_HOSTNAME,
    ),
    "other alternative names": Case(
        "subject_alternative_name_mismatch",
        _issued(subject_alternative_names=("laptop-2.corp.example", "10.0.0.1")),
        check=checks.BY_ALTERNATIVE_NAME,
        device={"serial_number": "5CG-SAN-1"},
    ),
    "no alternative names": Case(
        "subject_alternative_name_mismatch", _issued(), check=checks.BY_ALTERNATIVE_NAME, device={"serial_number": "5CG-SAN-2"}
    ),
    "an alternative name with a wildcard": Case(
        "subject_alternative_name_mismatch",
        _issued(subject_alternative_names=("*.corp.example",)),
        check=checks.BY_ALTERNATIVE_NAME,
        device={"serial_number": "5CG-SAN-3"},
    ),
}


@pytest.mark.parametrize("case", [pytest.param(case, id=f"{case.reason}: {name}") for name, case in FAILURES.items()])
async def test_a_wrong_certificate_fails_its_check_with_the_reason(scene: Scene, case: Case) -> None:
    wrong, good = case.certificate(scene), scene.certificate()
    device = await scene.enrolled(found_for={LAPTOP: (good,)}, **case.device)
    async with device.attesting() as stream:
        assert verdicts(await stream.settle(), device)[LAPTOP] == "passed"

        device.found_for[case.check] = (wrong,)
        answer = await stream.attest(case.lie)
        assert verdicts(answer, device)[case.check] == case.reason
        stored = scene.operators.results(device.device_id)[case.check]
        assert (stored["standing"], stored["reason"], stored["evidence_level"]) == ("failed", case.reason, "signed")

        device.found_for[LAPTOP] = (good,)  # it is believed again as soon as it is honest
        assert verdicts(await stream.attest(), device)[LAPTOP] == "passed"


def test_every_reason_of_a_certificate_has_its_lie() -> None:
    told = {case.reason for case in FAILURES.values()}
    # A certificate that must not be a CA cannot be uploaded as one: tests/core/test_certificates.py looks at it alone.
    # tests/certificates looks at what takes a path through other CAs, or constraints of one.
    of_paths = {"chain_incomplete", "chain_too_long", "chain_too_complex", "path_length_exceeded", "name_constraints_violated"}
    of_revocation = {"certificate_revoked", "issuer_revoked", "revocation_unknown"}  # tests/revocation, test_revocation.py
    assert told | {"issuer_not_a_ca", "policy_required"} | of_paths | of_revocation == set(ORDER)


@pytest.mark.parametrize(
    ("check", "certificate", "device"),
    [
        pytest.param(LAPTOP, _issued(), {}, id="an EC key"),
        pytest.param(LAPTOP, _issued(key="p384"), {}, id="a key on P-384"),
        pytest.param(LAPTOP, _issued(key="rsa2048"), {}, id="an RSA key"),
        pytest.param(LAPTOP, _issued(key="ed25519"), {}, id="an Ed25519 key"),
        pytest.param(LAPTOP, _issued(ca=None), {}, id="no basic constraints"),
        pytest.param(checks.BY_HOSTNAME, _issued(common_name="LAPTOP-1.Corp.Example"), {}, id="a name in other letters"),
        pytest.param(checks.BY_SERIAL_NUMBER, _issued(common_name="5cg-ok"), {"serial_number": "5CG-OK"}, id="a serial number"),
        pytest.param(
            checks.BY_ALTERNATIVE_NAME,
            _issued(subject_alternative_names=("x.example", "URN:corp:5CG-OK-2")),
            {"serial_number": "5CG-OK-2"},
            id="one of several alternative names",
        ),
        pytest.param(checks.FOR_MAIL, _issued(extended_key_usage=("emailProtection", "clientAuth")), {}, id="two usages"),
    ],
)
async def test_a_right_certificate_passes(
    scene: Scene, check: str, certificate: Callable[[Scene], Credential], device: Mapping[str, Any]
) -> None:
    honest = await scene.enrolled(found_for={check: (certificate(scene),)}, **device)
    assert verdicts(await honest.attest_once(), honest)[check] == "passed"
    stored = scene.operators.results(honest.device_id)[check]
    assert (stored["standing"], stored["evidence_level"]) == ("passed", "proven")


async def test_the_hostname_is_the_one_of_the_evidence(scene: Scene) -> None:
    """It may change, by signed evidence; the serial number may not."""
    device = await scene.enrolled(found_for={checks.BY_HOSTNAME: (scene.certificate(),)}, hostname=HOSTNAME)
    async with device.attesting() as stream:
        assert verdicts(await stream.settle(), device)[checks.BY_HOSTNAME] == "passed"
        device.hostname = "laptop-2"
        assert verdicts(await stream.attest(), device)[checks.BY_HOSTNAME] == "common_name_mismatch"
        assert scene.operators.devices()[device.device_id]["name"] == "laptop-2"

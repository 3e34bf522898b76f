"""What a certificate may do to the verdict on it, whatever its bytes: pass, or be refused with one of the reasons."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.bench import CONFIG, NOW, PATIENT, PKI
from core.test_codec import damaged
from server.odd_certificates import (
    UNKNOWN_EXTENSION,
    X400_ADDRESS_AS_ALTERNATIVE_NAME,
    authority_with,
    certificate_with,
)
from support.pki import DAY, HOUR, Authority, Credential, _elements, _split, _wrap, root_authority
from watchword_server.core.certificates.conditions import Subject, substitute
from watchword_server.core.certificates.parsed import fingerprint, parse_whole
from watchword_server.core.certificates.path import ValidPath, issued_by
from watchword_server.core.certificates.refusal import ORDER, CertificateRefusedError
from watchword_server.core.certificates.revocation import NOTHING_KNOWN
from watchword_server.core.certificates.verdict import verify_client_certificate
from watchword_server.core.model.checks import ClientCertificateConfig, SigningCertificate
from watchword_server.core.model.names import CertificateId, Instant

CA: Final = PKI.issuing
NAMES: Final = ("laptop-1.corp.example", "10.0.0.1", "urn://corp", "it@corp.example")
STRICT: Final = replace(
    CONFIG,
    common_name="${serial_number}.${hostname}",
    subject_alternative_names=("${hostname}.corp.example",),
    extended_key_usage=("clientAuth", "emailProtection"),
)
SUBJECT: Final = Subject(serial_number="5CG-1", hostname="laptop-1")
SEEDS: Final = [
    CA.issue("5CG-1.laptop-1", key=key, subject_alternative_names=NAMES, extended_key_usage=("clientAuth", "emailProtection")).der
    for key in ("p256", "ed25519", "rsa2048")
]


def verify(
    der: bytes,
    *,
    issuer: Authority = CA,
    config: ClientCertificateConfig = STRICT,
    subject: Subject = SUBJECT,
    now: Instant = NOW,
) -> ValidPath:
    signing = SigningCertificate(CertificateId("ca"), "ca", issuer.credential.der)
    return verify_client_certificate((der,), signing, config=config, subject=subject, revocation=NOTHING_KNOWN, now=now).path


def refused(verdict: Callable[[], object]) -> str:
    with pytest.raises(CertificateRefusedError) as error:
        verdict()
    return error.value.reason


# ---- Any bytes ----------------------------------------------------------------------------------------------------------


@st.composite
def signed_again(draw: st.DrawFn) -> bytes:
    """Damaged inside, and signed by the CA all the same: what the conditions behind the signature have to stand."""
    _, content = _split(draw(st.sampled_from(SEEDS)))
    to_be_signed, algorithm, _ = _elements(content)
    body = draw(damaged(_split(to_be_signed)[1]))
    damaged_part = _wrap(0x30, body)
    key = CA.credential.key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signature = key.sign(damaged_part, ec.ECDSA(hashes.SHA256()))
    return _wrap(0x30, damaged_part + algorithm + _wrap(0x03, b"\x00" + signature))


@settings(PATIENT, max_examples=1000)
@given(st.binary(max_size=200) | st.sampled_from(SEEDS).flatmap(damaged) | signed_again())
@example(SEEDS[0])
@example(certificate_with(CA, (X400_ADDRESS_AS_ALTERNATIVE_NAME, False)).der)  # once an error nobody expected
def test_any_bytes_pass_or_are_refused_with_a_reason(der: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)  # the library says what it will refuse one day
        verdicts = [
            _outcome(lambda: verify(der)),
            _outcome(lambda: issued_by(der, CA.credential.der, now=NOW)),
        ]
    for verdict in verdicts:
        if isinstance(verdict, CertificateRefusedError):
            assert verdict.reason in ORDER
            assert ORDER[verdict.rank] == verdict.reason
        else:
            assert verdict.leaf.fingerprint == fingerprint(der)


def _outcome(
    verdict: Callable[[], ValidPath],
) -> ValidPath | CertificateRefusedError:
    try:
        return verdict()
    except CertificateRefusedError as error:
        return error


def test_a_certificate_larger_than_any_real_one_is_not_parsed() -> None:
    assert refused(lambda: parse_whole(bytes(32 * 1024 + 1))) == "certificate_malformed"


# ---- Issuers that cannot be uploaded -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("issuer", "reason"),
    [
        pytest.param(
            authority_with((UNKNOWN_EXTENSION, True)),
            "certificate_extension_not_understood",
            id="a critical extension nobody knows",
        ),
        pytest.param(PKI.root.issue_authority("Not a CA", ca=False), "issuer_not_a_ca", id="no CA"),
        pytest.param(Authority(PKI.root.issue("Plain", ca=None), is_root=True), "issuer_not_a_ca", id="no basic constraints"),
        pytest.param(root_authority(key="rsa1024"), "certificate_key_weak", id="an RSA key of 1024 bits"),
        pytest.param(root_authority(key="p224"), "certificate_key_weak", id="a key on P-224"),
        pytest.param(root_authority(not_after=-HOUR, not_before=-DAY), "issuer_not_valid_now", id="expired"),
    ],
)
def test_a_certificate_that_is_no_ca_vouches_for_nobody(issuer: Authority, reason: str) -> None:
    assert refused(lambda: verify(issuer.issue().der, issuer=issuer)) == reason
    assert refused(lambda: issued_by(issuer.issue().der, issuer.credential.der, now=NOW)) == reason


# ---- What people read ---------------------------------------------------------------------------------------------------


def test_names_are_told_without_the_characters_a_terminal_acts_upon() -> None:
    """Whoever makes a certificate chooses its names; operators read them in `watchword explain`."""
    evil = root_authority("Evil\x1b[2J\n\u202e CA")
    with pytest.raises(CertificateRefusedError) as error:
        verify(evil.issue().der)
    assert error.value.received == "CN=Evil\\x1b[2J\\x0a\\x202e CA"
    with pytest.raises(CertificateRefusedError) as error:
        verify(root_authority("Zürich, 中 CA").issue().der)
    assert error.value.received == "CN=Zürich\\, 中 CA"


# ---- The edges of time --------------------------------------------------------------------------------------------------


def _validity(credential: Credential) -> tuple[float, float]:
    certificate = credential.certificate
    return certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()


def test_a_certificate_is_valid_from_its_first_second_to_its_last() -> None:
    credential = CA.issue(not_before=HOUR, not_after=2 * HOUR)
    first, last = _validity(credential)
    before, after = Instant(first - 0.001), Instant(last + 0.001)
    assert refused(lambda: verify(credential.der, config=CONFIG, now=before)) == "certificate_not_yet_valid"
    assert refused(lambda: verify(credential.der, config=CONFIG, now=after)) == "certificate_expired"
    for moment in (first, last):
        assert verify(credential.der, config=CONFIG, now=Instant(moment)).valid_until == last


def test_a_verdict_ends_with_the_certificate_or_its_issuer_whichever_is_first() -> None:
    issuer = root_authority(not_after=HOUR * 2)
    assert verify(issuer.issue(not_after=DAY).der, issuer=issuer, config=CONFIG).valid_until == _validity(issuer.credential)[1]


# ---- Conditions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "subject", "outcome"),
    [
        ("fixed", Subject(None, None), "fixed"),
        ("${serial_number}", Subject("5CG-1", None), "5CG-1"),
        ("${hostname}.corp", Subject(None, "laptop-1"), "laptop-1.corp"),
        ("${hostname}-${serial_number}-${hostname}", Subject("5CG-1", "l"), "l-5CG-1-l"),
        ("${serial_number}", Subject("5CG-1", None, reported_serial_number="5CG-1"), "5CG-1"),
    ],
)
def test_variables_are_replaced_by_what_is_known(pattern: str, subject: Subject, outcome: str) -> None:
    assert substitute(pattern, subject) == outcome


@pytest.mark.parametrize(
    ("pattern", "subject", "reason"),
    [
        ("${serial_number}", Subject(None, "laptop-1"), "serial_number_unknown"),
        ("${serial_number}", Subject("", "laptop-1"), "serial_number_unknown"),
        ("${serial_number}", Subject(None, None, reported_serial_number="5CG-1"), "serial_number_unknown"),
        ("x${serial_number}", Subject("5CG-1", None, reported_serial_number="5CG-2"), "serial_number_mismatch"),
        ("${hostname}", Subject("5CG-1", None), "hostname_unknown"),
        ("${hostname}", Subject("5CG-1", ""), "hostname_unknown"),
        ("${hostname}${serial_number}", Subject(None, None), "serial_number_unknown"),
    ],
)
def test_what_is_not_known_is_a_reason_and_never_an_empty_string(pattern: str, subject: Subject, reason: str) -> None:
    assert refused(lambda: substitute(pattern, subject)) == reason
    with_cn = replace(CONFIG, common_name=pattern)
    assert refused(lambda: verify(CA.issue(None).der, config=with_cn, subject=subject)) == reason
    with_san = replace(CONFIG, subject_alternative_names=("fixed", pattern))
    assert refused(lambda: verify(CA.issue(None).der, config=with_san, subject=subject)) == reason


def test_a_hostname_is_text_and_no_pattern() -> None:
    """What a device says of itself is put in as it is: a variable in it stays what it is."""
    subject = Subject("5CG-1", "${serial_number}")
    config = replace(CONFIG, common_name="${hostname}")
    assert refused(lambda: verify(CA.issue("5CG-1").der, config=config, subject=subject)) == "common_name_mismatch"
    assert verify(CA.issue("${serial_number}").der, config=config, subject=subject)


@pytest.mark.parametrize("wanted", [(), ("clientAuth",), ("emailProtection",), ("clientAuth", "emailProtection")])
@pytest.mark.parametrize("present", [None, ("serverAuth",), ("clientAuth",), ("clientAuth", "emailProtection")])
def test_every_usage_that_is_wanted_has_to_be_there(wanted: tuple[str, ...], present: Sequence[str] | None) -> None:
    der = CA.issue(extended_key_usage=present).der
    config = replace(CONFIG, extended_key_usage=wanted)
    if set(wanted) <= set(present or ()):
        assert verify(der, config=config)
    else:
        assert refused(lambda: verify(der, config=config)) == "extended_key_usage_missing"


def test_any_extended_key_usage_is_not_every_usage() -> None:
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])
    der = certificate_with(CA, (usage, False)).der
    assert refused(lambda: verify(der, config=CONFIG)) == "extended_key_usage_missing"

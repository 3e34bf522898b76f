"""Reading a revocation list: what is right is understood, and everything else has its reason."""

import datetime as dt
import functools
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from support.pki import HOUR, Authority, Credential, generate_key, root_authority
from support.revocation import UNKNOWN, parsed, responder_of, revocation_list
from watchword_server.core.certificates.crl import RevocationListRefusedError, read_revocation_list
from watchword_server.core.certificates.revocation import RevocationReason, issuer_key_of

HELD = x509.ReasonFlags.certificate_hold


@functools.cache
def root() -> Authority:
    return root_authority()


@functools.cache
def issuing() -> Authority:
    return root().issue_authority()


def point(**said: object) -> x509.IssuingDistributionPoint:
    known: dict[str, object] = dict.fromkeys(("full_name", "relative_name", "only_some_reasons"))
    known |= dict.fromkeys(
        ("only_contains_user_certs", "only_contains_ca_certs", "indirect_crl", "only_contains_attribute_certs"), False
    )
    return x509.IssuingDistributionPoint(**known | said)  # type: ignore[arg-type]


def refusal(der: bytes, *issuers: Authority | Credential) -> str:
    with pytest.raises(RevocationListRefusedError) as refused:
        read_revocation_list(der, parsed(*(issuers or (issuing(), root()))))
    assert refused.value.detail
    return refused.value.reason


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa2048", "ed25519"])
def test_a_list_says_who_is_revoked_since_when_and_why(kind: str) -> None:
    ca = root_authority(key=kind)  # type: ignore[arg-type]
    listed = read_revocation_list(revocation_list(ca, {7: HELD, 2**150: None}, number=9), parsed(ca))
    assert listed.issuer == issuer_key_of(parsed(ca)[0])
    assert (listed.number, listed.base_number, listed.signer, len(listed.entries)) == (9, None, None, 2)
    held, other = listed.entries.find(7), listed.entries.find(2**150)
    assert held is not None
    assert other is not None
    assert (held.reason, other.reason) == (RevocationReason.CERTIFICATE_HOLD, RevocationReason.UNSPECIFIED)
    assert abs(held.revoked_at - (dt.datetime.now(dt.UTC) - HOUR).timestamp()) < 60
    assert listed.entries.find(8) is None


REFUSED: dict[str, Callable[[], bytes]] = {
    "malformed": lambda: b"\x30\x03\x02\x01\x01",
    "wrong_issuer": lambda: revocation_list(root_authority("Another")),
    "signature": lambda: revocation_list(issuing(), key=generate_key()),
    "algorithm": lambda: revocation_list(issuing(), digest=hashes.SHA224()),
    "extension_not_understood": lambda: revocation_list(issuing(), extensions=[(UNKNOWN, True)]),
    "entry_not_understood": lambda: revocation_list(issuing(), [1], entry_extensions=[(UNKNOWN, True)]),
    "number_missing": lambda: revocation_list(issuing(), number=None, base=1),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_wrong_with_a_list_is_its_reason(reason: str) -> None:
    assert refusal(REFUSED[reason]()) == reason


@pytest.mark.parametrize(
    "said",
    [
        {"indirect_crl": True},
        {"only_contains_attribute_certs": True},
        {"only_some_reasons": frozenset({x509.ReasonFlags.key_compromise})},
    ],
    ids=lambda said: next(iter(said)),
)
def test_a_list_that_is_not_about_all_of_the_issuers_certificates_is_refused(said: dict[str, object]) -> None:
    assert refusal(revocation_list(issuing(), extensions=[(point(**said), True)])) == "scope_unsupported"


def test_an_entry_about_another_issuers_certificate_is_refused() -> None:
    other = x509.CertificateIssuer([x509.DirectoryName(root().credential.certificate.subject)])
    assert refusal(revocation_list(issuing(), [1], entry_extensions=[(other, True)])) == "scope_unsupported"


def test_a_list_that_is_too_large_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watchword_server.core.certificates.crl.MAX_LIST_LENGTH", 100)
    assert refusal(revocation_list(issuing())) == "too_large"


def test_a_ca_whose_key_usage_leaves_lists_out_may_not_sign_them() -> None:
    ca = responder_of(root(), name="No lists", ca=True, key=generate_key())
    assert refusal(revocation_list(ca), ca, root()) == "issuer_may_not_sign_lists"


def test_a_weak_key_signs_nothing() -> None:
    weak = root_authority(key="rsa1024")
    assert refusal(revocation_list(weak), weak) == "issuer_key_weak"


def test_a_serial_number_longer_than_any_is_refused() -> None:
    # The builder stops at 20 bytes, so the bytes are made by hand and the signature with them.
    from cryptography.hazmat.primitives.asymmetric import ec

    from support.pki import _split, _wrap  # the DER tools beside the certificates

    key = issuing().credential.key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    der = revocation_list(issuing(), [0x55AA55AA55AA])
    tbs = x509.load_der_x509_crl(der).tbs_certlist_bytes
    entry_serial = _wrap(2, bytes.fromhex("55AA55AA55AA"))
    at = tbs.index(entry_serial)
    date = tbs[at + len(entry_serial) : at + len(entry_serial) + 15]
    old = _wrap(0x30, _wrap(0x30, entry_serial + date))
    new = _wrap(0x30, _wrap(0x30, _wrap(2, b"\x11" * 22) + date))
    _, content = _split(tbs)
    changed = _wrap(0x30, content.replace(old, new))
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    signature = key.sign(changed, ec.ECDSA(hashes.SHA256()))
    assert refusal(_wrap(0x30, changed + algorithm + _wrap(3, b"\0" + signature))) == "serial_number_too_long"


def test_a_certificate_for_signing_lists_stands_in_for_the_ca_of_its_name() -> None:
    signer = responder_of(root(), name="Issuing CA", usage=None, crl_sign=True, key=generate_key())
    listed = read_revocation_list(revocation_list(signer, [5]), parsed(issuing(), root(), signer))
    assert listed.issuer == issuer_key_of(parsed(issuing())[0])
    assert listed.signer is not None
    assert listed.signer.serial_number == signer.certificate.serial_number


def test_a_certificate_of_the_cas_name_from_somewhere_else_may_not_sign_its_lists() -> None:
    stranger = root_authority("Stranger")
    signer = responder_of(stranger, name="Issuing CA", usage=None, crl_sign=True, key=generate_key())
    assert refusal(revocation_list(signer), issuing(), root(), stranger, signer) == "issuer_may_not_sign_lists"


def test_a_certificate_of_the_cas_name_that_is_not_for_lists_may_not_sign_them() -> None:
    signer = responder_of(root(), name="Issuing CA", usage=None, key=generate_key())
    assert refusal(revocation_list(signer), issuing(), root(), signer) == "issuer_may_not_sign_lists"


def _list_signer(issuer: Authority, **wrong: object) -> Credential:
    return responder_of(issuer, name="Issuing CA", usage=None, crl_sign=True, key=generate_key(), **wrong)  # type: ignore[arg-type]


def test_a_certificate_for_signing_lists_may_come_from_the_ca_itself() -> None:
    signer = _list_signer(issuing())
    listed = read_revocation_list(revocation_list(signer, [5]), parsed(issuing(), root(), signer))
    assert listed.signer is not None
    assert listed.signer.issuer == listed.issuer == issuer_key_of(parsed(issuing())[0])


def test_a_certificate_for_signing_lists_has_no_critical_extension_that_is_not_understood() -> None:
    signer = _list_signer(root(), extensions=[(UNKNOWN, True)])
    assert refusal(revocation_list(signer), issuing(), root(), signer) == "issuer_may_not_sign_lists"


def test_a_certificate_for_signing_lists_is_signed_as_strongly_as_any() -> None:
    weak = root_authority(key="rsa1024")
    below = weak.issue_authority()
    signer = _list_signer(weak)
    assert refusal(revocation_list(signer), below, weak, signer) == "issuer_may_not_sign_lists"


def test_who_is_no_ca_lets_nobody_sign_lists() -> None:
    """Whoever issued the signer has to be a CA: a client certificate's key issues nothing, whatever it signed."""
    client = root().issue("Issuing CA")
    signer = _list_signer(replace(root(), credential=client))
    assert refusal(revocation_list(signer), issuing(), root(), client, signer) == "issuer_may_not_sign_lists"


def test_a_name_that_another_ca_gave_as_well_lets_nobody_sign_lists_of_the_first() -> None:
    """Both are trusted, and each gave the name once: to a CA and to somebody who signs lists."""
    other = root_authority("Other root")
    signer = _list_signer(other)
    assert refusal(revocation_list(signer), issuing(), root(), other, signer) == "issuer_may_not_sign_lists"


@pytest.mark.parametrize(
    ("said", "end_entities", "authorities"),
    [({"only_contains_user_certs": True}, True, False), ({"only_contains_ca_certs": True}, False, True), ({}, True, True)],
)
def test_a_list_says_whose_certificates_it_is_about(said: dict[str, object], end_entities: bool, authorities: bool) -> None:
    url = x509.UniformResourceIdentifier("http://crl.corp.example/1.crl")
    der = revocation_list(issuing(), extensions=[(point(full_name=[url], **said), True)])
    scope = read_revocation_list(der, parsed(issuing())).scope
    assert (scope.end_entities, scope.authorities) == (end_entities, authorities)
    assert scope.places is not None


def test_an_invalidity_date_is_understood() -> None:
    date = x509.InvalidityDate(dt.datetime(2026, 1, 1))  # noqa: DTZ001 -- as the library takes it
    listed = read_revocation_list(revocation_list(issuing(), [1], entry_extensions=[(date, True)]), parsed(issuing()))
    assert listed.entries.find(1) is not None


def test_damaged_lists_lead_to_typed_errors_only() -> None:
    der, issuers, chance = revocation_list(issuing(), {1: HELD, 2: None}), parsed(issuing(), root()), random.Random(7)
    believed = 0
    for _ in range(1500):
        damaged = bytearray(der)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(len(der))] = chance.randrange(256)
        try:
            read_revocation_list(bytes(damaged[: chance.choice([len(der), chance.randrange(len(der))])]), issuers)
            believed += bytes(damaged) != der
        except RevocationListRefusedError:
            pass
    assert believed == 0


def test_a_list_needs_an_end() -> None:
    """The builder always writes nextUpdate: it is taken out of the bytes, which are signed again."""
    from cryptography.hazmat.primitives.asymmetric import ec

    from support.pki import _split, _wrap  # the DER tools beside the certificates

    key = issuing().credential.key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    der = revocation_list(issuing())
    ends = x509.load_der_x509_crl(der).next_update_utc
    assert ends is not None
    tbs = x509.load_der_x509_crl(der).tbs_certlist_bytes
    _, content = _split(tbs)
    date = _wrap(0x17, ends.strftime("%y%m%d%H%M%SZ").encode())
    assert content.count(date) == 1
    changed = _wrap(0x30, content.replace(date, b""))
    signature = key.sign(changed, ec.ECDSA(hashes.SHA256()))
    endless = _wrap(0x30, changed + bytes.fromhex("300a06082a8648ce3d040302") + _wrap(3, b"\0" + signature))
    assert refusal(endless) == "next_update_missing"

"""What a chain may do to the verdict on it, whatever its bytes: have a path, or be refused with one of the reasons."""

import warnings
from collections.abc import Callable, Sequence

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ObjectIdentifier
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates.making import NOW, alternative, authority, constraints, ders, make, name
from core.bench import PATIENT
from core.test_codec import damaged
from support.pki import _elements, _split, _wrap
from watchword import possession
from watchword_server.core.certificates.path import ValidPath, find_path, issued_by
from watchword_server.core.certificates.refusal import ORDER, CertificateRefusedError
from watchword_server.core.certificates.remembered import Remembered

MAPPINGS = bytes.fromhex("300c300a0603 2a0301 0603 2a0302".replace(" ", ""))
ROOT = authority("Root")
BUSY = authority(
    "Busy",
    ROOT,
    constraints([x509.DNSName("corp.example"), x509.DirectoryName(name("leaf"))], [x509.RFC822Name("evil.example")]),
    (x509.CertificatePolicies([x509.PolicyInformation(ObjectIdentifier("1.2.3.1"), None)]), False),
    (x509.PolicyConstraints(0, None), True),
    (x509.InhibitAnyPolicy(0), True),
    (x509.UnrecognizedExtension(ObjectIdentifier("2.5.29.33"), MAPPINGS), True),
    (x509.SubjectKeyIdentifier(b"busy"), False),
)
LEAF = make(
    "leaf",
    BUSY,
    alternative(x509.DNSName("a.corp.example"), x509.UniformResourceIdentifier("https://corp.example")),
    (x509.CertificatePolicies([x509.PolicyInformation(ObjectIdentifier("1.2.3.2"), None)]), False),
    (x509.AuthorityKeyIdentifier(b"busy", None, None), False),
)


@st.composite
def signed_again(draw: st.DrawFn) -> bytes:
    """A CA between, damaged inside and signed by the root all the same."""
    to_be_signed, algorithm, _ = _elements(_split(BUSY.der)[1])
    body = _wrap(0x30, draw(damaged(_split(to_be_signed)[1])))
    assert isinstance(ROOT.key, ec.EllipticCurvePrivateKey)
    return _wrap(0x30, body + algorithm + _wrap(0x03, b"\x00" + ROOT.key.sign(body, ec.ECDSA(hashes.SHA256()))))


@settings(PATIENT, max_examples=400)
@given(st.sampled_from([LEAF.der, BUSY.der, ROOT.der]).flatmap(damaged) | signed_again())
def test_any_certificate_in_a_chain_leads_to_a_verdict(der: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)  # the library says what it will refuse one day
        for chain, anchor in (
            ((LEAF.der, der), ROOT.der),
            ((der, BUSY.der), ROOT.der),
            ((LEAF.der, der, BUSY.der), ROOT.der),
            ((LEAF.der, BUSY.der), der),
            ((LEAF.der,), der),
        ):
            found = outcome(chain, anchor)
            if isinstance(found, str):
                assert found in ORDER
            else:
                assert (found.leaf.der, found.certificates[-1].der) == (chain[0], anchor)


def outcome(chain: Sequence[bytes], anchor: bytes) -> ValidPath | str:
    try:
        return find_path(chain, anchor, now=NOW)
    except CertificateRefusedError as error:
        return error.reason


def test_the_chain_that_is_damaged_is_valid_before() -> None:
    assert len(find_path(ders(LEAF, BUSY), ROOT.der, now=NOW).certificates) == 3


# ---- Remembering --------------------------------------------------------------------------------------------------------


def test_a_path_is_remembered_with_all_that_it_depends_on() -> None:
    path = find_path(ders(LEAF, BUSY), ROOT.der, now=NOW)
    assert find_path(ders(LEAF, BUSY), ROOT.der, now=NOW) is path
    changes: list[Callable[[], ValidPath]] = [
        lambda: find_path(ders(LEAF), ROOT.der, now=NOW),
        lambda: find_path(ders(LEAF, BUSY), authority("Root").der, now=NOW),
        lambda: find_path(ders(LEAF, BUSY), ROOT.der, max_length=2, now=NOW),
        lambda: issued_by(LEAF.der, ROOT.der, now=NOW),
    ]
    for change in changes:
        with pytest.raises(CertificateRefusedError):
            change()


def test_what_was_not_asked_for_the_longest_is_forgotten_first() -> None:
    remembered: Remembered[str, int] = Remembered(2)
    remembered.put("a", 1)
    remembered.put("b", 2)
    assert remembered.get("a") == 1
    remembered.put("c", 3)
    assert [remembered.get(key) for key in "abc"] == [1, None, 3]


# ---- Signatures as key stores give them ---------------------------------------------------------------------------------


@given(st.sampled_from([32, 48, 66]), st.data())
def test_a_raw_signature_has_one_encoding(size: int, data: st.DataObject) -> None:
    r, s = (data.draw(st.integers(0, 2 ** (8 * size) - 1) | st.sampled_from([0, 1, 0x7F, 0x80, 0xFF])) for _ in range(2))
    raw = r.to_bytes(size, "big") + s.to_bytes(size, "big")
    assert possession.ecdsa_der(raw, size) == encode_dss_signature(r, s)
    for wrong in (raw[:-1], raw + b"\x00", b""):
        with pytest.raises(ValueError, match="bytes"):
            possession.ecdsa_der(wrong, size)

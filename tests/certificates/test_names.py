"""Distinguished names that are the same name, and those that only look alike (RFC 5280, 7.1)."""

import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID, ObjectIdentifier
from hypothesis import given
from hypothesis import strategies as st

from watchword_server.core.certificates.names import canonical_name, canonical_rdns, folded

ORGANIZATION, UNIT = NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME
DC, EMAIL = NameOID.DOMAIN_COMPONENT, NameOID.EMAIL_ADDRESS


def attribute(value: str, kind: ObjectIdentifier = UNIT, string: _ASN1Type | None = None) -> x509.NameAttribute[str | bytes]:
    return x509.NameAttribute(kind, value, _type=string, _validate=False)


def name(*rdns: list[x509.NameAttribute[str | bytes]]) -> x509.Name:
    return x509.Name([x509.RelativeDistinguishedName(rdn) for rdn in rdns])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (name([attribute("Corp CA")]), name([attribute("corp ca")])),
        (name([attribute("Corp CA")]), name([attribute("  Corp   CA ")])),
        (name([attribute("Corp CA")]), name([attribute("Corp\tCA")])),
        (name([attribute("Corp CA")]), name([attribute("Corp CA", string=_ASN1Type.PrintableString)])),
        (name([attribute("Corp CA")]), name([attribute("CORP CA", string=_ASN1Type.BMPString)])),
        (name([attribute("Corp CA")]), name([attribute("Corp CA", string=_ASN1Type.UniversalString)])),
        (name([attribute("Straße")]), name([attribute("STRASSE")])),
        (name([attribute("Zürich")]), name([attribute("ZU\u0308RICH")])),
        (name([attribute("Corp\u00a0CA")]), name([attribute("Corp CA")])),
        (name([attribute("Co\u00adrp")]), name([attribute("Corp")])),
        (name([attribute("Example", DC)]), name([attribute("EXAMPLE", DC)])),
        (name([attribute("It@Corp.Example", EMAIL)]), name([attribute("it@corp.example", EMAIL)])),
        (name([attribute("a"), attribute("b", ORGANIZATION)]), name([attribute("B", ORGANIZATION), attribute("A")])),
    ],
)
def test_these_are_the_same_name(one: x509.Name, other: x509.Name) -> None:
    assert canonical_name(one) == canonical_name(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (name([attribute("Corp CA")]), name([attribute("CorpCA")])),
        (name([attribute("Corp")]), name([attribute("Corp", ORGANIZATION)])),
        (name([attribute("a")], [attribute("b")]), name([attribute("b")], [attribute("a")])),
        (name([attribute("a")], [attribute("b", ORGANIZATION)]), name([attribute("a"), attribute("b", ORGANIZATION)])),
        (name([attribute("a")]), name([attribute("a")], [attribute("a")])),
        (name([attribute("a")]), name()),
        (name([attribute("")]), name()),
        (name([attribute("Corp")]), name([attribute("C0rp")])),
        (
            x509.Name([x509.NameAttribute(NameOID.X500_UNIQUE_IDENTIFIER, b"a", _type=_ASN1Type.BitString)]),
            x509.Name([x509.NameAttribute(NameOID.X500_UNIQUE_IDENTIFIER, b"A", _type=_ASN1Type.BitString)]),
        ),
    ],
)
def test_these_are_different_names(one: x509.Name, other: x509.Name) -> None:
    assert canonical_name(one) != canonical_name(other)


@given(st.text(max_size=20))
def test_folding_twice_is_folding_once(text: str) -> None:
    assert folded(folded(text)) == folded(text)
    assert folded(f"  {text}\t") == folded(text)


@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
def test_names_of_different_length_are_never_the_same(one: list[str], other: list[str]) -> None:
    """However their values run into one another."""
    first, second = (name(*([attribute(value)] for value in values)) for values in (one, other))
    same = list(map(folded, one)) == list(map(folded, other))
    assert (canonical_name(first) == canonical_name(second)) is same
    assert (canonical_rdns(first) == canonical_rdns(second)) is same

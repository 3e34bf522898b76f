"""What strangers may make the verdict cost, and what is kept of it."""

import ipaddress
from collections.abc import Sequence
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from certificates.making import NOW, Made, alternative, authority, constraints, ders, make, pooled_key
from core.bench import CONFIG
from watchword_server.core.certificates import path as paths
from watchword_server.core.certificates.conditions import Subject, check_conditions
from watchword_server.core.certificates.parsed import parse
from watchword_server.core.certificates.path import find_path, issued_by
from watchword_server.core.certificates.refusal import CertificateRefusedError
from watchword_server.core.certificates.remembered import Remembered
from watchword_server.core.certificates.work import Work

ROOT = authority("Root", key=pooled_key("p384", 1))
FALSE = authority("Root", key=pooled_key("p384", 2))
MIDDLE = authority("Middle", ROOT)


def reason(chain: Sequence[bytes], work: Work) -> str:
    try:
        find_path(chain, ROOT.der, work=work, now=NOW)
    except CertificateRefusedError as error:
        return error.reason
    return "passed"


def test_all_claims_of_a_message_share_what_it_may_cost() -> None:
    """Each chain has one signature that does not hold, of 350 microseconds."""
    message = Work.of_message()
    claims = [message.of_claim() for _ in range(8)]
    found = [[reason((make("leaf", FALSE).der,), claim) for _ in range(8)] for claim in claims]
    assert found[0] == ["certificate_signature_invalid"] * 8
    assert found[-1] == ["chain_too_complex"] * 8


def test_all_candidates_of_a_claim_share_what_it_may_cost() -> None:
    work = Work()
    found = [reason((make("leaf", FALSE).der,), work) for _ in range(30)]
    assert (found[0], found[-1]) == ("certificate_signature_invalid", "chain_too_complex")


def test_a_signature_that_does_not_hold_is_verified_once() -> None:
    work, leaf = Work(1000), make("leaf", FALSE)
    assert {reason((leaf.der,), work) for _ in range(5)} == {"certificate_signature_invalid"}


def test_twenty_checks_with_eight_good_candidates_pass() -> None:
    candidates = [make(f"leaf {number}", MIDDLE) for number in range(8)]
    message = Work.of_message()
    for _ in range(20):
        claim = message.of_claim()
        assert [reason(ders(candidate, MIDDLE), claim) for candidate in candidates] == ["passed"] * 8


def test_what_passed_before_costs_nothing() -> None:
    leaf = make("leaf", MIDDLE)
    assert reason(ders(leaf, MIDDLE), Work()) == "passed"
    assert reason(ders(leaf, MIDDLE), Work(0)) == "passed"
    assert reason(ders(make("leaf", MIDDLE), MIDDLE), Work(0)) == "chain_too_complex"


@pytest.mark.parametrize(("attributes", "outcome"), [(32, "passed"), (33, "certificate_malformed")])
def test_a_name_has_as_many_attributes_as_it_may(attributes: int, outcome: str) -> None:
    long = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"{number}") for number in range(attributes)])
    assert reason((make(long, ROOT).der,), Work()) == outcome


def test_junk_beside_a_certificate_is_not_remembered_with_it() -> None:
    leaf, deeper = make("leaf", ROOT), make("leaf", MIDDLE)
    remembered = paths._KNOWN
    remembered.clear()
    for number in range(50):
        junk = number.to_bytes(4, "big")
        one = find_path((leaf.der, junk), ROOT.der, now=NOW)
        other = find_path((deeper.der, junk, MIDDLE.der), ROOT.der, now=NOW)
        assert one is issued_by(leaf.der, ROOT.der, now=NOW)
        assert other.leaf is find_path(ders(deeper, MIDDLE), ROOT.der, now=NOW).leaf
    assert len(remembered) == 2
    known = remembered.get(deeper.der)
    assert known is not None
    assert len(known.paths) == 1


def test_what_is_remembered_weighs_no_more_than_it_may() -> None:
    remembered: Remembered[int, str] = Remembered(100, weight=10)
    for number in range(5):
        remembered.put(number, "x", weight=4)
    assert [remembered.get(number) is not None for number in range(5)] == [False, False, False, True, True]


def test_a_signature_has_whole_bytes() -> None:
    leaf = make("leaf", ROOT)
    signature = leaf.x509.signature
    place = leaf.der.rindex(signature) - 1
    assert leaf.der[place] == 0
    assert reason((leaf.der,), Work()) == "passed"
    for bits in range(1, 8):
        assert reason((leaf.der[:place] + bytes([bits]) + leaf.der[place + 1 :],), Work()) == "certificate_malformed"


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("a.example", x509.DNSName("A.example")),
        ("a.example:443", x509.UniformResourceIdentifier("a.example:443")),
        ("https://a.example", x509.UniformResourceIdentifier("https://a.example")),
        ("urn:a:b", x509.UniformResourceIdentifier("urn:a:b")),
        ("it@a.example", x509.RFC822Name("it@a.example")),
    ],
)
def test_alternative_names_are_compared_with_their_own_type(wanted: str, name: x509.GeneralName) -> None:
    config = replace(CONFIG, subject_alternative_names=(wanted,), extended_key_usage=(), common_name=None)
    subject = Subject(None, None)
    check_conditions(parse(make("leaf", ROOT, alternative(name)).der), config, subject)
    for kind in (x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier):
        if type(name) is not kind:
            other: Made = make("leaf", ROOT, alternative(kind(wanted)))
            with pytest.raises(CertificateRefusedError, match="subject_alternative_name_mismatch"):
                check_conditions(parse(other.der), config, subject)


def test_an_address_is_no_uri_and_a_constrained_ca_gives_no_name_by_another_type() -> None:
    config = replace(CONFIG, subject_alternative_names=("2001:db8::1",), extended_key_usage=(), common_name=None)
    address = make("leaf", ROOT, alternative(x509.IPAddress(ipaddress.ip_address("2001:DB8::1"))))
    check_conditions(parse(address.der), config, Subject(None, None))
    guests = authority("Guests", ROOT, constraints([x509.DNSName("guests.example")]))
    leaf = make("leaf", guests, alternative(x509.UniformResourceIdentifier("laptop.corp.example")))
    found = find_path(ders(leaf, guests), ROOT.der, now=NOW)
    wanted = replace(config, subject_alternative_names=("laptop.corp.example",))
    with pytest.raises(CertificateRefusedError, match="subject_alternative_name_mismatch"):
        check_conditions(found.leaf, wanted, Subject(None, None))

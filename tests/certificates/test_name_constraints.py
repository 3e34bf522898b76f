"""Which names a CA with name constraints may give (RFC 5280, 4.2.1.10), form by form."""

import ipaddress
from collections.abc import Sequence

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID, ObjectIdentifier

from certificates.judging import reason, reason_direct
from certificates.making import Made, alternative, authority, constraints, make, name
from server.odd_certificates import X400_ADDRESS_AS_ALTERNATIVE_NAME

PASSED, VIOLATED = "passed", "name_constraints_violated"
OID = ObjectIdentifier("1.3.6.1.4.1.55555.4")
OTHER = x509.OtherName(OID, b"\x05\x00")


def dns(text: str) -> x509.DNSName:
    return x509.DNSName._init_without_validation(text)


def mail(text: str) -> x509.RFC822Name:
    return x509.RFC822Name._init_without_validation(text)


def uri(text: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier._init_without_validation(text)


def ip(text: str) -> x509.IPAddress:
    return x509.IPAddress(ipaddress.ip_address(text))


def net(text: str) -> x509.IPAddress:
    return x509.IPAddress(ipaddress.ip_network(text))


def directory(*parts: str) -> x509.DirectoryName:
    """Organization, unit, common name."""
    kinds = (NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.COMMON_NAME)
    return x509.DirectoryName(x509.Name([x509.NameAttribute(kind, part) for kind, part in zip(kinds, parts, strict=False)]))


def verdicts(
    leaf_names: Sequence[x509.GeneralName],
    permitted: Sequence[x509.GeneralName] | None = None,
    excluded: Sequence[x509.GeneralName] | None = None,
    subject: str | x509.Name = "",
) -> str:
    """Of a certificate with these names: directly below a constrained CA, and through another CA. The same each time."""
    root = authority("Root", None, constraints(permitted, excluded))
    extensions = [alternative(*leaf_names)] if leaf_names else []
    leaf = make(subject, root, *extensions)
    told = reason_direct(leaf, root)
    assert reason([leaf], root) == told
    plain = authority("Plain")
    constrained = authority("Constrained", plain, constraints(permitted, excluded))
    assert reason([make(subject, constrained, *extensions), constrained], plain) == told
    return told


# Constraint, name, whether the name is within it. Compared both as permitted and as excluded.
WITHIN: list[tuple[x509.GeneralName, x509.GeneralName, bool]] = [
    (dns("corp.example"), dns("corp.example"), True),
    (dns("corp.example"), dns("a.corp.example"), True),
    (dns("corp.example"), dns("a.b.corp.example"), True),
    (dns("Corp.EXAMPLE"), dns("A.cORP.example"), True),
    (dns("corp.example"), dns("notcorp.example"), False),
    (dns("corp.example"), dns("example"), False),
    (dns("corp.example"), dns("corp.example.evil"), False),
    (dns(""), dns("anything.example"), True),
    (dns("corp.example"), dns("*.corp.example"), True),
    (dns("corp.example"), dns("*.example.corp"), False),
    (mail("it@corp.example"), mail("it@corp.example"), True),
    (mail("it@corp.example"), mail("it@CORP.example"), True),
    (mail("it@corp.example"), mail("IT@corp.example"), False),
    (mail("it@corp.example"), mail("it@a.corp.example"), False),
    (mail("corp.example"), mail("it@corp.example"), True),
    (mail("corp.example"), mail("it@Corp.Example"), True),
    (mail("corp.example"), mail("it@a.corp.example"), False),
    (mail(".corp.example"), mail("it@a.corp.example"), True),
    (mail(".corp.example"), mail("it@a.b.corp.example"), True),
    (mail(".corp.example"), mail("it@corp.example"), False),
    (mail(".corp.example"), mail("it@acorp.example"), False),
    (mail(""), mail("it@corp.example"), True),
    (uri("corp.example"), uri("https://corp.example/path"), True),
    (uri("corp.example"), uri("https://user@CORP.example:8443/?q"), True),
    (uri("corp.example"), uri("https://a.corp.example"), False),
    (uri(".corp.example"), uri("https://a.corp.example/"), True),
    (uri(".corp.example"), uri("https://corp.example/"), False),
    (uri("corp.example"), uri("https://evil.example/corp.example"), False),
    (uri("corp.example"), uri("https://corp.example@evil.example/"), False),
    (net("10.0.0.0/8"), ip("10.1.2.3"), True),
    (net("10.0.0.0/8"), ip("11.1.2.3"), False),
    (net("10.1.2.3/32"), ip("10.1.2.3"), True),
    (net("0.0.0.0/0"), ip("10.1.2.3"), True),
    (net("0.0.0.0/0"), ip("::1"), False),
    (net("::/0"), ip("10.1.2.3"), False),
    (net("2001:db8::/32"), ip("2001:db8::1"), True),
    (net("2001:db8::/32"), ip("2001:db9::1"), False),
    (directory("Corp"), directory("Corp", "Devices", "laptop"), True),
    (directory("Corp"), directory("Corp"), True),
    (directory("Corp", "Devices"), directory("Corp"), False),
    (directory("CORP", "devices  of ours"), directory(" corp", "Devices Of Ours", "x"), True),
    (directory("Corp"), directory("Corp Evil"), False),
    (x509.DirectoryName(name("")), directory("Corp"), True),
]


@pytest.mark.parametrize(("constraint", "held", "within"), WITHIN, ids=lambda value: getattr(value, "value", value))
def test_a_name_is_within_a_subtree_or_not(constraint: x509.GeneralName, held: x509.GeneralName, *, within: bool) -> None:
    assert verdicts([held], permitted=[constraint]) == (PASSED if within else VIOLATED)
    assert verdicts([held], excluded=[constraint]) == (VIOLATED if within else PASSED)
    assert verdicts([held], permitted=[OTHER]) == PASSED  # of a form that no name here has


@pytest.mark.parametrize(
    ("constraint", "held"),
    [
        pytest.param(dns("corp.example"), dns(".corp.example"), id="a name with a leading dot"),
        pytest.param(dns("corp.example"), dns("a..corp.example"), id="a name with an empty label"),
        pytest.param(dns("corp.example"), dns("a b.corp.example"), id="a name with a space"),
        pytest.param(dns("corp.example"), dns("a.*.corp.example"), id="a wildcard inside"),
        pytest.param(dns(".corp.example"), dns("a.corp.example"), id="a constraint with a leading dot"),
        pytest.param(dns("a..example"), dns("a.example"), id="a constraint with an empty label"),
        pytest.param(mail("corp.example"), mail("it@evil@corp.example"), id="two at signs"),
        pytest.param(mail("corp.example"), mail("corp.example"), id="no at sign"),
        pytest.param(mail("corp.example"), mail("@corp.example"), id="nobody"),
        pytest.param(mail("a@b@corp.example"), mail("it@corp.example"), id="a constraint with two at signs"),
        pytest.param(uri("corp.example"), uri("urn:corp.example"), id="a URI without a host"),
        pytest.param(uri("corp.example"), uri("https://10.0.0.1/"), id="an address for a host"),
        pytest.param(uri("corp.example"), uri("https://[::1]/"), id="an IPv6 address for a host"),
        pytest.param(uri("corp.example"), uri("https://[corp.example/"), id="no URI"),
        pytest.param(uri("https://corp.example"), uri("https://corp.example/"), id="a constraint that is a URI"),
        pytest.param(OTHER, OTHER, id="other names"),
        pytest.param(x509.RegisteredID(OID), x509.RegisteredID(OID), id="registered identifiers"),
    ],
)
def test_what_cannot_be_compared_is_neither_permitted_nor_free_of_an_exclusion(
    constraint: x509.GeneralName, held: x509.GeneralName
) -> None:
    assert verdicts([held], permitted=[constraint]) == VIOLATED
    assert verdicts([held], excluded=[constraint]) == VIOLATED
    elsewhere = ip("10.0.0.1")
    assert verdicts([elsewhere], permitted=[constraint]) == PASSED  # it concerns no name of another form
    assert verdicts([elsewhere], excluded=[constraint]) == PASSED


def test_a_wildcard_may_be_what_is_excluded() -> None:
    assert verdicts([dns("*.corp.example")], excluded=[dns("a.corp.example")]) == VIOLATED
    assert verdicts([dns("*.corp.example")], excluded=[dns("a.b.corp.example")]) == PASSED
    assert verdicts([dns("*.corp.example")], permitted=[dns("a.corp.example")]) == VIOLATED


def test_every_name_counts_and_exclusion_wins() -> None:
    assert verdicts([dns("a.example"), dns("b.example")], permitted=[dns("a.example")]) == VIOLATED
    assert verdicts([dns("a.example"), dns("b.example")], permitted=[dns("a.example"), dns("b.example")]) == PASSED
    assert verdicts([dns("a.example"), dns("b.example")], excluded=[dns("b.example")]) == VIOLATED
    assert verdicts([dns("a.example")], permitted=[dns("example")], excluded=[dns("a.example")]) == VIOLATED


def test_the_subject_is_a_directory_name_and_an_empty_one_is_none() -> None:
    subject = directory("Corp", "Devices", "laptop").value
    assert verdicts([], permitted=[directory("Corp")], subject=subject) == PASSED
    assert verdicts([], permitted=[directory("Evil")], subject=subject) == VIOLATED
    assert verdicts([], excluded=[directory("Corp")], subject=subject) == VIOLATED
    assert verdicts([directory("Corp")], permitted=[directory("Corp")], subject=directory("Evil").value) == VIOLATED
    assert verdicts([], permitted=[directory("Evil")]) == PASSED


def test_a_mailbox_in_the_subject_counts_where_there_is_no_other() -> None:
    subject = x509.Name([x509.NameAttribute(NameOID.EMAIL_ADDRESS, "it@corp.example")])
    assert verdicts([], permitted=[mail("corp.example")], subject=subject) == PASSED
    assert verdicts([], permitted=[mail("evil.example")], subject=subject) == VIOLATED
    assert verdicts([dns("x")], excluded=[mail("corp.example")], subject=subject) == VIOLATED
    assert verdicts([mail("it@other.example")], excluded=[mail("corp.example")], subject=subject) == PASSED


def test_a_common_name_is_no_dns_name() -> None:
    assert verdicts([], permitted=[dns("corp.example")], subject="laptop.evil.example") == PASSED


# ---- Along the path -----------------------------------------------------------------------------------------------------


def chain_of(*levels: Sequence[x509.GeneralName], leaf: x509.GeneralName) -> tuple[list[Made], Made]:
    """Below a root without constraints, one CA for each list of what it permits."""
    root = authority("Root")
    above, cas = root, []
    for number, permitted in enumerate(levels):
        above = authority(f"CA {number}", above, constraints(permitted))
        cas.append(above)
    return [make("", above, alternative(leaf)), *cas], root


def test_a_ca_can_narrow_what_those_above_permit_and_never_widen_it() -> None:
    cases: list[tuple[tuple[list[x509.GeneralName], ...], bool]] = [
        (([dns("a.example"), dns("b.example")], [dns("b.example")]), False),
        (([dns("b.example")], [dns("a.example"), dns("b.example")]), False),
        (([dns("example")], [dns("a.example")]), True),
        (([dns("a.example")], [net("10.0.0.0/8")]), True),
    ]
    for levels, passes in cases:
        chain, root = chain_of(*levels, leaf=dns("x.a.example"))
        assert reason(chain, root) == (PASSED if passes else VIOLATED)


def test_cas_below_are_bound_too_unless_they_renew_their_own_key() -> None:
    root = authority("Root", None, constraints([dns("corp.example")], [directory("Evil")]))
    good, bad = alternative(dns("a.corp.example")), alternative(dns("evil.example"))
    lower = authority("Lower", root, bad)
    assert reason([make("", lower, good), lower], root) == VIOLATED
    renewed = authority("Root", root, bad)
    assert reason([make("", renewed, good), renewed], root) == PASSED
    assert reason([make("Root", renewed, bad), renewed], root) == VIOLATED  # the last one counts, self-issued or not


def test_the_trusted_ca_is_not_bound_by_its_own_constraints() -> None:
    root = authority("Root", None, constraints(None, [x509.DirectoryName(name("Root"))]))
    assert reason_direct(make("leaf", root), root) == PASSED


# ---- Written wrong ------------------------------------------------------------------------------------------------------


def wrap(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return bytes([tag, len(content)]) + content


def permitting(base: bytes, *distances: bytes) -> bytes:
    return wrap(0x30, wrap(0xA0, wrap(0x30, base, *distances)))


BASE = wrap(0x82, b"best")
HALF_AN_ADDRESS = bytes([10, 0, 0, 0, 255])
HOLES = bytes([10, 0, 0, 0, 255, 0, 255, 0])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(permitting(BASE), PASSED, id="nothing wrong"),
        pytest.param(permitting(BASE, wrap(0x80, b"\x01")), VIOLATED, id="a minimum"),
        pytest.param(permitting(BASE, wrap(0x81, b"\x05")), VIOLATED, id="a maximum"),
        pytest.param(permitting(BASE, wrap(0x80, b"\x00")), "certificate_malformed", id="a minimum that goes without saying"),
        pytest.param(permitting(wrap(0x87, HALF_AN_ADDRESS)), "certificate_malformed", id="half an address"),
        pytest.param(permitting(wrap(0x87, HOLES)), "certificate_malformed", id="a mask with holes"),
        pytest.param(permitting(b""), "certificate_malformed", id="no base"),
        pytest.param(permitting(wrap(0x82, b"*.best")), "certificate_malformed", id="a wildcard"),
    ],
)
def test_constraints_that_are_written_wrong_pass_nothing(value: bytes, expected: str) -> None:
    root = authority("Root", None, (x509.UnrecognizedExtension(x509.NameConstraints.oid, value), True))
    assert reason_direct(make("", root, alternative(dns("a.best"))), root) == expected


def test_a_name_that_the_library_cannot_read_passes_nothing() -> None:
    root = authority("Root", None, constraints([dns("corp.example")]))
    assert reason_direct(make("leaf", root, (X400_ADDRESS_AS_ALTERNATIVE_NAME, False)), root) == "certificate_malformed"


def test_more_comparisons_than_a_chain_is_worth_are_refused() -> None:
    root = authority("Root", None, constraints([dns(f"t{number}.x") for number in range(200)]))
    leaf = make("", root, alternative(*(dns(f"t{199 - number}.x") for number in range(60))))
    assert reason_direct(leaf, root) == "chain_too_complex"
    assert reason([leaf], root) == "chain_too_complex"
    assert reason_direct(make("", root, alternative(dns("t199.x"))), root) == PASSED

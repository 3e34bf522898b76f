"""Which paths lead from a certificate to a trusted CA: what they may be made of, and that looking for them ends."""

from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from certificates.judging import reason, reason_direct, refusal
from certificates.making import CA, DAY, NOT_CA, NOW, Made, alternative, authority, ders, make, name, pooled_key, usage
from support.pki import KeyKind, PrivateKey
from watchword_server.core.certificates.path import MAX_INTERMEDIATES, find_path
from watchword_server.core.model.names import Instant

CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
UNKNOWN = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.55555.3"), b"\x05\x00")
DISTRIBUTION_POINTS = x509.CRLDistributionPoints(
    [x509.DistributionPoint([x509.UniformResourceIdentifier("http://crl.example/ca")], None, None, None)]
)
ISSUERS_ADDRESS = x509.AuthorityInformationAccess(
    [x509.AccessDescription(ObjectIdentifier("1.3.6.1.5.5.7.48.2"), x509.UniformResourceIdentifier("http://ca.example"))]
)

CROSS_KEY: PrivateKey = pooled_key("p256", 1)
ROOT = authority("Root")
UPPER = authority("Upper", ROOT)
LOWER = authority("Lower", UPPER)
LEAF = make("leaf", LOWER)


# ---- Through intermediates ----------------------------------------------------------------------------------------------


def test_intermediates_may_come_from_the_device_or_the_bundle_in_any_order() -> None:
    assert reason([LEAF, LOWER, UPPER], ROOT) == "passed"
    assert reason([LEAF, UPPER, LOWER], ROOT) == "passed"
    assert reason([LEAF], ROOT, intermediates=[UPPER, LOWER]) == "passed"
    assert reason([LEAF, LOWER], ROOT, intermediates=[UPPER, LOWER]) == "passed"
    assert reason([LEAF, LEAF, ROOT, LOWER, LOWER, UPPER], ROOT) == "passed"
    assert reason([LEAF, LOWER], UPPER) == "passed"  # a trusted CA need not be a root


def test_a_path_says_who_it_leads_through_and_until_when() -> None:
    upper = authority("Upper", ROOT, not_before=-DAY / 2)
    lower = authority("Lower", upper, not_after=DAY / 2)
    leaf = make("leaf", lower)
    path = find_path(ders(leaf, upper, lower), ROOT.der, now=NOW)
    assert [certificate.der for certificate in path.certificates] == [*ders(leaf, lower, upper, ROOT)]
    assert (path.valid_from, path.valid_until) == (NOW - 43200, NOW + 43200)
    assert reason([leaf, upper, lower], ROOT, now=Instant(NOW + 43201)) == "issuer_not_valid_now"  # though it is remembered
    assert reason([leaf, upper, lower], ROOT, now=Instant(NOW + 43200)) == "passed"


def test_a_path_with_a_gap_is_incomplete_and_says_whose_certificate_is_missing() -> None:
    error = refusal([LEAF, LOWER], ROOT)
    assert error is not None
    assert (error.reason, error.expected, error.received) == ("chain_incomplete", "CN=Root", "no certificate of CN=Upper")
    assert reason([LEAF], ROOT) == "chain_incomplete"
    assert reason([make("self")], ROOT) == "chain_incomplete"
    assert reason([LEAF, LOWER, UPPER], authority("Another")) == "chain_incomplete"


def test_what_cannot_be_read_is_in_nobodys_way() -> None:
    broken = Made(b"\x30\x03\x02\x01\x00", LEAF.key, LEAF.subject)
    assert reason([LEAF, broken, LOWER, UPPER], ROOT) == "passed"
    error = refusal([LEAF, broken, UPPER], ROOT)
    assert error is not None
    assert [attempt.reason for attempt in error.attempts] == ["certificate_malformed"]


def test_a_path_is_as_long_as_it_may_be_and_no_longer() -> None:
    certificates = [ROOT]
    for number in range(8):
        certificates.insert(0, authority(f"CA {number}", certificates[0]))
    leaf = make("leaf", certificates[0])
    assert reason([leaf, *certificates], ROOT) == "chain_too_long"
    assert reason([leaf, *certificates], ROOT, max_length=10) == "passed"
    assert reason([leaf, *certificates], ROOT, max_length=9) == "chain_too_long"
    assert reason([leaf, *certificates], certificates[-3]) == "passed"
    assert reason([make("leaf", certificates[-7]), *certificates], ROOT) == "passed"
    assert reason([LEAF, LOWER, UPPER], ROOT, max_length=4) == "passed"
    assert reason([make("leaf", ROOT)], ROOT, max_length=2) == "passed"


# ---- Several paths ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "worse",
    [
        lambda: authority("Cross", ROOT, key=CROSS_KEY, not_after=-DAY / 2),
        lambda: authority("Cross", ROOT, (UNKNOWN, True), key=CROSS_KEY),
        lambda: make("Cross", ROOT, key=CROSS_KEY),
        lambda: authority("Cross", ROOT, (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False), key=CROSS_KEY),
        lambda: authority("Cross", ROOT, key=CROSS_KEY, signing_key=LEAF.key),
        lambda: authority("Cross", ROOT, (x509.NameConstraints([x509.DirectoryName(name("x"))], None), True), key=CROSS_KEY),
        lambda: authority("Cross", ROOT),
        lambda: authority("Cross", authority("Elsewhere"), key=CROSS_KEY),
    ],
)
def test_one_path_that_holds_is_enough_whichever_comes_first(worse: Callable[[], Made]) -> None:
    good, bad = authority("Cross", ROOT, key=CROSS_KEY), worse()
    leaf = make("leaf", good)
    for chain in ([leaf, good, bad], [leaf, bad, good]):
        assert reason(chain, ROOT, usages=[CLIENT]) == "passed"
    assert reason([leaf, bad], ROOT, usages=[CLIENT]) != "passed"


def test_of_several_paths_that_do_not_hold_the_one_that_came_furthest_gives_the_reason() -> None:
    expired = authority("Cross", ROOT, key=CROSS_KEY, not_after=-DAY / 2)
    no_ca = make("Cross", ROOT, key=CROSS_KEY)
    forged = authority("Cross", ROOT, key=CROSS_KEY, signing_key=LEAF.key)
    leaf = make("leaf", expired)
    error = refusal([leaf, forged, no_ca, expired], ROOT)
    assert error is not None
    assert error.reason == "issuer_not_valid_now"
    assert {attempt.reason for attempt in error.attempts} == {
        "issuer_not_valid_now",
        "issuer_not_a_ca",
        "certificate_signature_invalid",
    }
    assert ("CN=leaf", "CN=Cross", "CN=Root") in {attempt.subjects for attempt in error.attempts}


def test_key_identifiers_that_disagree_are_a_hint_and_no_condition() -> None:
    lower = authority("Lower", ROOT, (x509.SubjectKeyIdentifier(b"one"), False))
    leaf = make("leaf", lower, (x509.AuthorityKeyIdentifier(b"another", None, None), False))
    assert reason([leaf, lower], ROOT) == "passed"
    assert reason_direct(leaf, lower) == "passed"


# ---- Circles and crowds -------------------------------------------------------------------------------------------------


def test_cas_that_vouch_for_one_another_lead_nowhere() -> None:
    one, two = pooled_key("p256", 2), pooled_key("p256", 3)
    ring = [
        authority("One", key=one, signing_key=two, issuer_name=name("Two")),
        authority("Two", key=two, signing_key=one, issuer_name=name("One")),
        authority("One", key=one, signing_key=one),
    ]
    leaf = make("leaf", ring[0])
    assert reason([leaf, *ring], ROOT) == "chain_incomplete"
    entry = authority("Two", ROOT, key=two)
    assert reason([leaf, *ring, entry], ROOT) == "passed"
    claimed = authority("One", ROOT, key=one, signing_key=one)
    assert reason([leaf, *ring, claimed], ROOT) == "certificate_signature_invalid"


@pytest.mark.parametrize("kind", ["p256", "p521", "rsa2048"])
def test_what_was_made_up_ends_at_its_first_signature(kind: KeyKind) -> None:
    """As many as a device may send, all with the right names; the trusted CA signed none."""
    root = authority("Root", key=pooled_key(kind, 1))
    fake = authority("Root", key=pooled_key(kind, 2))
    crowd = [authority("Same", fake, key=pooled_key(kind, 3 + number)) for number in range(8)]
    assert reason([make("leaf", crowd[0]), *crowd], root) == "certificate_signature_invalid"


def test_more_work_than_a_chain_is_worth_is_refused() -> None:
    """A CA of ours may have signed all of this; it is not looked through to the end."""
    keys = [pooled_key("p521", number) for number in range(4)]
    root = authority("Root", key=keys[0])
    cas = [authority(f"CA {number}", root, key=keys[number]) for number in (1, 2, 3)]
    crossed = [authority(a.subject, b, key=a.key) for a in cas for b in cas if a is not b]
    leaf = make("leaf", cas[0], signing_key=pooled_key("p521", 9))
    assert reason([leaf, *cas, *crossed], root) == "chain_too_complex"
    assert reason([make("leaf", cas[0]), *cas, *crossed], root) == "passed"


def test_more_certificates_than_a_path_could_need_are_refused() -> None:
    crowd = [Made(bytes([0x30, 1, number]), LEAF.key, LEAF.subject) for number in range(MAX_INTERMEDIATES - 1)]
    assert reason([LEAF, *crowd, LOWER, UPPER], ROOT) == "chain_too_complex"
    assert reason([LEAF, *crowd[2:], LOWER, UPPER], ROOT) == "passed"


# ---- What each certificate has to be ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("anchor", "expected"),
    [
        pytest.param(lambda: authority("A", not_after=-DAY / 2), "issuer_not_valid_now", id="expired"),
        pytest.param(lambda: authority("A", not_before=DAY / 2), "issuer_not_valid_now", id="not valid yet"),
        pytest.param(lambda: make("A"), "issuer_not_a_ca", id="no basic constraints"),
        pytest.param(lambda: make("A", None, (NOT_CA, True)), "issuer_not_a_ca", id="no CA"),
        pytest.param(lambda: make("A", None, (CA, False), (usage(cert_sign=False), False)), "issuer_not_a_ca", id="other usage"),
        pytest.param(lambda: authority("A", None, (UNKNOWN, True)), "certificate_extension_not_understood", id="unknown"),
        pytest.param(lambda: authority("A", key="p224"), "certificate_key_weak", id="weak"),
        pytest.param(lambda: authority("", None), "issuer_not_a_ca", id="nameless"),
        pytest.param(lambda: make("A", None, (CA, False)), "passed", id="not critical, no key usage"),
        pytest.param(
            lambda: authority("A", None, (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)),
            "passed",
            id="other extended key usage",
        ),
    ],
)
def test_a_trusted_ca_is_judged_like_any(anchor: Callable[[], Made], expected: str) -> None:
    trusted = anchor()
    leaf, lower = make("leaf", trusted), authority("Lower", trusted)
    assert reason_direct(leaf, trusted) == expected
    assert reason([leaf], trusted, usages=[CLIENT]) == expected
    assert reason([make("leaf", lower), lower], trusted, usages=[CLIENT]) == expected


@pytest.mark.parametrize(
    ("leaf", "expected"),
    [
        pytest.param(lambda: make("l", LOWER, (CA, True)), "certificate_is_a_ca", id="a CA"),
        pytest.param(lambda: make("l", LOWER, (usage(cert_sign=True), False)), "certificate_is_a_ca", id="signs certificates"),
        pytest.param(
            lambda: make("l", LOWER, (x509.NameConstraints([x509.DNSName("x")], None), False)),
            "certificate_is_a_ca",
            id="constrains names",
        ),
        pytest.param(lambda: make("l", LOWER, key=LOWER.key), "certificate_is_the_issuer", id="the issuer's key"),
        pytest.param(lambda: make("l", LOWER, key=UPPER.key), "certificate_is_the_issuer", id="the key of a CA above"),
        pytest.param(lambda: make("l", LOWER, key=ROOT.key), "certificate_is_the_issuer", id="the trusted CA's key"),
        pytest.param(lambda: ROOT, "certificate_is_the_issuer", id="the trusted CA"),
        pytest.param(lambda: UPPER, "certificate_is_a_ca", id="a CA between"),
        pytest.param(lambda: make("l", LOWER, not_after=-DAY / 2), "certificate_expired", id="expired"),
        pytest.param(lambda: make("l", LOWER, not_before=DAY / 2), "certificate_not_yet_valid", id="not valid yet"),
        pytest.param(lambda: make("l", LOWER, (UNKNOWN, True)), "certificate_extension_not_understood", id="unknown"),
        pytest.param(
            lambda: make("l", LOWER, (DISTRIBUTION_POINTS, True)),
            "certificate_extension_not_understood",
            id="distribution points",
        ),
        pytest.param(lambda: make("l", LOWER, (ISSUERS_ADDRESS, True)), "certificate_extension_not_understood", id="AIA"),
        pytest.param(lambda: make("l", LOWER, (ISSUERS_ADDRESS, False), (DISTRIBUTION_POINTS, False)), "passed", id="addresses"),
        pytest.param(
            lambda: make(
                "l",
                LOWER,
                (x509.ExtendedKeyUsage([CLIENT]), True),
                (usage(cert_sign=False), True),
                (NOT_CA, True),
                (x509.SubjectKeyIdentifier(b"x"), True),
                (x509.AuthorityKeyIdentifier(b"x", None, None), True),
                (x509.CertificatePolicies([x509.PolicyInformation(ObjectIdentifier("1.2.3"), None)]), True),
                (x509.SubjectAlternativeName([x509.DNSName("x")]), True),
            ),
            "passed",
            id="all that is understood, critical",
        ),
        pytest.param(lambda: make("l", LOWER, key="p224"), "certificate_key_weak", id="P-224"),
        pytest.param(lambda: make("l", LOWER, key=pooled_key("rsa1024", 1)), "certificate_key_weak", id="RSA 1024"),
        pytest.param(lambda: make("l", LOWER, key="ed448"), "certificate_key_weak", id="Ed448"),
        pytest.param(lambda: make("l", LOWER, key="p521"), "passed", id="P-521"),
        pytest.param(lambda: make("l", LOWER, key="ed25519"), "passed", id="Ed25519"),
        pytest.param(lambda: make("l", LOWER, signing_key=LEAF.key), "certificate_signature_invalid", id="forged"),
        pytest.param(lambda: make("l", LOWER, digest=hashes.SHA224()), "certificate_algorithm_refused", id="SHA-224"),
        pytest.param(lambda: make("l", LOWER, digest=hashes.SHA3_256()), "certificate_algorithm_refused", id="SHA3-256"),
        pytest.param(lambda: make("Lower", LOWER, alternative(x509.DNSName("x"))), "passed", id="self-issued"),
    ],
)
def test_a_client_certificate_is_none_of_these(leaf: Callable[[], Made], expected: str) -> None:
    certificate = leaf()
    assert reason([certificate, LOWER, UPPER], ROOT) == expected
    if certificate.x509.issuer == LOWER.subject and expected != "certificate_is_the_issuer":
        assert reason_direct(certificate, LOWER) == expected


@pytest.mark.parametrize("kind", ["rsa2048", "rsa3072", "p256", "p384", "p521", "ed25519"])
@pytest.mark.parametrize("same_bytes", [True, False])
def test_every_kind_of_ca_key_is_verified_also_under_a_name_in_other_bytes(kind: KeyKind, *, same_bytes: bool) -> None:
    """The library compares names by bytes; where ours match and its do not, the signature is verified another way."""
    root = authority("Some  CA", key=pooled_key(kind, 1))
    issuer_name = root.subject if same_bytes else name("some ca")
    for pss in (False, True) if kind.startswith("rsa") else (False,):
        leaf = make("leaf", root, issuer_name=issuer_name, pss=pss, digest=hashes.SHA384())
        assert reason_direct(leaf, root) == "passed"
        assert reason([leaf], root) == "passed"
        forged = make("leaf", root, issuer_name=issuer_name, pss=pss, signing_key=pooled_key(kind, 2))
        assert reason_direct(forged, root) == "certificate_signature_invalid"
        another = make("leaf", root, issuer_name=issuer_name, signing_key=pooled_key("p256" if kind != "p256" else "ed25519", 2))
        assert reason_direct(another, root) == "certificate_signature_invalid"
        damaged = Made(leaf.der[:-1] + bytes([leaf.der[-1] ^ 1]), leaf.key, leaf.subject)
        assert reason_direct(damaged, root) == "certificate_signature_invalid"


@pytest.mark.parametrize("same_bytes", [True, False])
def test_the_signature_says_the_same_algorithm_within_and_without(*, same_bytes: bool) -> None:
    root = authority("Some CA", key=pooled_key("rsa2048", 1))
    leaf = make("leaf", root, issuer_name=root.subject if same_bytes else name("some ca"))
    sha256, sha384 = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d01010c")
    head, middle, tail = leaf.der.split(sha256)
    swapped = Made(head + sha256 + middle + sha384 + tail, leaf.key, leaf.subject)
    assert reason_direct(swapped, root) == "certificate_algorithm_refused"
    assert reason([swapped], root) == "certificate_algorithm_refused"


# ---- Path length --------------------------------------------------------------------------------------------------------


def test_a_ca_has_as_many_cas_below_it_as_it_may() -> None:
    top = authority("Top", ROOT, path_length=1)
    middle = authority("Middle", top, path_length=7)  # more than its own issuer allows is no fault by itself
    bottom = authority("Bottom", middle, path_length=0)
    below = authority("Below", bottom)
    assert reason([make("l", top), top], ROOT) == "passed"
    assert reason([make("l", middle), middle, top], ROOT) == "passed"
    assert reason([make("l", bottom), bottom, middle, top], ROOT) == "path_length_exceeded"
    assert reason([make("l", bottom), bottom], middle) == "passed"
    assert reason([make("l", below), below], bottom) == "path_length_exceeded"
    assert reason_direct(make("l", bottom), bottom) == "passed"


def test_a_ca_that_renews_its_own_key_is_not_counted() -> None:
    top = authority("Top", ROOT, path_length=0)
    renewed = authority("Top", top, path_length=0)
    assert reason([make("l", renewed), renewed, top], ROOT) == "passed"
    below = authority("Below", renewed)
    assert reason([make("l", below), below, renewed, top], ROOT) == "path_length_exceeded"
    assert reason([make("Top", renewed), renewed, top], ROOT) == "passed"


# ---- Extended key usage of CAs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        (None, "passed"),
        ([CLIENT], "passed"),
        ([ExtendedKeyUsageOID.SERVER_AUTH], "extended_key_usage_missing"),
        ([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE], "passed"),
        ([ExtendedKeyUsageOID.SERVER_AUTH, CLIENT], "passed"),
    ],
)
def test_a_ca_between_allows_what_the_check_wants(present: list[ObjectIdentifier] | None, expected: str) -> None:
    extensions = [] if present is None else [(x509.ExtendedKeyUsage(present), True)]
    lower = authority("Lower", ROOT, *extensions)
    leaf = make("leaf", lower, (x509.ExtendedKeyUsage([CLIENT]), False))
    assert reason([leaf, lower], ROOT, usages=[CLIENT]) == expected
    assert reason([leaf, lower], ROOT) == "passed"  # of a check that wants none
    wants_both = reason([leaf, lower], ROOT, usages=[CLIENT, ExtendedKeyUsageOID.EMAIL_PROTECTION])
    assert (wants_both == "passed") is (present in (None, [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]))


# ---- Names --------------------------------------------------------------------------------------------------------------


def test_certificates_chain_by_names_that_match_in_other_letters_and_string_types() -> None:
    first = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Corp  Example"), x509.NameAttribute(NameOID.COMMON_NAME, "CA")]
    )
    other = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, " CORP example", _type=x509.name._ASN1Type.BMPString),
            x509.NameAttribute(NameOID.COMMON_NAME, "ca", _type=x509.name._ASN1Type.PrintableString),
        ]
    )
    root = authority(first)
    lower = authority("Lower", root, issuer_name=other)
    assert reason([make("leaf", lower), lower], root) == "passed"
    assert reason_direct(make("leaf", root, issuer_name=other), root) == "passed"
    assert reason_direct(make("leaf", root, issuer_name=name("CA")), root) == "certificate_wrong_issuer"


def test_a_detour_is_no_longer_than_a_path_may_be_either() -> None:
    first, second, key = authority("First", ROOT), pooled_key("p256", 4), pooled_key("p256", 5)
    second_ca = authority("Second", first, key=second)
    long_way = authority("Last", second_ca, key=key)
    short_way = authority("Last", ROOT, key=key, not_after=-DAY / 2)
    leaf = make("leaf", long_way)
    chain = [leaf, long_way, short_way, first, second_ca]
    assert reason(chain, ROOT, max_length=5) == "passed"
    assert reason(chain, ROOT, max_length=4) == "issuer_not_valid_now"


def test_a_name_longer_than_any_real_one_is_not_read() -> None:
    endless = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "x" * 60) for _ in range(40)])
    leaf = make("leaf", LOWER, issuer_name=endless)
    assert reason([leaf, LOWER, UPPER], ROOT) == "certificate_malformed"
    assert reason_direct(leaf, LOWER) == "certificate_malformed"

"""A path that demands a certificate policy of itself (RFC 5280, 6.1), asked by somebody who wants none in particular."""

import pytest
from cryptography import x509
from cryptography.x509.oid import ObjectIdentifier

from certificates.judging import reason, reason_direct
from certificates.making import Extension, authority, make

PASSED, REQUIRED = "passed", "policy_required"
ONE, TWO, THREE, ANY = "1.2.3.1", "1.2.3.2", "1.2.3.3", "2.5.29.32.0"


def policies(*identifiers: str) -> Extension:
    return x509.CertificatePolicies([x509.PolicyInformation(ObjectIdentifier(one), None) for one in identifiers]), True


def demand(explicit: int | None = 0, mapping: int | None = None) -> Extension:
    return x509.PolicyConstraints(explicit, mapping), True


def inhibit(skip: int = 0) -> Extension:
    return x509.InhibitAnyPolicy(skip), True


def mapped(*pairs: tuple[str, str]) -> Extension:
    def wrap(tag: int, content: bytes) -> bytes:
        return bytes([tag, len(content)]) + content

    def identifier(dotted: str) -> bytes:
        first, second, *rest = map(int, dotted.split("."))
        return wrap(0x06, bytes([first * 40 + second, *rest]))

    value = wrap(0x30, b"".join(wrap(0x30, identifier(ours) + identifier(theirs)) for ours, theirs in pairs))
    return x509.UnrecognizedExtension(ObjectIdentifier("2.5.29.33"), value), True


# Extensions of root, upper and lower CA and of the certificate, and what becomes of it.
PATHS: dict[str, tuple[list[Extension], list[Extension], list[Extension], list[Extension], str]] = {
    "nothing is demanded": ([], [policies(ONE)], [policies(TWO)], [], PASSED),
    "demanded, the same throughout": ([], [policies(ONE), demand()], [policies(ONE)], [policies(ONE)], PASSED),
    "demanded, one of several": ([], [policies(ONE, TWO), demand()], [policies(TWO, THREE)], [policies(TWO)], PASSED),
    "demanded, none in the certificate": ([], [policies(ONE), demand()], [policies(ONE)], [], REQUIRED),
    "demanded, none in a CA": ([], [policies(ONE), demand()], [], [policies(ONE)], REQUIRED),
    "demanded, another one": ([], [policies(ONE), demand()], [policies(ONE)], [policies(TWO)], REQUIRED),
    "demanded, another one in a CA": ([], [policies(ONE), demand()], [policies(TWO)], [policies(TWO)], REQUIRED),
    "demanded by the trusted CA": ([demand()], [policies(ONE)], [policies(ONE)], [], REQUIRED),
    "demanded by the trusted CA and there": ([demand()], [policies(ONE)], [policies(ONE)], [policies(ONE)], PASSED),
    "demanded further down than the path reaches": ([], [demand(5)], [], [], PASSED),
    "demanded from the certificate on": ([], [demand(1)], [], [], REQUIRED),
    "demanded by the certificate itself": ([], [], [], [demand(0)], REQUIRED),
    "any policy stands for each": ([], [policies(ANY), demand()], [policies(ANY)], [policies(ONE)], PASSED),
    "any policy at the end": ([], [policies(ONE), demand()], [policies(ONE)], [policies(ANY)], PASSED),
    "any policy, inhibited": ([], [policies(ONE), demand(), inhibit()], [policies(ANY)], [policies(ONE)], REQUIRED),
    "any policy, inhibited later": ([], [policies(ONE), demand(), inhibit(1)], [policies(ANY)], [policies(ONE)], PASSED),
    "any policy, inhibited at the end": ([], [policies(ONE), demand(), inhibit(1)], [policies(ONE)], [policies(ANY)], REQUIRED),
    "mapped": ([], [policies(ONE), demand()], [policies(ONE), mapped((ONE, TWO))], [policies(TWO)], PASSED),
    "mapped, and named by its old name": (
        [],
        [policies(ONE), demand()],
        [policies(ONE), mapped((ONE, TWO))],
        [policies(ONE)],
        REQUIRED,
    ),
    "mapped to several": (
        [],
        [policies(ONE), demand()],
        [policies(ONE), mapped((ONE, TWO), (ONE, THREE))],
        [policies(THREE)],
        PASSED,
    ),
    "mapped twice": (
        [],
        [policies(ONE), demand(), mapped((ONE, TWO))],
        [policies(TWO), mapped((TWO, THREE))],
        [policies(THREE)],
        PASSED,
    ),
    "mapped, inhibited": (
        [],
        [policies(ONE), demand(0, 0)],
        [policies(ONE), mapped((ONE, TWO))],
        [policies(TWO)],
        REQUIRED,
    ),
    "mapped from what any policy allows": (
        [],
        [policies(ANY), demand()],
        [policies(ANY), mapped((ONE, TWO))],
        [policies(TWO)],
        PASSED,
    ),
    "any policy mapped": ([], [policies(ANY)], [policies(ANY), mapped((ANY, TWO))], [policies(TWO)], REQUIRED),
    "mapped to any policy": ([], [policies(ONE)], [policies(ONE), mapped((ONE, ANY))], [policies(TWO)], REQUIRED),
}


@pytest.mark.parametrize("case", PATHS.values(), ids=PATHS.keys())
def test_a_path_has_the_policy_it_demands(
    case: tuple[list[Extension], list[Extension], list[Extension], list[Extension], str],
) -> None:
    of_root, of_upper, of_lower, of_leaf, expected = case
    root = authority("Root", None, *of_root)
    upper = authority("Upper", root, *of_upper)
    lower = authority("Lower", upper, *of_lower)
    assert reason([make("leaf", lower, *of_leaf), lower, upper], root) == expected


def test_a_ca_that_renews_its_own_key_counts_neither_down_nor_against_any_policy() -> None:
    root = authority("Root", None, demand(), inhibit())
    lower = authority("Lower", root, policies(ONE), demand(1))
    renewed = authority("Lower", lower, policies(ANY))
    assert reason([make("leaf", renewed, policies(ONE)), renewed, lower], root) == PASSED
    quiet = authority("Quiet")
    lower = authority("Lower", quiet, demand(2))
    renewed = authority("Lower", lower)
    assert reason([make("leaf", renewed), renewed, lower], quiet) == PASSED


def test_the_certificate_directly_below_is_asked_too() -> None:
    root = authority("Root", None, demand())
    assert reason_direct(make("leaf", root), root) == REQUIRED
    assert reason_direct(make("leaf", root, policies(ONE)), root) == PASSED


def test_mappings_that_cannot_be_read_pass_nothing() -> None:
    root = authority("Root")
    for value in (b"\x30\x03\x30\x01\x06", b"\x30\x02\x30\x00", b"\x05", b""):
        lower = authority("Lower", root, (x509.UnrecognizedExtension(ObjectIdentifier("2.5.29.33"), value), False))
        assert reason([make("leaf", lower), lower], root) == "certificate_malformed"

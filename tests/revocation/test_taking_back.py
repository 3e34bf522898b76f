"""What takes a revocation back, and what vouches for a certificate: each condition by itself, over values instead of bytes."""

import functools
from collections.abc import Mapping
from typing import Any, Final

import pytest

from support.pki import Authority, Credential, root_authority
from support.revocation import parsed, path_of
from watchword_server.core.certificates.refusal import CertificateRefusedError
from watchword_server.core.certificates.revocation import (
    IssuerKey,
    IssuerRevocation,
    ListScope,
    ListSigner,
    OcspStatus,
    RevocationList,
    RevocationReason,
    RevocationView,
    Revoked,
    issuer_key_of,
)
from watchword_server.core.certificates.revocation_check import check_revocation
from watchword_server.core.certificates.serial_index import PackedSerialIndex, pack
from watchword_server.core.model.checks import RevocationPolicy
from watchword_server.core.model.names import Instant

NOW: Final = 2_000_000_000.0
MINUTE, HOUR = 60.0, 3600.0
HOLD, REMOVED, GONE = RevocationReason.CERTIFICATE_HOLD, RevocationReason.REMOVE_FROM_CRL, RevocationReason.UNSPECIFIED
PREFER, REQUIRE = RevocationPolicy.PREFER, RevocationPolicy.REQUIRE
PART: Final = ListScope(places=frozenset({"uri:http://ca.example/1.crl"}))
SIGNER_NUMBER: Final = 77


@functools.cache
def authorities() -> tuple[Credential, Authority, Authority]:
    root = root_authority()
    ca = root.issue_authority()
    return ca.issue(), ca, root


def key(authority: Authority) -> IssuerKey:
    return issuer_key_of(parsed(authority)[0])


def serial() -> int:
    return authorities()[0].certificate.serial_number


def a_list(
    entry: RevocationReason | None = None,
    *,
    number: int = 5,
    base: int | None = None,
    age: float = 2 * HOUR,
    left: float = 24 * HOUR,
    of: Authority | None = None,
    about: int | None = None,
    **more: Any,
) -> RevocationList:
    """A list of the issuing CA, or `of` another; `entry`: what it says about the leaf, or about the number `about`."""
    revoked = [] if entry is None else [(about or serial(), Revoked(Instant(NOW - HOUR), entry))]
    return RevocationList(
        issuer=key(of or authorities()[1]),
        sha256=bytes(32),
        number=number,
        base_number=base,
        this_update=Instant(NOW - age),
        next_update=Instant(NOW + left),
        entries=PackedSerialIndex(pack(revoked)),
        **more,
    )


def signed_by(issuer: Authority, *, begins: float = -HOUR, left: float = 24 * HOUR) -> ListSigner:
    return ListSigner(key(issuer), SIGNER_NUMBER, Instant(NOW + begins), Instant(NOW + left))


def judged(
    *lists: RevocationList,
    policy: RevocationPolicy = PREFER,
    responses: Mapping[int, OcspStatus] | None = None,
    above: IssuerRevocation | None = None,
) -> object:
    """Why the leaf is refused, or until when it is known to be good. `above`: what is known of the root's certificates."""
    leaf, ca, root = authorities()
    view = RevocationView(
        issuers={
            key(ca): IssuerRevocation(lists, responses or {}),
            key(root): IssuerRevocation((a_list(of=root, left=48 * HOUR),)) if above is None else above,
        }
    )
    try:
        return check_revocation(path_of(leaf, ca, root), policy, view, now=Instant(NOW))
    except CertificateRefusedError as refused:
        return refused.reason


def good(*, age: float = HOUR, left: float = 48 * HOUR, responder: int | None = None) -> OcspStatus:
    return OcspStatus(None, Instant(NOW - age), Instant(NOW + left), responder)


@pytest.mark.parametrize(
    ("newer", "takes_back"),
    [
        ({}, True),
        ({"is_stored": False}, False),
        ({"left": -MINUTE}, False),
        ({"age": -MINUTE}, False),
        ({"age": 2 * HOUR}, False),
        ({"scope": PART}, False),
        ({"number": 4}, False),
        ({"signer": (-2 * HOUR, -MINUTE)}, False),
        ({"signer": (MINUTE, HOUR)}, False),
        ({"base": 5}, False),
    ],
    ids=str,
)
def test_only_a_current_stored_and_newer_list_of_the_same_kind_and_scope_takes_back(
    newer: dict[str, Any], *, takes_back: bool
) -> None:
    if "signer" in newer:
        begins, left = newer["signer"]
        newer = {**newer, "signer": signed_by(authorities()[2], begins=begins, left=left)}
    said = judged(a_list(GONE), a_list(**{"number": 6, "age": HOUR, **newer}))
    assert said == (None if takes_back else "certificate_revoked")


@pytest.mark.parametrize(
    ("newer", "takes_back"),
    [
        ({"number": 7, "base": 4}, True),
        ({"number": 7, "base": 3}, True),
        ({"number": 7}, True),  # a complete list
        ({"number": 5, "base": 4}, False),
        ({"number": 5}, False),
        ({"number": 7, "base": 5}, False),
    ],
    ids=str,
)
def test_a_delta_list_is_taken_back_by_one_that_tells_at_least_as_much(newer: dict[str, Any], *, takes_back: bool) -> None:
    said = judged(a_list(GONE, number=6, base=4), a_list(age=HOUR, **newer))
    assert said == (None if takes_back else "certificate_revoked")


@pytest.mark.parametrize(
    ("delta", "lifts"),
    [
        ({}, True),
        ({"is_stored": False}, False),
        ({"left": -MINUTE}, False),
        ({"entry": None}, False),
        ({"number": 4, "base": 3}, False),
        ({"base": 6}, False),
        ({"scope": PART}, False),
        ({"age": 3 * HOUR}, False),
    ],
    ids=str,
)
def test_a_hold_is_lifted_by_a_stored_and_current_delta_list_that_fits(delta: dict[str, Any], *, lifts: bool) -> None:
    made = {"entry": REMOVED, "number": 6, "base": 5, "age": HOUR, **delta}
    assert judged(a_list(HOLD), a_list(**made)) == (None if lifts else "certificate_revoked")


def test_a_hold_stays_when_a_delta_list_no_longer_repeats_it() -> None:
    told, silent = a_list(HOLD, number=6, base=5, age=HOUR), a_list(number=7, base=5, age=MINUTE)
    assert judged(a_list(HOLD), told, silent) == "certificate_revoked"


def test_a_delta_list_adds_to_complete_lists_only() -> None:
    assert judged(a_list(HOLD, number=6, base=5), a_list(REMOVED, number=7, base=6, age=HOUR)) == "certificate_revoked"


def test_what_is_not_stored_revokes_and_vouches_for_nothing() -> None:
    assert judged(a_list(GONE, is_stored=False)) == "certificate_revoked"
    assert judged(a_list(is_stored=False), policy=REQUIRE) == "revocation_unknown"
    assert judged(a_list(), policy=REQUIRE) == NOW + 24 * HOUR
    delta = a_list(number=6, base=5, age=HOUR, left=HOUR, is_stored=False)
    assert judged(a_list(), delta, policy=REQUIRE) == NOW + 24 * HOUR


def test_of_several_delta_lists_the_newest_says_until_when() -> None:
    deltas = a_list(number=6, base=5, age=HOUR, left=MINUTE), a_list(number=7, base=5, age=MINUTE, left=HOUR)
    assert judged(a_list(), *deltas, policy=REQUIRE) == NOW + HOUR


def test_a_list_for_end_entities_says_nothing_of_a_ca() -> None:
    root = authorities()[2]
    above = IssuerRevocation((a_list(of=root, scope=ListScope(authorities=False)),))
    assert judged(a_list(), policy=REQUIRE, above=above) == "revocation_unknown"


@pytest.mark.parametrize(
    ("response", "is_known"),
    [({}, True), ({"left": -MINUTE}, False), ({"age": -MINUTE}, False), ({"responder": 8}, True), ({"responder": 9}, False)],
    ids=str,
)
def test_a_fetched_response_counts_while_it_holds_and_its_responder_is_good(response: dict[str, Any], *, is_known: bool) -> None:
    stale = a_list(GONE, about=9, left=-MINUTE)
    said = judged(stale, policy=REQUIRE, responses={serial(): good(**response)})
    assert said == (NOW + 48 * HOUR if is_known else "revocation_unknown")


@pytest.mark.parametrize(
    ("known", "is_known"),
    [
        ({}, True),
        (None, False),
        ({"is_stored": False}, False),
        ({"base": 4}, False),
        ({"left": -MINUTE}, False),
        ({"age": -MINUTE}, False),
        ({"scope": PART}, False),
        ({"scope": ListScope(end_entities=False)}, False),
        ({"scope": ListScope(authorities=False)}, False),
        ({"signer": ...}, False),
        ({"entry": GONE, "about": SIGNER_NUMBER}, False),
    ],
    ids=str,
)
def test_a_separate_signer_is_good_by_a_list_that_its_issuer_signed_itself(
    known: dict[str, Any] | None, *, is_known: bool
) -> None:
    _, ca, root = authorities()
    if known is not None and "signer" in known:
        known = {**known, "signer": signed_by(root)}
    lists = () if known is None else (a_list(of=root, **known),)
    above = IssuerRevocation(lists, {ca.credential.certificate.serial_number: good()})
    said = judged(a_list(signer=signed_by(root, left=HOUR)), policy=REQUIRE, above=above)
    assert said == (NOW + HOUR if is_known else "revocation_unknown")


@pytest.mark.parametrize("dates", [{"begins": MINUTE}, {"left": -MINUTE}], ids=str)
def test_a_separate_signer_is_good_in_its_time_only(dates: dict[str, float]) -> None:
    assert judged(a_list(signer=signed_by(authorities()[2], **dates)), policy=REQUIRE) == "revocation_unknown"


def test_of_a_signer_that_the_ca_issued_itself_only_a_revocation_is_known() -> None:
    signer = signed_by(authorities()[1], left=HOUR)
    assert judged(a_list(signer=signer), policy=REQUIRE) == NOW + HOUR
    assert judged(a_list(GONE, about=SIGNER_NUMBER, signer=signer), policy=REQUIRE) == "revocation_unknown"

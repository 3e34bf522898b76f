"""What lists and responses mean for a path."""

import time
from dataclasses import dataclass, field

import pytest
from cryptography import x509
from cryptography.x509 import ocsp

from support.pki import DAY, HOUR, Authority, Credential, generate_key, root_authority
from support.revocation import ocsp_response, parsed, path_of, responder_of, revocation_list
from watchword_server.core.certificates.crl import view_of
from watchword_server.core.certificates.ocsp import read_ocsp_response
from watchword_server.core.certificates.refusal import CertificateRefusedError
from watchword_server.core.certificates.revocation import IssuerRevocation, RevocationView, issuer_key_of
from watchword_server.core.certificates.revocation_check import check_revocation
from watchword_server.core.model.checks import RevocationPolicy
from watchword_server.core.model.names import Instant

HOLD, REMOVED = x509.ReasonFlags.certificate_hold, x509.ReasonFlags.remove_from_crl
OFF, PREFER, REQUIRE = RevocationPolicy.OFF, RevocationPolicy.PREFER, RevocationPolicy.REQUIRE
_ROOT = root_authority()
_CA = _ROOT.issue_authority()


@dataclass
class House:
    """A leaf under an issuing CA under a root, whose own list is in order."""

    root: Authority = _ROOT
    ca: Authority = _CA
    leaf: Credential = field(default_factory=_CA.issue)
    more: tuple[Credential, ...] = ()

    @property
    def serial(self) -> int:
        return self.leaf.certificate.serial_number

    def outcome(
        self, *lists: bytes, policy: RevocationPolicy = REQUIRE, stapled: tuple[bytes, ...] = (), upper: bytes | None = None
    ) -> str:
        return self.judged(*lists, policy=policy, stapled=stapled, upper=upper)[0]

    def judged(
        self, *lists: bytes, policy: RevocationPolicy = REQUIRE, stapled: tuple[bytes, ...] = (), upper: bytes | None = None
    ) -> tuple[str, object]:
        view = view_of([*lists, revocation_list(self.root) if upper is None else upper], parsed(self.ca, self.root, *self.more))
        return self.under(view, policy=policy, stapled=stapled)

    def under(
        self, view: RevocationView, *, policy: RevocationPolicy = REQUIRE, stapled: tuple[bytes, ...] = ()
    ) -> tuple[str, object]:
        path = path_of(self.leaf, self.ca, self.root)
        try:
            return "passed", check_revocation(path, policy, view, stapled=stapled, now=Instant(time.time()))
        except CertificateRefusedError as refused:
            return refused.reason, refused.received


@pytest.fixture
def house() -> House:
    return House()


def test_a_current_list_without_the_certificate_is_enough_until_it_ends(house: House) -> None:
    said, until = house.judged(revocation_list(house.ca, next_update=2 * HOUR))
    assert said == "passed"
    assert until == pytest.approx(time.time() + 7200, abs=10)
    assert house.judged(revocation_list(house.ca), policy=PREFER) == ("passed", None)


@pytest.mark.parametrize("policy", [PREFER, REQUIRE])
@pytest.mark.parametrize("age", [-HOUR, -3 * DAY])
def test_who_is_on_a_list_is_revoked_even_when_the_list_is_stale(house: House, policy: RevocationPolicy, age: object) -> None:
    der = revocation_list(house.ca, [house.serial], this_update=-4 * DAY, next_update=-DAY if age != -HOUR else DAY)
    said, received = house.judged(der, policy=policy)
    assert said == "certificate_revoked"
    assert isinstance(received, dict)
    assert received["serial_number"] == f"{house.serial:X}"
    assert house.outcome(der, policy=OFF) == "passed"


def test_a_revoked_issuer_comes_first(house: House) -> None:
    upper = revocation_list(house.root, [house.ca.credential.certificate.serial_number])
    assert house.outcome(revocation_list(house.ca, [house.serial]), upper=upper) == "issuer_revoked"


@pytest.mark.parametrize(
    ("dates", "why"),
    [
        (None, "no revocation list"),
        ({"this_update": -2 * DAY, "next_update": -DAY}, "which holds from"),
        ({"this_update": HOUR, "next_update": DAY}, "which holds from"),
    ],
)
def test_not_to_know_fails_where_knowing_is_required(house: House, dates: dict[str, object] | None, why: str) -> None:
    lists = () if dates is None else (revocation_list(house.ca, **dates),)  # type: ignore[arg-type]
    said, received = house.judged(*lists)
    assert said == "revocation_unknown"
    assert why in str(received)
    assert house.outcome(*lists, policy=PREFER) == "passed"


def test_every_link_needs_to_be_known(house: House) -> None:
    stale = revocation_list(house.root, this_update=-2 * DAY, next_update=-DAY)
    assert house.outcome(revocation_list(house.ca), upper=stale) == "revocation_unknown"


def test_a_newer_complete_list_takes_back_what_an_older_one_says_and_never_the_other_way_round(house: House) -> None:
    held, clear = [house.serial], list[int]()
    old, new = -2 * HOUR, -HOUR
    assert house.outcome(
        revocation_list(house.ca, held, this_update=old), revocation_list(house.ca, clear, number=2, this_update=new)
    ) == ("passed")
    assert house.outcome(
        revocation_list(house.ca, clear, this_update=old), revocation_list(house.ca, held, number=2, this_update=new)
    ) == ("certificate_revoked")


def test_a_delta_list_revokes(house: House) -> None:
    delta = revocation_list(house.ca, [house.serial], number=2, base=1)
    assert house.outcome(revocation_list(house.ca), delta) == "certificate_revoked"


@pytest.mark.parametrize(
    ("reason", "delta", "said"),
    [
        (HOLD, {}, "passed"),
        (None, {}, "certificate_revoked"),  # only a hold can be lifted
        (HOLD, {"base": 2}, "certificate_revoked"),  # adds to a later list
        (HOLD, {"this_update": -2 * DAY, "next_update": -DAY}, "certificate_revoked"),
    ],
)
def test_a_current_delta_list_that_fits_lifts_a_hold(
    house: House, reason: x509.ReasonFlags | None, delta: dict[str, object], said: str
) -> None:
    base = revocation_list(house.ca, {house.serial: reason}, this_update=-2 * HOUR)
    lifting = revocation_list(house.ca, {house.serial: REMOVED}, **{"number": 3, "base": 1, **delta})  # type: ignore[arg-type]
    assert house.outcome(base, lifting) == said


def test_remove_from_crl_in_a_complete_list_lifts_nothing(house: House) -> None:
    assert house.outcome(revocation_list(house.ca, {house.serial: REMOVED})) == "certificate_revoked"


def test_knowledge_lasts_no_longer_than_the_delta_list(house: House) -> None:
    base = revocation_list(house.ca, this_update=-2 * HOUR)
    _, until = house.judged(base, revocation_list(house.ca, number=2, base=1, next_update=HOUR))
    assert until == pytest.approx(time.time() + 3600, abs=10)
    stale = revocation_list(house.ca, number=2, base=1, this_update=-1.5 * HOUR, next_update=-HOUR)
    assert house.outcome(base, stale) == "revocation_unknown"


@pytest.mark.parametrize(("only", "said"), [("user", "passed"), ("ca", "revocation_unknown"), ("place", "revocation_unknown")])
def test_a_list_speaks_for_the_certificates_in_its_scope(house: House, only: str, said: str) -> None:
    place = [x509.UniformResourceIdentifier("http://ca.example/1.crl")]
    point = x509.IssuingDistributionPoint(
        place if only == "place" else None, None, only == "user", only == "ca", None, False, False
    )
    assert house.outcome(revocation_list(house.ca, extensions=[(point, True)])) == said
    assert house.outcome(revocation_list(house.ca, [house.serial], extensions=[(point, True)])) == "certificate_revoked"


def test_a_list_of_a_distribution_point_speaks_for_who_names_the_point() -> None:
    uri = [x509.UniformResourceIdentifier("http://ca.example/1.crl")]
    points = x509.CRLDistributionPoints([x509.DistributionPoint(uri, None, None, None)])
    house = House(leaf=responder_of(_CA, key=generate_key(), extensions=[(points, False)]))
    point = x509.IssuingDistributionPoint(uri, None, False, False, None, False, False)
    assert house.outcome(revocation_list(house.ca, extensions=[(point, True)])) == "passed"


def test_a_separate_signer_has_to_be_good_itself() -> None:
    signer = responder_of(_ROOT, name="Issuing CA", usage=None, crl_sign=True, key=generate_key())
    house = House(more=(signer,))
    der = revocation_list(signer)
    assert house.outcome(der) == "passed"
    assert house.outcome(der, upper=revocation_list(house.root, [signer.certificate.serial_number])) == "revocation_unknown"


def test_a_stapled_response_says_what_no_list_does(house: House) -> None:
    good = ocsp_response(house.leaf, house.ca)
    assert house.outcome(stapled=(b"garbage", good)) == "passed"
    assert house.outcome(stapled=(b"",) * 4 + (good,)) == "revocation_unknown"  # no more than four are looked at
    bad = ocsp_response(house.leaf, house.ca, ocsp.OCSPCertStatus.REVOKED)
    assert house.outcome(stapled=(bad,), policy=PREFER) == "certificate_revoked"
    assert house.outcome(revocation_list(house.ca, [house.serial]), stapled=(good,)) == "certificate_revoked"
    said, received = house.judged(stapled=(ocsp_response(house.leaf, house.ca, damaged_signature=True),))
    assert said == "revocation_unknown"
    assert "signature" in str(received)


def test_a_response_of_a_revoked_responder_is_worth_nothing(house: House) -> None:
    responder = responder_of(house.ca, key=generate_key())
    stale = revocation_list(house.ca, [responder.certificate.serial_number], this_update=-2 * DAY, next_update=-DAY)
    assert house.outcome(stale, stapled=(ocsp_response(house.leaf, house.ca, responder=responder),)) == "revocation_unknown"


@pytest.mark.parametrize(
    ("status", "said"), [(ocsp.OCSPCertStatus.GOOD, "passed"), (ocsp.OCSPCertStatus.REVOKED, "certificate_revoked")]
)
def test_a_fetched_response_counts(house: House, status: ocsp.OCSPCertStatus, said: str) -> None:
    leaf, ca, root = parsed(house.leaf, house.ca, house.root)
    der = ocsp_response(house.leaf, house.ca, status)
    read = read_ocsp_response(der, certificate=leaf, issuer=ca, now=Instant(time.time()))
    known = view_of([revocation_list(house.root)], [root]).issuers
    view = RevocationView(issuers={**known, issuer_key_of(ca): IssuerRevocation(responses={house.serial: read})})
    assert house.under(view)[0] == said


def test_an_older_list_vouches_for_nothing_once_a_newer_one_is_there(house: House) -> None:
    """Even if that has ended: what the older one does not know of may be on it."""
    older = revocation_list(house.ca, number=6, this_update=-2 * HOUR, next_update=DAY)
    ended = revocation_list(house.ca, number=7, this_update=-HOUR, next_update=-HOUR / 2)
    assert house.outcome(older) == "passed"
    for order in ((older, ended), (ended, older)):
        assert house.outcome(*order) == "revocation_unknown"
        assert house.outcome(*order, policy=PREFER) == "passed"
    ahead = revocation_list(house.ca, number=8, this_update=HOUR, next_update=DAY)  # of a clock that is wrong
    assert house.outcome(older, ahead) == "passed"

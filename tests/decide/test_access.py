"""Access: each selector in three-valued logic, policies in their order, evidence, reports."""

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_network

import pytest

from support.deciding import (
    NOBODY,
    a_device,
    a_group,
    a_policy,
    a_request,
    a_result,
    a_snapshot,
    an_application,
    decided,
)
from watchword_server.core.model.decisions import AccessRequest, Resolution, ResolutionStrength, ResolvedDevice, Value
from watchword_server.core.model.names import CheckId
from watchword_server.core.model.results import EvidenceLevel
from watchword_server.core.rules import (
    AnyClientCertificate,
    AnyServiceToken,
    CommonNameIs,
    EmailDomainIs,
    EmailInList,
    EmailIs,
    Everyone,
    EvidenceDemand,
    FactHas,
    FactIs,
    GatewayList,
    InGroup,
    IpIn,
    IpInList,
    Policy,
    PostureCheckPassed,
    Selector,
    ServiceTokenIs,
)

LAPTOP = PostureCheckPassed(CheckId("laptop"))
PASSING = a_device(a_result("laptop"))
FAILING = a_device(a_result("laptop", passed=False))
LISTS = [
    GatewayList("0f-list", "staff", "EMAIL", ("ada@corp.example", "bob@corp.example")),
    GatewayList("1f-list", "office", "IP", ("192.0.2.0/25", "192.0.2.128/25", "2001:db8::/32")),
]
GROUPS: Mapping[str, Value] = {"identity.groups": ({b"id": b"g1", b"name": b"Finance", b"email": b"finance@corp.example"},)}
OKTA: Mapping[str, Value] = {**GROUPS, "identity.login_method": b"okta"}


def truth_of(selector: Selector, request: AccessRequest, device: ResolvedDevice = NOBODY) -> bool | None:
    """As two policies show it: one that allows if it is true, one that denies unless it is false."""
    allowing = a_snapshot(an_application(a_policy("allow", include=[selector])), lists=LISTS)
    denying_first = a_snapshot(
        an_application(a_policy("deny", include=[selector]), a_policy("allow", policy_id="rest")), lists=LISTS
    )
    if decided(request, allowing, device).allowed:
        return True
    return False if decided(request, denying_first, device).allowed else None


BY_TOKEN = EvidenceDemand(binding=ResolutionStrength.TOKEN)
HARDWARE = EvidenceDemand(EvidenceLevel.PROVEN, hardware_key=True)


@pytest.mark.parametrize(
    ("selector", "request_", "expected"),
    [
        (Everyone(), a_request(), True),
        (EmailIs("ada@corp.example"), a_request(email="ada@corp.example"), True),
        (EmailIs("ada@corp.example"), a_request(email="eve@corp.example"), False),
        (EmailIs("ada@corp.example"), a_request(), None),
        (EmailDomainIs("corp.example"), a_request(email="ada@corp.example"), True),
        (EmailDomainIs("corp.example"), a_request(email="ada@evil-corp.example"), False),
        (EmailDomainIs("corp.example"), a_request(), None),
        (EmailInList("0f-list"), a_request(email="bob@corp.example"), True),
        (EmailInList("0f-list"), a_request(email="eve@corp.example"), False),
        (EmailInList("0f-list"), a_request(), None),
        (IpIn(ip_network("192.0.2.0/24")), a_request(source_ip="192.0.2.9"), True),
        (IpIn(ip_network("192.0.2.0/24")), a_request(source_ip="2001:db8::1"), False),
        (IpIn(ip_network("192.0.2.0/24")), a_request(), None),
        (IpInList("1f-list"), a_request(source_ip="192.0.2.200"), True),
        (IpInList("1f-list"), a_request(source_ip="192.0.3.0"), False),
        (IpInList("1f-list"), a_request(), None),
        (ServiceTokenIs("ci"), a_request(service_token_id="ci"), True),
        (ServiceTokenIs("ci"), a_request(service_token_id="other"), False),
        (ServiceTokenIs("ci"), a_request(), False),
        (AnyServiceToken(), a_request(service_token_id="other"), True),
        (AnyServiceToken(), a_request(service_token_refused=True), False),
        (FactIs("geo", "http.src_ip.geo.country", frozenset({b"PT"})), a_request(facts={"http.src_ip.geo.country": b"PT"}), True),
        (
            FactIs("geo", "http.src_ip.geo.country", frozenset({b"PT"})),
            a_request(facts={"http.src_ip.geo.country": b"ES"}),
            False,
        ),
        (FactIs("geo", "http.src_ip.geo.country", frozenset({b"PT"})), a_request(), None),
        (FactHas("okta", "identity.groups.name", b"Finance"), a_request(facts=GROUPS), True),
        (FactHas("okta", "identity.groups.name", b"Legal"), a_request(facts=GROUPS), False),
        (FactHas("okta", "identity.groups.name", b"Finance"), a_request(), None),
        (FactHas("okta", "identity.groups.name", b"Finance", provider_id="okta"), a_request(facts=OKTA), True),
        (FactHas("okta", "identity.groups.name", b"Finance", provider_id="entra"), a_request(facts=OKTA), False),
        (FactHas("okta", "identity.groups.name", b"Finance", provider_id="okta"), a_request(facts=GROUPS), None),
        (
            FactHas("saml", "identity.saml_attributes", b"fin", attribute=b"dep"),
            a_request(facts={"identity.saml_attributes": {b"dep": (b"fin",)}}),
            True,
        ),
        (
            FactHas("saml", "identity.saml_attributes", b"fin", attribute=b"other"),
            a_request(facts={"identity.saml_attributes": {b"dep": (b"fin",)}}),
            False,
        ),
        (FactHas("cloudflare_account_member", "identity.accounts", None), a_request(facts={"identity.accounts": (b"a",)}), True),
        (FactHas("cloudflare_account_member", "identity.accounts", None), a_request(facts={"identity.accounts": ()}), False),
        (AnyClientCertificate(), a_request(), False),
        (CommonNameIs("laptop.corp.example"), a_request(), False),
        (LAPTOP, a_request(), None),
    ],
    ids=str,
)
def test_a_selector_is_true_false_or_unknown(selector: Selector, request_: AccessRequest, expected: bool | None) -> None:
    assert truth_of(selector, request_) is expected


@pytest.mark.parametrize(
    ("selector", "device", "expected"),
    [
        (LAPTOP, PASSING, True),
        (LAPTOP, FAILING, False),
        (LAPTOP, a_device(), None),
        (LAPTOP, a_device(a_result("laptop", expires_in=0)), None),
        (LAPTOP, a_device(a_result("laptop", revision=7)), None),
        (LAPTOP, a_device(a_result("laptop"), state="revoked"), None),
        (LAPTOP, a_device(a_result("laptop"), proven=False), None),
        (LAPTOP, a_device(a_result("laptop", passed=False), proven=False), False),
        (AnyClientCertificate(), PASSING, True),
        (CommonNameIs("laptop.corp.example"), a_device(common_name="LAPTOP.corp.example"), True),
        (CommonNameIs("laptop.corp.example"), a_device(common_name="other"), False),
        (CommonNameIs("laptop.corp.example"), a_device(common_name=None), False),
    ],
    ids=str,
)
def test_a_selector_on_the_device(selector: Selector, device: ResolvedDevice, expected: bool | None) -> None:
    assert truth_of(selector, a_request(), device) is expected


@pytest.mark.parametrize(
    ("demand", "device", "reason"),
    [
        (EvidenceDemand(EvidenceLevel.PROVEN), a_device(a_result("laptop", level="proven")), "policy_allow"),
        (EvidenceDemand(EvidenceLevel.SIGNED), a_device(a_result("laptop", level="proven")), "policy_allow"),
        (EvidenceDemand(EvidenceLevel.PROVEN), a_device(a_result("laptop", level="signed")), "evidence_too_weak"),
        (EvidenceDemand(max_age_seconds=60), a_device(a_result("laptop", age=60)), "policy_allow"),
        (EvidenceDemand(max_age_seconds=60), a_device(a_result("laptop", age=61)), "evidence_too_old"),
        (EvidenceDemand(EvidenceLevel.PROVEN, 60), a_device(a_result("laptop", passed=False)), "check_failed"),
        (HARDWARE, a_device(a_result("laptop", level="proven"), protection="tpm"), "policy_allow"),
        (HARDWARE, a_device(a_result("laptop", level="proven"), protection="cng_tpm"), "policy_allow"),
        (HARDWARE, a_device(a_result("laptop", level="signed"), protection="tpm"), "evidence_too_weak"),
        (HARDWARE, a_device(a_result("laptop", level="proven"), protection="file"), "device_key_not_in_hardware"),
        (HARDWARE, a_device(a_result("laptop", level="proven"), protection="cng_software"), "device_key_not_in_hardware"),
        (HARDWARE, a_device(a_result("laptop", level="proven")), "device_key_not_in_hardware"),
        (BY_TOKEN, a_device(a_result("laptop")), "policy_allow"),
        (BY_TOKEN, replace(PASSING, strength=ResolutionStrength.TOKEN), "policy_allow"),
        (BY_TOKEN, replace(PASSING, strength=ResolutionStrength.ADDRESS), "device_binding_too_weak"),
        (BY_TOKEN, replace(PASSING, strength=ResolutionStrength.BEARER), "device_binding_too_weak"),
        (BY_TOKEN, replace(FAILING, strength=ResolutionStrength.STATED), "check_failed"),
    ],
)
@pytest.mark.parametrize("where", ["policy", "selector", "through a group"])
def test_evidence_can_be_demanded(demand: EvidenceDemand, device: ResolvedDevice, reason: str, where: str) -> None:
    on_the_selector = PostureCheckPassed(CheckId("laptop"), demand)
    policy = {
        "policy": a_policy(require=[LAPTOP], demand=demand),
        "selector": a_policy(require=[on_the_selector]),
        "through a group": a_policy(include=[InGroup("managed")], demand=demand),
    }[where]
    snapshot = a_snapshot(an_application(policy), groups=[a_group("managed", LAPTOP)])
    assert decided(a_request(), snapshot, device).reason == reason


def test_the_stricter_of_two_demands_counts() -> None:
    selector = PostureCheckPassed(CheckId("laptop"), EvidenceDemand(EvidenceLevel.PROVEN, 100))
    policy = a_policy(require=[selector], demand=EvidenceDemand(EvidenceLevel.SIGNED, 50))
    snapshot = a_snapshot(an_application(policy))
    assert decided(a_request(), snapshot, a_device(a_result("laptop", age=50))).allowed
    assert decided(a_request(), snapshot, a_device(a_result("laptop", age=51))).reason == "evidence_too_old"
    assert decided(a_request(), snapshot, a_device(a_result("laptop", age=1, level="signed"))).reason == "evidence_too_weak"


@pytest.mark.parametrize(
    ("weaker", "stronger", "device", "reason"),
    [
        (EvidenceDemand(EvidenceLevel.PROVEN), HARDWARE, PASSING, "device_key_not_in_hardware"),
        (EvidenceDemand(max_age_seconds=60), EvidenceDemand(max_age_seconds=60, binding=ResolutionStrength.TOKEN),
         replace(PASSING, strength=ResolutionStrength.STATED), "device_binding_too_weak"),
    ],
)  # fmt: skip
def test_a_demand_is_not_met_by_what_an_earlier_policy_found_with_a_weaker_one(
    weaker: EvidenceDemand, stronger: EvidenceDemand, device: ResolvedDevice, reason: str
) -> None:
    first = a_policy(include=[EmailIs("nobody@corp.example")], require=[LAPTOP], demand=weaker, policy_id="first")
    asks = a_policy(
        "deny", include=[PostureCheckPassed(CheckId("laptop"), weaker)], exclude=[LAPTOP], policy_id="asks", demand=weaker
    )
    second = a_policy(require=[LAPTOP], demand=stronger, policy_id="second")
    assert decided(a_request(), a_snapshot(an_application(first, asks, second)), device).reason == reason


def test_the_same_check_may_be_used_with_two_demands() -> None:
    fresh = a_policy(require=[LAPTOP], demand=EvidenceDemand(max_age_seconds=10), policy_id="fresh")
    decision = decided(a_request(), a_snapshot(an_application(fresh, a_policy(require=[LAPTOP]))), PASSING)
    assert decision.allowed
    assert [check.standing.value for check in decision.checks] == ["evidence_too_old", "passed"]


# ---- Order ----------------------------------------------------------------------------------------------------------------


def test_bypass_and_service_auth_come_first_then_allow_and_deny_in_order() -> None:
    order = ["allow", "deny", "non_identity", "bypass", "allow"]
    policies = [a_policy(decision, policy_id=letter) for letter, decision in zip("ABCDE", order, strict=True)]
    remaining = list(policies)
    won = []
    while remaining:
        decision = decided(a_request(), a_snapshot(an_application(*(policy.id for policy in remaining)), policies=policies))
        won.append(decision.rules[-1].id)
        remaining = [policy for policy in remaining if policy.id != won[-1]]
    assert won == list("CDABE")


def test_a_reusable_policy_and_one_of_the_application_s_own_stand_in_one_order() -> None:
    own = a_policy("deny", policy_id="app/1")
    reusable = a_policy("allow", policy_id="reusable")
    assert decided(a_request(), a_snapshot(an_application("reusable", own), policies=[reusable])).reason == "policy_allow"
    assert decided(a_request(), a_snapshot(an_application(own, "reusable"), policies=[reusable])).reason == "policy_deny"


def test_a_group_is_one_selector() -> None:
    offices = a_group("offices", IpIn(ip_network("192.0.2.0/24")), IpIn(ip_network("198.51.100.0/24")))
    unmanaged = a_group("unmanaged", Everyone(), exclude=[LAPTOP])
    policy = a_policy(require=[InGroup("offices")], exclude=[InGroup("unmanaged")])
    snapshot = a_snapshot(an_application(policy), groups=[offices, unmanaged])
    assert decided(a_request(source_ip="198.51.100.1"), snapshot, PASSING).allowed
    assert not decided(a_request(source_ip="203.0.113.1"), snapshot, PASSING).allowed
    assert not decided(a_request(source_ip="198.51.100.1"), snapshot, FAILING).allowed
    assert not decided(a_request(source_ip="198.51.100.1"), snapshot).allowed, "absence does not help through exclude"


def test_an_unknown_exclude_grants_nothing() -> None:
    snapshot = a_snapshot(an_application(a_policy(exclude=[LAPTOP])))
    assert decided(a_request(), snapshot, FAILING).allowed
    assert not decided(a_request(), snapshot, PASSING).allowed
    assert not decided(a_request(), snapshot).allowed


# ---- Reports and reasons ----------------------------------------------------------------------------------------------------


def test_a_policy_that_only_reports_is_named_and_changes_nothing() -> None:
    reporting = a_policy("deny", policy_id="soon", report_only=True)
    decision = decided(a_request(), a_snapshot(an_application(reporting, a_policy("allow"))))
    assert decision.allowed
    assert [(match.id, match.effect) for match in decision.reported] == [("soon", "deny")]


def test_a_report_grants_nothing() -> None:
    decision = decided(a_request(), a_snapshot(an_application(a_policy("bypass", report_only=True))))
    assert not decision.allowed
    assert decision.reason == "no_policy_matched"
    assert [match.effect for match in decision.reported] == ["bypass"]


@pytest.mark.parametrize(
    ("policy", "request_", "reason"),
    [
        (a_policy(include=[EmailIs("ada@corp.example")]), a_request(email="eve@corp.example"), "no_policy_matched"),
        (a_policy(include=[EmailIs("ada@corp.example")]), a_request(), "fact_unknown"),
        (a_policy("non_identity", include=[AnyServiceToken()]), a_request(service_token_refused=True), "service_token_refused"),
        (a_policy(require=[LAPTOP]), a_request(), "no_device"),
        (
            a_policy(include=[EmailIs("ada@corp.example")], require=[LAPTOP]),
            a_request(email="eve@corp.example"),
            "no_policy_matched",
        ),
        (a_policy("non_identity"), a_request(), "policy_service_auth"),
    ],
)
def test_a_denial_says_what_was_nearest(policy: Policy, request_: AccessRequest, reason: str) -> None:
    assert decided(request_, a_snapshot(an_application(policy))).reason == reason


def test_an_invalid_link_denies() -> None:
    invalid = ResolvedDevice(Resolution.INVALID, "certificate_cloned")
    decision = decided(a_request(), a_snapshot(an_application(a_policy("bypass")), unmatched="allow"), invalid)
    assert (decision.allowed, decision.reason) == (False, "certificate_cloned")


def test_each_reading_has_to_be_allowed() -> None:
    public = an_application(a_policy("bypass"), path="/public", application_id="public")
    admin = an_application(a_policy("deny"), path="/admin", application_id="admin")
    snapshot = a_snapshot(public, admin)
    assert decided(a_request("/public/page"), snapshot).allowed
    for path in ("/public/../admin", "/public/%2e%2e/admin", "/public//../admin", "/public/..;/admin", "/public%2f..%2fadmin"):
        assert not decided(a_request(path), snapshot).allowed, path
    assert decided(a_request("/public/a%20b"), snapshot).allowed

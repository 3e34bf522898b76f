"""Stored entries as the typed rule set."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from support.pki import Pki
from watchword_server.configuration.book import EMPTY_BOOK, RuleBook
from watchword_server.configuration.document.sections import validate_document
from watchword_server.configuration.document.selectors import Selector as SelectorEntry
from watchword_server.configuration.plan import plan_changes
from watchword_server.configuration.service_tokens import with_credential
from watchword_server.configuration.yaml_file import read_rule_file
from watchword_server.core.model.checks import Check, ClientCertificateConfig, OnClone, Trust
from watchword_server.core.model.decisions import Outcome
from watchword_server.core.model.names import Instant
from watchword_server.core.model.results import EvidenceLevel
from watchword_server.core.rules import (
    EMPTY_RULE_SET,
    NO_DEMAND,
    AnyClientCertificate,
    AnyServiceToken,
    Assertion,
    CommonNameIs,
    Conditions,
    Destination,
    DeviceOwner,
    EmailDomainIs,
    EmailInList,
    EmailIs,
    Entity,
    EntityRole,
    Everyone,
    EvidenceDemand,
    FactHas,
    FactIs,
    GatewayAction,
    GatewayFilter,
    GatewayRule,
    InGroup,
    IpIn,
    IpInList,
    LanguageSettings,
    Link,
    Policy,
    PolicyDecision,
    PostureCheckPassed,
    RuleSet,
    Selector,
    ServiceToken,
    ServiceTokenIs,
)
from watchword_server.core.snapshot import compile_rules
from watchword_server.errors import ConfigurationError
from watchword_server.ports.rules import StoredObject


def build_rule_set(
    objects: Sequence[StoredObject], revision: int, language: LanguageSettings = EMPTY_RULE_SET.language
) -> RuleSet:
    return RuleBook.read(objects, revision, language).rules


def stored(value: dict[str, Any]) -> Sequence[StoredObject]:
    """The entries of a document, ids `id-0`, `id-1`, … in its order, each at revision 5."""
    numbers = count()
    document = validate_document(value)
    rows = plan_changes(document, EMPTY_BOOK, new_id=lambda: f"id-{next(numbers)}", prune=False).result
    return [replace(row, revision=5) for row in rows]


def check_of(pki: Pki, **fields: Any) -> Check:
    certificate = {"name": "ca", "pem": pki.issuing.pem.decode()}
    check = {"name": "c", "type": "client_certificate_v2", "input": {"certificate_id": "ca"}} | fields
    rules = build_rule_set(stored({"certificates": [certificate], "checks": [check]}), 7)
    [built] = rules.checks.values()
    return built


def test_the_supported_format_builds_whole(workplace: Path, pki: Pki) -> None:
    numbers = count()
    document = read_rule_file(workplace / "supported.yaml").document()
    rows = plan_changes(document, EMPTY_BOOK, new_id=lambda: f"id-{next(numbers)}", prune=False).result
    rules = build_rule_set(rows, 42)
    ids = {row.name: row.id for row in rows}

    assert rules.revision == 42
    assert rules.unmatched is Outcome.ALLOW
    [certificate] = rules.certificates.values()
    assert (certificate.id, certificate.der) == (ids["corp-device-ca"], pki.issuing.credential.der)
    wiki, previews = rules.applications
    assert wiki.destinations == (Destination("wiki.corp.example"),)
    assert wiki.policies == (ids["from-the-office"], ids["staff-on-managed-laptops"])
    assert previews.destinations == (
        Destination("*.preview.corp.example"),
        Destination("preview.corp.example", "/builds/*"),
        Destination("preview.corp.example", "/old/"),
    )
    managed, older = rules.checks
    proven = EvidenceDemand(EvidenceLevel.PROVEN, 600)
    assert {
        policy.name: (policy.decision, policy.conditions, policy.demand, policy.report_only) for policy in rules.policies.values()
    } == {
        "staff-on-managed-laptops": (
            PolicyDecision.ALLOW,
            Conditions(include=(InGroup(ids["staff"]),), require=(PostureCheckPassed(managed),)),
            proven,
            False,
        ),
        "from-the-office": (
            PolicyDecision.BYPASS,
            Conditions(include=(IpIn(ip_network("192.0.2.0/24")), Everyone()), exclude=(IpIn(ip_network("192.0.2.1/32")),)),
            NO_DEMAND,
            False,
        ),
        "machines": (
            PolicyDecision.NON_IDENTITY,
            Conditions(include=(ServiceTokenIs(ids["ci-runner"]),), require=(IpInList(ids["office-networks"]),)),
            NO_DEMAND,
            True,
        ),
    }
    assert rules.lists[ids["office-networks"]].values == ("192.0.2.0/24", "2001:db8::/32")
    assert rules.lists[ids["admins"]].values == ("ada@corp.example",)
    assert rules.gateway_rules == (
        GatewayRule(
            *(ids["block-old-wiki"], "block-old-wiki", 10, GatewayFilter.HTTP, GatewayAction.BLOCK),
            traffic='http.request.host == "old-wiki.corp.example"',
        ),
        GatewayRule(
            *(ids["admin-pages-from-managed-laptops-only"], "admin-pages-from-managed-laptops-only", 30),
            *(GatewayFilter.HTTP, GatewayAction.BLOCK),
            traffic='http.request.host == "wiki.corp.example" and http.request.uri.path wildcard "/admin/*"',
            identity=f"not identity.email in ${ids['admins']}",
            device_posture=f'not(any(device_posture.checks.passed[*] in {{"{managed}" "{older}"}}))',
            demand=EvidenceDemand(None, 3600),
            report_only=True,
        ),
        GatewayRule(
            *(ids["ssh"], "ssh", 40, GatewayFilter.L4, GatewayAction.ALLOW),
            traffic=f"net.src.ip in ${ids['office-networks']}",
        ),
        GatewayRule(
            *(ids["admins-write-archived-records"], "admins-write-archived-records", 70),
            *(GatewayFilter.AUTHZEN, GatewayAction.ALLOW),
            traffic='action.name == "write" and subject.properties["role"] == "admin" '
            'and not(resource.properties.bool["locked"])',
            identity=f"identity.email in ${ids['admins']}",
        ),
    )
    assert {entity.entity_id: entity for entity in rules.entities.values()} == {
        "ada@corp.example": Entity(
            *(ids["ada"], EntityRole.SUBJECT, "user", "ada@corp.example", {"role": "admin", "groups": ["staff"]})
        ),
        "record-1": Entity(
            *(ids["record-1"], EntityRole.RESOURCE, "record", "record-1"),
            {"locked": False, "pages": 7, "owner": {"team": "red"}},
        ),
        "write": Entity(ids["write"], EntityRole.ACTION, "", "write"),
    }
    assert {token.name for token in rules.service_tokens.values()} == {"ci-runner", "for-ever", "a-year"}
    assert all(token.client_id is None for token in rules.service_tokens.values())
    envoy, caddy, local = rules.callers
    secret = (workplace / "secrets" / "edge-envoy").read_bytes().strip()
    assert envoy.secret_sha256 == hashlib.sha256(secret).digest()
    assert envoy.may_assert == {Assertion.CLIENT_CERTIFICATE, Assertion.ADDRESS}
    assert envoy.resolvers == {Link.CLIENT_CERTIFICATE}
    assert (caddy.subject_alternative_name, caddy.identity_header) == ("spiffe://corp.example/caddy", "x-authenticated-email")
    assert (local.unix_socket, local.secret_sha256, local.may_assert, local.resolvers) == (True, None, frozenset(), frozenset())
    assert caddy.facts_header == "x-access-facts"
    found = compile_rules(rules).applications.find("wiki.corp.example", b"/pages")
    assert found is not None
    assert found.application is wiki


def test_nothing_stored_is_the_empty_rule_set_and_denies() -> None:
    assert build_rule_set([], 0) == EMPTY_RULE_SET


def test_a_check_s_defaults_are_the_safe_ones(pki: Pki) -> None:
    check = check_of(pki)
    assert (check.schedule_seconds, check.expiration_seconds, check.platforms) == (300, 900, frozenset())
    assert check.config == ClientCertificateConfig(
        certificate_id=check.config.certificate_id,
        common_name=None,
        subject_alternative_names=(),
        extended_key_usage=(),
        check_private_key=True,
        paths=(),
        trust_stores=(),
        trust=Trust.ISSUER,
        on_clone=OnClone.FAIL,
        allow_pkcs1=False,
    )


def test_a_check_of_the_older_type_always_proves_the_key(pki: Pki) -> None:
    check = check_of(pki, type="client_certificate", input={"certificate_id": "ca", "cn": "${hostname}"})
    assert (check.kind, check.config.common_name, check.config.check_private_key) == ("client_certificate", "${hostname}", True)


def test_every_field_of_a_check_arrives(pki: Pki) -> None:
    check = check_of(
        pki,
        input={
            "certificate_id": "ca",
            "cn": "${serial_number}",
            "subject_alternative_names": ["${hostname}.corp.example"],
            "extended_key_usage": ["clientAuth", "emailProtection"],
            "check_private_key": False,
            "locations": {"paths": ["/etc/${hostname}.pem", "C:\\corp\\client.pem"], "trust_stores": ["system", "user"]},
            "on_clone": "flag",
            "allow_pkcs1": True,
        },
    )
    assert check.config == ClientCertificateConfig(
        certificate_id=check.config.certificate_id,
        common_name="${serial_number}",
        subject_alternative_names=("${hostname}.corp.example",),
        extended_key_usage=("clientAuth", "emailProtection"),
        check_private_key=False,
        paths=("/etc/${hostname}.pem", "C:\\corp\\client.pem"),
        trust_stores=("system", "user"),
        trust=Trust.ISSUER,
        on_clone=OnClone.FLAG,
        allow_pkcs1=True,
    )


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({"schedule": "10m"}, (600, 1800)),
        ({"schedule": "10m", "expiration": "10m"}, (600, 600)),
        ({"expiration": "1h"}, (300, 3600)),
        ({"expiration": "never"}, (300, None)),
    ],
)
def test_a_result_lasts_three_schedules_unless_it_is_said_how_long(
    pki: Pki, fields: dict[str, str], seconds: tuple[int, int | None]
) -> None:
    check = check_of(pki, **fields)
    assert (check.schedule_seconds, check.expiration_seconds) == seconds


@pytest.mark.parametrize(
    ("match", "system", "platforms"),
    [
        ([], None, set()),
        ([{"platform": "linux"}, {"platform": "mac"}], None, {"linux", "mac"}),
        ([], "windows", {"windows"}),
        ([{"platform": "mac"}], "mac", {"mac"}),
    ],
)
def test_the_platforms_come_from_either_place(pki: Pki, match: list[Any], system: str | None, platforms: set[str]) -> None:
    given = {"certificate_id": "ca"} | ({} if system is None else {"operating_system": system})
    assert check_of(pki, match=match, input=given).platforms == platforms


def test_a_check_s_revision_follows_its_certificate(pki: Pki) -> None:
    rows = stored(
        {
            "certificates": [{"name": "ca", "pem": pki.issuing.pem.decode()}],
            "checks": [{"name": "c", "type": "client_certificate_v2", "input": {"certificate_id": "ca"}}],
        }
    )

    def revision(**revisions: int) -> int:
        rules = build_rule_set([replace(row, revision=revisions[row.kind]) for row in rows], 99)
        return next(iter(rules.checks.values())).revision

    assert revision(certificates=3, checks=8) == 8
    assert revision(certificates=9, checks=8) == 9


def test_emails_and_domains_are_compared_in_lower_case() -> None:
    include = [
        {"email": {"email": "Ada@Corp.Example"}},
        {"email_domain": {"domain": "Corp.Example"}},
        {"ip": {"ip": "2001:db8::1"}},
    ]
    rules = build_rule_set(stored({"groups": [{"name": "g", "include": include}]}), 1)
    assert next(iter(rules.groups.values())).conditions.include == (
        EmailIs("ada@corp.example"),
        EmailDomainIs("corp.example"),
        IpIn(ip_network("2001:db8::1/128")),
    )


# ---- Selectors --------------------------------------------------------------------------------------------------------------

PROVIDER = "idp-1"
BUILT: list[tuple[dict[str, Any], Selector]] = [
    ({"email": {"email": "Ada@Corp.example"}}, EmailIs("ada@corp.example")),
    ({"email_domain": {"domain": "Corp.example"}}, EmailDomainIs("corp.example")),
    ({"email_list": {"id": "emails"}}, EmailInList("id-2")),
    ({"everyone": {}}, Everyone()),
    ({"ip": {"ip": "192.0.2.1"}}, IpIn(ip_network("192.0.2.1/32"))),
    ({"ip_list": {"id": "networks"}}, IpInList("id-3")),
    ({"geo": {"country_code": "pt"}}, FactIs("geo", "http.src_ip.geo.country", frozenset({b"PT"}))),
    ({"device_owner": {}}, DeviceOwner()),
    ({"certificate": {}}, AnyClientCertificate()),
    ({"common_name": {"common_name": "Host.Corp"}}, CommonNameIs("host.corp")),
    ({"service_token": {"token_id": "ci"}}, ServiceTokenIs("id-4")),
    ({"any_valid_service_token": {}}, AnyServiceToken()),
    ({"linked_app_token": {"app_uid": "crm"}}, FactHas("linked_app_token", "access.linked_app_tokens", b"crm")),
    ({"login_method": {"id": PROVIDER}}, FactIs("login_method", "identity.login_method", frozenset({b"idp-1"}))),
    ({"auth_method": {"auth_method": "hwk"}}, FactHas("auth_method", "identity.auth_methods", b"hwk")),
    (
        {"auth_context": {"id": "x", "ac_id": "c1", "identity_provider_id": PROVIDER}},
        FactHas("auth_context", "identity.auth_contexts", b"c1", provider_id=PROVIDER),
    ),
    (
        {"azureAD": {"id": "g1", "identity_provider_id": PROVIDER}},
        FactHas("azureAD", "identity.groups.id", b"g1", provider_id=PROVIDER),
    ),
    ({"okta": {"name": "Büro"}}, FactHas("okta", "identity.groups.name", "Büro".encode())),
    (
        {"gsuite": {"email": "staff@corp.example", "identity_provider_id": PROVIDER}},
        FactHas("gsuite", "identity.groups.email", b"staff@corp.example", provider_id=PROVIDER),
    ),
    (
        {"github-organization": {"name": "corp"}},
        FactHas("github-organization", "identity.github_organizations", b"corp"),
    ),
    (
        {"github-organization": {"name": "corp", "team": "ops", "identity_provider_id": PROVIDER}},
        FactHas("github-organization", "identity.github_organizations", b"corp/ops", provider_id=PROVIDER),
    ),
    (
        {"saml": {"attribute_name": "department", "attribute_value": "a=b", "identity_provider_id": PROVIDER}},
        FactHas("saml", "identity.saml_attributes", b"a=b", b"department", PROVIDER),
    ),
    (
        {"oidc": {"claim_name": "department", "claim_value": "a=b", "identity_provider_id": PROVIDER}},
        FactHas("oidc", "identity.oidc_claims", b"department=a=b", provider_id=PROVIDER),
    ),
    (
        {"external_evaluation": {"evaluate_url": "https://x.example/e", "keys_url": "https://x.example/keys"}},
        FactHas("external_evaluation", "access.external_evaluations", b"https://x.example/e"),
    ),
    (
        {"user_risk_score": {"user_risk_score": ["low", "unscored"]}},
        FactIs("user_risk_score", "identity.user_risk_score", frozenset({b"low", b"unscored"})),
    ),
    ({"cloudflare_account_member": {}}, FactHas("cloudflare_account_member", "identity.accounts", None)),
    ({"cloudflare_account_member": {"account_id": "a1"}}, FactHas("cloudflare_account_member", "identity.accounts", b"a1")),
    ({"group": {"id": "inner"}}, InGroup("id-0")),
]


@pytest.mark.parametrize(("written", "built"), BUILT, ids=[str(next(iter(written))) for written, _ in BUILT])
def test_every_selector_is_built(written: dict[str, Any], built: Selector) -> None:
    rules = build_rule_set(
        stored(
            {
                "lists": [{"name": "emails", "type": "EMAIL"}, {"name": "networks", "type": "IP"}],
                "service_tokens": [{"name": "ci"}],
                "groups": [{"name": "inner", "include": [{"everyone": {}}]}, {"name": "g", "include": [written]}],
            }
        ),
        1,
    )
    [group] = [group for group in rules.groups.values() if group.name == "g"]
    assert group.conditions == Conditions(include=(built,))


def test_a_check_may_be_asked_for_with_evidence(pki: Pki) -> None:
    selector = {"integration_uid": "c", "account_id": "a1", "evidence": {"level": "signed", "max_age": "90s"}}
    rows = stored(
        {
            "certificates": [{"name": "ca", "pem": pki.issuing.pem.decode()}],
            "checks": [{"name": "c", "type": "client_certificate_v2", "input": {"certificate_id": "ca"}}],
            "groups": [{"name": "g", "include": [{"device_posture": selector}]}],
        }
    )
    rules = build_rule_set(rows, 1)
    [check_id] = rules.checks
    [group] = rules.groups.values()
    assert group.conditions.include == (PostureCheckPassed(check_id, EvidenceDemand(EvidenceLevel.SIGNED, 90)),)


def test_every_selector_there_is_has_been_tried() -> None:
    assert {next(iter(written)) for written, _ in BUILT} | {"device_posture"} == set(SelectorEntry.written_keys())


# ---- Applications -----------------------------------------------------------------------------------------------------------


def test_policies_of_an_application_come_by_precedence_then_as_written() -> None:
    everyone: dict[str, Any] = {"include": [{"everyone": {}}]}
    application = {
        "name": "wiki",
        "type": "self_hosted",
        "domain": "wiki.example",
        "policies": [
            "first",
            {"decision": "deny", "precedence": 7, **everyone},
            {"id": "second", "precedence": 3},
            {"name": "break-glass", "decision": "allow", "report_only": True, "evidence": {"max_age": "1m"}, **everyone},
        ],
    }
    reusable = [{"name": name, "decision": "allow", **everyone} for name in ("first", "second")]
    rows = stored({"policies": reusable, "applications": [application]})
    ids = {row.name: row.id for row in rows}
    [built] = build_rule_set(rows, 1).applications
    conditions = Conditions(include=(Everyone(),))
    assert built.policies == (
        ids["second"],
        Policy(f"{ids['wiki']}/2", "policy 2 of wiki", PolicyDecision.DENY, conditions),
        ids["first"],
        Policy(f"{ids['wiki']}/4", "break-glass", PolicyDecision.ALLOW, conditions, EvidenceDemand(None, 60), report_only=True),
    )


def test_an_application_that_covers_a_place_twice_covers_it_once() -> None:
    application = {
        "name": "wiki",
        "type": "self_hosted",
        "domain": "wiki.example",
        "destinations": [{"type": "public", "uri": "Wiki.example/*"}, {"uri": "wiki.example/%61"}],
        "self_hosted_domains": ["wiki.example", "wiki.example/a"],
    }
    [built] = build_rule_set(stored({"applications": [application]}), 1).applications
    assert built.destinations == (Destination("wiki.example"), Destination("wiki.example", "/a"))


# ---- Lists, service tokens, the language ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "written", "value"),
    [
        ("IP", "192.0.2.1", "192.0.2.1/32"),
        ("IP", "2001:DB8:0::/32", "2001:db8::/32"),
        ("EMAIL", "Ada@Corp.example", "ada@corp.example"),
        ("DOMAIN", "Corp.Example", "corp.example"),
        ("URL", "https://Corp.example/Pages", "https://Corp.example/Pages"),
        ("SERIAL", "C02 Xy", "C02 Xy"),
    ],
)
def test_the_values_of_a_list_are_normalised(kind: str, written: str, value: str) -> None:
    [built] = build_rule_set(stored({"lists": [{"name": "l", "type": kind, "items": [{"value": written}]}]}), 1).lists.values()
    assert (built.type, built.values) == (kind, (value,))


def test_a_service_token_has_the_credential_it_was_given() -> None:
    [entry] = stored({"service_tokens": [{"name": "ci", "expires": "1h"}]})
    client_id = "0123456789abcdef" * 2 + ".access"
    given = with_credential(entry, client_id=client_id, secret_sha256=b"\x07" * 32, expires_at=Instant(12.5))
    [built] = build_rule_set([given], 1).service_tokens.values()
    assert built == ServiceToken(entry.id, "ci", client_id, b"\x07" * 32, Instant(12.5))


def test_a_rule_set_remembers_how_its_expressions_are_read() -> None:
    language = LanguageSettings(missing_not_equal=False)
    assert build_rule_set([], 1, language).language == language
    rule = {"name": "r", "precedence": 1, "filters": ["http"], "action": "block", "enabled": True, "traffic": "net.x"}
    with pytest.raises(ConfigurationError):
        stored({"gateway_rules": [rule]})


# ---- What does not hold together -----------------------------------------------------------------------------------------------


def row(kind: str, body: dict[str, Any]) -> StoredObject:
    return StoredObject(kind, f"{kind}-1", "x", body, 1, Instant(0.0), Instant(0.0))


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([row("mystery", {})], "mystery.x: `mystery` is no kind of entry this version knows: it may come from a newer one"),
        ([row("groups", {"include": []})], "groups.x.include: the list is empty: write at least one item"),
        (
            [row("applications", {"type": "self_hosted", "domain": "x.example", "policies": ["gone"]})],
            "applications.x.policies.0: `gone` is no policy: keep the one it was, or name another",
        ),
    ],
)
def test_entries_that_do_not_hold_together_build_nothing(rows: list[StoredObject], problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build_rule_set(rows, 1)
    assert str(caught.value) == problem

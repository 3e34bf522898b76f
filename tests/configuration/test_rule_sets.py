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
from watchword_server.configuration.build import build_rule_set
from watchword_server.configuration.document.sections import validate_document
from watchword_server.configuration.plan import plan_changes
from watchword_server.configuration.yaml_file import read_rule_file
from watchword_server.core.model import Check, ClientCertificateConfig, Instant, OnClone, Outcome, Trust
from watchword_server.core.rules import (
    EMPTY_RULE_SET,
    Assertion,
    Conditions,
    EmailDomainIs,
    EmailIs,
    Everyone,
    GatewayAction,
    InGroup,
    IpIn,
    PolicyDecision,
    PostureCheckPassed,
    compile_rules,
)
from watchword_server.errors import ConfigurationError
from watchword_server.ports import StoredObject


def stored(value: dict[str, Any]) -> Sequence[StoredObject]:
    """The entries of a document, ids `id-0`, `id-1`, … in its order, each at revision 5."""
    numbers = count()
    document = validate_document(value)
    rows = plan_changes(document, [], new_id=lambda: f"id-{next(numbers)}", prune=False).result
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
    rows = plan_changes(document, [], new_id=lambda: f"id-{next(numbers)}", prune=False).result
    rules = build_rule_set(rows, 42)
    ids = {row.name: row.id for row in rows}

    assert rules.revision == 42
    assert rules.unmatched is Outcome.ALLOW
    [certificate] = rules.certificates.values()
    assert (certificate.id, certificate.der) == (ids["corp-device-ca"], pki.issuing.credential.der)
    [application] = rules.applications
    assert application.host == "wiki.corp.example"
    assert application.policy_ids == (ids["from-the-office"], ids["staff-on-managed-laptops"])
    managed = next(check.id for check in rules.checks.values() if check.name == "managed-laptop")
    assert {policy.name: (policy.decision, policy.conditions) for policy in rules.policies.values()} == {
        "staff-on-managed-laptops": (
            PolicyDecision.ALLOW,
            Conditions(include=(InGroup(ids["staff"]),), require=(PostureCheckPassed(managed),)),
        ),
        "from-the-office": (
            PolicyDecision.BYPASS,
            Conditions(include=(IpIn(ip_network("192.0.2.0/24")), Everyone()), exclude=(IpIn(ip_network("192.0.2.1/32")),)),
        ),
    }
    assert [(rule.name, rule.precedence, rule.enabled, rule.action, rule.host) for rule in rules.gateway_rules] == [
        ("block-old-wiki", 10, True, GatewayAction.BLOCK, "old-wiki.corp.example"),
        ("allow-the-rest", 20, False, GatewayAction.ALLOW, None),
    ]
    envoy, caddy, local = rules.callers
    secret = (workplace / "secrets" / "edge-envoy").read_bytes().strip()
    assert envoy.secret_sha256 == hashlib.sha256(secret).digest()
    assert envoy.may_assert == {Assertion.CLIENT_CERTIFICATE, Assertion.ADDRESS}
    assert envoy.resolvers == ("client_certificate",)
    assert (caddy.subject_alternative_name, caddy.identity_header) == ("spiffe://corp.example/caddy", "x-authenticated-email")
    assert (local.unix_socket, local.secret_sha256, local.may_assert, local.resolvers) == (True, None, frozenset(), ())
    assert compile_rules(rules).application_by_host == {"wiki.corp.example": application}


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

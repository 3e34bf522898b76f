"""Every finding has rules that have it and rules that only look alike; docs/rehearsal.md explains each."""

import re
from pathlib import Path
from typing import Any

import pytest

from rehearsal.files import HOST, a_check, a_document, a_rule, codes, written
from watchword_server.rehearsal.checking import findings_in
from watchword_server.rehearsal.findings import Code, Finding, Weight
from watchword_server.rehearsal.snapshots import load_rules

ROOT = Path(__file__).resolve().parents[2]
ON_HOST = f'http.request.host == "{HOST}"'
PASSED = 'any(device_posture.checks.passed[*] in {"laptop"})'
FAILED = 'any(device_posture.checks.failed[*] in {"laptop"})'

AUTHZEN: dict[str, Any] = {"filters": ["authzen"]}
GATEWAY: list[tuple[str, list[dict[str, Any]], list[str]]] = [
    ("a block of what is not known to pass", [a_rule(ON_HOST, device_posture=f"not({PASSED})")], []),
    ("a block of what fails or is not known", [a_rule(ON_HOST, device_posture=FAILED)], []),
    ("a block of what passes", [a_rule(ON_HOST, device_posture=PASSED)], ["absence-lifts-block"]),
    ("a block of what has not failed", [a_rule(ON_HOST, device_posture=f"not({FAILED})")], ["absence-lifts-block"]),
    ("an allow of what passes", [a_rule(ON_HOST, action="allow", device_posture=PASSED)], []),
    ("an allow of what has failed", [a_rule(ON_HOST, action="allow", device_posture=FAILED)], []),
    (
        "an allow of what does not pass",
        [a_rule(ON_HOST, action="allow", device_posture=f"not({PASSED})")],
        ["absence-opens-allow"],
    ),
    ("an allow of what has not failed", [a_rule(action="allow", device_posture=f"not({FAILED})")], ["failed-negated-in-allow"]),
    (
        "an allow whose checks all pass, of which there may be none",
        [a_rule(action="allow", device_posture='all(device_posture.checks.passed[*] == "laptop")')],
        ["absence-opens-allow", "beyond-gateway"],
    ),
    (
        "a check by its place",
        [a_rule(action="allow", device_posture='device_posture.checks.passed[0] == "laptop"')],
        ["absence-opens-allow", "beyond-gateway"],
    ),
    ("a block by an address", [a_rule("http.conn.src_ip in {192.0.2.0/24}")], ["absence-lifts-block"]),
    ("a block by any other address", [a_rule("not(http.conn.src_ip in {192.0.2.0/24})")], []),
    ("an allow by an address", [a_rule("http.conn.src_ip in {192.0.2.0/24}", action="allow")], []),
    (
        "an allow by any other address",
        [a_rule("not(http.conn.src_ip in {192.0.2.0/24})", action="allow")],
        ["absence-opens-allow"],
    ),
    ("a block by another country", [a_rule('http.src_ip.geo.country != "PT"')], []),
    ("an allow by another country", [a_rule('http.src_ip.geo.country != "PT"', action="allow")], ["absence-opens-allow"]),
    ("a block by a user", [a_rule(ON_HOST, identity='identity.email == "eve@corp.example"')], ["absence-lifts-block"]),
    ("a block by what every request has", [a_rule(f'{ON_HOST} and http.request.method != "GET"')], []),
    ("a block by a property", [a_rule('resource.properties["state"] == "locked"', **AUTHZEN)], ["absence-lifts-block"]),
    ("a block by another property", [a_rule('not(resource.properties["state"] == "open")', **AUTHZEN)], []),
    ("an allow by a property", [a_rule('subject.properties["role"] == "admin"', action="allow", **AUTHZEN)], []),
    (
        "an allow without one",
        [a_rule('not(context.properties.bool["risky"])', action="allow", **AUTHZEN)],
        ["absence-opens-allow"],
    ),
    ("an allow by what every evaluation has", [a_rule('not(subject.id == "eve")', action="allow", **AUTHZEN)], []),
    (
        "an allow before a block of the same",
        [a_rule(ON_HOST, action="allow"), a_rule(ON_HOST, name="later", precedence=20)],
        ["allow-hides-block"],
    ),
    (
        "an allow of all before a block",
        [a_rule(action="allow"), a_rule(ON_HOST, name="later", precedence=20)],
        ["allow-hides-block"],
    ),
    (
        "an allow behind a block",
        [a_rule(ON_HOST, action="allow", precedence=30), a_rule(ON_HOST, name="other", precedence=20)],
        [],
    ),
    (
        "an allow that asks for more than the block",
        [a_rule(ON_HOST, action="allow", device_posture=PASSED), a_rule(ON_HOST, name="later", precedence=20)],
        [],
    ),
    ("an allow of another filter", [a_rule(action="allow", filters=["l4"]), a_rule(ON_HOST, name="later", precedence=20)], []),
    ("a host in capitals", [a_rule('http.request.host == "Wiki.corp.example"')], ["never-true"]),
    ("a host in capitals among others", [a_rule('http.request.host in {"a.example" "B.example"}')], ["never-true"]),
    ("a part of a host in capitals", [a_rule('http.request.host contains "Wiki"')], ["beyond-gateway", "never-true"]),
    ("an email in capitals", [a_rule(identity='not(identity.email in {"Ada@corp.example"})')], ["never-true"]),
    ("a method in small letters", [a_rule(f'{ON_HOST} and http.request.method == "get"')], ["never-true"]),
    ("a path without its slash", [a_rule(f'{ON_HOST} and http.request.uri.path == "admin"')], ["never-true"]),
    ("a path on every host", [a_rule('http.request.uri.path == "/admin"')], ["path-without-host"]),
    ("a path on a domain", [a_rule('any(http.request.domains[*] == "corp.example") and http.request.uri.path == "/admin"')], []),
    ("a rule that only reports", [a_rule(ON_HOST, report_only=True)], ["report-only"]),
    ("a disabled rule", [a_rule('http.request.host == "Wiki"', enabled=False)], []),
    (
        "a rule that does not say whether it is on",
        [{key: value for key, value in a_rule(ON_HOST).items() if key != "enabled"}],
        ["disabled-rule"],
    ),
    ("a block of everything", [a_rule()], ["blocks-everything"]),
    (
        "an allow of a host before a block of a part of it",
        [a_rule(ON_HOST, action="allow"), a_rule(f'{ON_HOST} and http.request.method == "PUT"', name="later", precedence=20)],
        ["allow-hides-block"],
    ),
    (
        "an allow of several hosts before a block of one, its conditions in another order and expression",
        [
            a_rule(
                f'http.request.host in {{"{HOST}" "b.example"}}', identity='identity.email == "ada@corp.example"', action="allow"
            ),
            a_rule(f'identity.email == "ada@corp.example" and {ON_HOST}', name="later", precedence=20),
        ],
        ["absence-lifts-block", "allow-hides-block"],
    ),
    (
        "an allow of one host before a block of several",
        [a_rule(ON_HOST, action="allow"), a_rule(f'http.request.host in {{"{HOST}" "b.example"}}', name="later", precedence=20)],
        [],
    ),
    (
        "an allow of a part of a host before a block of it",
        [a_rule(f'{ON_HOST} and http.request.method == "GET"', action="allow"), a_rule(ON_HOST, name="later", precedence=20)],
        [],
    ),
    ("a host with a star", [a_rule('http.request.host in {"a.example" "*.corp.example"}')], ["never-true"]),
    ("a domain with a star", [a_rule('any(http.request.domains[*] == "*.corp.example")')], ["never-true"]),
    ("a wildcard", [a_rule('http.request.host wildcard "*.corp.example"')], ["beyond-gateway"]),
    ("a host with its port", [a_rule('http.request.host == "wiki.corp.example:443"')], ["never-true"]),
    ("a host that is an address", [a_rule('http.request.host == "[2001:db8::1]"')], []),
    ("a host with umlauts", [a_rule('http.request.host == "bücher.example"')], ["never-true"]),
    ("a host with its scheme", [a_rule('http.request.host == "https://wiki.corp.example/"')], ["never-true"]),
    ("the end of a host", [a_rule('http.request.host contains ".corp"')], ["beyond-gateway"]),
    ("a port that is none", [a_rule("net.dst.port == 70000", filters=["l4"])], ["never-true"]),
    ("ports", [a_rule("net.dst.port in {22 8000..8080}", filters=["l4"])], []),
    ("ports that are none", [a_rule("net.dst.port in {22 65536..70000}", filters=["l4"])], ["never-true"]),
    ("evidence of nothing", [a_rule(ON_HOST, evidence={"level": "proven"})], ["evidence-of-nothing"]),
    ("evidence of a check", [a_rule(device_posture=f"not({PASSED})", evidence={"level": "proven", "max_age": "5m"})], []),
    ("evidence too young", [a_rule(device_posture=f"not({PASSED})", evidence={"max_age": "4m"})], ["max-age-under-schedule"]),
    ("more than Gateway documents", [a_rule(f"!({ON_HOST})")], ["beyond-gateway"]),
]


@pytest.mark.parametrize(("rules", "found"), [pytest.param(rules, found, id=name) for name, rules, found in GATEWAY])
def test_gateway_rules(tmp_path: Path, rules: list[dict[str, Any]], found: list[str]) -> None:
    assert sorted(codes(tmp_path, gateway_rules=rules)) == sorted(found)


def a_policy(decision: str = "allow", include: Any = "everyone", **fields: Any) -> dict[str, Any]:
    return {"name": "ada", "decision": decision, "include": [{include: {}}] if isinstance(include, str) else include, **fields}


EMAIL = [{"email": {"email": "ada@corp.example"}}]
POSTURE = [{"device_posture": {"integration_uid": "laptop"}}]
SHOWING = [{"group": {"id": "showing"}}]
GROUPS = [
    {"name": "all", "include": [{"everyone": {}}]},
    {"name": "showing", "include": [{"certificate": {}}]},
    {"name": "without", "include": [{"everyone": {}}], "exclude": [{"certificate": {}}]},
]
POLICIES: list[tuple[str, dict[str, Any], list[str]]] = [
    ("everyone", a_policy(), ["everyone"]),
    ("everyone, through a group", a_policy(include=[{"group": {"id": "all"}}]), ["everyone"]),
    ("everyone whose device passes", a_policy(require=POSTURE), []),
    ("everyone but one", a_policy(exclude=EMAIL), []),
    ("everyone, said so", a_policy("bypass"), []),
    ("a deny of everyone", a_policy("deny"), []),
    ("only reported", a_policy(include=EMAIL, report_only=True), ["report-only"]),
    ("an allow of who shows a certificate", a_policy(include="certificate"), []),
    ("an allow of who shows none", a_policy(exclude=[{"certificate": {}}]), ["credential-left-out"]),
    ("the same, through a group", a_policy(exclude=SHOWING), ["credential-left-out"]),
    ("the same, through an exclude of a group", a_policy(include=[{"group": {"id": "without"}}]), ["credential-left-out"]),
    ("a deny of who shows a certificate", a_policy("deny", "certificate"), ["credential-left-out"]),
    ("a deny of who shows none", a_policy("deny", exclude=[{"certificate": {}}]), []),
    ("a deny of a name on a certificate", a_policy("deny", [{"common_name": {"common_name": "x"}}]), ["credential-left-out"]),
    ("machines", a_policy("non_identity", "any_valid_service_token"), []),
]


@pytest.mark.parametrize(("policy", "found"), [pytest.param(policy, found, id=name) for name, policy, found in POLICIES])
def test_policies(tmp_path: Path, policy: dict[str, Any], found: list[str]) -> None:
    assert codes(tmp_path, policies=[policy], groups=GROUPS) == found


YOUNG = [{"device_posture": {"integration_uid": "laptop", "evidence": {"max_age": "1m"}}}]


@pytest.mark.parametrize(
    ("policy", "found"),
    [
        (a_policy(include=EMAIL, evidence={"level": "proven"}), ["evidence-of-nothing"]),
        (a_policy(include=EMAIL, require=POSTURE, evidence={"level": "proven"}), []),
        (a_policy(include=EMAIL, require=POSTURE, evidence={"max_age": "1m"}), ["max-age-under-schedule"]),
        (a_policy(include=EMAIL, require=YOUNG), ["max-age-under-schedule"]),
        (a_policy(include=EMAIL, require=[{"group": {"id": "managed"}}], evidence={"level": "proven"}), []),
    ],
)
def test_evidence(tmp_path: Path, policy: dict[str, Any], found: list[str]) -> None:
    assert codes(tmp_path, policies=[policy], groups=[{"name": "managed", "include": POSTURE}]) == found


def test_a_credential_left_out_is_told_once_where_it_is_written(tmp_path: Path) -> None:
    users = [{**a_policy(include=[{"group": {"id": "without"}}]), "name": name} for name in ("ada", "eve")]
    loaded = load_rules(written(tmp_path / "rules.yaml", a_document(policies=users, groups=GROUPS)))
    (finding,) = findings_in(loaded)
    assert finding.problem.path == ("groups", 2, "exclude", 0)
    assert "is let in by `ada` (and 1 more)" in finding.problem.message


@pytest.mark.parametrize(("resolvers", "found"), [([], ["no-resolver"]), (["client_certificate"], [])])
def test_a_caller_that_finds_no_device(tmp_path: Path, resolvers: list[str], found: list[str]) -> None:
    caller = {"name": "edge", "authenticate": {"unix_socket": True}, "may_assert": ["client_certificate"], "resolvers": resolvers}
    assert codes(tmp_path, callers=[caller]) == found


def test_an_application_without_a_policy(tmp_path: Path) -> None:
    assert codes(tmp_path, applications=[{"name": "wiki", "type": "self_hosted", "domain": HOST}]) == ["no-policy"]


def test_a_policy_of_one_application_is_looked_at_too(tmp_path: Path) -> None:
    own = {"decision": "allow", "include": [{"everyone": {}}]}
    application = {"name": "wiki", "type": "self_hosted", "domain": HOST, "policies": [own]}
    assert codes(tmp_path, applications=[application]) == ["everyone"]


@pytest.mark.parametrize(("other", "found"), [(POSTURE, ["bypass-beside-posture"]), (EMAIL, [])])
def test_a_bypass_beside_posture(tmp_path: Path, other: Any, found: list[str]) -> None:
    policies = [a_policy(include=other), {**a_policy("bypass"), "name": "open"}]
    application = {"name": "wiki", "type": "self_hosted", "domain": HOST, "policies": ["ada", "open"]}
    assert codes(tmp_path, policies=policies, applications=[application]) == found


def test_what_is_true_of_the_whole(tmp_path: Path) -> None:
    assert codes(tmp_path, unmatched="allow") == ["unmatched-allow"]
    assert codes(tmp_path, checks=[a_check(expiration="never")]) == ["never-expires"]
    certificate = a_document()["certificates"][0]
    required = a_check(input={**a_check()["input"], "revocation": "require"})
    assert codes(tmp_path, checks=[required]) == ["no-list-named"]
    for places in ({"crl": {"path": "/srv/pki/ca.crl"}}, {"ocsp": {"url": "http://ocsp.corp.example/"}}):
        assert codes(tmp_path, checks=[required], certificates=[{**certificate, **places}]) == []
    assert codes(tmp_path) == []


def test_a_finding_has_its_place_and_what_to_write_instead(tmp_path: Path) -> None:
    path = written(tmp_path / "rules.yaml", a_document(gateway_rules=[a_rule(ON_HOST, device_posture=PASSED)]))
    (finding,) = findings_in(load_rules(path))
    line = path.read_text().splitlines()[load_rules(path).files.position(finding.problem.path)[1].line - 1]  # type: ignore[union-attr]  # it is there
    assert '"device_posture"' in line
    assert finding.problem.message.startswith("1:1: ")
    assert "write" in finding.problem.message or "as `not(" in finding.problem.message
    assert finding.problem.excerpt[0] == PASSED


def test_docs_explain_every_code_and_its_weight() -> None:
    page = (ROOT / "docs" / "rehearsal.md").read_text()
    table = dict(re.findall(r"^\| `([a-z-]+)` \| (warning|note) \|", page, flags=re.MULTILINE))
    weights = {code.value: Finding(code, None).weight for code in Code}  # type: ignore[arg-type]  # its place does not matter here
    assert table == weights


def test_absence_is_never_a_note() -> None:
    for code in (Code.ABSENCE_LIFTS_BLOCK, Code.ABSENCE_OPENS_ALLOW, Code.FAILED_NEGATED, Code.CREDENTIAL_LEFT_OUT):
        assert Finding(code, None).weight is Weight.WARNING  # type: ignore[arg-type]  # its place does not matter here

"""Rule sets, requests and devices for deciding, made in place."""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from watchword_server.core.decide import decide
from watchword_server.core.model.checks import Check, ClientCertificateConfig, OnClone, Trust
from watchword_server.core.model.decisions import (
    AccessRequest,
    Decision,
    Identity,
    Outcome,
    Resolution,
    ResolutionStrength,
    ResolvedDevice,
    Value,
)
from watchword_server.core.model.devices import Device, DeviceKey, DeviceState, KeyAlgorithm, KeyProtection
from watchword_server.core.model.names import CertificateId, CheckId, DeviceId, Fingerprint, Instant
from watchword_server.core.model.results import DevicePosture, EvidenceLevel, PostureResult
from watchword_server.core.rules import (
    NO_DEMAND,
    Application,
    Conditions,
    Destination,
    Everyone,
    EvidenceDemand,
    GatewayAction,
    GatewayFilter,
    GatewayList,
    GatewayRule,
    Group,
    LanguageSettings,
    Policy,
    PolicyDecision,
    RuleSet,
    Selector,
    ServiceToken,
)
from watchword_server.core.snapshot import RuleSnapshot, compile_rules

NOW = Instant(1_000_000.0)
HOST = "wiki.corp.example"
DEFAULTS = LanguageSettings()
NOBODY = ResolvedDevice(Resolution.ABSENT, "no_device", certificate_possible=True)


def a_check(check_id: str, *, revision: int = 1) -> Check:
    config = ClientCertificateConfig(
        CertificateId("ca"), None, (), (), True, (), (), Trust.ISSUER, OnClone.FAIL, allow_pkcs1=False
    )
    return Check(CheckId(check_id), f"name of {check_id}", revision, "client_certificate_v2", frozenset(), 300, 900, config)


def a_policy(
    decision: str = "allow",
    *,
    include: Iterable[Selector] = (Everyone(),),
    require: Iterable[Selector] = (),
    exclude: Iterable[Selector] = (),
    policy_id: str = "policy",
    demand: EvidenceDemand = NO_DEMAND,
    report_only: bool = False,
) -> Policy:
    conditions = Conditions(tuple(include), tuple(require), tuple(exclude))
    return Policy(policy_id, f"name of {policy_id}", PolicyDecision(decision), conditions, demand, report_only)


def a_group(group_id: str, *include: Selector, require: Iterable[Selector] = (), exclude: Iterable[Selector] = ()) -> Group:
    return Group(group_id, f"name of {group_id}", Conditions(include, tuple(require), tuple(exclude)))


def an_application(*policies: str | Policy, host: str = HOST, path: str = "", application_id: str = "app") -> Application:
    return Application(application_id, f"name of {application_id}", (Destination(host, path),), policies)


def a_rule(
    traffic: str = "",
    *,
    action: str = "block",
    precedence: int = 1,
    rule_id: str | None = None,
    filter_: str = "http",
    identity: str = "",
    device_posture: str = "",
    demand: EvidenceDemand = NO_DEMAND,
    report_only: bool = False,
) -> GatewayRule:
    own_id = rule_id or f"rule-{precedence}"
    return GatewayRule(
        id=own_id,
        name=f"name of {own_id}",
        precedence=precedence,
        filter=GatewayFilter(filter_),
        action=GatewayAction(action),
        traffic=traffic,
        identity=identity,
        device_posture=device_posture,
        demand=demand,
        report_only=report_only,
    )


def a_rule_set(
    *applications: Application,
    policies: Iterable[Policy] = (),
    groups: Iterable[Group] = (),
    rules: Iterable[GatewayRule] = (),
    lists: Iterable[GatewayList] = (),
    checks: Iterable[str] = ("laptop", "disk"),
    service_tokens: Iterable[ServiceToken] = (),
    unmatched: str = "deny",
    language: LanguageSettings = DEFAULTS,
    revision: int = 1,
) -> RuleSet:
    return RuleSet(
        revision=revision,
        certificates={},
        checks={CheckId(check_id): a_check(check_id) for check_id in checks},
        applications=applications,
        policies={policy.id: policy for policy in policies},
        groups={group.id: group for group in groups},
        gateway_rules=tuple(rules),
        callers=(),
        unmatched=Outcome(unmatched),
        lists={one.id: one for one in lists},
        service_tokens={token.id: token for token in service_tokens},
        language=language,
    )


def a_snapshot(*applications: Application, **parts: Any) -> RuleSnapshot:
    return compile_rules(a_rule_set(*applications, **parts))


def a_request(
    path: str = "/pages/7",
    *,
    host: str = HOST,
    method: str = "GET",
    email: str | None = None,
    source_ip: str | None = None,
    facts: Mapping[str, Value] | None = None,
    query: str = "",
    service_token_id: str | None = None,
    service_token_refused: bool = False,
) -> AccessRequest:
    return AccessRequest(
        method=method,
        scheme="https",
        host=host,
        path=path,
        query=query,
        source_ip=None if source_ip is None else ipaddress.ip_address(source_ip),
        identity=None if email is None else Identity(email),
        caller="edge",
        facts=facts or {},
        service_token_id=service_token_id,
        service_token_refused=service_token_refused,
    )


def a_result(
    check_id: str,
    *,
    passed: bool = True,
    age: float = 60,
    level: str = "proven",
    expires_in: float | None = 600,
    revision: int = 1,
) -> PostureResult:
    at = Instant(NOW - age)
    return PostureResult(
        check_id=CheckId(check_id),
        check_revision=revision,
        passed=passed,
        reason="passed" if passed else "certificate_expired",
        level=EvidenceLevel(level),
        evaluated_at=at,
        evidence_at=at,
        expires_at=None if expires_in is None else Instant(NOW + expires_in),
    )


def a_device(
    *results: PostureResult,
    state: str = "active",
    proven: bool = True,
    common_name: str | None = "laptop.corp.example",
    protection: str | None = None,
    owner: str | None = None,
) -> ResolvedDevice:
    key = DeviceKey("key", b"", KeyAlgorithm.ED25519, None if protection is None else KeyProtection(protection))
    device = Device(DeviceId("dev_1"), key, DeviceState(state), "linux", "laptop", None, 1, NOW, owner=owner)
    return ResolvedDevice(
        Resolution.FOUND,
        "found" if proven else "certificate_not_proven",
        method="client_certificate",
        strength=ResolutionStrength.CERTIFICATE,
        certificate=Fingerprint(b"f" * 32),
        posture=DevicePosture(device, {result.check_id: result for result in results}, 1),
        proven=proven,
        certificate_possible=True,
        common_name=common_name,
    )


def decided(request: AccessRequest, snapshot: RuleSnapshot, device: ResolvedDevice = NOBODY) -> Decision:
    return decide(request, device, snapshot, now=NOW)

"""Scenario files (tests/cases): rules + standing + request -> decision. The format is that of shared scenario files."""

import datetime as dt
import ipaddress
import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from support.pki import Pki
from watchword_server.configuration.build import build_rule_set
from watchword_server.configuration.document.sections import validate_document
from watchword_server.configuration.plan import plan_changes
from watchword_server.core.decide import decide
from watchword_server.core.model import (
    AccessRequest,
    Check,
    CheckId,
    Device,
    DeviceId,
    DeviceKey,
    DevicePosture,
    DeviceState,
    EvidenceLevel,
    Identity,
    Instant,
    KeyAlgorithm,
    PostureResult,
    Resolution,
    ResolutionStrength,
    ResolvedDevice,
)
from watchword_server.core.rules import RuleSnapshot, compile_rules
from watchword_server.doors.requests import normal_host, split_url

CASES = Path(__file__).resolve().parents[1] / "cases"
SECONDS = {"s": 1, "m": 60, "h": 3600}
_pki = Pki.make()


def scenarios() -> Iterator[Any]:
    for path in sorted(CASES.glob("*/scenarios.yaml")):
        file = YAML(typ="safe").load(path.read_text())
        for scenario in file["scenarios"]:
            identifier = f"{path.parent.name}: {scenario['name']}"
            yield pytest.param(path.parent / file["rules"], file["now"], scenario, id=identifier)


def snapshot_of(path: Path) -> RuleSnapshot:
    document = YAML(typ="safe").load(path.read_text())
    document["certificates"] = [{"name": "corp-device-ca", "pem": _pki.issuing.pem.decode()}]
    plan = plan_changes(validate_document(document), (), new_id=lambda: str(uuid.uuid4()), prune=False)
    return compile_rules(build_rule_set(plan.result, 1))


def seconds(text: str) -> int:
    matched = re.fullmatch(r"(\d+)([smh])", text)
    assert matched is not None, text
    return int(matched[1]) * SECONDS[matched[2]]


def posture_of(spec: Mapping[str, Any], checks: Mapping[str, Check], now: Instant) -> DevicePosture:
    results: dict[CheckId, PostureResult] = {}
    for name, result in spec["results"].items():
        check = checks[name]
        evidence_at = Instant(now - seconds(result["age"]))
        assert check.expiration_seconds is not None
        results[check.id] = PostureResult(
            check_id=check.id,
            check_revision=check.revision,
            passed=result["passed"],
            reason="passed" if result["passed"] else "certificate_expired",
            level=EvidenceLevel(spec["strength"]),
            evaluated_at=evidence_at,
            evidence_at=evidence_at,
            expires_at=Instant(evidence_at + check.expiration_seconds),
        )
    key = DeviceKey("key", b"", KeyAlgorithm.ED25519)
    device = Device(DeviceId(spec["id"]), key, DeviceState.ACTIVE, "linux", "laptop", None, 1, now)
    return DevicePosture(device, results, 1)


def request_of(scenario: Mapping[str, Any]) -> AccessRequest:
    request = scenario["request"]
    scheme, host, target = split_url(request["url"])
    path, _, query = target.partition("?")
    source = request.get("source_ip")
    return AccessRequest(
        method=request["method"],
        scheme=scheme,
        host=normal_host(host),
        path=path,
        query=query,
        source_ip=None if source is None else ipaddress.ip_address(source),
        identity=Identity(scenario["identity"]["email"]) if "identity" in scenario else None,
        caller="scenario",
    )


@pytest.mark.parametrize(("rules", "at", "scenario"), list(scenarios()))
def test_scenario(rules: Path, at: dt.datetime, scenario: Mapping[str, Any]) -> None:
    snapshot = snapshot_of(rules)
    now = Instant(at.replace(tzinfo=dt.UTC).timestamp())
    device = ResolvedDevice(Resolution.ABSENT, "no_device")
    if "device" in scenario:
        checks = {check.name: check for check in snapshot.rules.checks.values()}
        posture = posture_of(scenario["device"], checks, now)
        device = ResolvedDevice(Resolution.FOUND, "found", "client_certificate", ResolutionStrength.CERTIFICATE, posture=posture)
    decision = decide(request_of(scenario), device, snapshot, now=now)

    expect = dict(scenario["expect"])
    seen: dict[str, object] = {"decision": decision.outcome.value, "reason": decision.reason}
    seen |= {rule.kind: rule.name for rule in decision.rules}
    if "check" in expect:
        seen["check"] = next(check.name for check in decision.checks if check.standing != "passed")
    assert {name: seen.get(name) for name in expect} == expect

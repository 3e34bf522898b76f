"""What the benchmarks decide: the rules of an organisation with so many hosts, and requests that all differ.

Each host has an Access application (users of the company's email domain, on devices that pass a check) and a Gateway rule that is
found by the host (it blocks devices that do not pass the check). Five more rules have to be asked for every request.
"""

import ipaddress
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from watchword_server.core.facts import GROUPS
from watchword_server.core.model.checks import Check, ClientCertificateConfig, OnClone, Trust
from watchword_server.core.model.decisions import AccessRequest, Identity, Resolution, ResolutionStrength, ResolvedDevice
from watchword_server.core.model.devices import Device, DeviceKey, DeviceState, KeyAlgorithm
from watchword_server.core.model.names import CertificateId, CheckId, DeviceId, Fingerprint, Instant
from watchword_server.core.model.results import DevicePosture, EvidenceLevel, PostureResult
from watchword_server.core.rules import (
    EMPTY_RULE_SET,
    Application,
    Conditions,
    Destination,
    EmailDomainIs,
    GatewayAction,
    GatewayFilter,
    GatewayRule,
    Policy,
    PolicyDecision,
    PostureCheckPassed,
    RuleSet,
)

NOW: Final = Instant(1_800_000_000.0)
DOMAIN: Final = "corp.example"
_EVALUATED_AT: Final = Instant(NOW - 60)
_EXPIRES_AT: Final = Instant(NOW + 840)
_CERTIFICATE: Final = Fingerprint(bytes(range(32)))
_STRIDE: Final = 7919  # prime: requests are spread over all hosts
_PATH_CHARACTERS: Final = 40
_KINDS_OF_DENIAL: Final = 4


# ---- Rules ----------------------------------------------------------------------------------------------------------------


def an_id(what: str) -> str:
    """An id like those the server gives, the same in every run."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, what))


def check(name: str) -> Check:
    """A check; how it is configured is nothing to decisions."""
    config = ClientCertificateConfig(
        CertificateId(an_id("ca")), None, (), (), check_private_key=True, paths=(), trust_stores=(), trust=Trust.ISSUER,
        on_clone=OnClone.FAIL, allow_pkcs1=False,
    )  # fmt: skip
    return Check(CheckId(an_id(f"check {name}")), name, 1, "client_certificate_v2", frozenset(), 300, 900, config)


CHECKS: Final = tuple(map(check, ("disk-encryption", "corp-certificate", "hardware-key")))
# Name, traffic and identity. They block.
EVERY_REQUEST: Final = (
    ("no probing", r'http.request.uri.path matches "^/(wp-admin|cgi-bin|\.git|\.env)(/|$)"', ""),
    ("no debugging", 'http.request.uri.path wildcard "/internal/*/debug"', ""),
    ("no bad networks", "http.conn.src_ip in {198.51.100.0/24 203.0.113.0/24 203.0.114.7 2001:db8:bad::/48}", ""),
    ("staff alone", "", 'not(any(identity.groups[*].name in {"employees" "contractors"}))'),
    ("the archive is read", 'http.request.method != "GET" and http.request.uri.path wildcard "/archive/*"', ""),
)


def host(number: int) -> str:
    """The host of this application and this Gateway rule."""
    return f"app{number}.corp.test"


def check_of(number: int, checks: Sequence[Check] = CHECKS) -> Check:
    """The check that they ask for, of these three."""
    return checks[number % len(checks)]


def traffic_of(number: int) -> str:
    """The Gateway rule's expression about the request."""
    return f'http.request.host == "{host(number)}" and http.request.method in {{"GET" "HEAD" "POST" "PUT" "PATCH" "DELETE"}}'


def posture_of(check: str) -> str:
    """The Gateway rule's expression about the device; `check` is the id, or in a document the name."""
    return f'not(any(device_posture.checks.passed[*] in {{"{check}"}}))'


def rule_set(hosts: int) -> RuleSet:
    """The rules of so many hosts, and those for every request."""
    everywhere = [
        _gateway_rule(name, number, traffic, identity=identity) for number, (name, traffic, identity) in enumerate(EVERY_REQUEST)
    ]
    by_host = [
        _gateway_rule(
            f"managed devices at {host(number)}",
            1000 + number,
            traffic_of(number),
            device_posture=posture_of(check_of(number).id),
        )
        for number in range(hosts)
    ]
    return replace(
        EMPTY_RULE_SET,
        revision=1,
        checks={check.id: check for check in CHECKS},
        applications=tuple(application(host(number), DOMAIN, check_of(number).id) for number in range(hosts)),
        gateway_rules=(*everywhere, *by_host),
    )


def application(name: str, domain: str, check_id: CheckId) -> Application:
    """An application at the host of its name, with a policy of its own."""
    conditions = Conditions(include=(EmailDomainIs(domain),), require=(PostureCheckPassed(check_id),))
    policy = Policy(an_id(f"policy {name}"), f"staff at {name}", PolicyDecision.ALLOW, conditions)
    return Application(an_id(f"application {name}"), name, (Destination(name),), (policy,))


def _gateway_rule(name: str, precedence: int, traffic: str, *, identity: str = "", device_posture: str = "") -> GatewayRule:
    return GatewayRule(
        an_id(f"rule {name}"), name, precedence, GatewayFilter.HTTP, GatewayAction.BLOCK, traffic, identity, device_posture
    )


# ---- Requests -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Case:
    """A request with its device, and what is right."""

    request: AccessRequest
    device: ResolvedDevice
    allowed: bool


def cases(count: int, hosts: int, checks: Sequence[Check] = CHECKS) -> list[Case]:
    """So many different requests by as many users and devices with results of these checks; a quarter denied, for four reasons.

    The check failed, which Gateway blocks; another email domain; a host without an application; a path that is blocked.
    """
    kinds = (number // 4 % _KINDS_OF_DENIAL if number % 4 == 3 else None for number in range(count))
    return [_case(number, hosts, checks, denial) for number, denial in enumerate(kinds)]


def _case(number: int, hosts: int, checks: Sequence[Check], denial: int | None) -> Case:
    where = number * _STRIDE % hosts
    start = f"{'/.git' if denial == 3 else '/projects'}/{number:06d}/"
    request = AccessRequest(
        method=("GET", "GET", "POST", "PUT")[number % 4],
        scheme="https",
        host="nowhere.corp.test" if denial == 2 else host(where),
        path=start + "p" * (_PATH_CHARACTERS - len(start)),
        query="page=2",
        source_ip=ipaddress.IPv4Address(f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"),
        identity=Identity(f"user{number}@{'other.example' if denial == 1 else DOMAIN}"),
        caller="edge",
        facts={GROUPS: _groups(number)},
    )
    failed = check_of(where, checks) if denial == 0 else None
    results = {check.id: result(check, passed=check is not failed) for check in checks}
    return Case(request, resolved(DevicePosture(device(number), results, revision=1)), allowed=denial is None)


def _groups(number: int) -> tuple[Mapping[bytes, bytes], ...]:
    names = ("everyone", f"team-{number % 40}", "engineering", "employees", f"site-{number % 9}")
    return tuple(
        {b"id": an_id(f"group {name}").encode(), b"name": name.encode(), b"email": f"{name}@{DOMAIN}".encode()} for name in names
    )


# ---- Devices --------------------------------------------------------------------------------------------------------------


def device(number: int) -> Device:
    """A device in use."""
    return Device(
        id=DeviceId(an_id(f"device {number}")),
        key=DeviceKey(f"key {number}", b"", KeyAlgorithm.ED25519),
        state=DeviceState.ACTIVE,
        platform="linux",
        hostname=f"laptop-{number}",
        serial_number=None,
        epoch=1,
        enrolled_at=Instant(NOW - 1e6),
        last_seen_at=Instant(NOW - 60),
    )


def result(check: Check, *, passed: bool) -> PostureResult:
    """What a minute ago was found out about a device."""
    return PostureResult(
        check_id=check.id,
        check_revision=check.revision,
        passed=passed,
        reason="passed" if passed else "certificate_expired",
        level=EvidenceLevel.PROVEN,
        evaluated_at=_EVALUATED_AT,
        evidence_at=_EVALUATED_AT,
        expires_at=_EXPIRES_AT,
        certificate=_CERTIFICATE,
    )


def resolved(posture: DevicePosture) -> ResolvedDevice:
    """The device of a request, known by its certificate."""
    return ResolvedDevice(
        outcome=Resolution.FOUND,
        reason="found",
        method="client_certificate",
        strength=ResolutionStrength.CERTIFICATE,
        certificate=_CERTIFICATE,
        posture=posture,
        certificate_possible=True,
        common_name="laptop.corp.example",
    )

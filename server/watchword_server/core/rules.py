"""The rule set: what operators wrote, as typed values; and the snapshot of it that decisions read.

Names are the Cloudflare API's: an *application* covers a host and lists *policies*; a policy includes, requires and excludes by
*selectors*; *groups* bundle selectors; a *Gateway rule* allows or blocks by what is requested. A *caller* is a proxy that
may ask.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from watchword_server.core.model import CertificateId, Check, CheckId, IPNetwork, Outcome, SigningCertificate


@dataclass(frozen=True, slots=True)
class Everyone:
    """True for every request."""


@dataclass(frozen=True, slots=True)
class EmailIs:
    """The user's email, compared case-insensitively; `email` is case-folded."""

    email: str


@dataclass(frozen=True, slots=True)
class EmailDomainIs:
    """The part of the user's email after its last `@`, case-insensitively; `domain` is case-folded."""

    domain: str


@dataclass(frozen=True, slots=True)
class IpIn:
    """The request's source address lies in the network."""

    network: IPNetwork


@dataclass(frozen=True, slots=True)
class PostureCheckPassed:
    """The device passes the check now. In the Cloudflare API: `device_posture.integration_uid`."""

    check_id: CheckId


@dataclass(frozen=True, slots=True)
class InGroup:
    """The group's own include, require and exclude hold."""

    group_id: str


Selector = Everyone | EmailIs | EmailDomainIs | IpIn | PostureCheckPassed | InGroup


@dataclass(frozen=True, slots=True)
class Conditions:
    """Any of `include`, all of `require`, none of `exclude`."""

    include: tuple[Selector, ...]
    require: tuple[Selector, ...] = ()
    exclude: tuple[Selector, ...] = ()


class PolicyDecision(StrEnum):
    """What a matching policy does."""

    ALLOW = "allow"
    DENY = "deny"
    BYPASS = "bypass"  # asks for no identity and no device; an invalid device link still denies


@dataclass(frozen=True, slots=True)
class Policy:
    """An Access policy."""

    id: str
    name: str
    decision: PolicyDecision
    conditions: Conditions


@dataclass(frozen=True, slots=True)
class Group:
    """A named bundle of selectors; counts as one selector where it is used."""

    id: str
    name: str
    conditions: Conditions


@dataclass(frozen=True, slots=True)
class Application:
    """An Access application on one host. `policy_ids` in the order of their precedence. `host` is lower case."""

    id: str
    name: str
    host: str
    policy_ids: tuple[str, ...]


class GatewayAction(StrEnum):
    """What a matching Gateway rule does. An allow never skips Access."""

    ALLOW = "allow"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class GatewayRule:
    """A Gateway rule on an exact host; `host` None: every request. First match by ascending precedence wins."""

    id: str
    name: str
    precedence: int
    enabled: bool
    action: GatewayAction
    host: str | None


class Assertion(StrEnum):
    """What a caller's entry lets it assert about a request. What it does not list is ignored."""

    CLIENT_CERTIFICATE = "client_certificate"
    IDENTITY = "identity"
    ADDRESS = "address"


@dataclass(frozen=True, slots=True)
class Caller:
    """A proxy that may ask. Exactly one of `secret_sha256`, `subject_alternative_name` and `unix_socket` authenticates it."""

    id: str
    name: str
    may_assert: frozenset[Assertion]
    resolvers: tuple[str, ...]  # of: client_certificate
    identity_header: str | None  # lower case; the header that carries the user's email
    secret_sha256: bytes | None = None
    subject_alternative_name: str | None = None  # URI or DNS name in its TLS client certificate
    unix_socket: bool = False


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Everything operators defined, consistent: each reference leads to an entry. `revision` is the rules revision."""

    revision: int
    certificates: Mapping[CertificateId, SigningCertificate]
    checks: Mapping[CheckId, Check]
    applications: tuple[Application, ...]
    policies: Mapping[str, Policy]
    groups: Mapping[str, Group]
    gateway_rules: tuple[GatewayRule, ...]
    callers: tuple[Caller, ...]
    unmatched: Outcome


@dataclass(frozen=True, slots=True)
class RuleSnapshot:
    """A rule set arranged for deciding; immutable, swapped whole."""

    rules: RuleSet
    application_by_host: Mapping[str, Application]
    gateway_by_host: Mapping[
        str, tuple[GatewayRule, ...]
    ]  # enabled only, each list by precedence, with the host-less ones merged in
    gateway_any_host: tuple[GatewayRule, ...]
    caller_by_secret: Mapping[bytes, Caller] = field(default_factory=dict)
    caller_by_name: Mapping[str, Caller] = field(default_factory=dict)
    caller_by_subject_alternative_name: Mapping[str, Caller] = field(default_factory=dict)


def compile_rules(rules: RuleSet) -> RuleSnapshot:
    """Arranges a rule set for deciding: what a request costs does not grow with the number of rules."""
    enabled = sorted((rule for rule in rules.gateway_rules if rule.enabled), key=lambda rule: rule.precedence)
    hosts = {rule.host for rule in enabled if rule.host is not None}
    return RuleSnapshot(
        rules=rules,
        application_by_host={application.host: application for application in rules.applications},
        gateway_by_host={host: tuple(rule for rule in enabled if rule.host in (host, None)) for host in hosts},
        gateway_any_host=tuple(rule for rule in enabled if rule.host is None),
        caller_by_secret={caller.secret_sha256: caller for caller in rules.callers if caller.secret_sha256 is not None},
        caller_by_name={caller.name: caller for caller in rules.callers},
        caller_by_subject_alternative_name={
            caller.subject_alternative_name: caller for caller in rules.callers if caller.subject_alternative_name is not None
        },
    )


EMPTY_RULE_SET = RuleSet(
    revision=0,
    certificates={},
    checks={},
    applications=(),
    policies={},
    groups={},
    gateway_rules=(),
    callers=(),
    unmatched=Outcome.DENY,
)

"""Requests, their devices, and what was decided."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import NamedTuple

from watchword_server.core.model.names import CheckId, DeviceId, Fingerprint, Instant, IPAddress
from watchword_server.core.model.results import DevicePosture, PostureResult


@dataclass(frozen=True, slots=True)
class Identity:
    """A user, as a caller that may assert identity named them. `email` is case-folded."""

    email: str


# What a rule's expression reads: bytes, int, bool, an address as (4 or 6, number), tuples and mappings of these; None: unknown.
Value = bytes | int | bool | tuple[object, ...] | Mapping[bytes, object]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A question of AuthZEN's about anything but a route. `document`: as it was asked, JSON; `fields`: as expressions read it."""

    document: Mapping[str, object]
    fields: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """A request a reverse proxy asks about. `host` is lower case without port; `source_ip` None: not asserted.

    `facts` are what the caller reported besides, by the names of `core/facts.py`; what is not in it is unknown.
    `service_token_id` is set where the request carried a valid one; `service_token_refused` where it carried another.
    """

    method: str
    scheme: str
    host: str
    path: str
    query: str
    source_ip: IPAddress | None
    identity: Identity | None
    caller: str
    port: int | None = None  # None: the scheme's own
    facts: Mapping[str, Value] = field(default_factory=dict)
    service_token_id: str | None = None
    service_token_refused: bool = False
    evaluation: Evaluation | None = None  # what is asked in place of a request
    is_connection: bool = False  # it is none: a connection, of which nobody knows what it carries


class Resolution(StrEnum):
    """What looking for the request's device led to."""

    FOUND = "found"
    ABSENT = "absent"
    INVALID = "invalid"  # something was presented that must not be overlooked: denies


class ResolutionStrength(IntEnum):
    """How strongly a request is bound to a device; higher is stronger. Rules name these in lower case."""

    NONE = 0
    STATED = 1  # by a caller that may
    BEARER = 2  # a device token that whoever has it can show
    ADDRESS = 3  # the one device that attests from there now
    TOKEN = 4  # a device token with a proof of the key it was issued to
    CERTIFICATE = 5  # the TLS client certificate, proven by the device as well


@dataclass(frozen=True, slots=True)
class ResolvedDevice:
    """The outcome of the resolver chain. `reason` says why nothing was found, or why what was found does not count.

    `certificate_possible`: the caller could have passed a client certificate, so that its absence is known. `common_name` is that
    of the certificate, where there is one. `proven` is false where the device was found by something it does not prove any more:
    its failures are told, its passes do not count. `others` are further devices the same link leads to.
    """

    outcome: Resolution
    reason: str
    method: str | None = None
    strength: ResolutionStrength = ResolutionStrength.NONE
    certificate: Fingerprint | None = None
    posture: DevicePosture | None = None
    proven: bool = True
    others: tuple[DeviceId, ...] = ()
    certificate_possible: bool = False
    common_name: str | None = None


class Standing(StrEnum):
    """A check's standing at decision time. Only PASSED is passed; only FAILED is failed."""

    PASSED = "passed"
    FAILED = "failed"
    NO_DEVICE = "no_device"
    NO_RESULT = "no_result"
    EXPIRED = "result_expired"
    TOO_WEAK = "evidence_too_weak"  # it passed, yet with less than the rule demands
    BOUND_TOO_WEAKLY = "device_binding_too_weak"  # it passed, yet the request is bound to the device by less than demanded
    NOT_IN_HARDWARE = "device_key_not_in_hardware"  # it passed, yet the device's key lies where it can be copied
    TOO_OLD = "evidence_too_old"


class CheckStanding(NamedTuple):
    """One check as a decision saw it. A tuple, as `Decision` is: both are made on every request, and tuples are made fastest."""

    check_id: CheckId
    name: str
    standing: Standing
    result: PostureResult | None


class Outcome(StrEnum):
    """Allow or deny; nothing between."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class RuleMatch:
    """A rule a decision names: `kind` is application, policy or gateway_rule; `effect` what it does, as its entry says it."""

    kind: str
    id: str
    name: str
    effect: str = ""


class Decision(NamedTuple):
    """The answer. `reason` is `allowed`-like or why not (docs/reasons.md); `checks` are those the deciding rules asked about.

    `rules` are those that decided; `reported` those that would have, were they not `report_only`. `errors` names the rules that
    could not be evaluated, and why: none of them widened access.
    """

    outcome: Outcome
    reason: str
    rules: tuple[RuleMatch, ...]
    checks: tuple[CheckStanding, ...]
    device: ResolvedDevice
    decided_at: Instant
    errors: tuple[str, ...] = ()
    reported: tuple[RuleMatch, ...] = ()

    @property
    def allowed(self) -> bool:
        """True only for an allow."""
        return self.outcome is Outcome.ALLOW

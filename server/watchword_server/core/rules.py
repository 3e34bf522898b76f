"""The rule set: what operators wrote, as typed values. `core/snapshot.py` arranges it for deciding.

Names are the Cloudflare API's: an *application* covers hosts and paths and lists *policies*; a policy includes, requires and
excludes by *selectors*; *groups* bundle selectors; a *Gateway rule* allows or blocks by expressions; a *list* is named values. A
*caller* is a proxy that may ask. Each value is made once per stored entry and shared by all rule sets that have that entry
unchanged: whoever compiles may compare by identity.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from watchword_server.core.model.checks import Check, SigningCertificate
from watchword_server.core.model.decisions import Outcome, ResolutionStrength
from watchword_server.core.model.names import CertificateId, CheckId, Instant, IPNetwork
from watchword_server.core.model.results import EvidenceLevel

# ---- Selectors ----------------------------------------------------------------------------------------------------------


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
class EmailInList:
    """The user's email is in the list, case-insensitively."""

    list_id: str


@dataclass(frozen=True, slots=True)
class IpIn:
    """The request's source address lies in the network."""

    network: IPNetwork


@dataclass(frozen=True, slots=True)
class IpInList:
    """The request's source address lies in one of the list's networks."""

    list_id: str


@dataclass(frozen=True, slots=True)
class EvidenceDemand:
    """How good the evidence of a check has to be where it is used. None: no demand.

    `level` asks for at least that much: proven is more than signed, signed more than reported. `hardware_key` asks for a result
    that is proven, of a device whose own key lies in hardware, as its agent claims. `binding` asks for a request that is bound
    to its device at least so strongly.
    """

    level: EvidenceLevel | None = None
    max_age_seconds: float | None = None
    hardware_key: bool = False
    binding: ResolutionStrength = ResolutionStrength.NONE


NO_DEMAND = EvidenceDemand()


@dataclass(frozen=True, slots=True)
class PostureCheckPassed:
    """The device passes the check now. In the Cloudflare API: `device_posture.integration_uid`."""

    check_id: CheckId
    demand: EvidenceDemand = NO_DEMAND


@dataclass(frozen=True, slots=True)
class DeviceOwner:
    """The user of the request is the owner of its device. Ours: Cloudflare has no such selector."""


@dataclass(frozen=True, slots=True)
class AnyClientCertificate:
    """A client certificate on the TLS connection that one of the uploaded CAs issued, valid now. In the API: `certificate`."""


@dataclass(frozen=True, slots=True)
class CommonNameIs:
    """Such a certificate with this common name, compared case-insensitively; `common_name` is in ASCII lower case."""

    common_name: str


@dataclass(frozen=True, slots=True)
class ServiceTokenIs:
    """The request carries this service token, valid now."""

    token_id: str


@dataclass(frozen=True, slots=True)
class AnyServiceToken:
    """The request carries a service token, valid now."""


@dataclass(frozen=True, slots=True)
class FactIs:
    """A reported fact is one of these values: country, login method, user risk score. Unknown where nobody reported it.

    `fact` is a name of `core/facts.py`. `provider_id`: and the user logged in with this identity provider.
    """

    selector: str  # the selector's key in the API
    fact: str
    values: frozenset[bytes]
    provider_id: str | None = None


@dataclass(frozen=True, slots=True)
class FactHas:
    """A reported fact that is a list, or one attribute of a fact that is a map of lists, has the value. Unknown likewise.

    `value` None: has any.
    """

    selector: str
    fact: str
    value: bytes | None
    attribute: bytes | None = None
    provider_id: str | None = None


@dataclass(frozen=True, slots=True)
class InGroup:
    """The group's own include, require and exclude hold."""

    group_id: str


Selector = (
    Everyone
    | EmailIs
    | EmailDomainIs
    | EmailInList
    | IpIn
    | IpInList
    | PostureCheckPassed
    | DeviceOwner
    | AnyClientCertificate
    | CommonNameIs
    | ServiceTokenIs
    | AnyServiceToken
    | FactIs
    | FactHas
    | InGroup
)


@dataclass(frozen=True, slots=True)
class Conditions:
    """Any of `include`, all of `require`, none of `exclude`."""

    include: tuple[Selector, ...]
    require: tuple[Selector, ...] = ()
    exclude: tuple[Selector, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """A named bundle of selectors; counts as one selector where it is used."""

    id: str
    name: str
    conditions: Conditions


# ---- Access -------------------------------------------------------------------------------------------------------------


class PolicyDecision(StrEnum):
    """What a matching policy does."""

    ALLOW = "allow"
    DENY = "deny"
    BYPASS = "bypass"  # asks for no identity and no device; an invalid device link still denies
    NON_IDENTITY = "non_identity"  # Service Auth: lets in what needs no user, such as a service token


@dataclass(frozen=True, slots=True)
class Policy:
    """An Access policy. `demand` holds for every check that its conditions ask about. `report_only`: evaluated, not enforced."""

    id: str
    name: str
    decision: PolicyDecision
    conditions: Conditions
    demand: EvidenceDemand = NO_DEMAND
    report_only: bool = False


@dataclass(frozen=True, slots=True)
class Destination:
    """What an application covers: a host and a path, each with `*` where the API allows it (`core/applications.py`).

    `host` is lower case; `path` begins with `/` or is empty for all of the host.
    """

    host: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class Application:
    """An Access application. `policies` in the order of their precedence: the id of a reusable one, or one of its own."""

    id: str
    name: str
    destinations: tuple[Destination, ...]
    policies: tuple[str | Policy, ...]


@dataclass(frozen=True, slots=True)
class ServiceToken:
    """What a machine presents in place of a user. Without a credential or after `expires_at` it is never valid."""

    id: str
    name: str
    client_id: str | None
    secret_sha256: bytes | None
    expires_at: Instant | None  # None: never


# ---- Gateway ------------------------------------------------------------------------------------------------------------


class GatewayAction(StrEnum):
    """What a matching Gateway rule does. An allow never skips Access."""

    ALLOW = "allow"
    BLOCK = "block"


class GatewayFilter(StrEnum):
    """Which builder a rule belongs to; network rules come before HTTP rules. `authzen` is ours: rules over AuthZEN's entities."""

    L4 = "l4"
    HTTP = "http"
    AUTHZEN = "authzen"


@dataclass(frozen=True, slots=True)
class GatewayRule:
    """An enabled Gateway rule. First match by ascending precedence wins within its filter.

    The three expressions are ANDed; an empty one is no condition. What they name (lists, checks) is named by id. `demand` holds
    for the checks they ask about.
    """

    id: str
    name: str
    precedence: int
    filter: GatewayFilter
    action: GatewayAction
    traffic: str = ""
    identity: str = ""
    device_posture: str = ""
    demand: EvidenceDemand = NO_DEMAND
    report_only: bool = False


@dataclass(frozen=True, slots=True)
class GatewayList:
    """Values under one name. `values` are normalised: networks for IP, lower-case text for EMAIL and DOMAIN, else as written."""

    id: str
    name: str
    type: Literal["SERIAL", "URL", "DOMAIN", "EMAIL", "IP"]
    values: tuple[str, ...]


# ---- AuthZEN -------------------------------------------------------------------------------------------------------------


class EntityRole(StrEnum):
    """What an entity can be in a question."""

    SUBJECT = "subject"
    ACTION = "action"
    RESOURCE = "resource"


@dataclass(frozen=True, slots=True)
class Entity:
    """A candidate for searches: what may be found, with what is known of it. `id` is the entry's, `entity_id` its own.

    `type` is empty for an action, which has only its name.
    """

    id: str
    role: EntityRole
    type: str
    entity_id: str
    properties: Mapping[str, object] = field(default_factory=dict)  # JSON


# ---- Callers ------------------------------------------------------------------------------------------------------------


class Assertion(StrEnum):
    """What a caller's entry lets it assert about a request. What it does not list is ignored."""

    CLIENT_CERTIFICATE = "client_certificate"
    IDENTITY = "identity"
    ADDRESS = "address"
    FACTS = "facts"
    DEVICE = "device"


class Link(StrEnum):
    """A way from a request to its device; of those that a caller's entry enables, all are asked. The strongest first."""

    CLIENT_CERTIFICATE = "client_certificate"
    DEVICE_TOKEN = "device_token"  # noqa: S105 - a name of a link
    ADDRESS = "address"
    DEVICE = "device"


@dataclass(frozen=True, slots=True)
class UserTokens:
    """Tokens (JWT) that say who the user is, and where they are: one of `header` and `cookie`, the former in lower case.

    `groups_claim`: a list of names of groups; None: none is read.
    """

    header: str | None
    cookie: str | None
    issuer: str
    audience: str
    jwks_url: str
    algorithms: tuple[str, ...]
    leeway_seconds: float
    email_claim: str
    groups_claim: str | None


@dataclass(frozen=True, slots=True)
class DeviceTokenUse:
    """Which device tokens a caller's clients may show: of this audience; `bearer`: also without a proof of the key."""

    audience: str
    bearer: bool


@dataclass(frozen=True, slots=True)
class Caller:
    """A proxy that may ask. Exactly one of `secret_sha256`, `subject_alternative_name` and `unix_socket` authenticates it."""

    id: str
    name: str
    may_assert: frozenset[Assertion]
    resolvers: frozenset[Link]
    identity_header: str | None  # lower case; the header that carries the user's email
    facts_header: str | None = None  # lower case; the header that carries facts as a JSON object
    secret_sha256: bytes | None = None
    subject_alternative_name: str | None = None  # URI or DNS name in its TLS client certificate
    unix_socket: bool = False
    device_networks: tuple[IPNetwork, ...] = ()  # where an address is one device's: a tunnel
    device_tokens: DeviceTokenUse | None = None
    user_tokens: UserTokens | None = None  # what the client itself shows of the user: verified, not asserted


# ---- All of it ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LanguageSettings:
    """How expressions are read (docs/settings.md). The defaults are the settings' own."""

    missing_not_equal: bool = True  # whether `!=` is true of a field that is missing
    max_expression_characters: int = 16_384
    max_nesting: int = 128
    max_set_items: int = 5_000
    max_list_items: int = 5_000
    max_regex_characters: int = 1_024
    max_regex_memory_bytes: int = 1 << 20
    max_wildcard_stars: int = 10


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
    lists: Mapping[str, GatewayList] = field(default_factory=dict)
    service_tokens: Mapping[str, ServiceToken] = field(default_factory=dict)
    language: LanguageSettings = LanguageSettings()
    entities: Mapping[str, Entity] = field(default_factory=dict)


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

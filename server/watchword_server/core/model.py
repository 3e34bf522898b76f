"""The nouns: devices, checks, evidence, results, requests, decisions.

Times are `Instant`: seconds since the Unix epoch, UTC, as a float. Durations say their unit. `None` means "not known" or "never",
as the field says; absence is never an empty string.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple, NewType

Instant = NewType("Instant", float)
DeviceId = NewType("DeviceId", str)
CheckId = NewType("CheckId", str)
CertificateId = NewType("CertificateId", str)
Fingerprint = NewType("Fingerprint", bytes)  # SHA-256 of a certificate's DER encoding
KeyFingerprint = NewType("KeyFingerprint", bytes)  # SHA-256 of a DER SubjectPublicKeyInfo
SessionId = NewType("SessionId", bytes)

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


# ---- Devices ----------------------------------------------------------------------------------------------------------


class DeviceState(StrEnum):
    """Only an active device's evidence is judged and only an active device satisfies a rule."""

    ACTIVE = "active"
    PENDING = "pending"  # enrolled; an operator has to approve it
    REVOKED = "revoked"


class KeyAlgorithm(StrEnum):
    """Fixed when the device enrolls; a message never chooses it."""

    ED25519 = "ed25519"
    ECDSA_P256_SHA256 = "ecdsa-p256-sha256"


class KeyProtection(StrEnum):
    """Where a device's key lies. The agent's word, signed by the key: a signature does not show what made it."""

    FILE = "file"
    TPM = "tpm"
    SECURE_ENCLAVE = "secure_enclave"
    CNG_SOFTWARE = "cng_software"  # Windows keeps it, in no hardware
    CNG_TPM = "cng_tpm"

    @property
    def in_hardware(self) -> bool:
        """Whether the key cannot be copied, if the word is true."""
        return self in (KeyProtection.TPM, KeyProtection.SECURE_ENCLAVE, KeyProtection.CNG_TPM)


@dataclass(frozen=True, slots=True)
class DeviceKey:
    """The key a device signs its envelopes with. `public_key_der` is a SubjectPublicKeyInfo.

    `protection` is what the agent claims; None: it told nothing, or a word that we do not know.
    """

    key_id: str
    public_key_der: bytes
    algorithm: KeyAlgorithm
    protection: KeyProtection | None = None


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a device says of itself; `None` where it does not know."""

    platform: str
    hostname: str | None
    serial_number: str | None


@dataclass(frozen=True, slots=True)
class SeenBoot:
    """A boot of the machine that spoke for a device, by the random id its kernel gave it."""

    boot_id: bytes
    first_seen_at: Instant
    last_seen_at: Instant


@dataclass(frozen=True, slots=True)
class Lock:
    """Until an operator unlocks it, every request that a device stands behind is denied; it goes on attesting."""

    at: Instant
    reason: str


@dataclass(frozen=True, slots=True)
class Device:
    """An enrolled device. `serial_number` is the enrollment's; `hostname` the newest one signed.

    `boots` are the newest at the end (core/boots.py); `key_cloned_at` is when two machines were seen with its key; None: never.
    `pending_key` becomes its key with the first evidence it signs before `pending_until`; both None: there is none.
    `owner` is the email address, case-folded, of the user whose it is; None: nobody's, or not told.
    """

    id: DeviceId
    key: DeviceKey
    state: DeviceState
    platform: str
    hostname: str | None
    serial_number: str | None
    epoch: int
    enrolled_at: Instant
    last_seen_at: Instant | None = None
    boots: tuple[SeenBoot, ...] = ()
    key_cloned_at: Instant | None = None
    pending_key: DeviceKey | None = None
    pending_until: Instant | None = None
    lock: Lock | None = None
    owner: str | None = None


# ---- Checks (in the Cloudflare API: device posture rules) ----------------------------------------------------------------


class Trust(StrEnum):
    """How the uploaded signing certificate has to stand above the client certificate."""

    ISSUER = "issuer"  # it signed it directly
    CHAIN = "chain"  # a valid path leads from it to the client certificate


class RevocationPolicy(StrEnum):
    """What a check asks of revocation."""

    OFF = "off"
    PREFER = "prefer"  # what is known counts; not to know is no failure
    REQUIRE = "require"  # not to know fails


class OnClone(StrEnum):
    """What a key that two live devices prove, or a device key on two machines, means for this check."""

    FAIL = "fail"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class ClientCertificateConfig:
    """What a client certificate has to satisfy, and where an agent looks for it."""

    certificate_id: CertificateId
    common_name: str | None
    subject_alternative_names: tuple[str, ...]
    extended_key_usage: tuple[str, ...]  # clientAuth, emailProtection: all listed
    check_private_key: bool
    paths: tuple[str, ...]
    trust_stores: tuple[str, ...]
    trust: Trust
    on_clone: OnClone
    allow_pkcs1: bool
    revocation: RevocationPolicy = RevocationPolicy.PREFER


@dataclass(frozen=True, slots=True)
class Check:
    """A posture check. `revision` changes with everything a verdict depends on; `expiration_seconds` None: never."""

    id: CheckId
    name: str
    revision: int
    kind: str
    platforms: frozenset[str]  # empty: all
    schedule_seconds: int
    expiration_seconds: int | None
    config: ClientCertificateConfig


@dataclass(frozen=True, slots=True)
class ListPlace:
    """Where an operator says that a revocation list is: one of `url` and `path`, an absolute path on the server."""

    url: str | None
    path: str | None
    refresh_seconds: int


@dataclass(frozen=True, slots=True)
class OcspResponder:
    """Whom the server asks about single certificates, and how long it keeps an answer."""

    url: str
    refresh_seconds: int


@dataclass(frozen=True, slots=True)
class SigningCertificate:
    """A certificate an operator uploaded: what client certificates have to be signed by, directly or through `intermediates`."""

    id: CertificateId
    name: str
    der: bytes
    intermediates: tuple[bytes, ...] = ()  # the other CAs of the bundle, for `Trust.CHAIN`
    list_signers: tuple[bytes, ...] = ()  # the rest of the bundle: no CAs, but they may sign its revocation lists
    list_places: tuple[ListPlace, ...] = ()
    responder: OcspResponder | None = None


# ---- Evidence ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Envelope:
    """Signed bytes, unopened. `key_id` is a hint. `new_key_signature` is there where a key is to be rotated, and only there."""

    payload: bytes
    payload_type: str
    key_id: str
    signature: bytes
    new_key_signature: bytes | None = None


class PrivateKeyState(StrEnum):
    """The agent's word about a candidate's private key. A word passes nothing; it names a failure."""

    UNSPECIFIED = "unspecified"
    USABLE = "usable"
    ABSENT = "absent"
    LOCKED = "locked"
    MISMATCH = "mismatch"
    UNSUPPORTED = "unsupported"
    UNREADABLE = "unreadable"
    DENIED = "denied"
    NEEDS_UI = "needs_ui"
    WRONG_PASSWORD = "wrong_password"  # noqa: S105 -- a word about one
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A certificate an agent found: DER chain with the client certificate first, and the proof of its key."""

    chain: tuple[bytes, ...]
    location: str
    private_key: PrivateKeyState
    possession_scheme: str
    possession_signature: bytes
    ocsp_responses: tuple[bytes, ...] = ()  # in DER, as found beside the certificate; not believed


@dataclass(frozen=True, slots=True)
class Claim:
    """What a device brought for one check. `error_code` is set when it could not look."""

    check_id: CheckId
    check_revision: int
    age_seconds: float
    candidates: tuple[Candidate, ...] = ()
    error_code: str | None = None
    error_detail: str | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """What everything says that a device signs in a session: who, to whom, in answer to what. Not believed yet."""

    device_id: DeviceId
    key_id: str
    audience: str
    session_id: SessionId
    epoch: int
    nonce: bytes
    sequence: int


@dataclass(frozen=True, slots=True)
class Goodbye(Statement):
    """The device leaves: none of its results holds any longer."""


@dataclass(frozen=True, slots=True)
class KeyRotation(Statement):
    """The device wants another key. `key_id` is of the one it has; `new_key_protection` as in `DeviceKey`."""

    new_public_key_der: bytes
    new_key_protection: KeyProtection | None = None


@dataclass(frozen=True, slots=True)
class Evidence(Statement):
    """The signed statement of a device, parsed. Not believed yet: see `VerifiedEvidence`."""

    inventory: Inventory
    check_set_revision: int
    claims: tuple[Claim, ...]
    boot_id: bytes = b""  # random per boot of the machine; empty: the agent does not know it


@dataclass(frozen=True, slots=True)
class Challenge:
    """A nonce that is answered once."""

    nonce: bytes
    issued_at: Instant


@dataclass(frozen=True, slots=True)
class ProofContext:
    """What a claim's proofs were bound to, and when it arrived: all that is needed to judge the claim again later."""

    device_id: DeviceId
    audience: str
    session_id: SessionId
    nonce: bytes
    received_at: Instant
    hostname: str | None
    reported_serial_number: str | None


# ---- Results ----------------------------------------------------------------------------------------------------------


class EvidenceLevel(StrEnum):
    """How a fact is known."""

    PROVEN = "proven"  # a signature over our nonce by the key in question
    SIGNED = "signed"  # claimed by the enrolled device key
    REPORTED = "reported"  # said by a proxy


@dataclass(frozen=True, slots=True)
class PostureResult:
    """The judgement of one check on one device. `reason` is `passed` or why not (docs/reasons.md).

    `evidence_at` is when the agent looked, by our clock. `expires_at` None: never. `certificate` is the fingerprint of the
    candidate the result is about, if there was one; `proven_key` is set where the claim passes on its own (a clone apart) with a
    proof of possession. `expected` and `received` are for people and logs.
    """

    check_id: CheckId
    check_revision: int
    passed: bool
    reason: str
    level: EvidenceLevel
    evaluated_at: Instant
    evidence_at: Instant
    expires_at: Instant | None
    certificate: Fingerprint | None = None
    chain: tuple[Fingerprint, ...] = ()
    expected: Mapping[str, object] = field(default_factory=dict)
    received: Mapping[str, object] = field(default_factory=dict)
    proven_key: KeyFingerprint | None = None


@dataclass(frozen=True, slots=True)
class JudgedClaim:
    """A claim with its context and the result it led to: what the store keeps, so that it can be judged again.

    `proven_certificate` is set where the claim passes on its own (a clone apart) with a proof of possession; `proven_key` with
    it. `serial_number` is that of the certificate the result is about, if it could be
    read: what a revocation list may name.
    """

    claim: Claim
    context: ProofContext
    result: PostureResult
    proven_certificate: Fingerprint | None
    serial_number: int | None = None

    @property
    def proven_key(self) -> KeyFingerprint | None:
        """The key of `proven_certificate`."""
        return self.result.proven_key


@dataclass(frozen=True, slots=True)
class CertificateBinding:
    """A device proved possession of this certificate's key in a passing check; `proven_until` is when that proof ends.

    The binding outlives the proof: a denial can then say which device's check failed.
    """

    certificate: Fingerprint
    device_id: DeviceId
    device_state: DeviceState
    proven_until: Instant | None  # None: never ends by itself
    key: KeyFingerprint


@dataclass(frozen=True, slots=True)
class DevicePosture:
    """A device and its newest results, as of a store revision."""

    device: Device
    results: Mapping[CheckId, PostureResult]
    revision: int


# ---- Requests and decisions ---------------------------------------------------------------------------------------------


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

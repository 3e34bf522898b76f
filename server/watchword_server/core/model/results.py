"""What was judged of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from watchword_server.core.model.devices import Device, DeviceState
from watchword_server.core.model.evidence import Claim, ProofContext
from watchword_server.core.model.names import CheckId, DeviceId, Fingerprint, Instant, KeyFingerprint


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

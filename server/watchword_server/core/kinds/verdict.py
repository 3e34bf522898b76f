"""What goes into judging a claim, and what comes out, whatever the kind of check."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from watchword_server.core.certificates.revocation import RevocationView
from watchword_server.core.certificates.work import Work
from watchword_server.core.model.checks import Check, SigningCertificate
from watchword_server.core.model.devices import Device
from watchword_server.core.model.evidence import ProofContext
from watchword_server.core.model.names import CertificateId, Fingerprint, Instant


@dataclass(frozen=True, slots=True)
class JudgingContext:
    """Everything a judgement depends on besides the claim. `now` is the time of judging, `work` what it may cost."""

    proof: ProofContext
    device: Device
    check: Check
    signing_certificates: Mapping[CertificateId, SigningCertificate]
    revocation: RevocationView
    now: Instant
    work: Work = field(default_factory=Work)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a kind made of a claim: passed, or the reason of the nearest miss; `rank` says how near.

    `proven` needs a signature over our nonce; `not_after` is when the facts themselves end.
    """

    reason: str
    rank: int = -1
    passed: bool = False
    proven: bool = False
    fingerprint: Fingerprint | None = None
    chain: tuple[Fingerprint, ...] = ()
    key_sha256: bytes | None = None  # of the certificate's SubjectPublicKeyInfo
    serial_number: int | None = None
    not_after: Instant | None = None
    location: str | None = None
    expected: object = None
    received: object = None

    def received_facts(self) -> dict[str, object]:
        """What was found, for people and logs."""
        facts: dict[str, object] = {}
        if self.location is not None:
            facts["location"] = self.location
        if self.fingerprint is not None:
            facts["certificate_sha256"] = self.fingerprint.hex()
        if self.received is not None:
            facts[self.reason] = self.received
        return facts

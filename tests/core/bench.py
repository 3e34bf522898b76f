"""A device, a check and a challenge without a server: what `verify.py` is given, with time standing still."""

from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

from hypothesis import HealthCheck, settings

from support.device import HONEST, AttestStream, Lie, SimulatedDevice
from support.pki import Pki
from watchword.v1 import posture_pb2 as wire
from watchword_server.core import keys
from watchword_server.core.model.checks import Check, ClientCertificateConfig, OnClone, SigningCertificate, Trust
from watchword_server.core.model.devices import Device, DeviceState
from watchword_server.core.model.evidence import Challenge, Envelope
from watchword_server.core.model.names import CertificateId, CheckId, DeviceId, Instant, SessionId
from watchword_server.core.verify import Expectation, VerifiedEvidence, verify_evidence
from watchword_server.doors import codec

PATIENT: Final = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # of a machine that is busy

AUDIENCE: Final = "watchword/test"
DEVICE_ID: Final = DeviceId("dev_1")
SESSION_ID: Final = SessionId(b"s" * 16)
PKI: Final = Pki.make()
# The certificates are dated from when they are made.
NOW: Final = Instant(PKI.issuing.credential.certificate.not_valid_before_utc.timestamp() + 7200.0)
CA: Final = SigningCertificate(CertificateId("ca"), "corp-device-ca", PKI.issuing.credential.der)

CONFIG: Final = ClientCertificateConfig(
    certificate_id=CA.id,
    common_name=None,
    subject_alternative_names=(),
    extended_key_usage=("clientAuth",),
    check_private_key=True,
    paths=(),
    trust_stores=(),
    trust=Trust.ISSUER,
    on_clone=OnClone.FAIL,
    allow_pkcs1=False,
)
CHECK: Final = Check(
    id=CheckId("check-1"),
    name="managed-laptop",
    revision=1,
    kind="client_certificate_v2",
    platforms=frozenset(),
    schedule_seconds=300,
    expiration_seconds=900,
    config=CONFIG,
)


@dataclass(slots=True)
class Bench:
    """`simulated` signs, `device` is what the server knows of it; `expected` names the challenge it answers."""

    simulated: SimulatedDevice = field(
        default_factory=lambda: SimulatedDevice("", device_id=DEVICE_ID, found=(PKI.issuing.issue(),), checks=_check_set())
    )
    state: DeviceState = DeviceState.ACTIVE
    nonce: bytes = bytes(range(32))
    session_id: SessionId = SESSION_ID
    epoch: int = 3
    sequence: int = 5
    issued_at: Instant = NOW

    @property
    def device(self) -> Device:
        """As enrolled."""
        key = keys.load_device_key(self.simulated.public_key)
        return Device(DEVICE_ID, key, self.state, "linux", "laptop-1", None, epoch=self.epoch - 1, enrolled_at=NOW)

    @property
    def expected(self) -> Expectation:
        """What the session expects."""
        return Expectation(AUDIENCE, self.session_id, self.epoch, Challenge(self.nonce, self.issued_at), self.sequence, 60.0)

    def envelope(self, lie: Lie = HONEST) -> Envelope:
        """What the device sends."""
        stream = AttestStream(self.simulated, cast("Any", None))
        stream.sequence = self.sequence - 1
        stream.challenge = wire.Challenge(
            session_id=self.session_id, epoch=self.epoch, nonce=self.nonce, audience=AUDIENCE, nonce_ttl_seconds=60
        )
        return codec.envelope_from(stream.envelope(lie))

    def verify_envelope(self, envelope: Envelope) -> VerifiedEvidence:
        """Runs the steps on an envelope."""
        return verify_evidence(envelope, device=self.device, expected=self.expected, now=NOW, parse=codec.parse_evidence)

    def verify(
        self, lie: Lie = HONEST, *, now: Instant = NOW, spent: bool = False, device: Device | None = None
    ) -> VerifiedEvidence:
        """Runs the steps on what the device sends."""
        expected = replace(self.expected, challenge=None) if spent else self.expected
        known = device or self.device
        return verify_evidence(self.envelope(lie), device=known, expected=expected, now=now, parse=codec.parse_evidence)


def _check_set() -> wire.CheckSet:
    check = wire.Check(id=CHECK.id, name=CHECK.name, revision=CHECK.revision, schedule_seconds=CHECK.schedule_seconds)
    check.client_certificate.check_private_key = True
    return wire.CheckSet(revision=1, checks=[check])

"""Devices and results for tests of memory; what a test does not name is unremarkable."""

from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from watchword_server.core.model.decisions import Resolution, ResolvedDevice
from watchword_server.core.model.devices import Device, DeviceKey, DeviceState, KeyAlgorithm
from watchword_server.core.model.names import CheckId, DeviceId, Fingerprint, Instant, KeyFingerprint
from watchword_server.core.model.results import CertificateBinding, DevicePosture, EvidenceLevel, PostureResult

NOW: Final = Instant(1_790_000_000.0)
DEVICE: Final = DeviceId("dev_1")
OTHER_DEVICE: Final = DeviceId("dev_2")
CHECK: Final = CheckId("check-1")
OTHER_CHECK: Final = CheckId("check-2")
CERTIFICATE: Final = Fingerprint(sha256(b"certificate").digest())
KEY: Final = KeyFingerprint(sha256(b"key").digest())


def found(posture: DevicePosture | None) -> ResolvedDevice:
    """The device of a request, found by what it proves; None: there is none."""
    return ResolvedDevice(Resolution.ABSENT if posture is None else Resolution.FOUND, "found", posture=posture)


def a_device(device_id: DeviceId = DEVICE, *, state: DeviceState = DeviceState.ACTIVE, epoch: int = 1) -> Device:
    key = DeviceKey(sha256(device_id.encode()).hexdigest(), b"SPKI", KeyAlgorithm.ECDSA_P256_SHA256)
    return Device(device_id, key, state, "linux", "laptop", None, epoch, NOW)


def a_result(
    check_id: CheckId = CHECK, *, passed: bool = True, reason: str | None = None, expires_at: Instant | None = None
) -> PostureResult:
    return PostureResult(
        check_id=check_id,
        check_revision=1,
        passed=passed,
        reason=reason or ("passed" if passed else "certificate_not_found"),
        level=EvidenceLevel.PROVEN if passed else EvidenceLevel.SIGNED,
        evaluated_at=NOW,
        evidence_at=NOW,
        expires_at=expires_at,
        certificate=CERTIFICATE if passed else None,
    )


def a_posture(
    results: Iterable[PostureResult] = (), *, device_id: DeviceId = DEVICE, revision: int = 1, epoch: int = 1
) -> DevicePosture:
    return DevicePosture(a_device(device_id, epoch=epoch), {result.check_id: result for result in results}, revision)


def a_binding(device_id: DeviceId = DEVICE) -> CertificateBinding:
    return CertificateBinding(CERTIFICATE, device_id, DeviceState.ACTIVE, None, KEY)

"""Devices with their results, kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from watchword_server.core.enrollment import ProvenEnrollment
from watchword_server.core.model.devices import Device, DeviceKey, DeviceState, SeenBoot
from watchword_server.core.model.names import CheckId, DeviceId, Instant, KeyFingerprint
from watchword_server.core.model.results import CertificateBinding, DevicePosture, JudgedClaim


@dataclass(frozen=True, slots=True)
class EvidenceCommit:
    """One device's judged evidence, to be stored whole or not at all.

    `epoch` is the session's. With `claims_epoch` (the first evidence of a session) the stored epoch has to be `epoch - 1` and
    becomes `epoch`; else it has to be `epoch`. `boots` and `key_cloned_at` are the device's from now on.
    `promotes_key` is the id of the pending key that signed: it becomes the device's. `leaves`: the device said goodbye, and
    `judged` is all that is left of it.
    """

    device_id: DeviceId
    epoch: int
    claims_epoch: bool
    seen_at: Instant
    hostname: str | None
    judged: tuple[JudgedClaim, ...]
    boots: tuple[SeenBoot, ...] = ()
    key_cloned_at: Instant | None = None
    promotes_key: str | None = None
    leaves: bool = False


@dataclass(frozen=True, slots=True)
class KeyRotationCommit:
    """A key that is to be the device's next; `epoch` is that of the session that proposes it, which has claimed it."""

    device_id: DeviceId
    epoch: int
    seen_at: Instant
    new_key: DeviceKey
    pending_until: Instant


@dataclass(frozen=True, slots=True)
class Rejudgement:
    """A stored claim judged again. Takes effect only if the stored claim is still the one received at `claim_received_at`."""

    device_id: DeviceId
    judged: JudgedClaim
    is_another_verdict: bool = True  # than the one the device was told; else it holds for another time, or for other reasons

    @property
    def claim_received_at(self) -> Instant:
        """When the claim arrived that was judged again."""
        return self.judged.context.received_at


@dataclass(frozen=True, slots=True)
class StoredClaim:
    """A claim as the store keeps it, with the device it belongs to."""

    device: Device
    judged: JudgedClaim


class DeviceStore(Protocol):
    """Devices, their newest judged claims, and which certificate belongs to which device."""

    async def posture(self, device_id: DeviceId) -> DevicePosture | None:
        """A device of any state with its newest results, consistent as of `revision`; None: no such device."""
        ...

    async def bindings(self, key: KeyFingerprint) -> tuple[Sequence[CertificateBinding], int]:
        """The certificates of this key that any device ever proved in a passing check, and the revision of the answer.

        One entry a device and certificate.
        """
        ...

    async def commit_evidence(self, commit: EvidenceCommit) -> int:
        """Stores judged evidence and returns the revision.

        A binding follows each claim: a proven certificate is bound until its result expires; one that the newest claim of the
        same device and check no longer proves ends at `seen_at`.

        Raises `SupersededError` if the epoch is not this session's any more, `DeviceNotActiveError` if the device is not active,
        `EnvelopeInvalidError` if the key to promote is not pending any more.
        """
        ...

    async def commit_key_rotation(self, commit: KeyRotationCommit) -> int:
        """Keeps the new key as the device's pending one, in place of another; returns the revision.

        Raises `NewKeyRefusedError` if it is any device's key or awaits another device's first evidence, `SupersededError`.
        """
        ...

    async def commit_rejudged(self, rejudged: Sequence[Rejudgement]) -> int:
        """Stores claims judged again, each if its claim is still the newest and its device active; returns the revision."""
        ...

    async def claims(
        self,
        *,
        check_ids: frozenset[CheckId] | None = None,
        key: KeyFingerprint | None = None,
        device_id: DeviceId | None = None,
        serial_numbers: frozenset[int] | None = None,
    ) -> Sequence[StoredClaim]:
        """Stored claims of active devices: for any of the checks, that prove the key, of one device, or with a serial number.

        The serial numbers are of certificates that results are about, whoever issued them.
        """
        ...

    async def enroll(self, enrollment: ProvenEnrollment, *, now: Instant) -> Device:
        """Runs `plan_enrollment` and what it says in one transaction: the token is used exactly when it leads to something.

        Raises `EnrollmentRefusedError`.
        """
        ...

    async def set_device_state(self, device_id: DeviceId, state: DeviceState, *, now: Instant) -> int:
        """Approves or revokes; returns the revision. Approving a device revokes another one with the same serial number.

        Revoked is final. Raises `NotFoundError`, `ConflictError`.
        """
        ...

    async def set_device_lock(self, device_id: DeviceId, reason: str | None, *, now: Instant) -> int:
        """Locks a device, or unlocks it (None); returns the revision.

        Raises `NotFoundError`; `ConflictError` if it is revoked, or not locked when it is to be unlocked.
        """
        ...

    async def set_device_owner(self, device_id: DeviceId, owner: str | None, *, now: Instant) -> int:
        """Says whose a device is (None: nobody's); returns the revision. Raises `NotFoundError`, `ConflictError` (revoked)."""
        ...

    async def clear_key_clone(self, device_id: DeviceId, *, now: Instant) -> int:
        """Forgets that two machines were seen with the device's key, and its boots; ends its session; returns the revision.

        Raises `NotFoundError`; `ConflictError` if nothing of the kind is known of it.
        """
        ...

    async def devices(self) -> Sequence[DevicePosture]:
        """All devices with their results, by time of enrollment."""
        ...

    async def devices_page(self, *, after: DeviceId | None, limit: int, without_revoked: bool = False) -> Sequence[DevicePosture]:
        """The next devices with their results, by time of enrollment. Raises `NotFoundError` if there is no device `after`."""
        ...

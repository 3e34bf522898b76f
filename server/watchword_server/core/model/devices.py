"""Devices and their keys."""

from dataclasses import dataclass
from enum import StrEnum

from watchword_server.core.model.names import DeviceId, Instant


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

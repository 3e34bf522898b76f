"""What agents sign, and what it answers."""

from dataclasses import dataclass
from enum import StrEnum

from watchword_server.core.model.devices import Inventory, KeyProtection
from watchword_server.core.model.names import CheckId, DeviceId, Instant, SessionId


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

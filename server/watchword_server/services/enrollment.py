"""Enrollment: proof first, then one transaction. From outside all refusals look alike."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from watchword.envelope import ENROLL_TYPE
from watchword_server import events
from watchword_server.core import keys
from watchword_server.core.enrollment import ProvenEnrollment
from watchword_server.core.model.devices import Device, DeviceKey, Inventory, KeyProtection
from watchword_server.core.model.evidence import Envelope
from watchword_server.core.model.names import DeviceId, Instant, SessionId
from watchword_server.errors import EnrollmentRefusedError
from watchword_server.ports.devices import DeviceStore
from watchword_server.ports.machine import Clock, Randomness
from watchword_server.ports.memory import PostureMemory
from watchword_server.services.connections import Connections

_log = structlog.get_logger(__name__)
_TOKEN = re.compile(r"ww1\.([A-Za-z0-9_-]{16})\.([A-Za-z0-9_-]{43})")
PLATFORMS = frozenset({"linux", "windows", "mac"})


@dataclass(frozen=True, slots=True)
class EnrollmentStatement:
    """What the new device signs, parsed."""

    token_id: str
    audience: str
    session_id: SessionId
    nonce: bytes
    public_key_sha256: bytes
    inventory: Inventory
    key_protection: KeyProtection | None = None


@dataclass(frozen=True, slots=True)
class EnrollmentChallenge:
    """What the device has to answer; bound to the key it named."""

    session_id: SessionId
    nonce: bytes
    audience: str
    issued_at: Instant
    token_id: str
    token_secret_sha256: bytes
    key: DeviceKey


@dataclass(frozen=True, slots=True)
class Enrollment:
    """Runs enrollments; each is `begin` and then `finish`."""

    store: DeviceStore
    memory: PostureMemory
    clock: Clock
    fresh_bytes: Randomness
    connections: Connections
    audience: str
    challenge_max_age_seconds: float
    parse: Callable[[bytes], EnrollmentStatement]

    def begin(self, *, token: str, public_key_der: bytes) -> EnrollmentChallenge:
        """A challenge for a key. Whether the token is any good is not said before the key is proven.

        Raises `EnrollmentRefusedError` for what can never be enrolled.
        """
        matched = _TOKEN.fullmatch(token)
        if matched is None:
            raise EnrollmentRefusedError("token_malformed")
        try:
            key = keys.load_device_key(public_key_der)
        except keys.KeyRefusedError as error:
            raise EnrollmentRefusedError(f"key_refused: {error}") from error
        return EnrollmentChallenge(
            session_id=SessionId(self.fresh_bytes(16)),
            nonce=self.fresh_bytes(32),
            audience=self.audience,
            issued_at=self.clock.now(),
            token_id=matched[1],
            token_secret_sha256=hashlib.sha256(matched[2].encode()).digest(),
            key=key,
        )

    async def finish(self, challenge: EnrollmentChallenge, envelope: Envelope) -> Device:
        """Verifies the answer and enrolls the device; durable when this returns.

        Raises `EnrollmentRefusedError`; the token is used up only by a success.
        """
        if not keys.envelope_is_signed_by(challenge.key, envelope, payload_type=ENROLL_TYPE):
            raise EnrollmentRefusedError("proof_invalid")
        statement = self.parse(envelope.payload)
        now = self.clock.now()
        if now - challenge.issued_at > self.challenge_max_age_seconds:
            raise EnrollmentRefusedError("challenge_stale")
        if (
            statement.token_id,
            statement.audience,
            statement.session_id,
            statement.nonce,
            statement.public_key_sha256,
        ) != (
            challenge.token_id,
            challenge.audience,
            challenge.session_id,
            challenge.nonce,
            hashlib.sha256(challenge.key.public_key_der).digest(),
        ):
            raise EnrollmentRefusedError("proof_foreign")
        if statement.inventory.platform not in PLATFORMS:
            raise EnrollmentRefusedError("platform_unknown")
        device = await self.store.enroll(
            ProvenEnrollment(
                token_id=challenge.token_id,
                token_secret_sha256=challenge.token_secret_sha256,
                key=replace(challenge.key, protection=statement.key_protection),
                inventory=statement.inventory,
                new_device_id=DeviceId(f"dev_{self.fresh_bytes(16).hex()}"),
            ),
            now=now,
        )
        posture = await self.store.posture(device.id)
        if posture is not None and device.enrolled_at != now:  # its key was replaced: all that the old one proved has ended
            self.connections.close(device.id, "key_replaced")
            self.memory.forget_all(revision=posture.revision)
        elif posture is not None:
            self.memory.forget_device(device.id, revision=posture.revision)
        _log.info(
            events.DEVICE_ENROLLED,
            device_id=device.id,
            state=device.state.value,
            platform=device.platform,
            hostname=device.hostname,
            serial_number=device.serial_number,
            key_protection=device.key.protection,
            token_id=challenge.token_id,
        )
        return device

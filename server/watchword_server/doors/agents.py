"""The agents' door: `PostureService`. It pumps messages between a stream and the session; it judges nothing."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import structlog

from watchword.v1 import posture_pb2 as wire
from watchword_server import events
from watchword_server.acting import acting
from watchword_server.adapters.metrics import Metrics
from watchword_server.core.audit import Action, Actor, Target
from watchword_server.core.certificates.parsed import parse_issuer
from watchword_server.core.model.checks import Trust
from watchword_server.core.model.devices import Device
from watchword_server.core.model.names import DeviceId
from watchword_server.doors import codec
from watchword_server.doors.agent_stream import AgentStream, check_set_revision, next_message
from watchword_server.errors import (
    DeviceNotActiveError,
    EnrollmentRefusedError,
    EvidenceRejectedError,
    OverloadedError,
    ProtocolViolationError,
    RateLimitedError,
)
from watchword_server.peer import Peer
from watchword_server.ports.machine import Clock, Randomness
from watchword_server.services.auditing import Auditing
from watchword_server.services.connections import (
    Connections,
)
from watchword_server.services.device_tokens import LIFETIME_SECONDS, DeviceTokens
from watchword_server.services.enrollment import Enrollment
from watchword_server.services.judging import checks_of
from watchword_server.services.key_rotation import KeyRotations
from watchword_server.services.leaving import Leaving
from watchword_server.services.limiting import TokenBuckets
from watchword_server.services.rules_in_force import RulesInForce
from watchword_server.services.verifier import Accepted, Verifier

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AgentLimits:
    """How long the door waits and how much it takes."""

    hello_timeout_seconds: float = 10.0
    first_evidence_timeout_seconds: float = 60.0
    challenge_max_age_seconds: float = 60.0
    max_streams: int = 10_000
    max_unproven_streams: int = 2_000
    max_unproven_streams_of_an_address: int = 200
    max_rejections: int = 20  # of one stream, in a row


@dataclass(slots=True)
class AgentDoor:
    """Enroll and Attest."""

    enrollment: Enrollment
    verifier: Verifier
    leaving: Leaving
    key_rotations: KeyRotations
    device_tokens: DeviceTokens
    rules: RulesInForce
    connections: Connections
    clock: Clock
    fresh_bytes: Randomness
    audience: str
    limits: AgentLimits
    hello_buckets: TokenBuckets
    enroll_buckets: TokenBuckets
    message_buckets: TokenBuckets
    metrics: Metrics
    auditing: Auditing
    _unproven: "dict[AgentStream, None]" = field(default_factory=dict)  # by age

    async def enroll(self, requests: AsyncIterator[wire.EnrollRequest], peer: Peer) -> AsyncIterator[wire.EnrollResponse]:
        """One enrollment. Every refusal leaves as the same error; the reason stays in the log under the correlation id."""
        self.enroll_buckets.take(peer.address)
        try:
            async with asyncio.timeout(self.limits.challenge_max_age_seconds):
                first = await next_message(requests)
                if first is None or first.WhichOneof("message") != "init":
                    raise ProtocolViolationError("an enrollment starts with init")
                challenge = self.enrollment.begin(token=first.init.token, public_key_der=first.init.public_key)
                yield wire.EnrollResponse(
                    challenge=wire.EnrollChallenge(
                        session_id=challenge.session_id,
                        nonce=challenge.nonce,
                        audience=challenge.audience,
                        nonce_ttl_seconds=int(self.limits.challenge_max_age_seconds),
                    )
                )
                second = await next_message(requests)
                if second is None or second.WhichOneof("message") != "envelope":
                    raise ProtocolViolationError("a challenge is answered with an envelope")
                with acting(Actor("enrollment_token", challenge.token_id, address=peer.address)):
                    device = await self.enrollment.finish(challenge, codec.envelope_from(second.envelope))
        except EnrollmentRefusedError as refusal:
            correlation_id = self.fresh_bytes(6).hex()
            _log.warning(events.ENROLLMENT_REFUSED, reason=refusal.reason, correlation_id=correlation_id, peer=peer.address)
            self.metrics.enrollments.labels("refused").inc()
            actor, target = Actor("nobody", address=peer.address), Target("enrollment")
            self.auditing.notice(Action.AUTHENTICATION_FAILED, actor, target, reason=refusal.reason)
            raise EnrollmentRefusedError(correlation_id) from None
        except TimeoutError:
            raise ProtocolViolationError("the enrollment took too long") from None
        self.metrics.enrollments.labels("enrolled").inc()
        yield wire.EnrollResponse(result=codec.enroll_result_to_wire(device, audience=challenge.audience))

    async def issue_token(
        self, requests: AsyncIterator[wire.IssueTokenRequest], peer: Peer
    ) -> AsyncIterator[wire.IssueTokenResponse]:
        """One device token. Raises `PeerError`s, `StoreUnavailableError`; a device that is none looks like one that may not."""
        self.hello_buckets.take(peer.address)
        try:
            async with asyncio.timeout(self.limits.challenge_max_age_seconds):
                first = await next_message(requests)
                if first is None or first.WhichOneof("message") != "device_id" or not 0 < len(first.device_id) <= 128:
                    raise ProtocolViolationError("it starts with a device id of sensible length")
                challenge = self.device_tokens.begin(DeviceId(first.device_id))
                yield wire.IssueTokenResponse(
                    challenge=wire.TokenChallenge(
                        session_id=challenge.session_id,
                        nonce=challenge.nonce,
                        audience=challenge.audience,
                        nonce_ttl_seconds=int(self.limits.challenge_max_age_seconds),
                    )
                )
                second = await next_message(requests)
                if second is None or second.WhichOneof("message") != "envelope":
                    raise ProtocolViolationError("a challenge is answered with an envelope")
                token = await self.device_tokens.finish(challenge, codec.envelope_from(second.envelope))
        except TimeoutError:
            raise ProtocolViolationError("it took too long") from None
        except EvidenceRejectedError as error:
            _log.warning(events.DEVICE_TOKEN_REFUSED, device_id=challenge.device_id, reason=error.code, peer=peer.address)
            raise DeviceNotActiveError("no token for this device") from None
        yield wire.IssueTokenResponse(result=wire.IssuedToken(token=token, expires_in_seconds=LIFETIME_SECONDS))

    async def attest(self, requests: AsyncIterator[wire.AttestRequest], peer: Peer) -> AsyncIterator[wire.AttestResponse]:
        """One attestation stream, until either side ends it."""
        self.hello_buckets.take(peer.address)
        stream = AgentStream(self, peer, requests)
        self._admit(stream)
        try:
            async for response in stream.run():
                yield response
        finally:
            self._unproven.pop(stream, None)
            await stream.close()

    def _admit(self, stream: "AgentStream") -> None:
        """Streams that have proven nothing are bounded by themselves, and never crowd out devices that have."""
        if len(self.connections) >= self.limits.max_streams:
            raise OverloadedError(f"{len(self.connections)} streams")
        address = stream.peer.address
        if sum(other.peer.address == address for other in self._unproven) >= self.limits.max_unproven_streams_of_an_address:
            raise RateLimitedError(f"too many unproven streams of `{address}`", retry_after_seconds=5.0)
        if len(self._unproven) >= self.limits.max_unproven_streams:
            next(iter(self._unproven)).give_way()
        self._unproven[stream] = None

    def not_unproven(self, stream: "AgentStream") -> None:
        """The stream has proven whose it is, or is on its way out."""
        self._unproven.pop(stream, None)

    def acknowledgement(self, accepted: Accepted, *, sequence: int) -> wire.Ack:
        """What came of evidence, for its device; without a next challenge."""
        now, checks = self.clock.now(), self.rules.current.rules.checks
        return wire.Ack(
            sequence=sequence,
            results=[
                codec.result_to_wire(result, name=checks[result.check_id].name if result.check_id in checks else "", now=now)
                for result in accepted.results
            ],
        )

    def check_set(self, device: Device, *, due_within_ms: int) -> wire.CheckSet:
        """The checks of a device, as it should know them now."""
        snapshot = self.rules.current
        checks = checks_of(device, snapshot)
        issuers = snapshot.rules.certificates
        return codec.check_set_to_wire(
            checks,
            revision=check_set_revision(checks),
            issuer_names={
                check.id: parse_issuer(issuers[check.config.certificate_id].der).x509.subject.public_bytes()
                for check in checks
                if check.config.trust is Trust.ISSUER  # below a chain's CA, any may have issued it
            },
            due_within_ms=due_within_ms,
        )

"""Devices, tokens, claims and entries to store; what a test does not name is unremarkable."""

from hashlib import sha256
from typing import Protocol

from watchword_server.core.enrollment import EnrollmentToken, ProvenEnrollment
from watchword_server.core.model.devices import Device, DeviceKey, Inventory, KeyAlgorithm, SeenBoot
from watchword_server.core.model.evidence import Candidate, Claim, PrivateKeyState, ProofContext
from watchword_server.core.model.names import CheckId, DeviceId, Fingerprint, Instant, KeyFingerprint, SessionId
from watchword_server.core.model.results import EvidenceLevel, JudgedClaim, PostureResult
from watchword_server.ports.devices import DeviceStore, EvidenceCommit
from watchword_server.ports.rules import RulesChange, RuleStore, StoredObject
from watchword_server.ports.tokens import ApiToken, TokenStore

NOW = Instant(1_790_000_000.25)
CHECK = CheckId("check-1")
OTHER_CHECK = CheckId("check-2")


class Store(DeviceStore, RuleStore, TokenStore, Protocol):
    """All that a store is."""


def later(seconds: float) -> Instant:
    return Instant(NOW + seconds)


def fingerprint(name: str) -> Fingerprint:
    return Fingerprint(sha256(name.encode()).digest())


def key_of(certificate: Fingerprint) -> KeyFingerprint:
    """Each certificate has a key of its own."""
    return KeyFingerprint(sha256(b"key of " + certificate).digest())


CERTIFICATE = fingerprint("certificate")
OTHER_CERTIFICATE = fingerprint("other certificate")


def a_key(name: str) -> DeviceKey:
    digest = sha256(name.encode())
    return DeviceKey(digest.hexdigest(), b"SPKI of " + name.encode(), KeyAlgorithm.ECDSA_P256_SHA256)


def a_token(
    token_id: str = "token",
    *,
    max_uses: int = 1,
    created_at: Instant = NOW,
    needs_approval: bool = False,
    device_id: DeviceId | None = None,
    serial_number: str | None = None,
) -> EnrollmentToken:
    return EnrollmentToken(
        id=token_id,
        secret_sha256=sha256(token_id.encode()).digest(),
        max_uses=max_uses,
        uses=0,
        created_at=created_at,
        expires_at=later(1e6),
        needs_approval=needs_approval,
        device_id=device_id,
        serial_number=serial_number,
    )


def an_api_token(token_id: str = "api", *, created_at: Instant = NOW, expires_at: Instant | None = None) -> ApiToken:
    return ApiToken(token_id, sha256(token_id.encode()).digest(), f"name of {token_id}", "write", created_at, expires_at)


def an_enrollment(
    name: str,
    *,
    token_id: str = "token",
    key: str | None = None,
    serial_number: str | None = None,
    hostname: str | None = "host",
) -> ProvenEnrollment:
    return ProvenEnrollment(
        token_id=token_id,
        token_secret_sha256=sha256(token_id.encode()).digest(),
        key=a_key(key or name),
        inventory=Inventory("linux", hostname, serial_number),
        new_device_id=DeviceId(name),
    )


def a_judged_claim(
    device_id: str,
    *,
    check_id: CheckId = CHECK,
    at: Instant = NOW,
    proves: Fingerprint | None = None,
    expires_at: Instant | None = None,
    reason: str | None = None,
    evaluated_at: Instant | None = None,
    key: KeyFingerprint | None = None,
) -> JudgedClaim:
    """`key` is that of `proves`, unless it says another."""
    return JudgedClaim(
        claim=Claim(
            check_id=check_id,
            check_revision=3,
            age_seconds=0.5,
            candidates=(
                Candidate((b"leaf", b"issuer"), "/etc/client.pem", PrivateKeyState.USABLE, "ecdsa-p256-sha256", b"signature"),
            ),
        ),
        context=ProofContext(
            device_id=DeviceId(device_id),
            audience="watchword.example",
            session_id=SessionId(b"session"),
            nonce=bytes(32),
            received_at=at,
            hostname="host",
            reported_serial_number=None,
        ),
        result=PostureResult(
            check_id=check_id,
            check_revision=3,
            passed=proves is not None,
            reason=reason or ("passed" if proves is not None else "certificate_not_found"),
            level=EvidenceLevel.PROVEN if proves is not None else EvidenceLevel.SIGNED,
            evaluated_at=at if evaluated_at is None else evaluated_at,
            evidence_at=Instant(at - 0.5),
            expires_at=expires_at,
            certificate=proves,
            proven_key=None if proves is None else key or key_of(proves),
        ),
        proven_certificate=proves,
    )


def a_commit(
    device_id: str,
    *judged: JudgedClaim,
    epoch: int = 1,
    claims_epoch: bool = False,
    at: Instant = NOW,
    hostname: str | None = "host",
    boots: tuple[SeenBoot, ...] = (),
    key_cloned_at: Instant | None = None,
) -> EvidenceCommit:
    return EvidenceCommit(DeviceId(device_id), epoch, claims_epoch, at, hostname, judged, boots, key_cloned_at)


def an_entry(
    entry_id: str, *, kind: str = "policies", name: str | None = None, body: dict[str, object] | None = None
) -> StoredObject:
    nothing_yet = Instant(0.0)
    return StoredObject(kind, entry_id, name or f"name of {entry_id}", body or {}, 0, nothing_yet, nothing_yet)


def an_upsert(*entries: StoredObject) -> RulesChange:
    return RulesChange(upserts=entries, deletes=())


async def enroll(
    store: Store, name: str, *, serial_number: str | None = None, needs_approval: bool = False, at: Instant = NOW
) -> Device:
    """A device with a token of its own."""
    await store.add_enrollment_token(a_token(f"token of {name}", needs_approval=needs_approval, created_at=at))
    return await store.enroll(an_enrollment(name, token_id=f"token of {name}", serial_number=serial_number), now=at)


async def enroll_in_session(store: Store, name: str, *, serial_number: str | None = None) -> Device:
    """A device whose session holds epoch 1."""
    await enroll(store, name, serial_number=serial_number)
    await store.commit_evidence(a_commit(name, claims_epoch=True))
    return await device(store, name)


async def device(store: Store, name: str) -> Device:
    posture = await store.posture(DeviceId(name))
    assert posture is not None
    return posture.device


async def proven_until(store: Store, certificate: Fingerprint) -> dict[str, Instant | None]:
    """When each device's proof of a certificate ends."""
    bindings, _ = await store.bindings(key_of(certificate))
    return {binding.device_id: binding.proven_until for binding in bindings if binding.certificate == certificate}


async def uses(store: Store, token_id: str) -> int:
    return next(token.uses for token in await store.enrollment_tokens() if token.id == token_id)

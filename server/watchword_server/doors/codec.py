"""Wire messages to the core's values and back. Protobuf stops here. Whatever is parsed here is checked for its limits here."""

from collections.abc import Iterable
from typing import Final

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from watchword.envelope import KEY_ROTATE_TYPE
from watchword.v1 import posture_pb2 as wire
from watchword_server.core.enrollment import normal_serial_number
from watchword_server.core.kinds.client_certificate import MAX_CANDIDATES
from watchword_server.core.model.checks import Check
from watchword_server.core.model.devices import Device, DeviceState, Inventory, KeyProtection
from watchword_server.core.model.evidence import Candidate, Claim, Envelope, Evidence, Goodbye, KeyRotation, PrivateKeyState
from watchword_server.core.model.names import CheckId, DeviceId, Instant, SessionId
from watchword_server.core.model.results import PostureResult
from watchword_server.core.session import SendChallenge
from watchword_server.core.verify import COLLECTION_ERRORS
from watchword_server.errors import EnrollmentRefusedError, EvidenceMalformedError, ProtocolViolationError
from watchword_server.services.device_tokens import TokenRequest
from watchword_server.services.enrollment import EnrollmentStatement

_MAX_TEXT: Final = 1024
_MAX_CHECKS: Final = 256
_MAX_BOOT_ID: Final = 64  # bytes; a UUID has 16
_MAX_CHAIN: Final = 8
_MAX_CERTIFICATE: Final = 32 * 1024
_MAX_SIGNATURE: Final = 2048
_MAX_PUBLIC_KEY: Final = 1024  # a DER SubjectPublicKeyInfo; P-256 has 91
_MAX_OCSP_RESPONSES: Final = 4
_MAX_OCSP_RESPONSE: Final = 16 * 1024
_MAX_AGE_MS: Final = 366 * 24 * 3600 * 1000

_PRIVATE_KEY: Final = {
    wire.PRIVATE_KEY_STATE_UNSPECIFIED: PrivateKeyState.UNSPECIFIED,
    wire.PRIVATE_KEY_STATE_USABLE: PrivateKeyState.USABLE,
    wire.PRIVATE_KEY_STATE_ABSENT: PrivateKeyState.ABSENT,
    wire.PRIVATE_KEY_STATE_LOCKED: PrivateKeyState.LOCKED,
    wire.PRIVATE_KEY_STATE_MISMATCH: PrivateKeyState.MISMATCH,
    wire.PRIVATE_KEY_STATE_UNSUPPORTED: PrivateKeyState.UNSUPPORTED,
    wire.PRIVATE_KEY_STATE_UNREADABLE: PrivateKeyState.UNREADABLE,
    wire.PRIVATE_KEY_STATE_DENIED: PrivateKeyState.DENIED,
    wire.PRIVATE_KEY_STATE_NEEDS_UI: PrivateKeyState.NEEDS_UI,
    wire.PRIVATE_KEY_STATE_WRONG_PASSWORD: PrivateKeyState.WRONG_PASSWORD,
    wire.PRIVATE_KEY_STATE_FAILED: PrivateKeyState.FAILED,
}
_KEY_PROTECTION: Final = {  # what is not here was not told, or is of a newer agent's: nothing that we know
    wire.KEY_PROTECTION_FILE: KeyProtection.FILE,
    wire.KEY_PROTECTION_TPM: KeyProtection.TPM,
    wire.KEY_PROTECTION_SECURE_ENCLAVE: KeyProtection.SECURE_ENCLAVE,
    wire.KEY_PROTECTION_CNG_SOFTWARE: KeyProtection.CNG_SOFTWARE,
    wire.KEY_PROTECTION_CNG_TPM: KeyProtection.CNG_TPM,
}
_DEVICE_STATE: Final = {
    DeviceState.ACTIVE: wire.DEVICE_STATE_ACTIVE,
    DeviceState.PENDING: wire.DEVICE_STATE_PENDING_APPROVAL,
}


def envelope_from(message: wire.SignedEnvelope) -> Envelope:
    """The envelope, unopened.

    Raises `ProtocolViolationError` unless it carries exactly one signature; for a key rotation exactly two: the new key's last.
    """
    expected = 2 if message.payload_type == KEY_ROTATE_TYPE else 1
    if len(message.signatures) != expected:
        raise ProtocolViolationError(f"{len(message.signatures)} signatures where {expected} belong")
    signature, *new_key = message.signatures
    new_key_signature = new_key[0].sig if new_key else None
    return Envelope(message.payload, message.payload_type, signature.keyid, signature.sig, new_key_signature)


def parse_evidence(payload: bytes) -> Evidence:
    """Evidence from signed bytes. Raises `EvidenceMalformedError`."""
    message = wire.Evidence()
    try:
        message.ParseFromString(payload)
    except DecodeError as error:
        raise EvidenceMalformedError("not an evidence message") from error
    if len(message.checks) > _MAX_CHECKS:
        raise EvidenceMalformedError(f"{len(message.checks)} checks; at most {_MAX_CHECKS}")
    claims = tuple(_claim(check) for check in message.checks)
    if len({claim.check_id for claim in claims}) != len(claims):
        raise EvidenceMalformedError("two claims for one check")
    if len(message.boot.boot_id) > _MAX_BOOT_ID:
        raise EvidenceMalformedError("a boot id that is too long")
    return Evidence(
        device_id=DeviceId(_text(message.device_id)),
        key_id=_text(message.key_id),
        audience=_text(message.audience),
        session_id=SessionId(message.session_id),
        epoch=message.epoch,
        nonce=message.nonce,
        sequence=message.sequence,
        inventory=_inventory(message.inventory),
        check_set_revision=message.check_set_revision,
        claims=claims,
        boot_id=message.boot.boot_id,
    )


def parse_goodbye(payload: bytes) -> Goodbye:
    """A goodbye from signed bytes. Raises `EvidenceMalformedError`, also for one that says anything besides."""
    message = wire.Goodbye()
    _parse_exactly(message, payload)
    return Goodbye(
        device_id=DeviceId(_text(message.device_id)),
        key_id=_text(message.key_id),
        audience=_text(message.audience),
        session_id=SessionId(message.session_id),
        epoch=message.epoch,
        nonce=message.nonce,
        sequence=message.sequence,
    )


def parse_key_rotation(payload: bytes) -> KeyRotation:
    """A key rotation from signed bytes. Raises `EvidenceMalformedError`, as above. The key is not looked at."""
    message = wire.KeyRotate()
    _parse_exactly(message, payload)
    if len(message.new_public_key) > _MAX_PUBLIC_KEY:
        raise EvidenceMalformedError("a public key that is too large")
    return KeyRotation(
        device_id=DeviceId(_text(message.device_id)),
        key_id=_text(message.key_id),
        audience=_text(message.audience),
        session_id=SessionId(message.session_id),
        epoch=message.epoch,
        nonce=message.nonce,
        sequence=message.sequence,
        new_public_key_der=message.new_public_key,
        new_key_protection=_KEY_PROTECTION.get(message.new_key_protection),
    )


def parse_enrollment_statement(payload: bytes) -> EnrollmentStatement:
    """An enrollment statement from signed bytes. Raises `EnrollmentRefusedError`."""
    message = wire.EnrollStatement()
    try:
        message.ParseFromString(payload)
        inventory = _inventory(message.inventory)
    except (DecodeError, EvidenceMalformedError) as error:
        raise EnrollmentRefusedError("statement_malformed") from error
    return EnrollmentStatement(
        token_id=message.token_id,
        audience=message.audience,
        session_id=SessionId(message.session_id),
        nonce=message.nonce,
        public_key_sha256=message.public_key_sha256,
        inventory=inventory,
        key_protection=_KEY_PROTECTION.get(message.key_protection),
    )


def parse_token_request(payload: bytes) -> TokenRequest:
    """A request for a device token from signed bytes. Raises `EvidenceMalformedError`."""
    message = wire.TokenRequest()
    _parse_exactly(message, payload)
    return TokenRequest(
        device_id=DeviceId(_text(message.device_id)),
        key_id=_text(message.key_id),
        audience=_text(message.audience),
        session_id=SessionId(message.session_id),
        nonce=message.nonce,
        token_audience=_text(message.token_audience),
        key_thumbprint=_text(message.key_thumbprint),
    )


def challenge_to_wire(sent: SendChallenge, *, audience: str, ttl_seconds: float) -> wire.Challenge:
    """A challenge as the agent receives it."""
    return wire.Challenge(
        session_id=sent.session_id,
        epoch=sent.epoch,
        nonce=sent.challenge.nonce,
        audience=audience,
        nonce_ttl_seconds=int(ttl_seconds),
    )


def result_to_wire(result: PostureResult, *, name: str, now: Instant) -> wire.CheckResult:
    """A result as the device's user may know it."""
    message = wire.CheckResult(
        check_id=result.check_id, name=name, passed=result.passed, reason=result.reason, detail=_detail(result)
    )
    if result.expires_at is not None:
        message.expires_in_seconds = min(max(0, int(result.expires_at - now)), 0xFFFFFFFF)
    return message


def check_set_to_wire(
    checks: Iterable[Check], *, revision: int, issuer_names: dict[CheckId, bytes], due_within_ms: int
) -> wire.CheckSet:
    """The checks of a device: what to look for and where. A check without an entry in `issuer_names` takes any issuer."""
    return wire.CheckSet(
        revision=revision,
        due_within_ms=due_within_ms,
        checks=[
            wire.Check(
                id=check.id,
                name=check.name,
                revision=check.revision,
                schedule_seconds=check.schedule_seconds,
                client_certificate=wire.ClientCertificateCheck(
                    paths=check.config.paths,
                    trust_stores=check.config.trust_stores,
                    common_name=check.config.common_name or "",
                    extended_key_usage=check.config.extended_key_usage,
                    subject_alternative_names=check.config.subject_alternative_names,
                    check_private_key=check.config.check_private_key,
                    issuer_names=[issuer_names[check.id]] if check.id in issuer_names else [],
                    allow_pkcs1=check.config.allow_pkcs1,
                ),
            )
            for check in checks
        ],
    )


def enroll_result_to_wire(device: Device, *, audience: str) -> wire.EnrollResult:
    """What a new device learns."""
    return wire.EnrollResult(device_id=device.id, state=_DEVICE_STATE[device.state], audience=audience)


def _parse_exactly(message: wire.Goodbye | wire.KeyRotate | wire.TokenRequest, payload: bytes) -> None:
    """What ends a device's standing or changes its key has to be understood whole: evidence under another name is neither."""
    try:
        message.ParseFromString(payload)
    except DecodeError as error:
        raise EvidenceMalformedError(f"not a {message.DESCRIPTOR.name} message") from error
    if len(UnknownFieldSet(message)):
        raise EvidenceMalformedError(f"a {message.DESCRIPTOR.name} with fields it does not have")


def _claim(message: wire.CheckEvidence) -> Claim:
    if message.age_ms > _MAX_AGE_MS:
        raise EvidenceMalformedError(f"a claim of {message.age_ms} ms")
    check_id, age_seconds = CheckId(_text(message.check_id)), message.age_ms / 1000
    match message.WhichOneof("found"):
        case "client_certificate":
            candidates = message.client_certificate.candidates
            if len(candidates) > MAX_CANDIDATES:
                raise EvidenceMalformedError(f"{len(candidates)} candidates; at most {MAX_CANDIDATES}")
            return Claim(check_id, message.check_revision, age_seconds, candidates=tuple(map(_candidate, candidates)))
        case "error":
            return Claim(
                check_id,
                message.check_revision,
                age_seconds,
                error_code=_text(message.error.code) or "collection_failed",
                error_detail=_text(message.error.detail),
            )
        case _:
            raise EvidenceMalformedError("a claim that says neither what was found nor what went wrong")


def _candidate(message: wire.CertificateCandidate) -> Candidate:
    chain = tuple(message.chain)
    if not 1 <= len(chain) <= _MAX_CHAIN or b"" in chain or max(map(len, chain)) > _MAX_CERTIFICATE:
        raise EvidenceMalformedError("a candidate without a certificate, or with too many or too large ones")
    if len(message.possession_signature) > _MAX_SIGNATURE:
        raise EvidenceMalformedError("a signature that is too large")
    responses = tuple(message.ocsp_responses)
    if len(responses) > _MAX_OCSP_RESPONSES or any(not 0 < len(der) <= _MAX_OCSP_RESPONSE for der in responses):
        raise EvidenceMalformedError("too many OCSP responses, or one that is empty or too large")
    return Candidate(
        chain=chain,
        location=_text(message.location),
        private_key=_PRIVATE_KEY.get(message.private_key, PrivateKeyState.UNSPECIFIED),
        possession_scheme=_text(message.possession_scheme),
        possession_signature=message.possession_signature,
        ocsp_responses=responses,
    )


def _inventory(message: wire.Inventory) -> Inventory:
    return Inventory(
        platform=_text(message.platform),
        hostname=_text(message.hostname) or None,
        serial_number=_serial_number(message.serial_number),
    )


def _serial_number(text: str) -> str | None:
    try:
        return normal_serial_number(_text(text))
    except ValueError as error:
        raise EvidenceMalformedError(str(error)) from error


def _text(value: str) -> str:
    if len(value) > _MAX_TEXT or not value.isprintable():
        raise EvidenceMalformedError("a text that is too long or holds control characters")
    return value


def _detail(result: PostureResult) -> str:
    expected, received = result.expected.get(result.reason), result.received.get(result.reason)
    if result.reason in COLLECTION_ERRORS or result.reason == "collection_failed":
        return str(received or "")[:_MAX_TEXT]  # where the agent looked, in its own words
    parts = [f"expected {expected}" if expected is not None else "", f"found {received}" if received is not None else ""]
    return "; ".join(part for part in parts if part)[:_MAX_TEXT]

from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class KeyProtection(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KEY_PROTECTION_UNSPECIFIED: _ClassVar[KeyProtection]
    KEY_PROTECTION_FILE: _ClassVar[KeyProtection]
    KEY_PROTECTION_TPM: _ClassVar[KeyProtection]
    KEY_PROTECTION_SECURE_ENCLAVE: _ClassVar[KeyProtection]
    KEY_PROTECTION_CNG_SOFTWARE: _ClassVar[KeyProtection]
    KEY_PROTECTION_CNG_TPM: _ClassVar[KeyProtection]

class DeviceState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DEVICE_STATE_UNSPECIFIED: _ClassVar[DeviceState]
    DEVICE_STATE_ACTIVE: _ClassVar[DeviceState]
    DEVICE_STATE_PENDING_APPROVAL: _ClassVar[DeviceState]

class PrivateKeyState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIVATE_KEY_STATE_UNSPECIFIED: _ClassVar[PrivateKeyState]
    PRIVATE_KEY_STATE_USABLE: _ClassVar[PrivateKeyState]
    PRIVATE_KEY_STATE_ABSENT: _ClassVar[PrivateKeyState]
    PRIVATE_KEY_STATE_LOCKED: _ClassVar[PrivateKeyState]
    PRIVATE_KEY_STATE_MISMATCH: _ClassVar[PrivateKeyState]
    PRIVATE_KEY_STATE_UNSUPPORTED: _ClassVar[PrivateKeyState]
    PRIVATE_KEY_STATE_UNREADABLE: _ClassVar[PrivateKeyState]
    PRIVATE_KEY_STATE_DENIED: _ClassVar[PrivateKeyState]
    PRIVATE_KEY_STATE_NEEDS_UI: _ClassVar[PrivateKeyState]
    PRIVATE_KEY_STATE_WRONG_PASSWORD: _ClassVar[PrivateKeyState]
    PRIVATE_KEY_STATE_FAILED: _ClassVar[PrivateKeyState]
KEY_PROTECTION_UNSPECIFIED: KeyProtection
KEY_PROTECTION_FILE: KeyProtection
KEY_PROTECTION_TPM: KeyProtection
KEY_PROTECTION_SECURE_ENCLAVE: KeyProtection
KEY_PROTECTION_CNG_SOFTWARE: KeyProtection
KEY_PROTECTION_CNG_TPM: KeyProtection
DEVICE_STATE_UNSPECIFIED: DeviceState
DEVICE_STATE_ACTIVE: DeviceState
DEVICE_STATE_PENDING_APPROVAL: DeviceState
PRIVATE_KEY_STATE_UNSPECIFIED: PrivateKeyState
PRIVATE_KEY_STATE_USABLE: PrivateKeyState
PRIVATE_KEY_STATE_ABSENT: PrivateKeyState
PRIVATE_KEY_STATE_LOCKED: PrivateKeyState
PRIVATE_KEY_STATE_MISMATCH: PrivateKeyState
PRIVATE_KEY_STATE_UNSUPPORTED: PrivateKeyState
PRIVATE_KEY_STATE_UNREADABLE: PrivateKeyState
PRIVATE_KEY_STATE_DENIED: PrivateKeyState
PRIVATE_KEY_STATE_NEEDS_UI: PrivateKeyState
PRIVATE_KEY_STATE_WRONG_PASSWORD: PrivateKeyState
PRIVATE_KEY_STATE_FAILED: PrivateKeyState

class SignedEnvelope(_message.Message):
    __slots__ = ("payload", "payload_type", "signatures")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_TYPE_FIELD_NUMBER: _ClassVar[int]
    SIGNATURES_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    payload_type: str
    signatures: _containers.RepeatedCompositeFieldContainer[Signature]
    def __init__(self, payload: _Optional[bytes] = ..., payload_type: _Optional[str] = ..., signatures: _Optional[_Iterable[_Union[Signature, _Mapping]]] = ...) -> None: ...

class Signature(_message.Message):
    __slots__ = ("keyid", "sig")
    KEYID_FIELD_NUMBER: _ClassVar[int]
    SIG_FIELD_NUMBER: _ClassVar[int]
    keyid: str
    sig: bytes
    def __init__(self, keyid: _Optional[str] = ..., sig: _Optional[bytes] = ...) -> None: ...

class Inventory(_message.Message):
    __slots__ = ("platform", "hostname", "serial_number")
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    SERIAL_NUMBER_FIELD_NUMBER: _ClassVar[int]
    platform: str
    hostname: str
    serial_number: str
    def __init__(self, platform: _Optional[str] = ..., hostname: _Optional[str] = ..., serial_number: _Optional[str] = ...) -> None: ...

class EnrollRequest(_message.Message):
    __slots__ = ("init", "envelope")
    INIT_FIELD_NUMBER: _ClassVar[int]
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    init: EnrollInit
    envelope: SignedEnvelope
    def __init__(self, init: _Optional[_Union[EnrollInit, _Mapping]] = ..., envelope: _Optional[_Union[SignedEnvelope, _Mapping]] = ...) -> None: ...

class EnrollInit(_message.Message):
    __slots__ = ("token", "public_key", "agent_version")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    token: str
    public_key: bytes
    agent_version: str
    def __init__(self, token: _Optional[str] = ..., public_key: _Optional[bytes] = ..., agent_version: _Optional[str] = ...) -> None: ...

class EnrollResponse(_message.Message):
    __slots__ = ("challenge", "result")
    CHALLENGE_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    challenge: EnrollChallenge
    result: EnrollResult
    def __init__(self, challenge: _Optional[_Union[EnrollChallenge, _Mapping]] = ..., result: _Optional[_Union[EnrollResult, _Mapping]] = ...) -> None: ...

class EnrollChallenge(_message.Message):
    __slots__ = ("session_id", "nonce", "audience", "nonce_ttl_seconds")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    NONCE_TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    session_id: bytes
    nonce: bytes
    audience: str
    nonce_ttl_seconds: int
    def __init__(self, session_id: _Optional[bytes] = ..., nonce: _Optional[bytes] = ..., audience: _Optional[str] = ..., nonce_ttl_seconds: _Optional[int] = ...) -> None: ...

class EnrollStatement(_message.Message):
    __slots__ = ("token_id", "audience", "session_id", "nonce", "public_key_sha256", "inventory", "key_protection")
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_SHA256_FIELD_NUMBER: _ClassVar[int]
    INVENTORY_FIELD_NUMBER: _ClassVar[int]
    KEY_PROTECTION_FIELD_NUMBER: _ClassVar[int]
    token_id: str
    audience: str
    session_id: bytes
    nonce: bytes
    public_key_sha256: bytes
    inventory: Inventory
    key_protection: KeyProtection
    def __init__(self, token_id: _Optional[str] = ..., audience: _Optional[str] = ..., session_id: _Optional[bytes] = ..., nonce: _Optional[bytes] = ..., public_key_sha256: _Optional[bytes] = ..., inventory: _Optional[_Union[Inventory, _Mapping]] = ..., key_protection: _Optional[_Union[KeyProtection, str]] = ...) -> None: ...

class EnrollResult(_message.Message):
    __slots__ = ("device_id", "state", "audience")
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    state: DeviceState
    audience: str
    def __init__(self, device_id: _Optional[str] = ..., state: _Optional[_Union[DeviceState, str]] = ..., audience: _Optional[str] = ...) -> None: ...

class AttestRequest(_message.Message):
    __slots__ = ("hello", "envelope", "challenge_request")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    CHALLENGE_REQUEST_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    envelope: SignedEnvelope
    challenge_request: ChallengeRequest
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., envelope: _Optional[_Union[SignedEnvelope, _Mapping]] = ..., challenge_request: _Optional[_Union[ChallengeRequest, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("device_id", "instance_id", "agent_version", "protocol_version")
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    instance_id: bytes
    agent_version: str
    protocol_version: int
    def __init__(self, device_id: _Optional[str] = ..., instance_id: _Optional[bytes] = ..., agent_version: _Optional[str] = ..., protocol_version: _Optional[int] = ...) -> None: ...

class ChallengeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Evidence(_message.Message):
    __slots__ = ("device_id", "key_id", "audience", "session_id", "epoch", "nonce", "sequence", "inventory", "boot", "check_set_revision", "checks")
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    INVENTORY_FIELD_NUMBER: _ClassVar[int]
    BOOT_FIELD_NUMBER: _ClassVar[int]
    CHECK_SET_REVISION_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    key_id: str
    audience: str
    session_id: bytes
    epoch: int
    nonce: bytes
    sequence: int
    inventory: Inventory
    boot: Boot
    check_set_revision: int
    checks: _containers.RepeatedCompositeFieldContainer[CheckEvidence]
    def __init__(self, device_id: _Optional[str] = ..., key_id: _Optional[str] = ..., audience: _Optional[str] = ..., session_id: _Optional[bytes] = ..., epoch: _Optional[int] = ..., nonce: _Optional[bytes] = ..., sequence: _Optional[int] = ..., inventory: _Optional[_Union[Inventory, _Mapping]] = ..., boot: _Optional[_Union[Boot, _Mapping]] = ..., check_set_revision: _Optional[int] = ..., checks: _Optional[_Iterable[_Union[CheckEvidence, _Mapping]]] = ...) -> None: ...

class Goodbye(_message.Message):
    __slots__ = ("device_id", "key_id", "audience", "session_id", "epoch", "nonce", "sequence")
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    key_id: str
    audience: str
    session_id: bytes
    epoch: int
    nonce: bytes
    sequence: int
    def __init__(self, device_id: _Optional[str] = ..., key_id: _Optional[str] = ..., audience: _Optional[str] = ..., session_id: _Optional[bytes] = ..., epoch: _Optional[int] = ..., nonce: _Optional[bytes] = ..., sequence: _Optional[int] = ...) -> None: ...

class KeyRotate(_message.Message):
    __slots__ = ("device_id", "key_id", "audience", "session_id", "epoch", "nonce", "sequence", "new_public_key", "new_key_protection")
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    NEW_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    NEW_KEY_PROTECTION_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    key_id: str
    audience: str
    session_id: bytes
    epoch: int
    nonce: bytes
    sequence: int
    new_public_key: bytes
    new_key_protection: KeyProtection
    def __init__(self, device_id: _Optional[str] = ..., key_id: _Optional[str] = ..., audience: _Optional[str] = ..., session_id: _Optional[bytes] = ..., epoch: _Optional[int] = ..., nonce: _Optional[bytes] = ..., sequence: _Optional[int] = ..., new_public_key: _Optional[bytes] = ..., new_key_protection: _Optional[_Union[KeyProtection, str]] = ...) -> None: ...

class Boot(_message.Message):
    __slots__ = ("boot_id", "uptime_ms", "wall_time_unix_ms")
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    UPTIME_MS_FIELD_NUMBER: _ClassVar[int]
    WALL_TIME_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    boot_id: bytes
    uptime_ms: int
    wall_time_unix_ms: int
    def __init__(self, boot_id: _Optional[bytes] = ..., uptime_ms: _Optional[int] = ..., wall_time_unix_ms: _Optional[int] = ...) -> None: ...

class CheckEvidence(_message.Message):
    __slots__ = ("check_id", "check_revision", "age_ms", "client_certificate", "error")
    CHECK_ID_FIELD_NUMBER: _ClassVar[int]
    CHECK_REVISION_FIELD_NUMBER: _ClassVar[int]
    AGE_MS_FIELD_NUMBER: _ClassVar[int]
    CLIENT_CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    check_id: str
    check_revision: int
    age_ms: int
    client_certificate: ClientCertificateEvidence
    error: CollectionError
    def __init__(self, check_id: _Optional[str] = ..., check_revision: _Optional[int] = ..., age_ms: _Optional[int] = ..., client_certificate: _Optional[_Union[ClientCertificateEvidence, _Mapping]] = ..., error: _Optional[_Union[CollectionError, _Mapping]] = ...) -> None: ...

class ClientCertificateEvidence(_message.Message):
    __slots__ = ("candidates",)
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    candidates: _containers.RepeatedCompositeFieldContainer[CertificateCandidate]
    def __init__(self, candidates: _Optional[_Iterable[_Union[CertificateCandidate, _Mapping]]] = ...) -> None: ...

class CertificateCandidate(_message.Message):
    __slots__ = ("chain", "location", "private_key", "possession_scheme", "possession_signature", "ocsp_responses")
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    LOCATION_FIELD_NUMBER: _ClassVar[int]
    PRIVATE_KEY_FIELD_NUMBER: _ClassVar[int]
    POSSESSION_SCHEME_FIELD_NUMBER: _ClassVar[int]
    POSSESSION_SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    OCSP_RESPONSES_FIELD_NUMBER: _ClassVar[int]
    chain: _containers.RepeatedScalarFieldContainer[bytes]
    location: str
    private_key: PrivateKeyState
    possession_scheme: str
    possession_signature: bytes
    ocsp_responses: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, chain: _Optional[_Iterable[bytes]] = ..., location: _Optional[str] = ..., private_key: _Optional[_Union[PrivateKeyState, str]] = ..., possession_scheme: _Optional[str] = ..., possession_signature: _Optional[bytes] = ..., ocsp_responses: _Optional[_Iterable[bytes]] = ...) -> None: ...

class CollectionError(_message.Message):
    __slots__ = ("code", "detail")
    CODE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    code: str
    detail: str
    def __init__(self, code: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class AttestResponse(_message.Message):
    __slots__ = ("challenge", "ack", "check_set", "attest_now", "rejected", "drain", "closing", "key_pending")
    CHALLENGE_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    CHECK_SET_FIELD_NUMBER: _ClassVar[int]
    ATTEST_NOW_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    CLOSING_FIELD_NUMBER: _ClassVar[int]
    KEY_PENDING_FIELD_NUMBER: _ClassVar[int]
    challenge: Challenge
    ack: Ack
    check_set: CheckSet
    attest_now: AttestNow
    rejected: Rejected
    drain: Drain
    closing: Closing
    key_pending: KeyPending
    def __init__(self, challenge: _Optional[_Union[Challenge, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., check_set: _Optional[_Union[CheckSet, _Mapping]] = ..., attest_now: _Optional[_Union[AttestNow, _Mapping]] = ..., rejected: _Optional[_Union[Rejected, _Mapping]] = ..., drain: _Optional[_Union[Drain, _Mapping]] = ..., closing: _Optional[_Union[Closing, _Mapping]] = ..., key_pending: _Optional[_Union[KeyPending, _Mapping]] = ...) -> None: ...

class Challenge(_message.Message):
    __slots__ = ("session_id", "epoch", "nonce", "audience", "nonce_ttl_seconds")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    NONCE_TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    session_id: bytes
    epoch: int
    nonce: bytes
    audience: str
    nonce_ttl_seconds: int
    def __init__(self, session_id: _Optional[bytes] = ..., epoch: _Optional[int] = ..., nonce: _Optional[bytes] = ..., audience: _Optional[str] = ..., nonce_ttl_seconds: _Optional[int] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("sequence", "results", "next_challenge")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_CHALLENGE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    results: _containers.RepeatedCompositeFieldContainer[CheckResult]
    next_challenge: Challenge
    def __init__(self, sequence: _Optional[int] = ..., results: _Optional[_Iterable[_Union[CheckResult, _Mapping]]] = ..., next_challenge: _Optional[_Union[Challenge, _Mapping]] = ...) -> None: ...

class KeyPending(_message.Message):
    __slots__ = ("key_id", "valid_for_seconds", "next_challenge")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    VALID_FOR_SECONDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_CHALLENGE_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    valid_for_seconds: int
    next_challenge: Challenge
    def __init__(self, key_id: _Optional[str] = ..., valid_for_seconds: _Optional[int] = ..., next_challenge: _Optional[_Union[Challenge, _Mapping]] = ...) -> None: ...

class CheckResult(_message.Message):
    __slots__ = ("check_id", "passed", "reason", "expires_in_seconds", "name", "detail")
    CHECK_ID_FIELD_NUMBER: _ClassVar[int]
    PASSED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_IN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    check_id: str
    passed: bool
    reason: str
    expires_in_seconds: int
    name: str
    detail: str
    def __init__(self, check_id: _Optional[str] = ..., passed: _Optional[bool] = ..., reason: _Optional[str] = ..., expires_in_seconds: _Optional[int] = ..., name: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class CheckSet(_message.Message):
    __slots__ = ("revision", "checks", "due_within_ms")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    DUE_WITHIN_MS_FIELD_NUMBER: _ClassVar[int]
    revision: int
    checks: _containers.RepeatedCompositeFieldContainer[Check]
    due_within_ms: int
    def __init__(self, revision: _Optional[int] = ..., checks: _Optional[_Iterable[_Union[Check, _Mapping]]] = ..., due_within_ms: _Optional[int] = ...) -> None: ...

class Check(_message.Message):
    __slots__ = ("id", "name", "revision", "schedule_seconds", "client_certificate")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    CLIENT_CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    revision: int
    schedule_seconds: int
    client_certificate: ClientCertificateCheck
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., revision: _Optional[int] = ..., schedule_seconds: _Optional[int] = ..., client_certificate: _Optional[_Union[ClientCertificateCheck, _Mapping]] = ...) -> None: ...

class ClientCertificateCheck(_message.Message):
    __slots__ = ("paths", "trust_stores", "common_name", "extended_key_usage", "subject_alternative_names", "check_private_key", "issuer_names", "allow_pkcs1")
    PATHS_FIELD_NUMBER: _ClassVar[int]
    TRUST_STORES_FIELD_NUMBER: _ClassVar[int]
    COMMON_NAME_FIELD_NUMBER: _ClassVar[int]
    EXTENDED_KEY_USAGE_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_ALTERNATIVE_NAMES_FIELD_NUMBER: _ClassVar[int]
    CHECK_PRIVATE_KEY_FIELD_NUMBER: _ClassVar[int]
    ISSUER_NAMES_FIELD_NUMBER: _ClassVar[int]
    ALLOW_PKCS1_FIELD_NUMBER: _ClassVar[int]
    paths: _containers.RepeatedScalarFieldContainer[str]
    trust_stores: _containers.RepeatedScalarFieldContainer[str]
    common_name: str
    extended_key_usage: _containers.RepeatedScalarFieldContainer[str]
    subject_alternative_names: _containers.RepeatedScalarFieldContainer[str]
    check_private_key: bool
    issuer_names: _containers.RepeatedScalarFieldContainer[bytes]
    allow_pkcs1: bool
    def __init__(self, paths: _Optional[_Iterable[str]] = ..., trust_stores: _Optional[_Iterable[str]] = ..., common_name: _Optional[str] = ..., extended_key_usage: _Optional[_Iterable[str]] = ..., subject_alternative_names: _Optional[_Iterable[str]] = ..., check_private_key: _Optional[bool] = ..., issuer_names: _Optional[_Iterable[bytes]] = ..., allow_pkcs1: _Optional[bool] = ...) -> None: ...

class AttestNow(_message.Message):
    __slots__ = ("due_within_ms",)
    DUE_WITHIN_MS_FIELD_NUMBER: _ClassVar[int]
    due_within_ms: int
    def __init__(self, due_within_ms: _Optional[int] = ...) -> None: ...

class Rejected(_message.Message):
    __slots__ = ("code", "next_challenge")
    CODE_FIELD_NUMBER: _ClassVar[int]
    NEXT_CHALLENGE_FIELD_NUMBER: _ClassVar[int]
    code: str
    next_challenge: Challenge
    def __init__(self, code: _Optional[str] = ..., next_challenge: _Optional[_Union[Challenge, _Mapping]] = ...) -> None: ...

class Drain(_message.Message):
    __slots__ = ("reconnect_within_ms",)
    RECONNECT_WITHIN_MS_FIELD_NUMBER: _ClassVar[int]
    reconnect_within_ms: int
    def __init__(self, reconnect_within_ms: _Optional[int] = ...) -> None: ...

class Closing(_message.Message):
    __slots__ = ("code", "retry_after_ms")
    CODE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    code: str
    retry_after_ms: int
    def __init__(self, code: _Optional[str] = ..., retry_after_ms: _Optional[int] = ...) -> None: ...

class SealedChallenge(_message.Message):
    __slots__ = ("challenge", "seal")
    CHALLENGE_FIELD_NUMBER: _ClassVar[int]
    SEAL_FIELD_NUMBER: _ClassVar[int]
    challenge: Challenge
    seal: bytes
    def __init__(self, challenge: _Optional[_Union[Challenge, _Mapping]] = ..., seal: _Optional[bytes] = ...) -> None: ...

class SealedAnswer(_message.Message):
    __slots__ = ("seal", "envelope")
    SEAL_FIELD_NUMBER: _ClassVar[int]
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    seal: bytes
    envelope: SignedEnvelope
    def __init__(self, seal: _Optional[bytes] = ..., envelope: _Optional[_Union[SignedEnvelope, _Mapping]] = ...) -> None: ...

class Answers(_message.Message):
    __slots__ = ("responses",)
    RESPONSES_FIELD_NUMBER: _ClassVar[int]
    responses: _containers.RepeatedCompositeFieldContainer[AttestResponse]
    def __init__(self, responses: _Optional[_Iterable[_Union[AttestResponse, _Mapping]]] = ...) -> None: ...

class IssueTokenRequest(_message.Message):
    __slots__ = ("device_id", "envelope")
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    envelope: SignedEnvelope
    def __init__(self, device_id: _Optional[str] = ..., envelope: _Optional[_Union[SignedEnvelope, _Mapping]] = ...) -> None: ...

class IssueTokenResponse(_message.Message):
    __slots__ = ("challenge", "result")
    CHALLENGE_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    challenge: TokenChallenge
    result: IssuedToken
    def __init__(self, challenge: _Optional[_Union[TokenChallenge, _Mapping]] = ..., result: _Optional[_Union[IssuedToken, _Mapping]] = ...) -> None: ...

class TokenChallenge(_message.Message):
    __slots__ = ("session_id", "nonce", "audience", "nonce_ttl_seconds")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    NONCE_TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    session_id: bytes
    nonce: bytes
    audience: str
    nonce_ttl_seconds: int
    def __init__(self, session_id: _Optional[bytes] = ..., nonce: _Optional[bytes] = ..., audience: _Optional[str] = ..., nonce_ttl_seconds: _Optional[int] = ...) -> None: ...

class TokenRequest(_message.Message):
    __slots__ = ("device_id", "key_id", "audience", "session_id", "nonce", "token_audience", "key_thumbprint")
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    TOKEN_AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    KEY_THUMBPRINT_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    key_id: str
    audience: str
    session_id: bytes
    nonce: bytes
    token_audience: str
    key_thumbprint: str
    def __init__(self, device_id: _Optional[str] = ..., key_id: _Optional[str] = ..., audience: _Optional[str] = ..., session_id: _Optional[bytes] = ..., nonce: _Optional[bytes] = ..., token_audience: _Optional[str] = ..., key_thumbprint: _Optional[str] = ...) -> None: ...

class IssuedToken(_message.Message):
    __slots__ = ("token", "expires_in_seconds")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_IN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    token: str
    expires_in_seconds: int
    def __init__(self, token: _Optional[str] = ..., expires_in_seconds: _Optional[int] = ...) -> None: ...

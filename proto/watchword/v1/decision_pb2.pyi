from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Decision(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DECISION_UNSPECIFIED: _ClassVar[Decision]
    DECISION_ALLOW: _ClassVar[Decision]
    DECISION_DENY: _ClassVar[Decision]

class DeviceStanding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DEVICE_STANDING_UNSPECIFIED: _ClassVar[DeviceStanding]
    DEVICE_STANDING_ACTIVE: _ClassVar[DeviceStanding]
    DEVICE_STANDING_PENDING: _ClassVar[DeviceStanding]
    DEVICE_STANDING_REVOKED: _ClassVar[DeviceStanding]
    DEVICE_STANDING_LOCKED: _ClassVar[DeviceStanding]
    DEVICE_STANDING_UNKNOWN: _ClassVar[DeviceStanding]
DECISION_UNSPECIFIED: Decision
DECISION_ALLOW: Decision
DECISION_DENY: Decision
DEVICE_STANDING_UNSPECIFIED: DeviceStanding
DEVICE_STANDING_ACTIVE: DeviceStanding
DEVICE_STANDING_PENDING: DeviceStanding
DEVICE_STANDING_REVOKED: DeviceStanding
DEVICE_STANDING_LOCKED: DeviceStanding
DEVICE_STANDING_UNKNOWN: DeviceStanding

class DecideRequest(_message.Message):
    __slots__ = ("method", "scheme", "authority", "target", "client_certificate", "source_address", "user_email", "facts", "device_id", "service_token_id", "service_token_secret", "device_token", "device_proof")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    CLIENT_CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    USER_EMAIL_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    SERVICE_TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    SERVICE_TOKEN_SECRET_FIELD_NUMBER: _ClassVar[int]
    DEVICE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    DEVICE_PROOF_FIELD_NUMBER: _ClassVar[int]
    method: str
    scheme: str
    authority: str
    target: str
    client_certificate: bytes
    source_address: str
    user_email: str
    facts: str
    device_id: str
    service_token_id: str
    service_token_secret: str
    device_token: str
    device_proof: str
    def __init__(self, method: _Optional[str] = ..., scheme: _Optional[str] = ..., authority: _Optional[str] = ..., target: _Optional[str] = ..., client_certificate: _Optional[bytes] = ..., source_address: _Optional[str] = ..., user_email: _Optional[str] = ..., facts: _Optional[str] = ..., device_id: _Optional[str] = ..., service_token_id: _Optional[str] = ..., service_token_secret: _Optional[str] = ..., device_token: _Optional[str] = ..., device_proof: _Optional[str] = ...) -> None: ...

class DecideResponse(_message.Message):
    __slots__ = ("decision", "reason", "decision_id", "rules", "checks", "device", "headers", "headers_to_remove", "valid_seconds")
    class HeadersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    DECISION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    HEADERS_TO_REMOVE_FIELD_NUMBER: _ClassVar[int]
    VALID_SECONDS_FIELD_NUMBER: _ClassVar[int]
    decision: Decision
    reason: str
    decision_id: str
    rules: _containers.RepeatedCompositeFieldContainer[Rule]
    checks: _containers.RepeatedCompositeFieldContainer[CheckStanding]
    device: ResolvedDevice
    headers: _containers.ScalarMap[str, str]
    headers_to_remove: _containers.RepeatedScalarFieldContainer[str]
    valid_seconds: float
    def __init__(self, decision: _Optional[_Union[Decision, str]] = ..., reason: _Optional[str] = ..., decision_id: _Optional[str] = ..., rules: _Optional[_Iterable[_Union[Rule, _Mapping]]] = ..., checks: _Optional[_Iterable[_Union[CheckStanding, _Mapping]]] = ..., device: _Optional[_Union[ResolvedDevice, _Mapping]] = ..., headers: _Optional[_Mapping[str, str]] = ..., headers_to_remove: _Optional[_Iterable[str]] = ..., valid_seconds: _Optional[float] = ...) -> None: ...

class Rule(_message.Message):
    __slots__ = ("kind", "id", "name", "effect")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    kind: str
    id: str
    name: str
    effect: str
    def __init__(self, kind: _Optional[str] = ..., id: _Optional[str] = ..., name: _Optional[str] = ..., effect: _Optional[str] = ...) -> None: ...

class CheckStanding(_message.Message):
    __slots__ = ("id", "name", "standing", "reason", "evidence_level", "evidence_age_seconds", "valid_seconds")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_LEVEL_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_AGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    VALID_SECONDS_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    standing: str
    reason: str
    evidence_level: str
    evidence_age_seconds: float
    valid_seconds: float
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., standing: _Optional[str] = ..., reason: _Optional[str] = ..., evidence_level: _Optional[str] = ..., evidence_age_seconds: _Optional[float] = ..., valid_seconds: _Optional[float] = ...) -> None: ...

class ResolvedDevice(_message.Message):
    __slots__ = ("id", "identified_by", "binding")
    ID_FIELD_NUMBER: _ClassVar[int]
    IDENTIFIED_BY_FIELD_NUMBER: _ClassVar[int]
    BINDING_FIELD_NUMBER: _ClassVar[int]
    id: str
    identified_by: str
    binding: str
    def __init__(self, id: _Optional[str] = ..., identified_by: _Optional[str] = ..., binding: _Optional[str] = ...) -> None: ...

class DecideBatchRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[DecideRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[DecideRequest, _Mapping]]] = ...) -> None: ...

class DecideBatchResponse(_message.Message):
    __slots__ = ("responses",)
    RESPONSES_FIELD_NUMBER: _ClassVar[int]
    responses: _containers.RepeatedCompositeFieldContainer[DecideResponse]
    def __init__(self, responses: _Optional[_Iterable[_Union[DecideResponse, _Mapping]]] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("decision_id",)
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    def __init__(self, decision_id: _Optional[str] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("explanation",)
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    explanation: _struct_pb2.Struct
    def __init__(self, explanation: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class WatchDeviceRequest(_message.Message):
    __slots__ = ("device_id",)
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    def __init__(self, device_id: _Optional[str] = ...) -> None: ...

class WatchDeviceResponse(_message.Message):
    __slots__ = ("device_id", "standing", "checks")
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    standing: DeviceStanding
    checks: _containers.RepeatedCompositeFieldContainer[CheckStanding]
    def __init__(self, device_id: _Optional[str] = ..., standing: _Optional[_Union[DeviceStanding, str]] = ..., checks: _Optional[_Iterable[_Union[CheckStanding, _Mapping]]] = ...) -> None: ...

"""Claims, contexts and results as JSON text.

Written by hand and read strictly: exactly the keys and types written here. A change of form needs a migration of what is stored.
Bytes are base64; instants are floats, exact in both directions.
"""

import json
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import TypeVar

from watchword_server.core.model.devices import SeenBoot
from watchword_server.core.model.evidence import Candidate, Claim, PrivateKeyState, ProofContext
from watchword_server.core.model.names import CheckId, DeviceId, Fingerprint, Instant, KeyFingerprint, SessionId
from watchword_server.core.model.results import EvidenceLevel, PostureResult

_T = TypeVar("_T")
_E = TypeVar("_E", bound=StrEnum)


class DecodeError(ValueError):
    """Stored text that this module did not write."""


def encode_claim(claim: Claim) -> str:
    """A claim with its candidates' certificates and proofs."""
    return _dump(
        {
            "check_id": claim.check_id,
            "check_revision": claim.check_revision,
            "age_seconds": float(claim.age_seconds),
            "candidates": [_candidate_to_json(candidate) for candidate in claim.candidates],
            "error_code": claim.error_code,
            "error_detail": claim.error_detail,
        }
    )


def decode_claim(text: str) -> Claim:
    """The claim `encode_claim` wrote. Raises `DecodeError`."""
    fields = _Fields(_load(text), "claim", Claim.__slots__)
    return Claim(
        check_id=CheckId(fields.text("check_id")),
        check_revision=fields.integer("check_revision"),
        age_seconds=fields.number("age_seconds"),
        candidates=fields.items("candidates", _candidate_from_json),
        error_code=fields.maybe(fields.text, "error_code"),
        error_detail=fields.maybe(fields.text, "error_detail"),
    )


def encode_context(context: ProofContext) -> str:
    """What the proofs of a claim were bound to."""
    return _dump(
        {
            "device_id": context.device_id,
            "audience": context.audience,
            "session_id": _blob(context.session_id),
            "nonce": _blob(context.nonce),
            "received_at": float(context.received_at),
            "hostname": context.hostname,
            "reported_serial_number": context.reported_serial_number,
        }
    )


def decode_context(text: str) -> ProofContext:
    """The context `encode_context` wrote. Raises `DecodeError`."""
    fields = _Fields(_load(text), "context", ProofContext.__slots__)
    return ProofContext(
        device_id=DeviceId(fields.text("device_id")),
        audience=fields.text("audience"),
        session_id=SessionId(fields.blob("session_id")),
        nonce=fields.blob("nonce"),
        received_at=Instant(fields.number("received_at")),
        hostname=fields.maybe(fields.text, "hostname"),
        reported_serial_number=fields.maybe(fields.text, "reported_serial_number"),
    )


def encode_result(result: PostureResult) -> str:
    """A result. `expected` and `received` are JSON already: what is a tuple there comes back as a list."""
    return _dump(
        {
            "check_id": result.check_id,
            "check_revision": result.check_revision,
            "passed": result.passed,
            "reason": result.reason,
            "level": result.level.value,
            "evaluated_at": float(result.evaluated_at),
            "evidence_at": float(result.evidence_at),
            "expires_at": None if result.expires_at is None else float(result.expires_at),
            "certificate": None if result.certificate is None else _blob(result.certificate),
            "chain": [_blob(fingerprint) for fingerprint in result.chain],
            "expected": dict(result.expected),
            "received": dict(result.received),
            "proven_key": None if result.proven_key is None else _blob(result.proven_key),
        }
    )


def decode_result(text: str) -> PostureResult:
    """The result `encode_result` wrote. Raises `DecodeError`."""
    fields = _Fields(_load(text), "result", PostureResult.__slots__, optional={"proven_key": None})
    expires_at = fields.maybe(fields.number, "expires_at")
    certificate, proven_key = fields.maybe(fields.blob, "certificate"), fields.maybe(fields.blob, "proven_key")
    return PostureResult(
        check_id=CheckId(fields.text("check_id")),
        check_revision=fields.integer("check_revision"),
        passed=fields.flag("passed"),
        reason=fields.text("reason"),
        level=fields.member(EvidenceLevel, "level"),
        evaluated_at=Instant(fields.number("evaluated_at")),
        evidence_at=Instant(fields.number("evidence_at")),
        expires_at=None if expires_at is None else Instant(expires_at),
        certificate=None if certificate is None else Fingerprint(certificate),
        chain=fields.items("chain", lambda item: Fingerprint(_bytes(item, "result.chain"))),
        expected=fields.mapping("expected"),
        received=fields.mapping("received"),
        proven_key=None if proven_key is None else KeyFingerprint(proven_key),
    )


def encode_boots(boots: Iterable[SeenBoot]) -> str | None:
    """The boots of a device, newest last; None: none is known."""
    entries = [
        {
            "boot_id": boot.boot_id.hex(),
            "first_seen_at": float(boot.first_seen_at),
            "last_seen_at": float(boot.last_seen_at),
        }
        for boot in boots
    ]
    return _dump({"boots": entries}) if entries else None


def decode_boots(text: str) -> tuple[SeenBoot, ...]:
    """The boots `encode_boots` wrote. Raises `DecodeError`."""
    return _Fields(_load(text), "boots", ("boots",)).items("boots", _boot_from_json)


def encode_body(body: Mapping[str, object]) -> str:
    """The body of a rules entry, with its keys in order: equal text means equal bodies, `1` and `true` apart."""
    return _dump(body, sort_keys=True)


def decode_body(text: str) -> Mapping[str, object]:
    """The body `encode_body` wrote. Raises `DecodeError`."""
    return _mapping(_load(text), "body")


def _boot_from_json(item: object) -> SeenBoot:
    fields = _Fields(item, "boot", SeenBoot.__slots__)
    try:
        boot_id = bytes.fromhex(fields.text("boot_id"))
    except ValueError as error:
        raise DecodeError("stored boot.boot_id is not hexadecimal") from error
    return SeenBoot(boot_id, Instant(fields.number("first_seen_at")), Instant(fields.number("last_seen_at")))


def _candidate_to_json(candidate: Candidate) -> dict[str, object]:
    fields: dict[str, object] = {
        "chain": [_blob(der) for der in candidate.chain],
        "location": candidate.location,
        "private_key": candidate.private_key.value,
        "possession_scheme": candidate.possession_scheme,
        "possession_signature": _blob(candidate.possession_signature),
    }
    if candidate.ocsp_responses:
        fields["ocsp_responses"] = [_blob(der) for der in candidate.ocsp_responses]
    return fields


def _candidate_from_json(item: object) -> Candidate:
    fields = _Fields(item, "candidate", Candidate.__slots__, optional={"ocsp_responses": []})
    return Candidate(
        chain=fields.items("chain", lambda der: _bytes(der, "candidate.chain")),
        location=fields.text("location"),
        private_key=fields.member(PrivateKeyState, "private_key"),
        possession_scheme=fields.text("possession_scheme"),
        possession_signature=fields.blob("possession_signature"),
        ocsp_responses=fields.items("ocsp_responses", lambda der: _bytes(der, "candidate.ocsp_responses")),
    )


class _Fields:
    """One JSON object, read field by field. `optional` are fields that older rows do not have, with what that means."""

    def __init__(
        self, value: object, what: str, names: tuple[str, ...], *, optional: Mapping[str, object] = MappingProxyType({})
    ) -> None:
        if not isinstance(value, dict) or value.keys() | optional.keys() != set(names):
            raise DecodeError(f"stored {what} does not have the fields {', '.join(names)}")
        self._value = {**optional, **value} if optional else value
        self._what = what

    def text(self, name: str) -> str:
        return self._of(str, name)

    def number(self, name: str) -> float:
        return self._of(float, name)

    def integer(self, name: str) -> int:
        return self._of(int, name)

    def flag(self, name: str) -> bool:
        return self._of(bool, name)

    def blob(self, name: str) -> bytes:
        return _bytes(self._value[name], f"{self._what}.{name}")

    def mapping(self, name: str) -> Mapping[str, object]:
        return _mapping(self._value[name], f"{self._what}.{name}")

    def member(self, kind: type[_E], name: str) -> _E:
        try:
            return kind(self.text(name))
        except ValueError as error:
            raise DecodeError(f"stored {self._what}.{name} is none of {', '.join(kind)}") from error

    def items(self, name: str, decode: Callable[[object], _T]) -> tuple[_T, ...]:
        return tuple(decode(item) for item in self._of(list, name))

    def maybe(self, read: Callable[[str], _T], name: str) -> _T | None:
        return None if self._value[name] is None else read(name)

    def _of(self, kind: type[_T], name: str) -> _T:
        value = self._value[name]
        if type(value) is not kind:  # isinstance would take true for 1
            raise DecodeError(f"stored {self._what}.{name} is not a {kind.__name__}")
        return value


def _dump(value: Mapping[str, object], *, sort_keys: bool = False) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"), sort_keys=sort_keys, default=_plain)


def _load(text: str) -> object:
    try:
        return json.loads(text, parse_constant=_refuse)
    except ValueError as error:
        raise DecodeError(f"stored text is not JSON: {error}") from error


def _plain(value: object) -> object:
    if isinstance(value, Mapping):  # a read-only view of one
        return dict(value)
    raise TypeError(f"`{type(value).__name__}` has no form in JSON")


def _refuse(constant: str) -> object:
    raise DecodeError(f"stored number is `{constant}`")


def _blob(value: bytes) -> str:
    return b64encode(value).decode("ascii")


def _bytes(value: object, what: str) -> bytes:
    if not isinstance(value, str):
        raise DecodeError(f"stored {what} is not text")
    try:
        return b64decode(value, validate=True)
    except (Base64Error, ValueError) as error:
        raise DecodeError(f"stored {what} is not base64") from error


def _mapping(value: object, what: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise DecodeError(f"stored {what} is not an object")
    return MappingProxyType(value)

"""A line of the decision log back to what was decided about: the inverse of `services/recording.py`."""

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from watchword_server.core.evaluations import evaluation_of
from watchword_server.core.model.decisions import (
    AccessRequest,
    Evaluation,
    Identity,
    Resolution,
    ResolutionStrength,
    ResolvedDevice,
    Value,
)
from watchword_server.core.model.devices import Device, DeviceKey, DeviceState, KeyAlgorithm, KeyProtection
from watchword_server.core.model.names import CheckId, DeviceId, Fingerprint, Instant, IPAddress
from watchword_server.core.model.results import DevicePosture, EvidenceLevel, PostureResult
from watchword_server.errors import OperatorError
from watchword_server.services.facts import fact_value
from watchword_server.services.recording import exact_instant

_NO_KEY: Final = DeviceKey("", b"", KeyAlgorithm.ED25519)  # of a key, decisions look at its protection alone
_NEVER: Final = Instant(0.0)


class RecordUnreadableError(OperatorError):
    """A line that is no decision, or not in the form this version writes."""

    code = "record_unreadable"


def replayed(record: Mapping[str, object]) -> tuple[AccessRequest, ResolvedDevice, Instant]:
    """The request, its device, and the moment of a decision: with the same rules, `decide` answers the same again.

    A query that was not logged is empty here: `record["request"]["query_logged"]` says so. What no decision depends on (the
    device's key, what a check expected and received) is not in it. Raises `RecordUnreadableError`.
    """
    if record.get("event") != "decision":
        raise RecordUnreadableError("the line is no decision: a line of `decisions.jsonl` has `event` `decision`")
    try:
        line = _Line.model_validate(record)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, problem["loc"]))
        message = f"the decision is in a form that this version does not read: `{place}`: {problem['msg'].lower()}"
        raise RecordUnreadableError(message) from None
    return _request(line), _device(line.device), line.at


# ---- The form -----------------------------------------------------------------------------------------------------------


class _Part(BaseModel):
    """Strict about what it needs: no number for a text, no text for a truth. What it does not need may be anything."""

    model_config = ConfigDict(strict=True, frozen=True)


_Lax: Final = Field(strict=False)  # a text where the value is a member of an enumeration


def _read(read: Callable[[str], object]) -> BeforeValidator:
    """Of a text, what `read` makes of it."""

    def value(told: object) -> object:
        if not isinstance(told, str):
            raise ValueError("it is not text")  # noqa: TRY004 - pydantic reports this one
        return read(told)

    return BeforeValidator(value)


_Time = Annotated[Instant, _read(exact_instant)]
_Address = Annotated[IPAddress, _read(ipaddress.ip_address)]
_Sha256 = Annotated[Fingerprint, _read(bytes.fromhex)]
_Strength = Annotated[ResolutionStrength, _read(lambda text: ResolutionStrength.__members__.get(text.upper()))]


class _ServiceToken(_Part):
    id: str


class _Request(_Part):
    method: str
    scheme: str
    host: str
    port: int | None
    path: str
    query: str | None
    source_ip: _Address | None
    facts: dict[str, Any]
    service_token: _ServiceToken | None
    service_token_refused: bool
    connection: bool = False


class _Result(_Part):
    check_id: CheckId
    check_revision: int
    passed: bool
    reason: str
    evidence_level: Annotated[EvidenceLevel, _Lax]
    evidence_at: _Time
    evaluated_at: _Time
    expires_at: _Time | None


class _Device(_Part):
    resolution: Annotated[Resolution, _Lax]
    reason: str
    method: str | None
    strength: _Strength
    certificate_possible: bool
    certificate_sha256: _Sha256 | None
    common_name: str | None
    id: DeviceId | None
    name: str | None
    serial_number: str | None
    platform: str | None
    state: Annotated[DeviceState, _Lax] | None
    key_protection: Annotated[KeyProtection, _Lax] | None = None  # earlier versions knew nothing of it
    owner: str | None = None  # nor of this
    proven: bool
    others: list[DeviceId]
    results: list[_Result]


class _Line(_Part):
    event: Literal["decision"]
    at: _Time
    caller: str
    request: _Request
    evaluation: dict[str, Any] | None = None
    user_email: str | None
    device: _Device


# ---- Its meaning --------------------------------------------------------------------------------------------------------


def _request(line: _Line) -> AccessRequest:
    request = line.request
    return AccessRequest(
        method=request.method,
        scheme=request.scheme,
        host=request.host,
        path=request.path,
        query=request.query or "",
        source_ip=request.source_ip,
        identity=None if line.user_email is None else Identity(line.user_email),
        caller=line.caller,
        port=request.port,
        facts={name: _fact(name, value) for name, value in request.facts.items()},
        service_token_id=None if request.service_token is None else request.service_token.id,
        service_token_refused=request.service_token_refused,
        is_connection=request.connection,
        evaluation=None if line.evaluation is None else _evaluation(line.evaluation),
    )


def _evaluation(document: Mapping[str, Any]) -> Evaluation:
    try:
        return evaluation_of(document)
    except KeyError as error:
        raise RecordUnreadableError(f"the decision's evaluation has no {error}") from None
    except ValueError as error:
        raise RecordUnreadableError(f"the decision's evaluation is not read by this version: {error}") from None


def _fact(name: str, told: object) -> Value:
    try:
        return fact_value(name, told)
    except ValueError as error:
        raise RecordUnreadableError(f"the decision has a fact that this version does not read: `{name}`: {error}") from None


def _device(device: _Device) -> ResolvedDevice:
    return ResolvedDevice(
        outcome=device.resolution,
        reason=device.reason,
        method=device.method,
        strength=device.strength,
        certificate=device.certificate_sha256,
        posture=_posture(device),
        proven=device.proven,
        others=tuple(device.others),
        certificate_possible=device.certificate_possible,
        common_name=device.common_name,
    )


def _posture(device: _Device) -> DevicePosture | None:
    if device.id is None:
        return None
    if device.state is None or device.platform is None:
        raise RecordUnreadableError("the decision has a device without `state` or `platform`")
    known = Device(
        id=device.id,
        key=replace(_NO_KEY, protection=device.key_protection),
        state=device.state,
        platform=device.platform,
        hostname=device.name,
        serial_number=device.serial_number,
        epoch=0,
        enrolled_at=_NEVER,
        owner=device.owner,
    )
    return DevicePosture(known, {result.check_id: _result(result) for result in device.results}, revision=0)


def _result(result: _Result) -> PostureResult:
    return PostureResult(
        check_id=result.check_id,
        check_revision=result.check_revision,
        passed=result.passed,
        reason=result.reason,
        level=result.evidence_level,
        evaluated_at=result.evaluated_at,
        evidence_at=result.evidence_at,
        expires_at=result.expires_at,
    )

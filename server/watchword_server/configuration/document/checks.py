"""Posture checks: in the Cloudflare API, device posture rules. The kinds of them are `CHECK_TYPES`."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from watchword_server.configuration.document.base import (
    Entry,
    Model,
    NameOrId,
    any_of,
    did_you_mean,
    faults,
    one_of,
    quoted,
)
from watchword_server.configuration.document.durations import Duration, parse_seconds

DEFAULT_SCHEDULE = "5m"
NEVER = "never"
_MIN_SCHEDULE_SECONDS = 60
_DEFAULT_SCHEDULES_TO_EXPIRATION = 3

_VARIABLES = ("${serial_number}", "${hostname}")
_VARIABLE = re.compile(r"\$\{[^}]*\}?")

# What the Cloudflare API knows besides
_OTHER_TYPES = (
    *("file", "application", "carbonblack", "sentinelone", "disk_encryption", "firewall", "os_version", "domain_joined"),
    *("serial_number", "unique_client_id", "antivirus", "warp", "gateway", "tanium", "workspace_one", "intune"),
    *("crowdstrike_s2s", "kolide", "tanium_s2s", "sentinelone_s2s", "custom_s2s"),
)


# ---- Values ---------------------------------------------------------------------------------------------------------------


def _known_variables(text: str) -> str:
    for variable in _VARIABLE.findall(text):
        if variable not in _VARIABLES:
            raise ValueError(f"{quoted(variable)} is not a variable: use {any_of(_VARIABLES)}")
    return text


def _place(text: str) -> str:
    """A path of a PEM file, an NSS database, or an object in a token."""
    if text.startswith("dbm:"):
        remedy = "convert it with `certutil -K -X -d sql:DIR`, and write `sql:` for it"
        raise ValueError(f"{quoted(text)} has the old format: {remedy}")
    if text.startswith("pkcs11:"):
        return _token_uri(text)
    _local_path(text.removeprefix("sql:"))
    return text


def _token_uri(text: str) -> str:
    """RFC 7512; the agent reads it whole. A PIN is no business of whoever reads the rules."""
    _known_variables(text)
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"{quoted(text)} is no `pkcs11:` URI: write other characters as `%XX` (RFC 7512)")
    for name in ("pin-value", "pin-source"):
        if f"{name}=" in text:
            raise ValueError(f"{quoted(text)} gives a PIN: leave `{name}` out, and give it on the device, in `password_files`")
    return text


def _local_path(text: str) -> str:
    _known_variables(text)
    posix, windows = PurePosixPath(text), PureWindowsPath(text)
    if not text.isprintable() or not (posix.is_absolute() or windows.is_absolute()):
        raise ValueError(f"{quoted(text)} is not an absolute path: write it from the root, such as `/etc/corp/client.pem`")
    if text.startswith(("//", "\\\\")):
        raise ValueError(f"{quoted(text)} leads to another computer: name a local file")
    if ".." in posix.parts or ".." in windows.parts:
        raise ValueError(f"{quoted(text)} has `..` in it: write the path it leads to")
    return text


def _schedule(text: str) -> str:
    if parse_seconds(text) < _MIN_SCHEDULE_SECONDS:
        raise ValueError(f"{quoted(text)} is shorter than a minute: write at least `1m`")
    return text


_Template = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_known_variables)]
_Path = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_place)]
_Usage = Annotated[Literal["clientAuth", "emailProtection"], one_of("clientAuth", "emailProtection")]
_Store = Annotated[Literal["system", "user"], one_of("system", "user")]
_System = Annotated[Literal["windows", "mac", "linux"], one_of("windows", "mac", "linux")]
_Trust = Annotated[Literal["issuer", "chain"], one_of("issuer", "chain")]
_Revocation = Annotated[Literal["off", "prefer", "require"], one_of("off", "prefer", "require")]
_Platform = Annotated[
    Literal["windows", "mac", "linux"],
    one_of(
        *("windows", "mac", "linux"),
        not_yet=("android", "ios", "chromeos"),
        instead="there is no agent for it; write `windows`, `mac` or `linux`",
    ),
]


# ---- Inputs ---------------------------------------------------------------------------------------------------------------


class Match(Model):
    """A platform the check is for."""

    platform: _Platform


class Locations(Model):
    """Where an agent looks for certificates; empty: the system's own store."""

    paths: Annotated[list[_Path], Field(max_length=16)] = Field(default_factory=list)
    trust_stores: Annotated[list[_Store], Field(max_length=2)] = Field(default_factory=list)


class ClientCertificateV2Input(Model):
    """What a client certificate has to satisfy. `trust`, `revocation`, `on_clone` and `allow_pkcs1` are ours."""

    certificate_id: NameOrId
    cn: _Template | None = None
    subject_alternative_names: Annotated[list[_Template], Field(max_length=64)] = Field(default_factory=list)
    extended_key_usage: Annotated[list[_Usage], Field(max_length=2)] = Field(default_factory=list)
    check_private_key: bool = True
    operating_system: _System | None = None
    locations: Locations = Field(default_factory=Locations)
    trust: _Trust = "issuer"
    revocation: _Revocation = "prefer"
    on_clone: Annotated[Literal["fail", "flag"], one_of("fail", "flag")] = "fail"
    allow_pkcs1: bool = False


class ClientCertificateInput(Model):
    """The older form: an issuer and a common name; the private key is always proven."""

    hints: ClassVar = {
        key: f"`{key}` belongs to `type: client_certificate_v2`: leave it out or change the type"
        for key in ClientCertificateV2Input.model_fields
    }

    certificate_id: NameOrId
    cn: _Template


# ---- Checks ---------------------------------------------------------------------------------------------------------------


class _CheckEntry(Entry):
    hints: ClassVar = Entry.hints | {"enabled": "`enabled` is worked out by the server: leave it out"}

    match: Annotated[list[Match], Field(max_length=16)] = Field(default_factory=list)
    schedule: Annotated[Duration, AfterValidator(_schedule)] = DEFAULT_SCHEDULE
    expiration: Duration | None = None

    @field_validator("expiration")
    @classmethod
    def _not_before_the_next_result(cls, expiration: str, info: ValidationInfo) -> str:
        if not expiration:
            raise ValueError("an empty string would mean for ever: write `never`, or leave it out for three schedules")
        if expiration == NEVER:
            return expiration
        seconds, schedule = parse_seconds(expiration), info.data.get("schedule")
        if schedule is not None and seconds < parse_seconds(schedule):
            raise ValueError(
                f"{quoted(expiration)} is shorter than the schedule `{schedule}`, so results would expire before the next: "
                f"write at least `{schedule}`"
            )
        return expiration

    @property
    def platforms(self) -> frozenset[str]:
        """The platforms it is for; empty: all."""
        return frozenset(match.platform for match in self.match)

    @property
    def schedule_seconds(self) -> int:
        """How often an agent looks."""
        return parse_seconds(self.schedule)

    @property
    def expiration_seconds(self) -> int | None:
        """How long a result lasts; None: until the next one."""
        if self.expiration is None:
            return _DEFAULT_SCHEDULES_TO_EXPIRATION * self.schedule_seconds
        return None if self.expiration == NEVER else parse_seconds(self.expiration)


class ClientCertificateV2Check(_CheckEntry):
    """A certificate at a place we choose, with conditions we choose."""

    type: Literal["client_certificate_v2"]
    input: ClientCertificateV2Input

    @field_validator("input")
    @classmethod
    def _one_operating_system(cls, value: ClientCertificateV2Input, info: ValidationInfo) -> ClientCertificateV2Input:
        system, match = value.operating_system, info.data.get("match")
        if system is not None and match and any(item.platform != system for item in match):
            message = f"`{system}` is not what `match` says: write the same platform in both, or leave one out"
            raise faults([(("operating_system",), message)])
        return value

    @property
    def platforms(self) -> frozenset[str]:
        """The platforms it is for; empty: all."""
        system = self.input.operating_system
        return super().platforms or (frozenset() if system is None else frozenset({system}))


class ClientCertificateCheck(_CheckEntry):
    """A certificate in the system's own store."""

    type: Literal["client_certificate"]
    input: ClientCertificateInput


CHECK_TYPES: Mapping[str, type[ClientCertificateV2Check] | type[ClientCertificateCheck]] = {
    "client_certificate_v2": ClientCertificateV2Check,
    "client_certificate": ClientCertificateCheck,
}


def _by_type(value: object) -> object:
    """Chooses the model first, so that a problem is told of that model alone."""
    if not isinstance(value, dict):
        raise ValueError("it has to be a mapping: write `{ name: …, type: …, input: … }`")  # noqa: TRY004 - pydantic turns only ValueError into a problem
    kind = value.get("type")
    if isinstance(kind, str) and kind in CHECK_TYPES:
        return CHECK_TYPES[kind].model_validate(value)
    if "type" not in value:
        raise faults([(("type",), f"`type` is missing: write {any_of(CHECK_TYPES)}")])
    if not isinstance(kind, str):
        raise faults([(("type",), f"it has to be text: write {any_of(CHECK_TYPES)}")])
    if kind in _OTHER_TYPES:
        raise faults([(("type",), f"`type: {kind}` is not supported yet: write {any_of(CHECK_TYPES)}")])
    raise faults([(("type",), f"{quoted(kind)} is not known here: {did_you_mean(kind, CHECK_TYPES)}")])


Check = Annotated[ClientCertificateV2Check | ClientCertificateCheck, BeforeValidator(_by_type)]

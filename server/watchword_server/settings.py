"""What an operator may set: one model, safe defaults, bounds on every number. An unknown key is an error at start.

From `watchword.toml` in the data directory (or `--config FILE`), overridden by the environment (`WATCHWORD_AGENTS__HOST`),
overridden by the command line. docs/settings.md is generated from this model.
"""

import difflib
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from watchword_server.configuration.document.values import key_set_url
from watchword_server.core.rules import LanguageSettings

ENV_PREFIX = "WATCHWORD_"

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Port = Annotated[int, Field(ge=0, le=65_535)]


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tls(_Group):
    """Files in PEM; required beyond loopback."""

    certificate: Path = Field(description="PEM file: the chain the listener shows; required beyond loopback")
    private_key: Path = Field(description="PEM file: its key; required beyond loopback")
    client_ca: Path | None = Field(
        None, description="PEM file: every client has to present a certificate of this CA; never a CA of device certificates"
    )


class Listener(_Group):
    """Where a listener is. Beyond loopback TLS is required."""

    host: str = Field("127.0.0.1", description="address to listen on")
    tls: Tls | None = None

    @model_validator(mode="after")
    def _tls_beyond_loopback(self) -> Self:
        try:
            loopback = ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            raise ValueError(f"`{self.host}` is not an IP address") from None
        if not loopback and self.tls is None:
            raise ValueError(f"listening on `{self.host}` needs tls: set tls.certificate and tls.private_key, or use 127.0.0.1")
        return self


class AgentsListener(Listener):
    """The agents' listener: public."""

    port: Port | None = Field(None, description="gRPC; 0: any free port; unset: counted from `port`")
    http_port: Port | None = Field(None, description="HTTPS form; 0: any free port; unset: counted from `port`")
    https: bool = Field(default=False, description="whether evidence is taken as single requests at `http_port`")


class DecisionsListener(Listener):
    """The proxies' listener."""

    grpc_port: Port | None = Field(None, description="ext_authz; 0: any free port; unset: counted from `port`")
    http_port: Port | None = Field(None, description="auth_request, forward auth; 0: any free port; unset: counted from `port`")
    spop_port: Port | None = Field(None, description="HAProxy's SPOE; 0: any free port; unset: counted from `port`")
    public_url: Annotated[str, Field(pattern=r"^https://[^/?#@\s]+$")] | None = Field(
        None, description="base URL that AuthZEN's metadata tells; unset: the one that was asked"
    )
    issuer: Annotated[str, Field(min_length=1, max_length=255)] | None = Field(
        None, description="`iss` of the tokens that are signed here; unset: made from the account id"
    )
    signing_keys_file: Path | None = Field(
        None, description="JWK Set of private keys that all replicas share; unset: made in the data directory"
    )
    signing_algorithm: Literal["ES256", "EdDSA"] = Field("ES256", description="of signing keys that are made here")
    log_query: bool = Field(
        default=False, description="the decision log tells queries, which carry secrets: reset links, signed URLs, tokens"
    )


class Oidc(_Group):
    """Tokens of an OpenID Connect provider that operators may use beside API tokens."""

    issuer: Annotated[str, Field(min_length=1, max_length=2048)] = Field(description="the `iss` of its tokens, exactly")
    audience: Annotated[str, Field(min_length=1, max_length=2048)] = Field(description="has to be in the `aud` of a token")
    jwks_url: Annotated[str, AfterValidator(key_set_url)] = Field(description="where its keys are: https, or http on loopback")
    algorithms: tuple[Literal["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"], ...] = Field(
        ("RS256", "ES256", "EdDSA"), min_length=1, description="what a token may be signed with"
    )
    leeway_seconds: float = Field(30.0, ge=0, le=300, description="by how much its clock may be off")
    role_claim: Annotated[str, Field(min_length=1, max_length=255)] = Field(
        "groups", description="the claim, a text or a list of texts, that `roles` reads"
    )
    roles: dict[str, Literal["read", "write", "admin"]] = Field(
        min_length=1, description="value of the claim → role; the highest counts, without one nothing is allowed"
    )


class OperatorsListener(Listener):
    """The operators' listener."""

    port: Port | None = Field(None, description="API and metrics; 0: any free port; unset: counted from `port`")
    account_id: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,64}$")] | None = Field(
        None, description="the `account_id` of the Cloudflare API here; unset: the one made with the data directory"
    )
    oidc: Oidc | None = Field(None, description="unset: API tokens only")
    key_encryption_key_file: Path | None = Field(
        None,
        description="file of keys (64 hexadecimal digits a line): uploaded private keys are encrypted under it; unset: refused",
    )


class Limits(_Group):
    """How long the server waits and how much it takes."""

    hello_timeout_seconds: Seconds = Field(10.0, description="a stream that says nothing is closed after this")
    first_evidence_timeout_seconds: Seconds = Field(60.0, description="a stream that proves nothing is closed after this")
    challenge_max_age_seconds: float = Field(60.0, gt=0, le=60.0, description="how long a nonce may be answered")
    max_streams: int = Field(10_000, ge=1, le=1_000_000, description="attestation streams at once")
    max_watches: int = Field(10_000, ge=1, le=1_000_000, description="streams that follow a device's standing at once")
    max_unproven_streams: int = Field(
        2_000, ge=1, le=1_000_000, description="of these, streams that have proven nothing yet; the oldest gives way"
    )
    max_unproven_streams_of_an_address: int = Field(200, ge=1, le=100_000, description="of these, of one address")
    streams_per_second: float = Field(50.0, gt=0, le=100_000, description="new attestation streams of one address")
    streams_burst: int = Field(500, ge=1, le=1_000_000, description="so many at once, then `streams_per_second`")
    enrollments_per_second: float = Field(5.0, gt=0, le=10_000, description="enrollments begun by one address")
    enrollments_burst: int = Field(100, ge=1, le=100_000, description="so many at once, then `enrollments_per_second`")
    messages_per_second: float = Field(10.0, gt=0, le=10_000, description="messages on one attestation stream")
    messages_burst: int = Field(50, ge=1, le=100_000, description="so many at once, then `messages_per_second`")
    max_https_requests: int = Field(
        500, ge=1, le=100_000, description="bodies of agents' HTTPS requests read at once; the oldest gives way"
    )
    max_https_requests_of_an_address: int = Field(100, ge=1, le=100_000, description="of these, of one address")
    max_https_answers_kept: int = Field(
        100_000, ge=1, le=10_000_000, description="challenges told over HTTPS and answered of which a second answer is refused"
    )
    key_rotation_hours: float = Field(
        24.0, gt=0, le=24 * 30, description="how long a device's new key may wait for its first evidence"
    )
    attest_devices_per_second: float = Field(
        200.0, gt=0, le=100_000, description="after a change of checks, how many devices are asked to attest a second"
    )
    failed_logins_per_second: float = Field(1.0, gt=0, le=1_000, description="wrong API tokens of one address")
    failed_logins_burst: int = Field(20, ge=1, le=10_000, description="so many at once, then `failed_logins_per_second`")
    drain_seconds: float = Field(5.0, ge=0, le=600, description="how long a stopping server waits for agents and requests")


class Cache(_Group):
    """What is kept in memory for decisions."""

    max_devices: int = Field(100_000, ge=1, le=10_000_000, description="devices with their results")
    max_certificates: int = Field(200_000, ge=1, le=10_000_000, description="certificates and whose they are")
    keep_seconds: Seconds = Field(600.0, description="how long an entry stays; not how long a result is valid")
    keep_absent_seconds: Seconds = Field(5.0, description="how long it is remembered that there is no such device")
    load_deadline_seconds: float = Field(0.4, gt=0, le=10.0, description="a store that does not answer in this time denies")


class Store(_Group):
    """The embedded store."""

    queue_length: int = Field(2_000, ge=1, le=1_000_000, description="changes that may wait for the writer")
    changes_kept: int = Field(100_000, ge=1_000, le=10_000_000, description="rows of the change log")


class History(_Group):
    """What is kept of the past: the audit log, the posture log, and revisions of the rules to look at and to go back to."""

    audit_days: float = Field(730.0, ge=1, le=36_500, description="younger records of the audit log are kept")
    audit_records: int = Field(100_000, ge=1_000, le=100_000_000, description="so many records are kept however old they are")
    posture_days: float = Field(90.0, ge=1, le=36_500, description="older entries of the posture log go")
    posture_entries: int = Field(1_000_000, ge=1_000, le=100_000_000, description="at most so many are kept, the newest")
    revision_days: float = Field(365.0, ge=1, le=36_500, description="younger revisions of the rules are kept")
    revisions: int = Field(1_000, ge=10, le=1_000_000, description="so many revisions are kept however old they are")
    revision_bytes: int = Field(
        1024 * 1024 * 1024,
        ge=1 << 20,
        le=1 << 40,
        description="of more than this, the oldest revisions go, however young they are",
    )


class Logs(_Group):
    """The decision log and the posture log, each at most `(backups + 1) * max_bytes`."""

    max_bytes: int = Field(64 * 1024 * 1024, ge=4096, le=1 << 40, description="size at which a log file is rotated")
    backups: int = Field(4, ge=1, le=1_000, description="rotated files that are kept")


class Revocation(_Group):
    """How revocation lists and responses are fetched."""

    max_list_bytes: int = Field(256 * 1024 * 1024, ge=1024, le=1 << 32, description="length of one revocation list")
    fetch_timeout_seconds: Seconds = Field(300.0, description="a list that is not here and read after this has failed")
    ocsp_timeout_seconds: float = Field(2.0, gt=0, le=30.0, description="evidence waits so long for an OCSP responder")


_LANGUAGE = LanguageSettings()


class Rules(_Group):
    """How the expressions of Gateway rules are read, and how long lists may be."""

    missing_not_equal: bool = Field(
        default=_LANGUAGE.missing_not_equal, description="whether `!=` is true of a field that is missing"
    )
    max_expression_characters: int = Field(
        _LANGUAGE.max_expression_characters, ge=256, le=1 << 20, description="length of one expression, with names as ids"
    )
    max_nesting: int = Field(
        _LANGUAGE.max_nesting, ge=1, le=128, description="parentheses, `not`, quantifiers and calls inside one another"
    )
    max_set_items: int = Field(_LANGUAGE.max_set_items, ge=1, le=100_000, description="items of one `{…}`")
    max_list_items: int = Field(_LANGUAGE.max_list_items, ge=1, le=1_000_000, description="items of one list")
    max_regex_characters: int = Field(_LANGUAGE.max_regex_characters, ge=1, le=65_536, description="length of one pattern")
    max_regex_memory_bytes: int = Field(
        _LANGUAGE.max_regex_memory_bytes, ge=1 << 16, le=1 << 28, description="memory of one compiled pattern"
    )
    max_wildcard_stars: int = Field(_LANGUAGE.max_wildcard_stars, ge=1, le=100, description="`*` in one wildcard")

    @property
    def language(self) -> LanguageSettings:
        """As the rules take it."""
        return LanguageSettings(**self.model_dump())


class Settings(BaseSettings):
    """All settings of `watchword serve`."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_prefix=ENV_PREFIX, env_nested_delimiter="__")

    port: Port = Field(
        7400,
        description="first port: operators, decisions HTTP, decisions gRPC, agents, agents HTTP count up from it; 0: any free",
    )
    audience: str | None = Field(
        None, min_length=1, max_length=255, description="the name evidence is signed for; unset: made from the account id"
    )
    agents: AgentsListener = AgentsListener()
    decisions: DecisionsListener = DecisionsListener()
    operators: OperatorsListener = OperatorsListener()
    limits: Limits = Limits()
    cache: Cache = Cache()
    store: Store = Store()
    history: History = History()
    logs: Logs = Logs()
    rules: Rules = Rules()
    revocation: Revocation = Revocation()
    grpc_reflection: bool = Field(default=False, description="lets anyone list the gRPC services; for development")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is the library's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is the library's
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line, then environment, then file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def settings_problem(problem: ErrorDetails) -> str:
    """One refused setting in our words: where, what, and what to write instead."""
    *place, name = map(str, problem["loc"]) if problem["loc"] else ("settings",)
    shown = ".".join((*place, name))
    if problem["type"] == "extra_forbidden":
        known = _names_in(place)
        near = difflib.get_close_matches(name, known, n=1)
        instead = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(f'`{each}`' for each in known)}"
        return f"`{shown}` is not known: {instead}"
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"`{shown}`: {message[:1].lower()}{message[1:]}, not `{problem['input']}`"


def _names_in(place: Sequence[str]) -> list[str]:
    model: type[BaseModel] = Settings
    for step in place:
        field = model.model_fields[step]
        model = next(
            kind
            for kind in (field.annotation, *get_args(field.annotation))
            if isinstance(kind, type) and issubclass(kind, BaseModel)
        )
    return list(model.model_fields)


_OF_THE_TESTS: Final = frozenset({"WATCHWORD_CONFORMANCE", "WATCHWORD_SOAK", "WATCHWORD_HISTORY_SEED"})  # no settings


def load_settings(config: Path | None, **from_command_line: Any) -> Settings:  # noqa: ANN401 - each key is validated by the model
    """The settings. Raises `pydantic.ValidationError`, `tomllib.TOMLDecodeError`, and `ValueError` for unknown names."""
    known = {name.upper() for name in Settings.model_fields}
    unknown = [
        name
        for name in os.environ
        if name.startswith(ENV_PREFIX)
        and not name.startswith("WATCHWORD_AGENT_")
        and name not in _OF_THE_TESTS
        and name.removeprefix(ENV_PREFIX).split("__")[0] not in known
    ]
    if unknown:
        raise ValueError(f"unknown setting in the environment: `{'`, `'.join(sorted(unknown))}`")

    class FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=config)

    return FromFile(**from_command_line)

"""What an administrator may change: one model, from command line options, the environment and a TOML file, in this order."""

import ipaddress
import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from watchword_agent.errors import SettingsError
from watchword_agent.key_files import SYSTEM_TPM, Keeper

ENVIRONMENT_PREFIX: Final = "WATCHWORD_AGENT_"
# Where each system wants what a service keeps for itself.
STATE_DIRECTORY: Final = {
    "win32": Path(os.environ.get("PROGRAMDATA", "C:\\ProgramData"), "watchword-agent"),
    "darwin": Path("/Library/Application Support/watchword-agent"),
}.get(sys.platform, Path("/var/lib/watchword-agent"))
# Where a management system puts the settings: read if it is there and no other file is named.
DEFAULT_CONFIG: Final = (STATE_DIRECTORY if sys.platform in ("win32", "darwin") else Path("/etc/watchword")) / "agent.toml"
CONFIG_VARIABLE: Final = "WATCHWORD_AGENT_CONFIG"  # names the TOML file; no setting of its own


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where the server listens for agents. Without TLS only at a loopback address."""

    host: str
    port: int
    tls: bool

    @classmethod
    def parse(cls, url: str) -> Self:
        """From `https://host:port`, or `http://127.0.0.1:port`. Raises `ValueError` with what to write instead."""
        parts = urlsplit(url)
        if parts.scheme not in ("https", "http") or not parts.hostname:
            raise ValueError(f"`{url}` is not of the form `https://host:port`")
        if parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError(f"`{url}` has more than a scheme, a host and a port; write `https://host:port`")
        if parts.port is None:  # itself raises ValueError for a port out of range
            raise ValueError(f"`{url}` names no port; write `{parts.scheme}://{parts.netloc}:port`")
        address = cls(host=parts.hostname, port=parts.port, tls=parts.scheme == "https")
        if not address.tls and not _is_loopback_address(address.host):
            raise ValueError(
                f"`{url}` is plaintext, which is for loopback addresses only (`http://127.0.0.1:{parts.port}`); "
                f"write `https://{parts.netloc}`"
            )
        return address

    @property
    def is_loopback(self) -> bool:
        """Whether the connection cannot leave this machine, and so goes through no proxy."""
        return self.host == "localhost" or _is_loopback_address(self.host)

    @property
    def authority(self) -> str:
        """`host:port`, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.authority}"


def _is_loopback_address(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name; who knows where it leads


def _server_url(url: str) -> str:
    return str(ServerAddress.parse(url))


ServerUrl = Annotated[str, AfterValidator(_server_url)]
_Label = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[^\x00-\x1f\x7f]+$")]


class Settings(BaseSettings):
    """Every setting of the agent; an unknown one is refused."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    server: ServerUrl | None = Field(None, description="The server's address for agents; default: the one enrolled with.")
    ca_file: Path | None = Field(None, description="PEM file of the roots that the server's certificate is checked against.")
    transport: Literal["auto", "stream", "https"] = Field(
        "auto", description="How evidence goes: a stream; single HTTPS requests; `auto`: these where streams do not get through."
    )
    https_server: ServerUrl | None = Field(
        None, description="The server's address for single requests (`agents_http` there); without it there are streams alone."
    )
    proxy: Annotated[str, Field(pattern=r"^(system|none|http://[^@/]+/?)$")] = Field(
        "system", description="`system`: as the environment or the system says; `none`; or `http://host:port`."
    )
    proxy_credentials_file: Path | None = Field(None, description="File with `user:password` for the proxy.")
    state_dir: Path = Field(STATE_DIRECTORY, description="Where the device key and the enrollment are kept.")
    enroll_token_file: Path | None = Field(
        None, description="A token that `run` enrolls with where the device is not enrolled yet; removed then."
    )
    serial_number: _Label | None = Field(None, description="Instead of the one the firmware tells.")
    hostname: _Label | None = Field(None, description="Instead of the one the system tells.")
    password_files: dict[str, Path] = Field(
        default_factory=dict,
        description="By place, the file with its password: a PEM key's or NSS database's absolute path, or `token=LABEL`.",
    )
    pkcs11_modules: list[Path] = Field(default_factory=list, description="Libraries of tokens that a `pkcs11:` URI may name.")
    nss_modules: list[Path] = Field(default_factory=list, description="NSS databases whose own PKCS #11 modules may be loaded.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least important events logged.")
    reconnect_base_seconds: float = Field(1, ge=0.01, le=60, description="Upper bound of the first wait before reconnecting.")
    reconnect_cap_seconds: float = Field(300, ge=1, le=3600, description="Upper bound of any wait before reconnecting.")
    refused_base_seconds: float = Field(30, ge=0.01, le=3600, description="As above, where the server refuses this device.")
    refused_cap_seconds: float = Field(1800, ge=1, le=86400, description="As above, where the server refuses this device.")
    answer_timeout_seconds: float = Field(30, ge=0.1, le=300, description="How long to wait for an answer of the server.")
    collection_timeout_seconds: float = Field(20, ge=0.1, le=300, description="How long looking for certificates may take.")
    device_key: Keeper = Field("file", description="What keeps a new device key; the one that is there stays where it is.")
    tpm_tcti: _Label = Field(SYSTEM_TPM, description="How the TPM is reached, in the words of tpm2-tss (`TCTI`).")
    goodbye_on_stop: bool = Field(
        default=False,
        description="Whether stopping the agent ends this device's results; then a restart denies the user for a moment.",
    )
    goodbye_timeout_seconds: float = Field(5, ge=0.1, le=60, description="How long a goodbye may take when the agent stops.")
    rotate_key_days: float = Field(
        0, ge=0, le=3650, description="Age at which the device key is replaced by a new one; 0: never."
    )

    @field_validator("device_key", mode="before")
    @classmethod
    def _names_a_keeper(cls, given: object) -> object:
        if given == "keychain":
            raise ValueError(
                "a service of macOS reaches no Secure Enclave, and the System keychain keeps a key no better than a file "
                "does: write `file`"
            )
        return given

    @model_validator(mode="after")
    def _https_has_an_address(self) -> Self:
        if self.transport == "https" and self.https_server is None:
            raise ValueError("`transport`: `https` needs `https_server`: write `https://host:port`")
        return self

    @model_validator(mode="after")
    def _bases_are_below_caps(self) -> Self:
        if self.reconnect_base_seconds > self.reconnect_cap_seconds:
            raise ValueError("`reconnect_base_seconds` is above `reconnect_cap_seconds`")
        if self.refused_base_seconds > self.refused_cap_seconds:
            raise ValueError("`refused_base_seconds` is above `refused_cap_seconds`")
        return self


def load_settings(config: Path | None = None, options: Mapping[str, object] | None = None) -> Settings:
    """Reads and checks all settings; in `options`, None means not given. Raises `SettingsError` with every problem found."""
    document = _read_toml(config) if config is not None else {}
    _refuse_unknown_variables()

    class Sources(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 -- the signature is pydantic's
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=document)

    try:
        given = {name: value for name, value in (options or {}).items() if value is not None}
        checked = Sources(**given)  # type: ignore[arg-type]  # checked by pydantic, that is the point
    except ValidationError as error:
        problems = [_problem(".".join(map(str, each["loc"])), each["msg"]) for each in error.errors()]
        raise SettingsError("; ".join(problems)) from error
    return Settings.model_construct(**checked.model_dump())  # without the sources: values, equal where they are the same


def _problem(setting: str, message: str) -> str:
    message = message.removeprefix("Value error, ")
    return f"`{setting}`: {message[:1].lower()}{message[1:]}" if setting else message


def _read_toml(path: Path) -> dict[str, object]:
    try:
        _refuse_strangers_words(path)
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read `{path}`: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"`{path}` is not TOML: {error}") from error


def _refuse_strangers_words(path: Path) -> None:
    """What root does is root's to say: a file that others can write would let them name libraries and servers."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return
    found = path.stat()
    if found.st_uid != 0 or found.st_mode & 0o022:
        raise SettingsError(f"`{path}` can be written by others than root: `chown root {path} && chmod go-w {path}`")


def _refuse_unknown_variables() -> None:
    known = {ENVIRONMENT_PREFIX + name.upper() for name in Settings.model_fields} | {CONFIG_VARIABLE}
    unknown = sorted(name for name in os.environ if name.upper().startswith(ENVIRONMENT_PREFIX) and name.upper() not in known)
    if unknown:
        raise SettingsError("; ".join(f"`{name}`: no such setting" for name in unknown))

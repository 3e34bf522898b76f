"""Callers: the proxies that may ask for decisions, how they prove who they are, and what they may assert."""

import re
from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from watchword_server.configuration.document.base import Entry, Model, faults, in_yaml, one_of, quoted
from watchword_server.configuration.document.durations import Duration, parse_seconds
from watchword_server.configuration.document.hosts import host_name
from watchword_server.configuration.document.values import key_set_url, network

MIN_SECRET_CHARACTERS = 32
OWN_HEADERS = "x-watchword-"  # ours alone: set or removed on every request (DESIGN.md 7)

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")  # RFC 9110 5.6.2, in lower case
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")  # RFC 3986 3, as far as a comparison needs it
_COOKIE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 6265 4.1.1
_MAX_LEEWAY_SECONDS = 300
_SHA256 = re.compile(r"[0-9a-f]{64}")


# ---- Values ---------------------------------------------------------------------------------------------------------------


def _caller_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{quoted(name)} is not a caller's name: write at most 63 of `a-z`, `0-9` and `-`, the first not a `-`")
    return name


def _subject_alternative_name(text: str) -> str:
    """A URI as it is, a DNS name in lower case."""
    return text if _URI.fullmatch(text) else host_name(text)


def _header_name(text: str) -> str:
    lowered = text.lower()
    if not _TOKEN.fullmatch(lowered):
        raise ValueError(f"{quoted(text)} is not the name of a header: write one like `x-authenticated-email`")
    if lowered.startswith(OWN_HEADERS):
        raise ValueError(f"{quoted(text)} is a header of ours: choose one that does not begin with `{OWN_HEADERS}`")
    return lowered


def _printable(text: str) -> str:
    if not text.isascii() or not text.isprintable():
        raise ValueError(f"{quoted(text)} is not printable ASCII: write one like `https://wiki.corp.example`")
    return text


def _cookie_name(text: str) -> str:
    if not _COOKIE.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not the name of a cookie: write one like `CF_Authorization`")
    return text


def _is_sha256(text: str) -> str:
    if not _SHA256.fullmatch(text):
        raise ValueError("it is not a SHA-256 in lower-case hexadecimal: write `secret_file`, and the server works it out")
    return text


def _true(value: bool) -> bool:  # noqa: FBT001 - the value of the field
    if not value:
        raise ValueError("`unix_socket: false` authenticates nobody: write `unix_socket: true`, `secret_file` or `mtls`")
    return value


_Text = Annotated[str, Field(min_length=1, max_length=2048)]
_Name = Literal["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"]
_USUAL: tuple[_Name, ...] = ("RS256", "ES256", "EdDSA")
_Algorithm = Annotated[_Name, one_of(*get_args(_Name))]
# ---- Parts ----------------------------------------------------------------------------------------------------------------


class MutualTls(Model):
    """The caller's certificate, under the caller CA."""

    san: Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_subject_alternative_name)]


class Authenticate(Model):
    """Exactly one of them. In a rule file `secret_file` stands for `secret_sha256`: the secret itself goes no further."""

    hints: ClassVar = {"secret_file": "`secret_file` is for rule files: write the secret's SHA-256 as `secret_sha256`"}
    reader_keys: ClassVar = ("secret_file",)

    @classmethod
    def form(cls, value: object) -> str:  # noqa: ARG003 - whatever it was
        """One of the three ways."""
        return "`{ secret_file: … }`, `{ mtls: { san: … } }` or `{ unix_socket: true }`"

    secret_sha256: Annotated[str, AfterValidator(_is_sha256)] | None = None
    mtls: MutualTls | None = None
    unix_socket: Annotated[bool, AfterValidator(_true)] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("a caller authenticates in exactly one way: write one of `secret_file`, `mtls` or `unix_socket`")
        return self


class IdentityToken(Model):
    """A token (JWT) of an identity provider's, which the client sends or the caller passes: verified here, whoever sent it."""

    header: Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_header_name)] | None = None  # lower case
    cookie: Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_cookie_name)] | None = None
    issuer: _Text
    audience: _Text
    jwks_url: Annotated[_Text, AfterValidator(key_set_url)]
    algorithms: Annotated[list[_Algorithm], Field(min_length=1, max_length=8)] = Field(default_factory=lambda: [*_USUAL])
    leeway: Duration = "30s"
    email_claim: _Text = "email"
    groups_claim: _Text | None = None

    @model_validator(mode="after")
    def _in_one_place(self) -> Self:
        if (self.header is None) == (self.cookie is None):
            raise ValueError("a token is in one place: write one of `header` and `cookie`")
        return self

    @field_validator("leeway")
    @classmethod
    def _some_minutes(cls, text: str) -> str:
        if parse_seconds(text) > _MAX_LEEWAY_SECONDS:
            raise ValueError("no clock may be off by more than `5m`")
        return text


class CallerIdentity(Model):
    """Who the user is: an address that the caller writes into a header, or a token. One of the two."""

    @classmethod
    def form(cls, value: object) -> str:
        """The simpler of the two ways."""
        return f"`{{ email_header: {in_yaml(value) if isinstance(value, str) else '…'} }}`"

    email_header: Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_header_name)] | None = None  # lower case
    token: IdentityToken | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.email_header is None) == (self.token is None):
            raise ValueError("who the user is stands in one place: write one of `email_header` and `token`")
        return self


class DeviceTokens(Model):
    """Which device tokens the caller's clients may show. `bearer`: also without a proof of the key they were issued to."""

    audience: Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_printable)]
    bearer: bool = False


class CallerFacts(Model):
    """Where the caller writes facts about the request, as a JSON object by their names."""

    header: Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_header_name)]  # lower case


_Assertion = Annotated[
    Literal["client_certificate", "identity", "address", "facts", "device"],
    one_of("client_certificate", "identity", "address", "facts", "device"),
]
_Resolver = Annotated[
    Literal["client_certificate", "device_token", "address", "device"],
    one_of("client_certificate", "device_token", "address", "device"),
]


class Caller(Entry):
    """A proxy that may ask. What `may_assert` does not list is ignored when it says it."""

    name: Annotated[str, AfterValidator(_caller_name)]
    authenticate: Authenticate
    may_assert: Annotated[list[_Assertion], Field(max_length=8)] = Field(default_factory=list)
    resolvers: Annotated[list[_Resolver], Field(max_length=8)] = Field(default_factory=list)
    device_networks: Annotated[list[Annotated[str, AfterValidator(network)]], Field(max_length=64)] = Field(
        default_factory=list, validate_default=True
    )
    device_tokens: DeviceTokens | None = Field(default=None, validate_default=True)
    identity: CallerIdentity | None = Field(default=None, validate_default=True)
    facts: CallerFacts | None = Field(default=None, validate_default=True)

    @field_validator("resolvers")
    @classmethod
    def _fed_by_an_assertion(cls, resolvers: list[str], info: ValidationInfo) -> list[str]:
        assertions = info.data.get("may_assert")
        for resolver in resolvers:
            if assertions is not None and resolver not in assertions and resolver != "device_token":
                raise ValueError(f"`{resolver}` resolves nothing here: add it to `may_assert` as well")
        return resolvers

    @field_validator("device_networks")
    @classmethod
    def _networks_of_the_address(cls, networks: list[str], info: ValidationInfo) -> list[str]:
        resolvers = info.data.get("resolvers")
        if resolvers is None:
            return networks
        if "address" in resolvers and not networks:
            raise ValueError(
                "`device_networks` is missing, though `resolvers` has `address`: name the networks where an address is one "
                "device's, such as `[100.96.0.0/12]`"
            )
        if networks and "address" not in resolvers:
            raise ValueError("`resolvers` does not list `address`, so they would be ignored: add it there or leave this out")
        return networks

    @field_validator("device_tokens")
    @classmethod
    def _tokens_as_resolved(cls, tokens: DeviceTokens | None, info: ValidationInfo) -> DeviceTokens | None:
        resolvers = info.data.get("resolvers")
        if resolvers is None:
            return tokens
        if tokens is None and "device_token" in resolvers:
            raise ValueError(
                "`device_tokens` is missing, though `resolvers` has `device_token`: write `device_tokens: { audience: … }`"
            )
        if tokens is not None and "device_token" not in resolvers:
            raise ValueError("`resolvers` does not list `device_token`, so they would be ignored: add it there or leave this out")
        return tokens

    @field_validator("identity")
    @classmethod
    def _as_asserted(cls, identity: CallerIdentity | None, info: ValidationInfo) -> CallerIdentity | None:
        assertions = info.data.get("may_assert")
        if assertions is None:
            return identity
        if identity is None and "identity" in assertions:
            raise ValueError(
                "`identity` is missing, though `may_assert` has it: write `identity: {email_header: x-authenticated-email}`"
            )
        if identity is not None and identity.token is None and "identity" not in assertions:
            raise ValueError("`may_assert` does not list `identity`, so it would be ignored: add it there or leave this out")
        return identity

    @field_validator("facts")
    @classmethod
    def _facts_as_asserted(cls, facts: CallerFacts | None, info: ValidationInfo) -> CallerFacts | None:
        assertions, identity = info.data.get("may_assert"), info.data.get("identity")
        if assertions is None:
            return facts
        if facts is None and "facts" in assertions:
            raise ValueError("`facts` is missing, though `may_assert` has it: write `facts: {header: x-access-facts}`")
        if facts is not None and "facts" not in assertions:
            raise ValueError("`may_assert` does not list `facts`, so they would be ignored: add it there or leave this out")
        if facts is not None and identity is not None and facts.header == identity.email_header:
            raise faults([(("header",), f"{quoted(facts.header)} carries the user's email already: write another header")])
        return facts

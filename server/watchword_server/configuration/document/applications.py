"""Access applications."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from watchword_server.configuration.document.base import Entry, Model, NameOrId, faults, not_yet, one_of, quoted
from watchword_server.configuration.document.conditions import InlinePolicy
from watchword_server.configuration.document.destinations import MAX_CHARACTERS, normalized

MAX_PRECEDENCE = 2**31 - 1

# A host and perhaps a path: the host in lower case, the path as a request has it.
_HostAndPath = Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS), AfterValidator(normalized)]


# ---- Destinations ---------------------------------------------------------------------------------------------------------


class PublicDestination(Model):
    """What a proxy asks about."""

    hints: ClassVar = not_yet("overrides")

    type: Annotated[Literal["public"], one_of("public")] = "public"
    uri: _HostAndPath


def _no_private_one(value: object) -> object:
    """One problem for a destination of another type, not one for each of its keys."""
    match value:
        case {"type": "private" | "via_mcp_server_portal" | "worker" as kind}:
            message = f"no door of this server serves `{kind}` destinations: write `type: public` and a `uri`, or remove it"
            raise faults([(("type",), message)])
    return value


Destination = Annotated[PublicDestination, BeforeValidator(_no_private_one)]


# ---- Policies -------------------------------------------------------------------------------------------------------------


class PolicyLink(Model):
    """A reusable policy, and when it is asked among the others."""

    hints: ClassVar = {
        key: f"`{key}` belongs to a policy, and `id` names one that has it: leave one of them out"
        for key in InlinePolicy.model_fields
    }

    id: NameOrId
    precedence: Annotated[int, Field(ge=1, le=MAX_PRECEDENCE)] | None = None


def _by_shape(value: object, info: ValidationInfo) -> object:
    """Chooses the model first, so that a problem is told of that model alone."""
    match value:
        case {"id": _}:
            return PolicyLink.model_validate(value, context=info.context)
        case dict():
            return InlinePolicy.model_validate(value, context=info.context)
        case None:
            raise ValueError("it has no value: give it one or leave it out")
        case str() | InlinePolicy() | PolicyLink():
            return value
        case int() | float():
            raise ValueError(f"{quoted(str(value))} is not text: put it in quotes")
        case _:
            raise ValueError("a policy has to be a name, or a mapping: write the name of an entry of `policies`")


AnyPolicy = Annotated[NameOrId | PolicyLink | InlinePolicy, BeforeValidator(_by_shape)]


# ---- The entry ------------------------------------------------------------------------------------------------------------


class Application(Entry):
    """Hosts and paths, and the policies that guard them. Without a policy nobody gets in."""

    wanted: ClassVar = {"type": "write `self_hosted`"}
    # What the Cloudflare API knows besides
    hints: ClassVar = Entry.hints | not_yet(
        *("session_duration", "allowed_idps", "tags", "cors_headers", "logo_url"),
        *("custom_deny_message", "custom_deny_url", "custom_non_identity_deny_url", "custom_pages", "app_launcher_visible"),
        *("auto_redirect_to_identity", "allow_authenticate_via_warp", "allow_iframe", "service_auth_401_redirect"),
        *("skip_interstitial", "enable_binding_cookie", "http_only_cookie_attribute", "same_site_cookie_attribute"),
        *("path_cookie_attribute", "options_preflight_bypass", "read_service_tokens_from_header", "mfa_config"),
        *("oauth_configuration", "scim_config"),
    )

    type: Annotated[
        Literal["self_hosted"],
        one_of(
            "self_hosted",
            not_yet=[
                *("saas", "ssh", "vnc", "app_launcher", "warp", "biso", "bookmark", "dash_sso", "infrastructure", "rdp"),
                *("mcp", "mcp_portal", "proxy_endpoint"),
            ],
        ),
    ]
    domain: _HostAndPath | None = None
    destinations: Annotated[list[Destination], Field(max_length=1000)] = Field(default_factory=list)
    self_hosted_domains: Annotated[list[_HostAndPath], Field(max_length=1000)] = Field(default_factory=list)
    policies: Annotated[list[AnyPolicy], Field(max_length=1000)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _covers_something(self) -> Self:
        if self.domain is None and not self.destinations and not self.self_hosted_domains:
            raise faults([(("domain",), "`domain` is missing: write the host the application covers, or `destinations`")])
        return self

    @field_validator("policies")
    @classmethod
    def _one_precedence_each(cls, policies: list[str | PolicyLink | InlinePolicy]) -> list[str | PolicyLink | InlinePolicy]:
        seen: set[int] = set()
        found: list[tuple[tuple[str | int, ...], str]] = []
        for index, policy in enumerate(policies):
            precedence = precedence_of(policy)
            if precedence in seen:
                found.append(((index, "precedence"), f"`{precedence}` is the precedence of another: write a number of its own"))
            seen |= set() if precedence is None else {precedence}
        if found:
            raise faults(found)
        return policies

    def covered(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """All that it covers, each with its path in the entry."""
        if self.domain is not None:
            yield ("domain",), self.domain
        for index, destination in enumerate(self.destinations):
            yield ("destinations", index, "uri"), destination.uri
        for index, domain in enumerate(self.self_hosted_domains):
            yield ("self_hosted_domains", index), domain

    def inline_policies(self) -> Iterator[tuple[int, InlinePolicy]]:
        """Its own policies, each with its index in `policies`."""
        for index, policy in enumerate(self.policies):
            if isinstance(policy, InlinePolicy):
                yield index, policy


def precedence_of(policy: str | PolicyLink | InlinePolicy) -> int | None:
    """What is written; None: it comes after those that have one, in the order of the list."""
    return None if isinstance(policy, str) else policy.precedence

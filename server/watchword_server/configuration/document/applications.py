"""Access applications."""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from watchword_server.configuration.document.base import Entry, NameOrId, not_yet, one_of, quoted
from watchword_server.configuration.document.hosts import host_name


def _domain(text: str) -> str:
    if "://" in text:
        raise ValueError(f"{quoted(text)} is a URL: write its host alone")
    if "/" in text:
        raise ValueError(f"a path in {quoted(text)} is not supported yet: write the host alone; the application covers all of it")
    if "*" in text:
        raise ValueError(f"a wildcard in {quoted(text)} is not supported yet: write an application for each host")
    if ":" in text:
        raise ValueError(f"a port in {quoted(text)} is not supported: write the host alone")
    return host_name(text)


def _not_inline(value: object) -> object:
    if isinstance(value, dict):
        raise ValueError("a policy inside an application is not supported yet: write it under `policies`, and its name here")  # noqa: TRY004
    return value


class Application(Entry):
    """A host and the policies that guard it, by ascending precedence. Without a policy nobody gets in."""

    # What the Cloudflare API knows besides
    hints: ClassVar = Entry.hints | not_yet(
        *("destinations", "self_hosted_domains", "session_duration", "allowed_idps", "tags", "cors_headers", "logo_url"),
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
    domain: Annotated[str, Field(min_length=1), AfterValidator(_domain)]  # lower case
    policies: Annotated[list[Annotated[NameOrId, BeforeValidator(_not_inline)]], Field(max_length=1000)] = Field(
        default_factory=list
    )

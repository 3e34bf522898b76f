"""Selectors: what policies and groups ask for. Those of the Cloudflare API, each a mapping with one key."""

import difflib
import re
from functools import cache
from typing import Annotated, ClassVar, Literal, Self, cast, get_args

from pydantic import AfterValidator, Field, model_validator

from watchword_server.configuration.document.base import Model, NameOrId, any_of, one_of, quoted
from watchword_server.configuration.document.evidence import Evidence
from watchword_server.configuration.document.values import (
    Text,
    email_address,
    email_domain,
    network,
    web_address,
    without_star,
)

_COUNTRY = re.compile(r"[A-Z][A-Z0-9]")  # ISO 3166-1 alpha-2; Cloudflare adds `T1` for Tor
_RISKS = ("low", "medium", "high", "unscored")


def _country_code(text: str) -> str:
    code = text.upper()
    if not _COUNTRY.fullmatch(code):
        raise ValueError(f"{quoted(text)} is not a country code: write two letters like `PT`")
    return code


def _without_equals(text: str) -> str:
    if "=" in text:
        raise ValueError(f"{quoted(text)} has a `=` in it, which ends a claim's name where it is reported: write another name")
    return text


def _without_slash(text: str) -> str:
    if "/" in text:
        raise ValueError(f"{quoted(text)} has a `/` in it: write the organization as `name`, and its team as `team`")
    return text


# ---- The user -------------------------------------------------------------------------------------------------------------


class Email(Model):
    """The user's email address, whatever its case."""

    email: Annotated[Text, AfterValidator(email_address), AfterValidator(without_star)]


class EmailDomain(Model):
    """What stands after the `@`, whatever its case."""

    domain: Annotated[Text, AfterValidator(email_domain), AfterValidator(without_star)]


class EmailList(Model):
    """The user's email address is in a list of type EMAIL."""

    wanted: ClassVar = {"id": "name a list of type EMAIL"}

    id: NameOrId


class LoginMethod(Model):
    """The identity provider that the user logged in with."""

    wanted: ClassVar = {"id": "write the provider's id, as `identity.login_method` is reported"}

    id: Text


class AuthMethod(Model):
    """How the user logged in, as RFC 8176 names it."""

    auth_method: Text


class AuthContext(Model):
    """An authentication context of Entra; `ac_id` is what a login carries."""

    id: Text | None = None
    ac_id: Text
    identity_provider_id: Text | None = None


class AzureAd(Model):
    """A group of Entra, by its id."""

    wanted: ClassVar = {"id": "write the group's id, as `identity.groups` is reported"}

    id: Text
    identity_provider_id: Text | None = None


class Okta(Model):
    """A group of Okta, by its name."""

    wanted: ClassVar = {"name": "write the group's name, such as `Finance`"}

    name: Text
    identity_provider_id: Text | None = None


class Gsuite(Model):
    """A group of Google Workspace, by its email address."""

    email: Annotated[Text, AfterValidator(email_address)]
    identity_provider_id: Text | None = None


class GithubOrganization(Model):
    """An organization of GitHub, or one of its teams."""

    name: Annotated[Text, AfterValidator(_without_slash)]
    team: Annotated[Text, AfterValidator(_without_slash)] | None = None
    identity_provider_id: Text | None = None


class Saml(Model):
    """An attribute of the user's SAML assertion has this value."""

    attribute_name: Text
    attribute_value: Text
    identity_provider_id: Text | None = None


class Oidc(Model):
    """A claim of the user's OIDC token has this value."""

    claim_name: Annotated[Text, AfterValidator(_without_equals)]
    claim_value: Text
    identity_provider_id: Text | None = None


class ExternalEvaluation(Model):
    """A service said yes to the user's login. We call nobody: a caller reports the addresses of those that did."""

    evaluate_url: Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(web_address)]
    keys_url: Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(web_address)] | None = None


class UserRiskScore(Model):
    """How much risk the user is said to be: any one of these."""

    user_risk_score: Annotated[
        list[Annotated[Literal["low", "medium", "high", "unscored"], one_of(*_RISKS)]], Field(min_length=1, max_length=4)
    ]

    @classmethod
    def form(cls, value: object) -> str:
        """A list of some."""
        return f"`{{ user_risk_score: [{value if value in _RISKS else 'high'}] }}`"


class CloudflareAccountMember(Model):
    """The user is a member of this account, or of any."""

    account_id: Text | None = None


# ---- The device, its connection, machines ---------------------------------------------------------------------------------


class DevicePosture(Model):
    """A check that the device passes. `integration_uid` is Cloudflare's word for it; `account_id` changes nothing."""

    integration_uid: NameOrId
    account_id: Text | None = None
    evidence: Evidence | None = None


class DeviceOwner(Model):
    """The user is the owner of the device. Ours: Cloudflare has no such selector."""


class Certificate(Model):
    """Any valid client certificate on the connection to the proxy."""


class CommonName(Model):
    """Such a certificate with this common name, whatever its case."""

    common_name: Text


class ServiceToken(Model):
    """One service token."""

    token_id: NameOrId


class AnyValidServiceToken(Model):
    """Any service token."""


class LinkedAppToken(Model):
    """A token of an application linked by OAuth."""

    app_uid: Text


# ---- The request ----------------------------------------------------------------------------------------------------------


class Everyone(Model):
    """No condition."""


class Ip(Model):
    """The source address lies in this network."""

    ip: Annotated[Text, AfterValidator(network)]


class IpList(Model):
    """The source address lies in a list of type IP."""

    wanted: ClassVar = {"id": "name a list of type IP"}

    id: NameOrId


class Geo(Model):
    """The country of the source address."""

    country_code: Annotated[str, AfterValidator(_country_code)]  # upper case


class Group(Model):
    """All that a group says."""

    wanted: ClassVar = {"id": "name an entry of `groups`"}

    id: NameOrId


# ---- One of them ----------------------------------------------------------------------------------------------------------


class Selector(Model):
    """A mapping with exactly one of these keys."""

    email: Email | None = None
    email_domain: EmailDomain | None = None
    email_list: EmailList | None = None
    everyone: Everyone | None = None
    ip: Ip | None = None
    ip_list: IpList | None = None
    geo: Geo | None = None
    device_posture: DevicePosture | None = None
    device_owner: DeviceOwner | None = None
    certificate: Certificate | None = None
    common_name: CommonName | None = None
    service_token: ServiceToken | None = None
    any_valid_service_token: AnyValidServiceToken | None = None
    linked_app_token: LinkedAppToken | None = None
    group: Group | None = None
    login_method: LoginMethod | None = None
    auth_method: AuthMethod | None = None
    auth_context: AuthContext | None = None
    azure_ad: AzureAd | None = Field(None, alias="azureAD")
    okta: Okta | None = None
    gsuite: Gsuite | None = None
    github_organization: GithubOrganization | None = Field(None, alias="github-organization")
    saml: Saml | None = None
    oidc: Oidc | None = None
    external_evaluation: ExternalEvaluation | None = None
    user_risk_score: UserRiskScore | None = None
    cloudflare_account_member: CloudflareAccountMember | None = None

    hints: ClassVar = {
        "azure_ad": "`azure_ad` is how Python names it: write `azureAD`",
        "github_organization": "`github_organization` is how Python names it: write `github-organization`",
        "github": "`github` is not known here: write `github-organization`",
    }

    @classmethod
    def form(cls, value: object) -> str:
        """How a selector is written: the one that somebody meant, else one with an email address."""
        keys = {
            field.alias or name: cast("type[Model]", get_args(field.annotation)[0]) for name, field in cls.model_fields.items()
        }
        near = difflib.get_close_matches(value[:80], keys, n=1) if isinstance(value, str) else []
        if near:
            return f"`{{ {near[0]}: {keys[near[0]].form(None).strip('`')} }}`"
        address = value if isinstance(value, str) and "@" in value else "ada@corp.example"
        return f"`{{ email: {Email.form(address).strip('`')} }}`, or another selector"

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if len(self.model_fields_set) == 1:
            return self
        if not self.model_fields_set:
            raise ValueError(f"a selector is missing its key: write {any_of(self.written_keys())}")
        keys = ", ".join(f"`{key}`" for name, key in _keys_by_name().items() if name in self.model_fields_set)
        raise ValueError(f"a selector has one key, this one has {keys}: write an item for each")

    @property
    def kind(self) -> str:
        """Its key, as it is written."""
        return _keys_by_name()[next(iter(self.model_fields_set))]

    @property
    def value(self) -> Model:
        """What stands under its key."""
        return cast("Model", getattr(self, next(iter(self.model_fields_set))))


@cache
def _keys_by_name() -> dict[str, str]:
    return {name: field.alias or name for name, field in Selector.model_fields.items()}


ABOUT_THE_USER = frozenset({
    "email", "email_domain", "email_list", "login_method", "auth_method", "auth_context", "azureAD", "okta", "gsuite",
    "github-organization", "saml", "oidc", "external_evaluation", "user_risk_score", "cloudflare_account_member", "device_owner",
})  # fmt: skip
ABOUT_THE_DEVICE = frozenset({"device_posture"})
SERVICE_TOKENS = frozenset({"service_token", "any_valid_service_token"})
LINKED_APP_TOKENS = frozenset({"linked_app_token"})

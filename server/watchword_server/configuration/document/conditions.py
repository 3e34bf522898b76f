"""Access policies and groups: include any, require all, exclude none of their selectors."""

from ipaddress import ip_network
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from watchword_server.configuration.document.base import Entry, Model, NameOrId, any_of, faults, not_yet, one_of, quoted

# What asks who the user or the device is: nothing of that in a bypass policy.
IDENTITY_SELECTORS = frozenset({"email", "email_domain"})
DEVICE_SELECTORS = frozenset({"device_posture"})


# ---- Values ---------------------------------------------------------------------------------------------------------------


def email_address(text: str) -> str:
    """Itself. Raises `ValueError` if it cannot be an email address."""
    local, _, domain = text.rpartition("@")
    if not local or not domain or not text.isprintable() or " " in text:
        raise ValueError(f"{quoted(text)} is not an email address: write one like `ada@corp.example`")
    return text


def network(text: str) -> str:
    """Itself. Raises `ValueError` if it is neither an IP address nor a network whose host bits are zero."""
    try:
        ip_network(text)
    except ValueError:
        try:
            meant = ip_network(text, strict=False)
        except ValueError:
            raise ValueError(
                f"{quoted(text)} is not an IP address or network: write one like `192.0.2.0/24` or `2001:db8::/32`"
            ) from None
        raise ValueError(f"{quoted(text)} has bits set after its prefix: write `{meant}`") from None
    return text


def _email_domain(text: str) -> str:
    if "@" in text or " " in text or not text.isprintable():
        raise ValueError(f"{quoted(text)} is not a domain: write what stands after the `@`, like `corp.example`")
    return text


_Text = Annotated[str, Field(min_length=1, max_length=350)]


# ---- Selectors ------------------------------------------------------------------------------------------------------------


class Email(Model):
    """The user's email address, whatever its case."""

    email: Annotated[_Text, AfterValidator(email_address)]


class EmailDomain(Model):
    """What stands after the `@`, whatever its case."""

    domain: Annotated[_Text, AfterValidator(_email_domain)]


class Everyone(Model):
    """No condition."""


class Ip(Model):
    """The source address lies in this network."""

    ip: Annotated[_Text, AfterValidator(network)]


class DevicePosture(Model):
    """A check that the device passes. `integration_uid` is Cloudflare's word for it."""

    hints: ClassVar = not_yet("account_id")

    integration_uid: NameOrId


class Group(Model):
    """All that a group says."""

    id: NameOrId


class Selector(Model):
    """A mapping with exactly one of these keys."""

    # What the Cloudflare API knows besides
    hints: ClassVar = not_yet(
        *("email_list", "ip_list", "geo", "certificate", "common_name", "service_token", "any_valid_service_token"),
        *("linked_app_token", "login_method", "auth_method", "auth_context", "azureAD", "okta", "gsuite", "github-organization"),
        *("saml", "oidc", "external_evaluation", "user_risk_score", "cloudflare_account_member"),
        instead="use another selector",
    )

    email: Email | None = None
    email_domain: EmailDomain | None = None
    everyone: Everyone | None = None
    ip: Ip | None = None
    device_posture: DevicePosture | None = None
    group: Group | None = None

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if not self.model_fields_set:
            raise ValueError(f"a selector is missing its key: write {any_of(type(self).model_fields)}")
        if len(self.model_fields_set) > 1:
            keys = ", ".join(f"`{key}`" for key in type(self).model_fields if key in self.model_fields_set)
            raise ValueError(f"a selector has one key, this one has {keys}: write an item for each")
        return self

    @property
    def kind(self) -> str:
        """Its key."""
        return next(iter(self.model_fields_set))


_Selectors = Annotated[list[Selector], Field(max_length=1000)]
_SomeSelectors = Annotated[list[Selector], Field(min_length=1, max_length=1000)]


# ---- Entries --------------------------------------------------------------------------------------------------------------


class AccessGroup(Entry):
    """A named bundle of selectors; counts as one where it is used."""

    hints: ClassVar = Entry.hints | not_yet("is_default")

    include: _SomeSelectors
    require: _Selectors = Field(default_factory=list)
    exclude: _Selectors = Field(default_factory=list)


class Policy(Entry):
    """What an application does with a request that its selectors match."""

    hints: ClassVar = Entry.hints | not_yet(
        *("evidence", "session_duration", "approval_required", "approval_groups", "purpose_justification_required"),
        *("purpose_justification_prompt", "isolation_required", "mfa_config", "connection_rules", "precedence"),
    )

    decision: Annotated[
        Literal["allow", "deny", "bypass"],
        one_of(
            "allow",
            "deny",
            "bypass",
            not_yet=["non_identity"],
            instead="there are no service tokens; write `allow`, `deny` or `bypass`",
        ),
    ]
    include: _SomeSelectors
    require: _Selectors = Field(default_factory=list)
    exclude: _Selectors = Field(default_factory=list)

    @field_validator("include", "require", "exclude")
    @classmethod
    def _bypass_asks_for_nobody(cls, selectors: list[Selector], info: ValidationInfo) -> list[Selector]:
        if info.data.get("decision") == "bypass":
            found = [
                (
                    (index, selector.kind),
                    f"a bypass policy asks for no identity and no device: remove `{selector.kind}`, or write `decision: allow`",
                )
                for index, selector in enumerate(selectors)
                if selector.kind in IDENTITY_SELECTORS | DEVICE_SELECTORS
            ]
            if found:
                raise faults(found)
        return selectors

"""Access policies and groups: include any, require all, exclude none of their selectors."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, ValidationInfo, field_validator

from watchword_server.configuration.document.base import Entry, Model, Name, faults, not_yet, one_of
from watchword_server.configuration.document.evidence import Evidence
from watchword_server.configuration.document.selectors import (
    ABOUT_THE_DEVICE,
    ABOUT_THE_USER,
    LINKED_APP_TOKENS,
    SERVICE_TOKENS,
    Selector,
)

Decision = Literal["allow", "deny", "bypass", "non_identity"]

# What a policy with this decision cannot ask for, not through a group either; and why not.
REFUSED: Final[Mapping[str, frozenset[str]]] = {
    "allow": LINKED_APP_TOKENS,
    "deny": LINKED_APP_TOKENS,
    "bypass": ABOUT_THE_USER | ABOUT_THE_DEVICE | SERVICE_TOKENS,
    "non_identity": ABOUT_THE_USER,
}
_NOT_FOR_USERS: Final = ("a linked app's token stands in place of a user", "write `decision: non_identity`")
WHY_REFUSED: Final[Mapping[str, tuple[str, str]]] = {
    "allow": _NOT_FOR_USERS,
    "deny": _NOT_FOR_USERS,
    "bypass": ("a bypass policy asks for no identity and no device", "write `decision: allow`"),
    "non_identity": ("a non_identity policy asks for no user", "write `decision: allow`"),
}

_Selectors = Annotated[list[Selector], Field(max_length=1000)]
_SomeSelectors = Annotated[list[Selector], Field(min_length=1, max_length=1000)]


class AccessGroup(Entry):
    """A named bundle of selectors; counts as one where it is used."""

    hints: ClassVar = Entry.hints | not_yet("is_default")

    include: _SomeSelectors
    require: _Selectors = Field(default_factory=list)
    exclude: _Selectors = Field(default_factory=list)


class _PolicyFields(Model):
    """What every policy says. `evidence` and `report_only` are ours."""

    decision: Annotated[Decision, one_of("allow", "deny", "bypass", "non_identity")]
    include: _SomeSelectors
    require: _Selectors = Field(default_factory=list)
    exclude: _Selectors = Field(default_factory=list)
    evidence: Evidence | None = None
    report_only: bool = False

    @field_validator("include", "require", "exclude")
    @classmethod
    def _fit_for_the_decision(cls, selectors: list[Selector], info: ValidationInfo) -> list[Selector]:
        decision = info.data.get("decision")
        refused = REFUSED.get(str(decision), frozenset())
        found = [(index, selector.kind) for index, selector in enumerate(selectors) if selector.kind in refused]
        if found:
            why, instead = WHY_REFUSED[str(decision)]
            raise faults([((index, kind), f"{why}: remove `{kind}`, or {instead}") for index, kind in found])
        return selectors

    @field_validator("evidence")
    @classmethod
    def _evidence_of_a_device(cls, evidence: Evidence | None, info: ValidationInfo) -> Evidence | None:
        if evidence is not None and info.data.get("decision") == "bypass":
            raise ValueError(f"{WHY_REFUSED['bypass'][0]}: leave `evidence` out, or write `decision: allow`")
        return evidence


_LATER = not_yet(
    *("session_duration", "approval_required", "approval_groups", "purpose_justification_required"),
    *("purpose_justification_prompt", "isolation_required", "mfa_config", "connection_rules"),
)


class Policy(Entry, _PolicyFields):
    """What an application does with a request that its selectors match."""

    # What the Cloudflare API knows besides
    hints: ClassVar = (
        Entry.hints | _LATER | {"precedence": "`precedence` belongs to the application: write it there, beside the policy's id"}
    )


class InlinePolicy(_PolicyFields):
    """A policy of one application, written there."""

    hints: ClassVar = _LATER

    name: Name | None = None
    description: Annotated[str, Field(max_length=2000)] = ""
    precedence: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None

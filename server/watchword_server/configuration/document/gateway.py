"""Gateway rules."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal, Self, cast, get_args

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from watchword_server.configuration.document.base import Entry, faults, not_yet, one_of
from watchword_server.configuration.document.evidence import Evidence
from watchword_server.configuration.document.expressions import Named, may_name, problem_at, reading_of
from watchword_server.core.gateway import PARTS, Part
from watchword_server.errors import ExpressionError

Filter = Literal["http", "l4", "authzen", "dns", "egress", "dns_resolver"]
Action = Literal[
    "allow", "block", "redirect", "isolate", "noisolate", "off", "on", "scan", "noscan", "quarantine", "override", "safesearch",
    "ytrestricted", "l4_override", "egress", "resolve", "audit_ssh",
]  # fmt: skip
SERVED_FILTERS = ("http", "l4", "authzen")
ENFORCED_ACTIONS = ("allow", "block")

_Filter = Annotated[Filter, one_of(*get_args(Filter))]
_Action = Annotated[Action, one_of(*get_args(Action), usual=ENFORCED_ACTIONS)]


def _one_filter(value: object) -> object:
    if isinstance(value, list) and len(value) > 1:
        raise ValueError("a rule has one filter: write a rule for each")
    return value


class GatewayRule(Entry):
    """Allows or blocks before any application. Of other filters and actions there are only disabled rules: kept, never asked.

    `evidence` and `report_only` are ours.
    """

    # What the Cloudflare API knows besides
    hints: ClassVar = Entry.hints | not_yet("rule_settings", "schedule", "expiration")

    precedence: Annotated[int, Field(ge=0, le=2**31 - 1)]
    enabled: bool = False
    filters: Annotated[list[_Filter], Field(min_length=1, max_length=1), BeforeValidator(_one_filter)]
    action: _Action
    traffic: str = ""
    identity: str = ""
    device_posture: str = ""
    evidence: Evidence | None = None
    report_only: bool = False

    _named: tuple[tuple[Part, tuple[Named, ...]], ...] = PrivateAttr(default=())

    @field_validator("filters")
    @classmethod
    def _served(cls, filters: list[str], info: ValidationInfo) -> list[str]:
        if info.data.get("enabled") is True and filters[0] not in SERVED_FILTERS:
            message = f"no door of this server serves `{filters[0]}` rules: write `enabled: false`, or `filters: [http]`"
            raise faults([((0,), message)])
        return filters

    @field_validator("action")
    @classmethod
    def _enforced(cls, action: str, info: ValidationInfo) -> str:
        if info.data.get("enabled") is True and action not in ENFORCED_ACTIONS:
            raise ValueError(f"no door of this server does `{action}`: write `enabled: false`, or `action: block`")
        return action

    @field_validator(*PARTS)
    @classmethod
    def _is_an_expression(cls, text: str, info: ValidationInfo) -> str:
        filters = info.data.get("filters")
        if text and filters:
            try:
                reading_of(info).names_in(filters[0], cast("Part", info.field_name), text)
            except ExpressionError as error:
                raise problem_at(error) from None
        return text

    @model_validator(mode="after")
    def _keep_what_is_named(self, info: ValidationInfo) -> Self:
        reading = reading_of(info)
        texts: dict[Part, str] = {"traffic": self.traffic, "identity": self.identity, "device_posture": self.device_posture}
        named = [(part, reading.names_in(self.filters[0], part, text)) for part, text in texts.items() if may_name(text)]
        if named:
            self._named = tuple(named)
        return self

    def named(self) -> Iterator[tuple[Part, str, Named]]:
        """What its expressions name: each with the expression's key and text."""
        for part, names in self._named:
            text = getattr(self, part)
            for name in names:
                yield part, text, name

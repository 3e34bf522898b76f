"""Gateway rules, and the lists they may refer to one day."""

import re
from ipaddress import ip_network
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from watchword_server.configuration.document.base import Entry, Model, faults, not_yet, one_of, quoted
from watchword_server.configuration.document.conditions import email_address, network
from watchword_server.configuration.document.hosts import host_name

_HOST_COMPARISON = re.compile(r'\s*http\.request\.host\s*==\s*"([^"\\]*)"\s*')


# ---- Rules ----------------------------------------------------------------------------------------------------------------


def host_in_traffic(expression: str) -> str | None:
    """The host a rule is about; None: every request. Raises `ValueError` for every other expression."""
    if not expression:
        return None
    match = _HOST_COMPARISON.fullmatch(expression)
    if match is None:
        raise ValueError(
            f"{quoted(expression)} is not supported yet: "
            'write `http.request.host == "wiki.corp.example"`, or leave it out for every request'
        )
    host = host_name(match[1])
    if host != match[1]:
        raise ValueError(f"{quoted(match[1])} would never match, for hosts are compared in lower case: write `{host}`")
    return host


def _checked_traffic(expression: str) -> str:
    host_in_traffic(expression)
    return expression


def _no_expression(expression: str, info: ValidationInfo) -> str:
    if expression:
        raise ValueError(
            f"an expression in `{info.field_name}` is not supported yet: leave it out, and ask for it in an Access policy"
        )
    return expression


def _not_report_only(value: bool) -> bool:  # noqa: FBT001 - the value of the field
    if value:
        raise ValueError("`report_only: true` is not supported yet: leave it out, or write `enabled: false`")
    return value


_NoExpression = Annotated[str, AfterValidator(_no_expression)]
_Filter = Annotated[Literal["http"], one_of("http", not_yet=["dns", "l4", "egress", "dns_resolver"], instead="write `[http]`")]


class GatewayRule(Entry):
    """Blocks or allows by the host that is asked for, before any application. `report_only` is ours."""

    # What the Cloudflare API knows besides
    hints: ClassVar = Entry.hints | not_yet("rule_settings", "schedule", "expiration")

    precedence: Annotated[int, Field(ge=0, le=2**31 - 1)]
    enabled: bool = False
    filters: Annotated[list[_Filter], Field(min_length=1, max_length=1)]
    action: Annotated[
        Literal["allow", "block"],
        one_of(
            *("allow", "block"),
            not_yet=[
                *("redirect", "isolate", "noisolate", "off", "on", "scan", "noscan", "quarantine", "override", "safesearch"),
                *("ytrestricted", "l4_override", "egress", "resolve", "audit_ssh"),
            ],
        ),
    ]
    traffic: Annotated[str, AfterValidator(_checked_traffic)] = ""
    identity: _NoExpression = ""
    device_posture: _NoExpression = ""
    report_only: Annotated[bool, AfterValidator(_not_report_only)] = False


# ---- Lists ----------------------------------------------------------------------------------------------------------------


class ListItem(Model):
    """A value, and why it is there."""

    value: Annotated[str, Field(min_length=1, max_length=2000)]
    description: Annotated[str, Field(max_length=2000)] = ""


class GatewayList(Entry):
    """Values under one name. Stored; no selector or expression refers to a list yet."""

    type: Annotated[
        Literal["SERIAL", "URL", "DOMAIN", "EMAIL", "IP"],
        one_of("SERIAL", "URL", "DOMAIN", "EMAIL", "IP", not_yet=["CATEGORY", "LOCATION", "DEVICE", "AAGUID"]),
    ]
    items: Annotated[list[ListItem], Field(max_length=5000)] = Field(default_factory=list)

    @field_validator("items")
    @classmethod
    def _valid_and_distinct(cls, items: list[ListItem], info: ValidationInfo) -> list[ListItem]:
        kind = info.data.get("type")
        first: dict[str, str] = {}
        found: list[tuple[tuple[str | int, ...], str]] = []
        for index, item in enumerate(items if kind is not None else []):
            try:
                same = _canonical(str(kind), item.value)
            except ValueError as error:
                found.append(((index, "value"), str(error)))
                continue
            if same in first:
                found.append(((index, "value"), f"{quoted(item.value)} is there already, as {quoted(first[same])}: remove one"))
            first.setdefault(same, item.value)
        if found:
            raise faults(found)
        return items


def _canonical(kind: str, value: str) -> str:
    """The same for two values that mean the same. Raises `ValueError` if it is no value of the kind."""
    match kind:
        case "IP":
            return str(ip_network(network(value)))
        case "EMAIL":
            return email_address(value).lower()
        case "DOMAIN":
            return host_name(value)
        case "URL":
            return _url(value)
        case _:
            return _serial_number(value)


def _url(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/]+[^\s]*", value) or not value.isprintable():
        raise ValueError(f"{quoted(value)} is not a URL: write one like `https://wiki.corp.example/pages`")
    return value


def _serial_number(value: str) -> str:
    if not value.isprintable() or value != value.strip():
        raise ValueError(f"{quoted(value)} is not a serial number: write it without blanks around it")
    return value

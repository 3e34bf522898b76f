"""Lists: values under one name, for expressions and selectors."""

import re
import unicodedata
from ipaddress import ip_network
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from watchword_server.configuration.document.base import Entry, Model, Refused, any_of, faults, one_of, quoted
from watchword_server.configuration.document.expressions import reading_of
from watchword_server.configuration.document.hosts import host_name
from watchword_server.configuration.document.values import email_address, network, web_address

ListType = Literal["SERIAL", "URL", "DOMAIN", "EMAIL", "IP"]

_BEHIND_A_DOLLAR_SIGN = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?")  # as `core/language/literals.py` reads it


def fits_behind_a_dollar_sign(name: str) -> bool:
    """Whether an expression can write it as `$name`."""
    return _BEHIND_A_DOLLAR_SIGN.fullmatch(name) is not None


def like_a_list_name(text: str) -> str:
    """The text as near as a list's name comes to it; may be empty."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_.-]+", "-", plain).strip(".-")


def _reference(name: str) -> str:
    fault = _fault(name)
    if fault is not None:
        raise ValueError(fault)
    return name


def _fault(name: str) -> str | None:
    if fits_behind_a_dollar_sign(name):
        return None
    message = (
        f"{quoted(name)} cannot stand behind `$` in an expression: write a name of lower-case letters, digits and `_`, "
        "with `-` and `.` inside"
    )
    like = like_a_list_name(name)
    return f"{message}, such as {quoted(like)}" if like else message


class ListItem(Model):
    """A value, and why it is there."""

    value: Annotated[str, Field(min_length=1, max_length=2000)]
    description: Annotated[str, Field(max_length=2000)] = ""


class GatewayList(Entry):
    """Values under one name, which an expression can write. A stored one may have another: its id stands behind `$`.

    In a document `reference` stands there for a name that cannot; it is not stored.
    """

    wanted: ClassVar = {"type": f"write {any_of(get_args(ListType))}"}

    reference: Annotated[str, Field(min_length=1, max_length=350), AfterValidator(_reference)] | None = None
    type: Annotated[
        ListType,
        one_of(*get_args(ListType), not_yet=["CATEGORY", "LOCATION", "DEVICE", "AAGUID"]),
    ]
    items: list[ListItem] = Field(default_factory=list)

    @model_validator(mode="before")
    @classmethod
    def _name_or_reference(cls, value: object, info: ValidationInfo) -> object:
        """Only a name that nothing stands in for has to fit; told at the name, with everything else."""
        if isinstance(value, dict) and not reading_of(info).stored and "reference" not in value:
            name = value.get("name")
            fault = _fault(name) if isinstance(name, str) and name else None
            if fault is not None:
                return {**value, "name": Refused(fault)}
        return value

    @field_validator("items")
    @classmethod
    def _valid_and_distinct(cls, items: list[ListItem], info: ValidationInfo) -> list[ListItem]:
        most = reading_of(info).language.max_list_items
        if len(items) > most and not reading_of(info).stored:
            raise ValueError(f"the list has more than {most} items: shorten it, or raise the setting `rules.max_list_items`")
        kind = info.data.get("type")
        first: dict[str, str] = {}
        found: list[tuple[tuple[str | int, ...], str]] = []
        for index, item in enumerate(items if kind is not None else []):
            try:
                same = canonical(str(kind), item.value)
            except ValueError as error:
                found.append(((index, "value"), str(error)))
                continue
            if same in first:
                found.append(((index, "value"), f"{quoted(item.value)} is there already, as {quoted(first[same])}: remove one"))
            first.setdefault(same, item.value)
        if found:
            raise faults(found)
        return items


def canonical(kind: str, value: str) -> str:
    """The same for two values that mean the same. Raises `ValueError` if it is no value of the kind."""
    match kind:
        case "IP":
            return str(ip_network(network(value)))
        case "EMAIL":
            return email_address(value).casefold()
        case "DOMAIN":
            return host_name(value)
        case "URL":
            return web_address(value)
        case _:
            return _serial_number(value)


def _serial_number(value: str) -> str:
    if not value.isprintable() or value != value.strip():
        raise ValueError(f"{quoted(value)} is not a serial number: write it without blanks around it")
    return value

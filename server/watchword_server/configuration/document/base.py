"""What every part of the document shares: strict models, and how they word a refusal."""

import difflib
import re
from collections.abc import Iterable, KeysView
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from inspect import isclass
from typing import Annotated, ClassVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

_SHOWN_CHARACTERS = 80
_MAX_LISTED = 16
_PLAIN = re.compile(r"[A-Za-z_][\w.@/-]*", re.ASCII)
_NOT_TEXT = frozenset({"null", "Null", "NULL", "true", "True", "TRUE", "false", "False", "FALSE"})


class Section(StrEnum):
    """The kinds of stored entries: the sections of a rule file, and `settings` for what has no name of its own."""

    CERTIFICATES = "certificates"
    CHECKS = "checks"
    GROUPS = "groups"
    POLICIES = "policies"
    APPLICATIONS = "applications"
    LISTS = "lists"
    GATEWAY_RULES = "gateway_rules"
    CALLERS = "callers"
    SERVICE_TOKENS = "service_tokens"
    ENTITIES = "entities"
    SETTINGS = "settings"

    @property
    def singular(self) -> str:
        """One entry of the section, as messages name it."""
        return {"policies": "policy", "entities": "entity", "settings": "setting"}.get(
            self.value, self.value.removesuffix("s").replace("_", " ")
        )


# ---- Words ------------------------------------------------------------------------------------------------------------


def printable(text: str) -> str:
    """What somebody wrote, short, and with nothing in it that a terminal would obey."""
    shown = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)


def quoted(text: str) -> str:
    """What somebody wrote, for a message: `printable`, and in backticks."""
    return f"`{printable(text)}`"


def in_yaml(text: str) -> str:
    """What somebody wrote, as the value of a key in a rule file: in quotes unless it is certain that it needs none."""
    if _PLAIN.fullmatch(text) and text not in _NOT_TEXT:
        return printable(text)
    return "…" if '"' in text or "\\" in text or not text.isprintable() else f'"{printable(text)}"'


def any_of(names: Iterable[str]) -> str:
    """The names in backticks, as an English list with `or`."""
    *others, last = [quoted(name) for name in names]
    return f"{', '.join(others)} or {last}" if others else last


def did_you_mean(written: str, known: Iterable[str], *, usual: Iterable[str] = ()) -> str:
    """The remedy for a name nobody knows: the nearest known one, else the usual ones, or all of them while they are few."""
    candidates = sorted(set(known))
    near = difflib.get_close_matches(written[:_SHOWN_CHARACTERS], candidates, n=1)
    if near:
        return f"did you mean {quoted(near[0])}?"
    if not candidates:
        return "there are none yet"
    if usual:
        return f"write {any_of(usual)}"
    return f"write {any_of(candidates)}" if len(candidates) <= _MAX_LISTED else "look for its name in the reference"


def not_yet(*keys: str, instead: str = "leave it out") -> dict[str, str]:
    """Hints for keys that Cloudflare or the design know and this version does not."""
    return {key: f"`{key}` is not supported yet: {instead}" for key in keys}


# ---- Models -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Refused:
    """Put in place of a value whose key or absence is the fault. No type accepts it; `problems.py` takes the message out."""

    message: str


class Model(BaseModel):
    """A mapping with exactly these keys and types. What was absent stays absent when it is dumped with `exclude_unset`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    hints: ClassVar[dict[str, str]] = {}  # keys that are refused by name, and what to do instead
    wanted: ClassVar[dict[str, str]] = {}  # keys that have to be there, and what to write, where the key alone does not tell
    reader_keys: ClassVar[tuple[str, ...]] = ()  # keys that a rule file may have and its reader replaces

    @model_validator(mode="before")
    @classmethod
    def _mark_refused_keys(cls, value: object) -> object:
        if not isinstance(value, dict):
            if value is None or isinstance(value, Refused | cls):
                return value
            raise ValueError(f"it has to be a mapping: write {cls.form(value)}")
        known = _keys_of(cls)
        if value.keys() <= known and None not in value.values() and cls.wanted.keys() <= value.keys():
            return value  # nearly always
        absent = {key: Refused(f"`{key}` is missing: {words}") for key, words in cls.wanted.items() if key not in value}
        return {key: cls._mark(key, member, known) for key, member in value.items()} | absent

    @classmethod
    def _mark(cls, key: object, member: object, known: AbstractSet[str]) -> object:
        if not isinstance(key, str):
            return member
        if key not in known:
            remedy = did_you_mean(key, [*known, *cls.reader_keys]) if known else "write `{}`, without any key"
            return Refused(cls.hints.get(key) or f"{quoted(key)} is not known here: {remedy}")
        return Refused(f"{quoted(key)} has no value: {cls._value_for(key)}") if member is None else member

    @classmethod
    def _value_for(cls, key: str) -> str:
        required, inner = _fields_of(cls)[key]
        if key in cls.wanted:
            return cls.wanted[key]
        if inner is not None:
            return f"write `{key}: {inner.form(None).strip('`')}`" + ("" if required else ", or leave it out")
        return "give it one" if required else "give it one or leave it out"

    @classmethod
    def form(cls, value: object) -> str:
        """How such a mapping is written, in backticks; `value` is what somebody wrote in its place."""
        required = [key for key, (is_required, _) in _fields_of(cls).items() if is_required]
        keys = required or [*_keys_of(cls)]
        if not keys:
            return "`{}`"
        if len(required) == 1 and isinstance(value, str):
            return f"`{{ {required[0]}: {in_yaml(value)} }}`"
        return f"`{{ {', '.join(f'{key}: …' for key in keys)} }}`"

    @classmethod
    def written_keys(cls) -> Iterable[str]:
        """The keys of the mapping, as they are written."""
        return _keys_of(cls)


@cache
def _fields_of(model: type[BaseModel]) -> dict[str, tuple[bool, type[Model] | None]]:
    """Of each key, as it is written: whether it has to be there, and the model of its value if it is a mapping."""
    return {
        field.alias or name: (
            field.is_required(),
            next(
                (kind for kind in (field.annotation, *get_args(field.annotation)) if isclass(kind) and issubclass(kind, Model)),
                None,
            ),
        )
        for name, field in model.model_fields.items()
    }


@cache
def _keys_of(model: type[BaseModel]) -> KeysView[str]:
    return {field.alias or name: None for name, field in model.model_fields.items()}.keys()


def _tidy_name(name: str) -> str:
    if not name.isprintable() or name != name.strip():
        raise ValueError(
            f"{quoted(name)} begins or ends with a blank, or holds characters that cannot be printed: write another name"
        )
    return name


Name = Annotated[str, Field(min_length=1, max_length=350), AfterValidator(_tidy_name)]
NameOrId = Annotated[str, Field(min_length=1, max_length=350)]  # the name of an entry in the same file, or an existing name or id


class Entry(Model):
    """What stands in a section: known by its name, unique there.

    `api` is what an entry written through the Cloudflare API was said to be: told again as it was said, and nothing else.
    """

    hints: ClassVar[dict[str, str]] = {"id": "`id` is given by the server: leave it out; an entry is known by its name"}

    name: Name
    description: Annotated[str, Field(max_length=2000)] = ""
    api: dict[str, JsonValue] = Field(default_factory=dict)


# ---- Refusals -------------------------------------------------------------------------------------------------------------


def one_of(*allowed: str, not_yet: Iterable[str] = (), instead: str = "", usual: Iterable[str] = ()) -> BeforeValidator:
    """Refuses other strings before a `Literal` does, in our words.

    `not_yet` are known values that are not supported so far; `usual`, of many allowed ones, those to name.
    """
    known_later = frozenset(not_yet)

    def check(value: object, info: ValidationInfo) -> object:
        if not isinstance(value, str) or value in allowed:
            return value
        if value in known_later:
            raise ValueError(f"`{info.field_name}: {value}` is not supported yet: {instead or f'write {any_of(allowed)}'}")
        raise ValueError(f"{quoted(value)} is not known here: {did_you_mean(value, allowed, usual=usual)}")

    return BeforeValidator(check)


def faults(found: Iterable[tuple[tuple[str | int, ...], str]]) -> ValidationError:
    """Several refusals at once, each at its own place below the value that is being validated."""
    return ValidationError.from_exception_data(
        "faults",
        [
            InitErrorDetails(type=PydanticCustomError("refused", "{message}", {"message": message}), loc=path, input=None)
            for path, message in found
        ],
    )

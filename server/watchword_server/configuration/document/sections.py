"""The whole document: its sections, and the two ways in: a whole document, or one entry as it is stored."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from watchword_server.configuration.document.applications import Application
from watchword_server.configuration.document.base import Entry, Model, Section, one_of, quoted
from watchword_server.configuration.document.callers import Caller
from watchword_server.configuration.document.certificates import Certificate
from watchword_server.configuration.document.checks import Check
from watchword_server.configuration.document.conditions import AccessGroup, Policy
from watchword_server.configuration.document.entities import Entity
from watchword_server.configuration.document.expressions import DEFAULT_LANGUAGE, Reading
from watchword_server.configuration.document.gateway import GatewayRule
from watchword_server.configuration.document.lists import GatewayList
from watchword_server.configuration.document.problems import problems_of
from watchword_server.configuration.document.service_tokens import ServiceToken
from watchword_server.core.rules import LanguageSettings
from watchword_server.errors import ConfigurationError, Problem

NAME_OF_ANOTHER = "is the name of another"
UNMATCHED = "unmatched"  # the one entry of `settings`, name and id

_Outcome = Annotated[Literal["allow", "deny"], one_of("allow", "deny")]


class Setting(Entry):
    """How a top-level value of the document is stored."""

    value: _Outcome


class Document(Model):
    """Everything operators define. `unmatched` None: as it is; where nothing is stored, deny."""

    certificates: list[Certificate] = Field(default_factory=list)
    checks: list[Check] = Field(default_factory=list)
    applications: list[Application] = Field(default_factory=list)
    policies: list[Policy] = Field(default_factory=list)
    groups: list[AccessGroup] = Field(default_factory=list)
    gateway_rules: list[GatewayRule] = Field(default_factory=list)
    lists: list[GatewayList] = Field(default_factory=list)
    callers: list[Caller] = Field(default_factory=list)
    service_tokens: list[ServiceToken] = Field(default_factory=list)
    entities: list[Entity] = Field(default_factory=list)
    unmatched: _Outcome | None = None

    def entries(self) -> Iterator[tuple[Section, int | None, Entry]]:
        """Every entry with its section and its index there; `unmatched` as a setting without one."""
        sections: Mapping[Section, list[Entry]] = {
            Section.CERTIFICATES: [*self.certificates],
            Section.CHECKS: [*self.checks],
            Section.GROUPS: [*self.groups],
            Section.POLICIES: [*self.policies],
            Section.APPLICATIONS: [*self.applications],
            Section.LISTS: [*self.lists],
            Section.GATEWAY_RULES: [*self.gateway_rules],
            Section.CALLERS: [*self.callers],
            Section.SERVICE_TOKENS: [*self.service_tokens],
            Section.ENTITIES: [*self.entities],
        }
        for section, entries in sections.items():
            for index, entry in enumerate(entries):
                yield section, index, entry
        if self.unmatched is not None:
            yield Section.SETTINGS, None, Setting(name=UNMATCHED, value=self.unmatched)


_ENTRIES: Mapping[Section, TypeAdapter[Entry]] = {
    Section.CERTIFICATES: TypeAdapter(Certificate),
    Section.CHECKS: TypeAdapter(Check),
    Section.GROUPS: TypeAdapter(AccessGroup),
    Section.POLICIES: TypeAdapter(Policy),
    Section.APPLICATIONS: TypeAdapter(Application),
    Section.LISTS: TypeAdapter(GatewayList),
    Section.GATEWAY_RULES: TypeAdapter(GatewayRule),
    Section.CALLERS: TypeAdapter(Caller),
    Section.SERVICE_TOKENS: TypeAdapter(ServiceToken),
    Section.ENTITIES: TypeAdapter(Entity),
    Section.SETTINGS: TypeAdapter(Setting),
}


def validate_document(value: object, *, language: LanguageSettings = DEFAULT_LANGUAGE) -> Document:
    """The document of plain JSON values, file references replaced. Raises `ConfigurationError` with every problem found."""
    if not isinstance(value, dict):
        message = (
            "a rule file is a mapping of sections such as `checks` and `policies`: begin with one, or write `{}` for none at all"
        )
        raise ConfigurationError([Problem((), message)])
    problems = list(_repeated_names(value))
    try:
        document = Document.model_validate(value, context=Reading(language))
    except ValidationError as error:
        raise ConfigurationError([*problems_of(error), *problems]) from None
    if problems:
        raise ConfigurationError(problems)
    return document


def validate_entry(
    section: Section, name: str, body: Mapping[str, object], *, language: LanguageSettings = DEFAULT_LANGUAGE
) -> Entry:
    """One entry from its name and stored body. Raises `ConfigurationError`; the paths begin with the section and the name."""
    return read_entry(section, name, body, Reading(language, stored=True))


def read_entry(section: Section, name: str, body: Mapping[str, object], reading: Reading) -> Entry:
    """As `validate_entry`, one of many: an expression that stands in several is parsed once."""
    try:
        return _ENTRIES[section].validate_python({**body, "name": name}, context=reading)
    except ValidationError as error:
        problems = [replace(problem, path=(section.value, name, *problem.path)) for problem in problems_of(error)]
        raise ConfigurationError(problems) from None


def body_of(entry: Entry) -> dict[str, object]:
    """What is stored of an entry: JSON, without its names, and with nothing that nobody wrote."""
    return entry.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"name", "reference"})


def _repeated_names(value: Mapping[object, object]) -> Iterator[Problem]:
    """Checked on the raw value, so that a name written twice is told together with everything else."""
    for section in Section:
        entries = value.get(section.value)
        seen: set[str] = set()
        for index, entry in enumerate(entries if isinstance(entries, list) else []):
            name = entry.get("name") if isinstance(entry, dict) else None
            if not isinstance(name, str):
                continue
            if name in seen:
                yield Problem(
                    (section.value, index, "name"),
                    f"{quoted(name)} {NAME_OF_ANOTHER} {section.singular}: write another name",
                )
            seen.add(name)

"""What has to hold between entries, whoever wrote them: rule file, API or console."""

import json
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from watchword_server.configuration.document.applications import Application
from watchword_server.configuration.document.base import Entry, Section, quoted
from watchword_server.configuration.document.callers import Authenticate, Caller, MutualTls
from watchword_server.configuration.document.conditions import REFUSED, WHY_REFUSED
from watchword_server.configuration.document.entities import Entity
from watchword_server.configuration.document.expressions import DEFAULT_LANGUAGE, Reading
from watchword_server.configuration.document.gateway import GatewayRule
from watchword_server.configuration.document.lists import GatewayList
from watchword_server.configuration.document.sections import read_entry
from watchword_server.configuration.groups import Groups, group_problems
from watchword_server.configuration.references import BodyPath, Reference, conditions_of, references, selectors_of
from watchword_server.core.language import types
from watchword_server.core.rules import LanguageSettings
from watchword_server.errors import ConfigurationError, Problem
from watchword_server.ports.rules import StoredObject


@dataclass(frozen=True, slots=True)
class Placed:
    """A stored entry, typed; its references are ids. `resolved`: the same references, as their problems are told."""

    stored: StoredObject
    section: Section
    entry: Entry
    resolved: Sequence[Reference] | None = None

    @property
    def path(self) -> BodyPath:
        """Where problems of it are: by section and name."""
        return (self.section.value, self.stored.name)

    def references(self) -> Iterable[Reference]:
        """The entries it names, by id."""
        return references(self.entry) if self.resolved is None else self.resolved


def read_objects(objects: Iterable[StoredObject], *, language: LanguageSettings = DEFAULT_LANGUAGE) -> list[Placed]:
    """Types every stored entry. Raises `ConfigurationError` for all that are not valid, or of a kind that is not known."""
    reading = Reading(language, stored=True)
    placed: list[Placed] = []
    problems: list[Problem] = []
    for stored in objects:
        try:
            section = Section(stored.kind)
            placed.append(Placed(stored, section, read_entry(section, stored.name, stored.body, reading)))
        except ConfigurationError as error:
            problems += error.problems
        except ValueError:
            message = f"{quoted(stored.kind)} is no kind of entry this version knows: it may come from a newer one"
            problems.append(Problem((stored.kind, stored.name), message))
    if problems:
        raise ConfigurationError(problems)
    return placed


# ---- Pages ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Claim:
    """What no other entry of the section may have: where it is, what kind of thing, the value, what to do if another has it."""

    path: BodyPath
    key: tuple[str, str]
    remedy: str


PRECEDENCE: Final = f"{Section.GATEWAY_RULES}.precedence"  # the kind of claim that a Gateway rule's place is
Claims = MutableMapping[tuple[str, str], str]  # claim → id of the entry that has it


@dataclass(frozen=True, slots=True)
class NamedGroup:
    """A group that a policy with this decision asks about."""

    path: BodyPath
    group_id: str
    decision: str


@dataclass(frozen=True, slots=True)
class Page:
    """An entry with what others have to know of it. `value` is what decisions read; None where they have no use for it.

    `entry` is there for a new entry, and for one that has to be looked at again when others change.
    """

    stored: StoredObject
    section: Section
    references: tuple[Reference, ...]
    claims: tuple[Claim, ...]
    groups_named: tuple[NamedGroup, ...]
    list_type: str | None
    entry: Entry | None
    value: object | None = None

    @property
    def path(self) -> BodyPath:
        """Where problems of it are: by section and name."""
        return (self.section.value, self.stored.name)


def page_of(placed: Placed) -> Page:
    """What has to be known of an entry."""
    return Page(
        stored=placed.stored,
        section=placed.section,
        references=tuple(placed.references()),
        claims=tuple(_claims(placed.section, placed.entry)),
        groups_named=tuple(_groups_named(placed.entry)),
        list_type=placed.entry.type if isinstance(placed.entry, GatewayList) else None,
        entry=placed.entry,
    )


def _claims(section: Section, entry: Entry) -> Iterator[Claim]:
    def claim(path: BodyPath, kind: str, value: str, remedy: str) -> Claim:
        return Claim(path, (f"{section}.{kind}", value), remedy)

    match entry:
        case Application():
            for path, text in entry.covered():
                yield claim(path, "destination", text, "a host and path has one application")
        case GatewayRule():
            yield claim(("precedence",), "precedence", str(entry.precedence), "write a number that no other rule has")
        case Caller(authenticate=Authenticate(secret_sha256=str(secret))):
            remedy = "give each caller a secret of its own, made with `openssl rand -hex 32`"
            yield claim(("authenticate",), "authenticate", f"secret {secret}", remedy)
        case Caller(authenticate=Authenticate(mtls=MutualTls(san=san))):
            yield claim(("authenticate",), "authenticate", f"san {san}", "give each caller a certificate of its own")
        case Entity():
            name = json.dumps([entry.role, entry.type, entry.id or entry.name])
            yield claim(("id",) if entry.id else (), "entity", name, "write each subject, resource and action once")


def _groups_named(entry: Entry) -> Iterator[NamedGroup]:
    for base, policy in conditions_of(entry):
        decision = getattr(policy, "decision", None)
        if decision is not None:
            for path, selector in selectors_of(policy):
                if selector.group is not None:
                    yield NamedGroup((*base, *path, "group", "id"), selector.group.id, decision)


# ---- What a change can break --------------------------------------------------------------------------------------------


_Pages = Mapping[Section, Mapping[str, Page]]


def inconsistencies(
    written: Sequence[Page],
    after: _Pages,
    *,
    before: _Pages,
    claims: Claims,
    removed: AbstractSet[tuple[Section, str]],
) -> list[Problem]:
    """All that is wrong with `after`, given that `before` was right. Paths begin with section and name.

    `claims` are those of entries that stay as they are; those of `written` are added.
    """
    pages = after[Section.GROUPS].values()
    groups = Groups({page.stored.id: (page.path, page.entry) for page in pages if page.entry is not None})
    groups_changed = Section.GROUPS in {*(page.section for page in written), *(section for section, _ in removed)}
    concerned = [*written, *_naming(_otherwise(written, before=before, removed=removed), after, written)]
    asking = _with_groups(after) if groups_changed else [page for page in written if page.groups_named]
    return [
        *_dangling(concerned, after),
        *_of_other_types(concerned, after),
        *_shared(written, after, claims),
        *(group_problems(groups) if groups_changed else ()),
        *_asking_too_much(asking, groups),
    ]


def _otherwise(
    written: Sequence[Page], *, before: _Pages, removed: AbstractSet[tuple[Section, str]]
) -> AbstractSet[tuple[Section, str]]:
    """What may no longer fit where it is named: what is gone, and lists that have become another type."""
    lists = before[Section.LISTS]
    retyped = {
        (page.section, page.stored.id)
        for page in written
        if page.section is Section.LISTS and page.stored.id in lists and lists[page.stored.id].list_type != page.list_type
    }
    return {*removed, *retyped}


def _naming(named: AbstractSet[tuple[Section, str]], after: _Pages, written: Iterable[Page]) -> Iterator[Page]:
    """Entries that stay as they are and name one of these."""
    if not named:
        return
    new = {id(page) for page in written}
    for pages in after.values():
        for page in pages.values():
            names_one = any((reference.section, reference.value) in named for reference in page.references)
            if names_one and id(page) not in new:
                yield page


def _with_groups(after: _Pages) -> Iterator[Page]:
    for section in (Section.POLICIES, Section.APPLICATIONS):
        for page in after[section].values():
            if page.groups_named:
                yield page


# ---- References -------------------------------------------------------------------------------------------------------


def _dangling(concerned: Iterable[Page], after: _Pages) -> Iterator[Problem]:
    for page in concerned:
        for reference in page.references:
            if reference.value not in after[reference.section]:
                message = f"{quoted(reference.value)} is no {reference.section.singular}: keep the one it was, or name another"
                yield reference.problem(page.path, message)


def _of_other_types(concerned: Iterable[Page], after: _Pages) -> Iterator[Problem]:
    """Lists asked for what they cannot hold."""
    for page in concerned:
        for reference in page.references:
            found = after[Section.LISTS].get(reference.value) if reference.section is Section.LISTS else None
            fault = None if found is None else _wrong_type(reference, str(found.list_type))
            if fault is not None and found is not None:
                yield reference.problem(page.path, f"{quoted(found.stored.name)} is a list of type {found.list_type}, {fault}")


def _wrong_type(reference: Reference, list_type: str) -> str | None:
    if reference.within is None:
        needed = "EMAIL" if "email_list" in reference.path else "IP"
        return None if list_type == needed else f"and `{reference.path[-2]}` asks for one of type {needed}: name another"
    if reference.within.looked_up is types.IP:
        return None if list_type == "IP" else "but an address is looked up in it: name a list of type IP"
    if reference.within.looked_up is types.BYTES:
        return None if list_type != "IP" else "but a text is looked up in it: name a list of another type"
    return "but a number is looked up in it: write the numbers out, as in `in {80 443}`"


# ---- What only one entry can have --------------------------------------------------------------------------------------


def _shared(written: Iterable[Page], after: _Pages, claims: Claims) -> Iterator[Problem]:
    for page in written:
        for claim in page.claims:
            owner = claims.setdefault(claim.key, page.stored.id)
            if owner != page.stored.id:
                other = quoted(after[page.section][owner].stored.name)
                yield Problem((*page.path, *claim.path), f"{page.section.singular} {other} has the same: {claim.remedy}")


# ---- What a decision rules out ------------------------------------------------------------------------------------------


def _asking_too_much(pages: Iterable[Page], groups: Groups) -> Iterator[Problem]:
    """Policies that ask for what their decision rules out through a group; their own selectors are checked when they are read."""
    for page in pages:
        for named in page.groups_named:
            found = groups.first_kind_of(named.group_id, REFUSED[named.decision])
            if found is not None:
                name = quoted(groups.name(named.group_id))
                message = f"{WHY_REFUSED[named.decision][0]}, but {name} has `{found}`: use another group"
                yield Problem((*page.path, *named.path), message)

"""What has to hold between entries, whoever wrote them: rule file, API or console."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from watchword_server.configuration.document.applications import Application
from watchword_server.configuration.document.base import Entry, Section, quoted
from watchword_server.configuration.document.callers import Authenticate, Caller, MutualTls
from watchword_server.configuration.document.conditions import DEVICE_SELECTORS, IDENTITY_SELECTORS, AccessGroup, Policy, Selector
from watchword_server.configuration.document.gateway import GatewayRule
from watchword_server.configuration.document.sections import validate_entry
from watchword_server.configuration.references import references, selectors_of
from watchword_server.errors import ConfigurationError, Problem
from watchword_server.ports import StoredObject

MAX_GROUP_DEPTH = 16  # groups are evaluated by recursion
MAX_GROUP_SELECTORS = 10_000  # what one group comes to with the groups in it; every decision may evaluate them all
_MAX_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Placed:
    """A stored entry, typed; its references are ids."""

    stored: StoredObject
    section: Section
    entry: Entry

    @property
    def path(self) -> tuple[str | int, ...]:
        """Where problems of it are: by section and name."""
        return (self.section.value, self.stored.name)


def read_objects(objects: Iterable[StoredObject]) -> list[Placed]:
    """Types every stored entry. Raises `ConfigurationError` for all that are not valid, or of a kind that is not known."""
    placed: list[Placed] = []
    problems: list[Problem] = []
    for stored in objects:
        try:
            section = Section(stored.kind)
            placed.append(Placed(stored, section, validate_entry(section, stored.name, stored.body)))
        except ConfigurationError as error:
            problems += error.problems
        except ValueError:
            message = f"{quoted(stored.kind)} is no kind of entry this version knows: it may come from a newer one"
            problems.append(Problem((stored.kind, stored.name), message))
    if problems:
        raise ConfigurationError(problems)
    return placed


def inconsistencies(placed: Sequence[Placed]) -> list[Problem]:
    """All that is wrong between these entries, taken as everything there is. Paths begin with section and name."""
    groups = {item.stored.id: item for item in placed if item.section is Section.GROUPS}
    return [*_dangling(placed), *_shared(placed), *_group_problems(groups), *_bypass_problems(placed, groups)]


# ---- References and what only one entry can have ----------------------------------------------------------------------


def _dangling(placed: Sequence[Placed]) -> Iterator[Problem]:
    ids = {(item.section, item.stored.id) for item in placed}
    for item in placed:
        for reference in references(item.entry):
            if (reference.section, reference.value) not in ids:
                message = f"{quoted(reference.value)} is no {reference.section.singular}: keep the one it was, or name another"
                yield Problem((*item.path, *reference.path), message)


def _shared(placed: Sequence[Placed]) -> Iterator[Problem]:
    first: dict[tuple[str, str], Placed] = {}
    for item in placed:
        claim = _sole(item.entry)
        if claim is None:
            continue
        key, value, remedy = claim
        other = first.setdefault((f"{item.section}.{key}", value), item)
        if other is not item:
            yield Problem((*item.path, key), f"{item.section.singular} {quoted(other.stored.name)} has the same: {remedy}")


def _sole(entry: Entry) -> tuple[str, str, str] | None:
    """What no other entry of its section may have: the key, the value, and what to do if one has."""
    match entry:
        case Application():
            return "domain", entry.domain, "a host has one application"
        case GatewayRule():
            return "precedence", str(entry.precedence), "write a number that no other rule has"
        case Caller():
            match entry.authenticate:
                case Authenticate(secret_sha256=str(secret)):
                    return (
                        "authenticate",
                        f"secret {secret}",
                        "give each caller a secret of its own, made with `openssl rand -hex 32`",
                    )
                case Authenticate(mtls=MutualTls(san=san)):
                    return "authenticate", f"san {san}", "give each caller a certificate of its own"
    return None


# ---- Groups -----------------------------------------------------------------------------------------------------------


def _group_problems(groups: Mapping[str, Placed]) -> Iterator[Problem]:
    """Groups that contain themselves; else those that nest too deep or come to too much."""
    members = {group_id: [member for member in _groups_in(item.entry) if member in groups] for group_id, item in groups.items()}
    acyclic = False
    while not acyclic:
        sorter = TopologicalSorter(members)
        try:
            sorter.prepare()
            acyclic = True
        except CycleError as error:
            cycle = list(reversed(error.args[1]))  # each includes the next; the first again at the end
            shown = cycle if len(cycle) <= _MAX_SHOWN else [*cycle[:_MAX_SHOWN], cycle[-1]]
            names = " → ".join(quoted(groups[group_id].stored.name) for group_id in shown)
            yield Problem(groups[cycle[0]].path, f"the group contains itself, {names}: take one of them out")
            members[cycle[0]] = []  # cut it, and look for the next
    depth: dict[str, int] = {}
    weight: dict[str, int] = {}
    for group_id in TopologicalSorter(members).static_order():
        inner = members[group_id]
        depth[group_id] = 1 + max((depth[member] for member in inner), default=0)
        weight[group_id] = len(list(_selectors(groups[group_id].entry))) + sum(weight[member] for member in inner)
        if depth[group_id] == MAX_GROUP_DEPTH + 1:
            yield Problem(groups[group_id].path, f"groups nest more than {MAX_GROUP_DEPTH} deep here: make them flatter")
        if weight[group_id] > MAX_GROUP_SELECTORS >= max((weight[member] for member in inner), default=0):
            yield Problem(groups[group_id].path, f"the group comes to more than {MAX_GROUP_SELECTORS} selectors: split it")


def _bypass_problems(placed: Sequence[Placed], groups: Mapping[str, Placed]) -> Iterator[Problem]:
    """A bypass policy asks for no identity and no device, not through a group either."""
    asking = {group_id: kind for group_id, item in groups.items() if (kind := _asks_for(item.entry)) is not None}
    members = {group_id: set(_groups_in(item.entry)) for group_id, item in groups.items()}
    for item in placed:
        if not isinstance(item.entry, Policy) or item.entry.decision != "bypass":
            continue
        for reference in references(item.entry):
            if reference.section is not Section.GROUPS:
                continue
            found = next((asking[group_id] for group_id in _reach(reference.value, members) if group_id in asking), None)
            if found is not None:
                group = quoted(groups[reference.value].stored.name)
                message = f"a bypass policy asks for no identity and no device, but {group} has `{found}`: use another group"
                yield Problem((*item.path, *reference.path), message)


def _reach(start: str, members: Mapping[str, set[str]]) -> Iterator[str]:
    seen, waiting = {start}, [start]
    while waiting:
        group_id = waiting.pop()
        yield group_id
        new = members.get(group_id, set()) - seen
        seen |= new
        waiting += sorted(new)


def _selectors(entry: Entry) -> Iterator[Selector]:
    if isinstance(entry, AccessGroup | Policy):
        for selectors in selectors_of(entry).values():
            yield from selectors


def _groups_in(entry: Entry) -> list[str]:
    return [selector.group.id for selector in _selectors(entry) if selector.group is not None]


def _asks_for(entry: Entry) -> str | None:
    kinds = (selector.kind for selector in _selectors(entry))
    return next((kind for kind in kinds if kind in IDENTITY_SELECTORS | DEVICE_SELECTORS), None)

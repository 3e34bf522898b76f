"""Groups in groups: what they come to, and that they end."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter

from watchword_server.configuration.document.base import Entry, quoted
from watchword_server.configuration.document.conditions import AccessGroup
from watchword_server.configuration.document.selectors import Selector
from watchword_server.configuration.references import BodyPath, selectors_of
from watchword_server.errors import Problem

MAX_GROUP_DEPTH = 16  # groups are evaluated by recursion
MAX_GROUP_SELECTORS = 10_000  # what one group comes to with the groups in it; every decision may evaluate them all
_MAX_SHOWN = 20


@dataclass
class Groups:
    """All groups by id: the path of their problems, and the entry. What they name may be missing."""

    entries: Mapping[str, tuple[BodyPath, Entry]]
    _kinds: dict[str, Mapping[str, None]] = field(default_factory=dict)

    @cached_property
    def members(self) -> dict[str, list[str]]:
        """The groups in each group, as often as they are in it."""
        return {
            group_id: [
                selector.group.id
                for _, selector in _selectors(entry)
                if selector.group is not None and selector.group.id in self.entries
            ]
            for group_id, (_, entry) in self.entries.items()
        }

    def name(self, group_id: str) -> str:
        """The group's name."""
        return self.entries[group_id][1].name

    def first_kind_of(self, group_id: str, wanted: frozenset[str]) -> str | None:
        """A selector among these kinds that the group has, itself or through others; the nearest. None: it has none."""
        if not wanted or group_id not in self.entries:
            return None
        kinds = self._kinds.get(group_id)
        if kinds is None:
            reached = list(self._reach(group_id))
            kinds = self._kinds[group_id] = dict.fromkeys(
                selector.kind for found in reached for _, selector in _selectors(self.entries[found][1])
            )
        return next((kind for kind in kinds if kind in wanted), None)

    def _reach(self, start: str) -> Iterator[str]:
        reached = dict.fromkeys([start])
        waiting = [start]
        while waiting:
            group_id = waiting.pop(0)
            yield group_id
            new = [found for found in dict.fromkeys(self.members[group_id]) if found not in reached]
            reached |= dict.fromkeys(new)
            waiting += new


def group_problems(groups: Groups) -> Iterator[Problem]:
    """Groups that contain themselves; else those that nest too deep or come to too much."""
    members = dict(groups.members)
    acyclic = False
    while not acyclic:
        sorter = TopologicalSorter(members)
        try:
            sorter.prepare()
            acyclic = True
        except CycleError as error:
            cycle = list(reversed(error.args[1]))  # each includes the next; the first again at the end
            shown = cycle if len(cycle) <= _MAX_SHOWN else [*cycle[:_MAX_SHOWN], cycle[-1]]
            names = " → ".join(quoted(groups.name(group_id)) for group_id in shown)
            yield Problem(_path(groups, cycle[0]), f"the group contains itself, {names}: take one of them out")
            members[cycle[0]] = []  # cut it, and look for the next
    depth: dict[str, int] = {}
    weight: dict[str, int] = {}
    for group_id in TopologicalSorter(members).static_order():
        inner = members[group_id]
        depth[group_id] = 1 + max((depth[member] for member in inner), default=0)
        own = sum(1 for _ in _selectors(groups.entries[group_id][1]))
        weight[group_id] = own + sum(weight[member] for member in inner)
        if depth[group_id] == MAX_GROUP_DEPTH + 1:
            yield Problem(_path(groups, group_id), f"groups nest more than {MAX_GROUP_DEPTH} deep here: make them flatter")
        if weight[group_id] > MAX_GROUP_SELECTORS >= max((weight[member] for member in inner), default=0):
            yield Problem(_path(groups, group_id), f"the group comes to more than {MAX_GROUP_SELECTORS} selectors: split it")


def _path(groups: Groups, group_id: str) -> BodyPath:
    return groups.entries[group_id][0]


def _selectors(entry: Entry) -> Iterator[tuple[BodyPath, Selector]]:
    return selectors_of(entry) if isinstance(entry, AccessGroup) else iter(())

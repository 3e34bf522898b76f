"""What the operators' entries are, as simply as it can be said: names and references, one change after the other.

A change is tried on a state; it says with which status it ends, and what it leaves behind. Nothing here is the server's.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import Any, Final

OK: Final = 200
BAD: Final = 400
MISSING: Final = 404
TAKEN: Final = 409

# Which kind an entry of a kind refers to.
REFERS: Final = {"gateway_rules": "lists", "policies": "groups", "applications": "policies"}
KINDS: Final = ("lists", "gateway_rules", "groups", "policies", "applications")


@dataclass(frozen=True, slots=True)
class Entry:
    """`refers` is the id of the one entry it names; `items` are a list's or a group's."""

    kind: str
    name: str
    refers: str | None = None
    items: frozenset[str] = frozenset()


State = Mapping[str, Entry]  # by id


@dataclass(frozen=True, slots=True)
class Change:
    """One request of an operator. `id` names an entry that was there, or not; `again`: sent a second time, as the SDK does."""

    verb: str  # create, replace, delete, append, apply
    kind: str
    id: str | None = None
    name: str = ""
    refers: str | None = None
    items: frozenset[str] = frozenset()
    again: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the server answered: `id` of the entry that it says it made."""

    status: int
    id: str | None = None


def tried(state: State, change: Change, made: str | None) -> tuple[int, State]:
    """The status a change ends with in a state, and the state it leaves. `made` is the id a new entry gets."""
    taken = {entry.name: id_ for id_, entry in state.items() if entry.kind == change.kind}
    entry = Entry(change.kind, change.name, change.refers, change.items)
    if change.verb == "apply":
        return OK, {**state, taken.get(change.name) or made or f"new {change.name}": entry}
    if change.verb == "create":
        if change.name in taken:
            same = state[taken[change.name]] == entry and change.again
            return (OK, state) if same and taken[change.name] == made else (TAKEN, state)
        if not _refers_to_something(state, change):
            return BAD, state
        return OK, {**state, made or "": entry}
    here = state.get(change.id or "")
    if here is None or here.kind != change.kind:
        return MISSING, state
    if change.verb == "delete":
        if any(other.refers == change.id for other in state.values()):
            return TAKEN, state
        return OK, {id_: other for id_, other in state.items() if id_ != change.id}
    if change.verb == "append":
        if here.items & change.items:
            return BAD, state
        return OK, {**state, change.id or "": replace(here, items=here.items | change.items)}
    if taken.get(change.name, change.id) != change.id:
        return TAKEN, state
    if not _refers_to_something(state, change):
        return BAD, state
    return OK, {**state, change.id or "": entry}


def _refers_to_something(state: State, change: Change) -> bool:
    kind = REFERS.get(change.kind)
    return kind is None or (change.refers in state and state[change.refers or ""].kind == kind)


@dataclass(slots=True)
class Ends:
    """Every state that changes at the same time may have led to, and the answers that went with it."""

    found: list[State] = field(default_factory=list)

    @classmethod
    def of(cls, state: State, changes: "list[tuple[Change, Outcome]]") -> "Ends":
        """Tries them in every order: one that explains all answers is enough."""
        ends = cls()
        for order in permutations(changes):
            end = _in_order(state, order)
            if end is not None and end not in ends.found:
                ends.found.append(end)
        return ends


def _in_order(state: State, order: "tuple[tuple[Change, Outcome], ...]") -> State | None:
    for change, outcome in order:
        status, state = tried(state, change, outcome.id)
        if status != outcome.status:
            return None
    return state


def named(state: State) -> "dict[tuple[str, str], Any]":
    """A state by names alone, to be compared with another whose new ids are not known."""
    return {
        (entry.kind, entry.name): (None if entry.refers is None else state[entry.refers].name, entry.items)
        for entry in state.values()
    }


def of_kind(state: State, kind: str) -> Iterator[str]:
    """Ids of a kind, in a stable order."""
    return (id_ for id_, entry in sorted(state.items(), key=lambda item: item[1].name) if entry.kind == kind)

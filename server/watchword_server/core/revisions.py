"""What a change of the rules did, entry by entry: before and after. Secrets are left out, and come back from nowhere."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from watchword_server.core.audit import Actor
from watchword_server.core.model.names import Instant

# Members of bodies that are, or open, something. Of a hash as well: a caller's secret may be one that can be guessed.
SECRETS: Final = frozenset(
    {"secret_sha256", "secret", "client_secret", "password", "private_key", "private_key_encrypted", "private_key_sealed"}
)
_LEFT_OUT: Final = "(not kept)"
_LEFT_OUT_ANOTHER: Final = "(not kept; another one)"


@dataclass(frozen=True, slots=True)
class State:
    """An entry at a time, without secrets."""

    name: str
    body: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class EntryChange:
    """One entry; `before` None: it was made, `after` None: it was removed. `kind` is its section."""

    kind: str
    id: str
    before: State | None
    after: State | None

    @property
    def action(self) -> str:
        """`created`, `updated` or `removed`."""
        return "created" if self.before is None else "removed" if self.after is None else "updated"

    @property
    def name(self) -> str:
        """Its name now, or its last one."""
        known = self.after or self.before
        return "" if known is None else known.name


@dataclass(frozen=True, slots=True)
class Revision:
    """A change of the rules. `number` is the rules revision it made; `audit_number` that of its record in the audit log."""

    number: int
    at: Instant
    actor: Actor
    rolls_back_to: int | None
    entries: int
    difference_sha256: str
    audit_number: int


class SecretMissingError(ValueError):
    """A secret that an entry had is not known; `path` is where in its body."""

    def __init__(self, path: tuple[str | int, ...]) -> None:
        super().__init__(".".join(map(str, path)))
        self.path = path


def change_of(kind: str, entry_id: str, before: State | None, after: State | None) -> EntryChange:
    """The change from one state to another; of secrets it says whether they are the same."""
    shown_before = None if before is None else State(before.name, _without_secrets(before.body, None))
    shown_after = (
        None if after is None else State(after.name, _without_secrets(after.body, None if before is None else before.body))
    )
    return EntryChange(kind, entry_id, shown_before, shown_after)


def line_of(change: EntryChange) -> str:
    """The change as it is stored and hashed: one line of JSON."""
    whole = {
        "kind": change.kind,
        "id": change.id,
        "before": None if change.before is None else {"name": change.before.name, "body": change.before.body},
        "after": None if change.after is None else {"name": change.after.name, "body": change.after.body},
    }
    return json.dumps(whole, sort_keys=True, separators=(",", ":"))


def change_from(line: str) -> EntryChange:
    """The change of a stored line."""
    read = json.loads(line)
    before, after = (
        None if read[side] is None else State(read[side]["name"], read[side]["body"]) for side in ("before", "after")
    )
    return EntryChange(read["kind"], read["id"], before, after)


def difference_sha256(lines: Iterable[str]) -> str:
    """The hash that the audit log has of a difference: of its lines in their order, each with a line feed behind it."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def with_secrets(body: Mapping[str, object], present: Mapping[str, object]) -> Mapping[str, object]:
    """A kept body with the secrets that the entry has now. Raises `SecretMissingError` where it has none there."""
    filled = _filled(body, present, ())
    if not isinstance(filled, Mapping):
        raise TypeError("a body is an object")
    return filled


def _without_secrets(value: object, other: object) -> dict[str, object]:
    stripped = _stripped(value, other)
    if not isinstance(stripped, dict):
        raise TypeError("a body is an object")
    return stripped


def _stripped(value: object, other: object) -> object:
    if isinstance(value, Mapping):
        beside = other if isinstance(other, Mapping) else {}
        return {name: _member(name, each, beside.get(name)) for name, each in value.items()}
    if isinstance(value, list | tuple):
        pairs = list(other) if isinstance(other, list | tuple) else []
        return [_stripped(each, pairs[place] if place < len(pairs) else None) for place, each in enumerate(value)]
    return value


def _member(name: str, value: object, other: object) -> object:
    if name not in SECRETS or value is None:
        return _stripped(value, other)
    return _LEFT_OUT if other is None or other == value else _LEFT_OUT_ANOTHER


def _filled(value: object, present: object, path: tuple[str | int, ...]) -> object:
    if isinstance(value, Mapping):
        beside = present if isinstance(present, Mapping) else {}
        found: dict[str, object] = {}
        for name, each in value.items():
            if name in SECRETS and each in (_LEFT_OUT, _LEFT_OUT_ANOTHER):
                if beside.get(name) is None:
                    raise SecretMissingError((*path, name))
                found[name] = beside[name]
            else:
                found[name] = _filled(each, beside.get(name), (*path, name))
        return found
    if isinstance(value, list | tuple):
        pairs = list(present) if isinstance(present, list | tuple) else []
        return [_filled(each, pairs[place] if place < len(pairs) else None, (*path, place)) for place, each in enumerate(value)]
    return value

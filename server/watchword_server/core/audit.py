"""The audit log: who changed what, as a chain of records that each carry the hash of the one before.

A record's hash is the SHA-256 of its canonical form: JSON as in RFC 8785 (members in the order of their names, no white space,
UTF-8), of all members but `hash`. Records hold no numbers but integers of at most 53 bits, which leaves no choice of form.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from watchword_server.core.model.names import Instant
from watchword_server.core.times import rfc3339

BEFORE_THE_FIRST: Final = "0" * 64  # the hash that record 1 names as the one before
_MEMBERS: Final = frozenset({"number", "at", "actor", "address", "action", "target", "revision", "details", "previous", "hash"})
_MAX_INTEGER: Final = (1 << 53) - 1

Detail = str | int | bool | None


class Action(StrEnum):
    """What was done; docs/logs.md explains each."""

    LOG_BEGAN = "audit.began"
    LOG_TRIMMED = "audit.trimmed"
    REVISIONS_TRIMMED = "revisions.trimmed"
    AUTHENTICATION_FAILED = "authentication.failed"
    AUTHORIZATION_REFUSED = "authorization.refused"
    ENTRY_CREATED = "entry.created"
    ENTRY_UPDATED = "entry.updated"
    ENTRY_REMOVED = "entry.removed"
    RULES_CHANGED = "rules.changed"
    DEVICE_ENROLLED = "device.enrolled"
    DEVICE_KEY_REPLACED = "device.key_replaced"
    DEVICE_KEY_ROTATED = "device.key_rotated"
    DEVICE_APPROVED = "device.approved"
    DEVICE_REVOKED = "device.revoked"
    DEVICE_LOCKED = "device.locked"
    DEVICE_UNLOCKED = "device.unlocked"
    DEVICE_OWNER_CHANGED = "device.owner_changed"
    DEVICE_CLONE_CLEARED = "device.clone_cleared"
    DEVICE_ATTEST_ASKED = "device.attest_asked"
    DEVICE_LEFT = "device.left"
    ENROLLMENT_TOKEN_CREATED = "enrollment_token.created"  # noqa: S105 - names, no secrets
    ENROLLMENT_TOKEN_REVOKED = "enrollment_token.revoked"  # noqa: S105
    API_TOKEN_CREATED = "api_token.created"  # noqa: S105
    API_TOKEN_REVOKED = "api_token.revoked"  # noqa: S105
    SIGNING_KEY_ROTATED = "signing_key.rotated"
    REVOCATION_LIST_UPLOADED = "revocation_list.uploaded"
    REVOCATION_LIST_REFRESHED = "revocation_list.refreshed"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did it, and from where, as the server saw it.

    `kind`: `api_token`, `host` (the owner of the local socket), `oidc`, `device`, `enrollment_token`, `server`, `nobody`.
    """

    kind: str
    id: str | None = None
    name: str | None = None
    address: str | None = None


SERVER: Final = Actor("server")


@dataclass(frozen=True, slots=True)
class Target:
    """What it was done to. `kind` is a section of the rules or what else there is: `device`, `api_token`, `audit`."""

    kind: str
    id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Act:
    """What is to be recorded: a record without its place in the chain. `revision` is the store's after the change."""

    at: Instant
    actor: Actor
    action: Action
    target: Target
    revision: int | None = None
    details: Mapping[str, Detail] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Link:
    """A record's place: its number and its hash, 64 hexadecimal digits. Written `NUMBER:HASH`."""

    number: int
    hash: str

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> "Link":
        """From `NUMBER:HASH`. Raises `ValueError`."""
        number, _, digest = text.partition(":")
        if not (number.isascii() and number.isdecimal() and len(digest) == len(BEFORE_THE_FIRST)):
            raise ValueError(f"`{text}` is no head: write NUMBER:HASH as `watchword audit verify` prints it")
        int(digest, 16)
        return cls(int(number), digest.lower())


NOTHING_YET: Final = Link(0, BEFORE_THE_FIRST)


def linked(act: Act, after: Link) -> tuple[Mapping[str, object], Link]:
    """The record of an act behind another, without its hash; and its place in the chain."""
    record: dict[str, object] = {
        "number": after.number + 1,
        "at": rfc3339(act.at),
        "actor": {"kind": act.actor.kind, "id": _text(act.actor.id), "name": _text(act.actor.name)},
        "address": _text(act.actor.address),
        "action": act.action.value,
        "target": {"kind": act.target.kind, "id": _text(act.target.id), "name": _text(act.target.name)},
        "revision": act.revision,
        "details": {name: _text(value) if isinstance(value, str) else value for name, value in act.details.items()},
        "previous": after.hash,
    }
    return record, Link(after.number + 1, hash_of(record))


def canonical(record: Mapping[str, object]) -> str:
    """The one text of a record. Raises `ValueError` for what a record does not hold."""
    _refuse_numbers(record)
    return json.dumps(record, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def hash_of(record: Mapping[str, object]) -> str:
    """The hash of a record, in hexadecimal; its own `hash` is left out."""
    text = canonical({name: value for name, value in record.items() if name != "hash"})
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Fault:
    """What does not fit, and at which record; None: the log as a whole."""

    number: int | None
    message: str

    def __str__(self) -> str:
        return self.message if self.number is None else f"record {self.number}: {self.message}"


@dataclass(slots=True)
class Verification:
    """Goes along a log, record by record, then says what does not fit. `head` is a place that the log is known to have had."""

    head: Link | None = None
    first: Link | None = None
    last: Link = NOTHING_YET
    count: int = 0
    faults: list[Fault] = field(default_factory=list)
    _trimmed: list[Link] = field(default_factory=list)  # ends of what records say was trimmed
    _before_the_first: Link = NOTHING_YET
    _begins: bool = False
    _met_head: str | None = None

    def take_line(self, line: str) -> None:
        """The next record, as one line of an export."""
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            self.faults.append(Fault(None, f"line {self.count + 1} is no JSON object"))
            self.count += 1
            return
        try:
            in_one_form = canonical(record) == line
        except (ValueError, RecursionError):
            in_one_form = False
        self.take(record, in_one_form=in_one_form)

    def take(self, record: Mapping[str, object], *, in_one_form: bool = True) -> None:
        """The next record, with its hash."""
        self.count += 1
        number, previous, stated = record.get("number"), record.get("previous"), record.get("hash")
        if record.keys() != _MEMBERS or type(number) is not int or not isinstance(previous, str) or not isinstance(stated, str):
            self.faults.append(Fault(None, f"what is at place {self.count} is no record"))
            return
        try:
            found = hash_of(record)
        except (ValueError, RecursionError):
            found = ""
        if found != stated or not in_one_form:
            self.faults.append(Fault(number, "its content is not what its hash was made of: it was changed"))
        if self.first is None:
            self.first = Link(number, stated)
            self._before_the_first = Link(number - 1, previous)
            self._begins = record["action"] == Action.LOG_BEGAN
        else:
            self._follows(number, previous)
        self.last = Link(number, stated)
        if self.head is not None and number == self.head.number:
            self._met_head = stated
        details = record["details"]
        if record["action"] == Action.LOG_TRIMMED and isinstance(details, dict):
            through, digest = details.get("through"), details.get("hash")
            if type(through) is int and isinstance(digest, str):
                self._trimmed.append(Link(through, digest))

    def finish(self) -> list[Fault]:
        """All that does not fit, in the order of the log; empty: it is whole."""
        if self.first is None:
            self.faults.append(Fault(None, "there is no record at all: a log begins with the store it belongs to"))
        elif self._before_the_first.number == 0:
            if self._before_the_first.hash != BEFORE_THE_FIRST or not self._begins:
                self.faults.append(Fault(1, f"it is not the beginning of a log: that is `{Action.LOG_BEGAN}`"))
        elif self._before_the_first not in self._trimmed:
            through = self._before_the_first.number
            self.faults.append(Fault(None, f"records 1 to {through} are missing, and no record says that they were trimmed"))
        self._check_head()
        return self.faults

    def _follows(self, number: int, previous: str) -> None:
        last = self.last
        if number > last.number + 1:
            gone = (
                f"record {last.number + 1} is" if number == last.number + 2 else f"records {last.number + 1} to {number - 1} are"
            )
            self.faults.append(Fault(None, f"{gone} missing before record {number}"))
        elif number <= last.number:
            self.faults.append(Fault(number, f"it stands behind record {last.number}: the order was changed, or it was put in"))
        elif previous != last.hash:
            self.faults.append(Fault(number, f"it does not follow record {last.number}: one of them was put in or changed"))

    def _check_head(self) -> None:
        if self.head is None or self._met_head == self.head.hash:
            return
        if self._met_head is not None:
            message = f"record {self.head.number} is another one than the head that was given: the log was written anew"
        elif self.head.number > self.last.number:
            message = f"the log ends with record {self.last.number}, and it had {self.head.number}: its end was cut off"
        elif self.head == self._before_the_first:
            return
        else:
            message = f"the head that was given, record {self.head.number}, is not in the log: take a newer one"
        self.faults.append(Fault(None, message))


def _text(text: str | None) -> str | None:
    """Without halves of characters, which UTF-8 cannot say."""
    return None if text is None else text.encode("utf-8", "replace").decode()


def _refuse_numbers(value: object) -> None:
    for each in _leaves(value):
        if isinstance(each, float) or (isinstance(each, int) and abs(each) > _MAX_INTEGER):
            raise ValueError("a record holds integers of at most 53 bits and no other numbers")


def _leaves(value: object) -> Iterator[object]:
    if isinstance(value, Mapping):
        for each in value.values():
            yield from _leaves(each)
    elif isinstance(value, list | tuple):
        yield from _each(value)
    else:
        yield value


def _each(values: Iterable[object]) -> Iterator[object]:
    for value in values:
        yield from _leaves(value)

"""What all kinds of entries share: five calls, two ways of paging, and an echo of what was sent.

An entry keeps what it was said to be (`api`), and is told as that: what was absent is echoed absent, and what decides nothing
here is kept. What would narrow access and is not enforced is refused by name.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Protocol
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from watchword_server.configuration.book import RuleBook
from watchword_server.configuration.document.base import Section, quoted
from watchword_server.configuration.plan import NameTakenError
from watchword_server.core.times import rfc3339
from watchword_server.doors.cloudflare.envelope import answer
from watchword_server.errors import ConfigurationError, NotFoundError, Problem
from watchword_server.ports.rules import StoredObject
from watchword_server.services.rules import Rules

Wire = dict[str, Any]
EntryId = Annotated[str, Path(min_length=1, max_length=64)]
PageNumber = Annotated[int, Query(ge=1, le=1_000_000)]
PageSize = Annotated[int, Query(ge=1, le=1000)]
_MAX_DEPTH: Final = 32
_RETRIES: Final = "x-stainless-retry-count"


class Body(BaseModel):
    """A request. Fields that are not known here are kept and echoed."""

    model_config = ConfigDict(extra="allow", strict=True)

    def wire(self) -> Wire:
        """As it was sent. Raises `ConfigurationError` for what could not be told again."""
        try:
            wire = self.model_dump(mode="json", by_alias=True, exclude_unset=True)
        except ValueError as error:  # half a character in a key
            raise ConfigurationError([Problem((), "it holds what is no text: write it in UTF-8")]) from error
        for key, value in wire.items():
            fault = _fault(value)
            if fault is not None:
                raise ConfigurationError([Problem(("", "", key), fault)])
        return wire


def _fault(value: object) -> str | None:
    """Why a value cannot be kept as it is."""
    level: list[object] = [value]
    for _ in range(_MAX_DEPTH):
        below: list[object] = []
        for each in level:
            if isinstance(each, str) and not each.isascii() and any("\ud800" <= character <= "\udfff" for character in each):
                return "it holds half a character: write it in UTF-8"
            if isinstance(each, dict):
                below += [*each.keys(), *each.values()]
            elif isinstance(each, list):
                below += each
        if not below:
            return None
        level = below
    return f"it is nested more than {_MAX_DEPTH} deep"


class Kind(Protocol):
    """How entries of a section look outside."""

    section: Section

    def entry(self, wire: Wire, book: RuleBook, before: StoredObject | None) -> tuple[str, Wire]:
        """The entry's name and body. Raises `ConfigurationError`."""
        ...

    def told(self, stored: StoredObject) -> Wire:
        """What is answered: what was sent, and what is made here."""
        ...


@dataclass(frozen=True, slots=True)
class Entries:
    """The calls on the entries of one kind."""

    rules: Rules
    kind: Kind

    async def create(self, wire: Wire, request: Request) -> JSONResponse:
        """A new entry. The SDK sends again what it had no answer to: the same once more is the same entry."""
        try:
            stored = await self.rules.write(self.kind.section, lambda book: self._entry(wire, book, None), entry_id=None)
        except NameTakenError as taken:
            if not request.headers.get(_RETRIES, "0").strip("0") or not _says(taken.other, wire):
                raise
            stored = taken.other
        return answer(self.kind.told(stored))

    async def replace(self, entry_id: str, wire: Wire) -> JSONResponse:
        """Everything is replaced: what is absent is absent from now on."""
        before = self.found(entry_id)
        stored = await self.rules.write(self.kind.section, lambda book: self._entry(wire, book, before), entry_id=before.id)
        return answer(self.kind.told(stored))

    async def get(self, entry_id: str) -> JSONResponse:
        """One entry."""
        return answer(self.kind.told(self.found(entry_id)))

    async def delete(self, entry_id: str) -> JSONResponse:
        """Removes it. The SDK wants a body."""
        removed = await self.rules.remove(self.kind.section, self.found(entry_id).id)
        return answer({"id": removed.id})

    def all(self, *, order: Callable[[StoredObject], Any] | None = None) -> list[StoredObject]:
        """All of them, the oldest first."""
        return sorted(self.rules.entries(self.kind.section), key=order or (lambda stored: (stored.created_at, stored.name)))

    def found(self, entry_id: str) -> StoredObject:
        """The entry of an id, with or without dashes, in letters of any case. Raises `NotFoundError`."""
        stored = self.rules.entry(self.kind.section, dashed(entry_id)) or self.rules.entry(self.kind.section, entry_id)
        if stored is None:
            raise NotFoundError(f"{quoted(entry_id)} is no {self.kind.section.singular}: list them for their ids")
        return stored

    def _entry(self, wire: Wire, book: RuleBook, before: StoredObject | None) -> tuple[str, Wire]:
        name, body = self.kind.entry(wire, book, before)
        return name, {"api": wire, **body}  # some keep less of it, or more


def _says(stored: StoredObject, wire: Wire) -> bool:
    """Whether an entry was made by the same request: an application's own policies have got ids meanwhile."""
    sent = stored.body.get("api")
    if not isinstance(sent, dict):
        return False
    policies = [
        {key: value for key, value in each.items() if key != "id"} if isinstance(each, dict) and "decision" in each else each
        for each in sent.get("policies") or ()
    ]
    kept = {key: value for key, value in sent.items() if not key.startswith("private_key")}  # a key is encrypted, each time anew
    told = {key: value for key, value in wire.items() if not key.startswith("private_key")}
    if ("private_key_sealed" in sent) != bool(wire.get("private_key")):
        return False
    return (kept | {"policies": policies} if policies else kept) == told


def single_page(kind: Kind, stored: Iterable[StoredObject]) -> JSONResponse:
    """Everything: there is no second page."""
    return answer([kind.told(each) for each in stored])


def numbered_page(kind: Kind, stored: list[StoredObject], *, page: int, per_page: int) -> JSONResponse:
    """One page; one past the end is empty, which tells the SDK to stop."""
    here = stored[(page - 1) * per_page : page * per_page]
    total = len(stored)
    info = {
        "page": page,
        "per_page": per_page,
        "count": len(here),
        "total_count": total,
        "total_pages": -(-total // per_page),
    }
    return answer([kind.told(each) for each in here], result_info=info)


def dashed(entry_id: str) -> str:
    """A UUID as it is stored; anything else as it is."""
    try:
        return str(UUID(entry_id))
    except ValueError:
        return entry_id


def known_part(
    wire: Mapping[str, Any], known: Iterable[str], *, narrowing: Iterable[str] = (), path: tuple[str | int, ...] = ()
) -> Wire:
    """What of a request decides something here; a null says as much as nothing.

    Raises `ConfigurationError` for what would narrow access, and is not enforced.
    """
    refused = [
        Problem(
            ("", "", *path, key),
            f"`{key}` is not enforced by this server, which would allow more than it says: leave it out",
        )
        for key in narrowing
        if wire.get(key)
    ]
    if refused:
        raise ConfigurationError(refused)
    return {key: wire[key] for key in known if wire.get(key) is not None}


def with_times(stored: StoredObject, wire: Mapping[str, Any]) -> Wire:
    """What every entry has."""
    return {**wire, "id": stored.id, "created_at": rfc3339(stored.created_at), "updated_at": rfc3339(stored.updated_at)}


def router(prefix: str) -> APIRouter:
    """For the routes of an account."""
    return APIRouter(prefix=f"/accounts/{{account_id}}{prefix}")

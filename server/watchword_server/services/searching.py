"""AuthZEN's searches: of the entities that the rules name, those for which the answer is yes. No decision is logged for each."""

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from watchword_server.core.model.decisions import AccessRequest
from watchword_server.core.rules import Caller, Entity, EntityRole, RuleSet
from watchword_server.errors import RequestMalformedError
from watchword_server.ports.machine import Clock
from watchword_server.services.decisions import Decisions
from watchword_server.services.resolving import Presented
from watchword_server.services.rules_in_force import RulesInForce

MAX_PAGE: Final = 1_000
MAX_TRIED: Final = 5_000  # entities for one page
_DIGEST: Final = 16  # bytes


@dataclass(frozen=True, slots=True)
class Found:
    """A page of results. `next_token` None: it was not asked for pages, and these are all; empty: there are no more."""

    results: Sequence[Mapping[str, object]]
    next_token: str | None


@dataclass(frozen=True, slots=True)
class Searching:
    """Puts each candidate in its place and decides."""

    rules: RulesInForce
    decisions: Decisions
    clock: Clock

    async def search(
        self,
        role: EntityRole,
        document: Mapping[str, object],
        ask: Callable[[Mapping[str, object]], tuple[AccessRequest, Presented]],
        *,
        caller: Caller,
        limit: int | None,
        token: str | None,
    ) -> Found:
        """The entities of a role that can stand in a question, which `ask` makes a request of; of one order, and each once.

        A question about somebody or something that the rules do not name has no answer; an entity that it cannot be asked about
        is none: an action that is no method, of a route. A page may have fewer results than its limit, even none, and a next one.
        Raises `RequestMalformedError` for a page token that is none, or of another question; `WatchwordError`.
        """
        snapshot, now = self.rules.current, self.clock.now()
        after = "" if token is None else _read(token, document)
        size = min(limit or MAX_PAGE, MAX_PAGE)
        waiting = [entity for entity in _candidates(role, document, snapshot.rules) if entity.entity_id > after]
        page: list[Entity] = []
        last = after
        for tried, entity in enumerate(waiting):
            if len(page) == size or tried == MAX_TRIED:
                return Found([_result(each) for each in page], _token(last, document))
            last = entity.entity_id
            await asyncio.sleep(0)  # the proxies' requests go between
            try:
                asked, presented = ask({**document, role.value: _told(entity)})
            except RequestMalformedError:
                continue
            if await self.decisions.would_allow(asked, presented, caller=caller, snapshot=snapshot, now=now):
                page.append(entity)
        return Found([_result(entity) for entity in page], None if limit is None and token is None else "")


def _candidates(role: EntityRole, document: Mapping[str, object], rules: RuleSet) -> Iterator[Entity]:
    """The entities of the wanted type, once each and in their order; none where the question names a stranger."""
    known = rules.entities.values()
    for other in EntityRole:
        asked = document.get(other.value)
        if other is not role and isinstance(asked, Mapping) and not any(_is(entity, other, asked) for entity in known):
            return
    wanted = document.get(role.value)
    kind = wanted.get("type", "") if isinstance(wanted, Mapping) else ""
    by_id = {entity.entity_id: entity for entity in known if entity.role is role and entity.type == kind}
    yield from (by_id[entity_id] for entity_id in sorted(by_id))


def _token(last: str, document: Mapping[str, object]) -> str:
    """Where a page ended, and of which question: every replica reads it. It gives nothing that the question itself would not."""
    return base64.urlsafe_b64encode(_digest(document) + last.encode(errors="surrogatepass")).decode()


def _read(token: str, document: Mapping[str, object]) -> str:
    try:
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
        last = raw[_DIGEST:].decode(errors="surrogatepass")
    except ValueError:
        raise RequestMalformedError("`page.token` is none of ours") from None
    if raw[:_DIGEST] != _digest(document):
        raise RequestMalformedError("`page.token` belongs to another question: ask it as before, or from the first page")
    return last


def _digest(document: Mapping[str, object]) -> bytes:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).digest()[:_DIGEST]


def _is(entity: Entity, role: EntityRole, asked: Mapping[str, object]) -> bool:
    if entity.role is not role:
        return False
    return (
        entity.entity_id == asked.get("name")
        if role is EntityRole.ACTION
        else ((entity.type, entity.entity_id) == (asked.get("type"), asked.get("id")))
    )


def _told(entity: Entity) -> Mapping[str, object]:
    named: dict[str, object] = (
        {"name": entity.entity_id} if entity.role is EntityRole.ACTION else {"type": entity.type, "id": entity.entity_id}
    )
    return named | ({"properties": entity.properties} if entity.properties else {})


def _result(entity: Entity) -> Mapping[str, object]:
    told = _told(entity)
    return {name: value for name, value in told.items() if name != "properties"}

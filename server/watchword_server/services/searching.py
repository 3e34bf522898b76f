"""AuthZEN's searches: of the entities that the rules name, those for which the answer is yes. No decision is logged for each."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from watchword_server.core.decide import decide
from watchword_server.core.model import AccessRequest
from watchword_server.core.rules import Caller, Entity, EntityRole
from watchword_server.errors import RequestMalformedError
from watchword_server.ports import Clock
from watchword_server.services.resolving import Presented, Resolver
from watchword_server.services.rules_in_force import RulesInForce

MAX_PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Found:
    """A page of results. `next_token` None: it was not asked for pages; empty: there are no more."""

    results: Sequence[Mapping[str, object]]
    next_token: str | None
    total: int


@dataclass(frozen=True, slots=True)
class Searching:
    """Puts each candidate in its place and decides. `key`: what page tokens are bound with, of this process."""

    rules: RulesInForce
    resolver: Resolver
    clock: Clock
    key: bytes

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
        """The entities of a role that can stand in a question, which `ask` makes a request of.

        A question about somebody or something that the rules do not name has no answer. Raises `RequestMalformedError` for a page
        token that is none, or of another question; `StoreUnavailableError`.
        """
        snapshot, now = self.rules.current, self.clock.now()
        after = "" if token is None else self._read(token, document)
        candidates = list(self._candidates(role, document))
        matching: list[Entity] = []
        for entity in candidates:
            asked, presented = ask({**document, role.value: _told(entity)})
            device = await self.resolver.resolve(presented, caller=caller, snapshot=snapshot, now=now, source_ip=asked.source_ip)
            if decide(asked, device, snapshot, now=now).allowed:
                matching.append(entity)
        waiting = [entity for entity in matching if entity.entity_id > after]
        page = waiting[: min(limit or MAX_PAGE, MAX_PAGE)]
        more = len(waiting) > len(page)
        next_token = None
        if limit is not None or token is not None or more:
            next_token = self._token(page[-1].entity_id, document) if more else ""
        return Found([_result(entity) for entity in page], next_token, len(matching))

    def _candidates(self, role: EntityRole, document: Mapping[str, object]) -> Iterator[Entity]:
        """The entities of the wanted type, once each and in their order; none where the question names a stranger."""
        known = self.rules.current.rules.entities.values()
        for other in EntityRole:
            asked = document.get(other.value)
            if other is not role and isinstance(asked, Mapping) and not any(_is(entity, other, asked) for entity in known):
                return
        wanted = document.get(role.value)
        kind = wanted.get("type", "") if isinstance(wanted, Mapping) else ""
        by_id = {entity.entity_id: entity for entity in known if entity.role is role and entity.type == kind}
        yield from (by_id[entity_id] for entity_id in sorted(by_id))

    def _token(self, last: str, document: Mapping[str, object]) -> str:
        return base64.urlsafe_b64encode(self._mac(last, document) + last.encode(errors="surrogatepass")).decode()

    def _read(self, token: str, document: Mapping[str, object]) -> str:
        try:
            raw = base64.b64decode(token, altchars=b"-_", validate=True)
            last = raw[32:].decode(errors="surrogatepass")
        except ValueError:
            raise RequestMalformedError("`page.token` is none of ours") from None
        if not hmac.compare_digest(raw[:32], self._mac(last, document)):
            raise RequestMalformedError("`page.token` belongs to another question: ask it as before, or from the first page")
        return last

    def _mac(self, last: str, document: Mapping[str, object]) -> bytes:
        text = json.dumps([last, document], sort_keys=True)
        return hmac.new(self.key, text.encode(), hashlib.sha256).digest()


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

"""Gateway rules, and lists with their items."""

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from watchword_server.configuration.book import RuleBook
from watchword_server.configuration.consistency import PRECEDENCE
from watchword_server.configuration.document.base import Section, quoted
from watchword_server.configuration.document.lists import canonical
from watchword_server.core.times import rfc3339
from watchword_server.doors.cloudflare.envelope import Envelope, answer
from watchword_server.doors.cloudflare.resources import (
    Body,
    Entries,
    EntryId,
    PageNumber,
    PageSize,
    Wire,
    known_part,
    router,
    single_page,
    with_times,
)
from watchword_server.doors.operators.authentication import Authentication
from watchword_server.errors import ConfigurationError, Problem
from watchword_server.ports.rules import StoredObject
from watchword_server.services.rules import Rules

_RULE: Final = ("description", "enabled", "filters", "action", "precedence", "traffic", "identity", "device_posture")
_FIRST_PRECEDENCE: Final = 1000
_STEP: Final = 100
_MAX_PRECEDENCE: Final = 2**31 - 1

Direction = Literal["asc", "desc"]


class GatewayRuleRequest(Body):
    """A Gateway rule. Without `precedence` it comes last."""

    name: str
    action: str
    description: str | None = None
    enabled: bool | None = None
    filters: list[str] | None = None
    precedence: int | None = None
    traffic: str | None = None
    identity: str | None = None
    device_posture: str | None = None
    rule_settings: dict[str, Any] | None = None
    schedule: dict[str, Any] | None = None
    expiration: dict[str, Any] | None = None


class GatewayRules:
    """See `Kind`."""

    section = Section.GATEWAY_RULES

    def entry(self, wire: Wire, book: RuleBook, before: StoredObject | None) -> tuple[str, Wire]:
        """See `Kind`."""
        narrowing = ("schedule", "expiration") if wire.get("enabled") else ()
        body = known_part(wire, _RULE, narrowing=narrowing)
        session = (wire.get("rule_settings") or {}).get("check_session")
        if wire.get("enabled") and isinstance(session, dict):
            known_part(session, (), narrowing=("enforce",), path=("rule_settings", "check_session"))
        if "precedence" not in body:
            body["precedence"] = _last(book) if before is None else before.body["precedence"]
        return wire["name"], body

    def told(self, stored: StoredObject) -> Wire:
        """See `Kind`."""
        body = dict(stored.body)
        sent = body.pop("api", None)
        made = {
            "action": body.get("action"),
            "enabled": body.get("enabled", False),
            "filters": body.get("filters", []),
            "precedence": body.get("precedence"),
            "traffic": "",
            "version": stored.revision,
        }
        said = sent if isinstance(sent, dict) and sent else body
        kept = {key: value for key, value in said.items() if value is not None}
        return with_times(stored, {**made, **kept, "name": stored.name})


class ListItemRequest(BaseModel):
    """A value of a list."""

    model_config = ConfigDict(extra="allow", strict=True)

    value: str
    description: str | None = None


class ListRequest(Body):
    """A list of values. Types: SERIAL, URL, DOMAIN, EMAIL, IP."""

    name: str
    type: str
    description: str | None = None
    items: list[ListItemRequest] | None = None


class ListReplacement(Body):
    """All of a list but its type. Without `items` they stay as they are."""

    name: str
    description: str | None = None
    items: list[ListItemRequest] | None = None


class ListChange(Body):
    """Values to add and to remove."""

    append: list[ListItemRequest] = Field(default_factory=list)
    remove: list[str] = Field(default_factory=list)


class Lists:
    """See `Kind`. What was sent is kept without the items, which are there anyway."""

    section = Section.LISTS

    def entry(self, wire: Wire, book: RuleBook, before: StoredObject | None) -> tuple[str, Wire]:
        """See `Kind`."""
        body = known_part(wire, ("description",))
        if before is not None:
            body["type"] = before.body["type"]
            body["items"] = before.body.get("items", [])
        else:
            body["type"] = wire.get("type")
        if wire.get("items"):
            body["items"] = [known_part(item, ("value", "description")) for item in wire["items"]]
        most = book.rules.language.max_list_items
        if len(body.get("items", [])) > most:
            message = f"the list has more than {most} items: shorten it, or raise the setting `rules.max_list_items`"
            raise ConfigurationError([Problem(("", "", "items"), message)])
        return wire["name"], body

    def told(self, stored: StoredObject) -> Wire:
        """See `Kind`."""
        sent = stored.body.get("api")
        kept = {key: value for key, value in (sent if isinstance(sent, dict) else {}).items() if key not in _CHANGES}
        if not kept and "description" in stored.body:
            kept["description"] = stored.body["description"]
        items = stored.body.get("items", [])
        count = len(items) if isinstance(items, list) else 0
        return with_times(stored, {**kept, "name": stored.name, "type": stored.body["type"], "count": count})

    def items(self, stored: StoredObject) -> list[Wire]:
        """Its values."""
        items = stored.body.get("items", [])
        at = rfc3339(stored.updated_at)
        return [{**item, "created_at": at} for item in items] if isinstance(items, list) else []


_CHANGES: Final = frozenset({"items", "append", "remove"})


def routes(rules: Rules, authentication: Authentication) -> APIRouter:
    """`/accounts/{account_id}/gateway/rules` and `/gateway/lists`."""
    made = router("/gateway")
    read, write = [Depends(authentication.require("read"))], [Depends(authentication.require("write"))]
    _rule_routes(made, Entries(rules, GatewayRules()), read, write)
    _list_routes(made, rules, read, write)
    return made


def _rule_routes(made: APIRouter, entries: Entries, read: list[Any], write: list[Any]) -> None:
    @made.get("/rules", dependencies=read, response_model=Envelope[list[dict[str, Any]]])
    async def list_gateway_rules(
        search: str | None = None,
        filter: Annotated[list[str] | None, Query()] = None,  # noqa: A002 -- the API's name
        order_by: Literal["name", "created_at", "updated_at", "precedence"] = "precedence",
        direction: Direction = "asc",
    ) -> JSONResponse:
        """All Gateway rules that are asked for, in one page, by precedence unless told otherwise."""
        found = _ordered(entries.all(), order_by, direction)
        if search:
            found = [each for each in found if _holds(each, search)]
        for condition in filter or ():
            key, _, value = condition.partition(":")
            found = [each for each in found if _is(each, key, value)]
        return single_page(entries.kind, found)

    @made.post("/rules", dependencies=write, response_model=Envelope[dict[str, Any]])
    async def create_gateway_rule(body: GatewayRuleRequest, request: Request) -> JSONResponse:
        """A new Gateway rule; in force when answered."""
        return await entries.create(body.wire(), request)

    @made.get("/rules/tenant", dependencies=read, response_model=Envelope[list[dict[str, Any]]])
    async def list_tenant_rules() -> JSONResponse:
        """Rules of the parent account: there is none."""
        return answer([])

    @made.get("/rules/{rule_id}", dependencies=read, response_model=Envelope[dict[str, Any]])
    async def get_gateway_rule(rule_id: EntryId) -> JSONResponse:
        """One Gateway rule."""
        return await entries.get(rule_id)

    @made.put("/rules/{rule_id}", dependencies=write, response_model=Envelope[dict[str, Any]])
    async def replace_gateway_rule(rule_id: EntryId, body: GatewayRuleRequest) -> JSONResponse:
        """Replaces all of a Gateway rule but its precedence, if none is given."""
        return await entries.replace(rule_id, body.wire())

    @made.delete("/rules/{rule_id}", dependencies=write, response_model=Envelope[dict[str, Any]])
    async def delete_gateway_rule(rule_id: EntryId) -> JSONResponse:
        """Removes a Gateway rule."""
        return await entries.delete(rule_id)


def _list_routes(made: APIRouter, rules: Rules, read: list[Any], write: list[Any]) -> None:
    kind = Lists()
    entries = Entries(rules, kind)

    @made.get("/lists", dependencies=read, response_model=Envelope[list[dict[str, Any]]])
    async def list_lists(
        type: str | None = None,  # noqa: A002 -- the API's name
        search: str | None = None,
        filter: Annotated[list[str] | None, Query()] = None,  # noqa: A002
        order_by: Literal["name", "created_at", "updated_at", "item_count"] = "created_at",
        direction: Direction = "asc",
    ) -> JSONResponse:
        """All lists that are asked for, in one page, the oldest first."""
        found = _ordered(entries.all(), order_by, direction)
        found = [each for each in found if type is None or each.body["type"] == type]
        if search:
            found = [each for each in found if _holds(each, search)]
        for condition in filter or ():
            key, _, value = condition.partition(":")
            found = [each for each in found if _is(each, key, value)]
        return single_page(kind, found)

    @made.post("/lists", dependencies=write, response_model=Envelope[dict[str, Any]])
    async def create_list(body: ListRequest, request: Request) -> JSONResponse:
        """A new list; the answer has its items."""
        return await entries.create(body.wire(), request)

    @made.get("/lists/{list_id}", dependencies=read, response_model=Envelope[dict[str, Any]])
    async def get_list(list_id: EntryId) -> JSONResponse:
        """One list, without its items."""
        return await entries.get(list_id)

    @made.put("/lists/{list_id}", dependencies=write, response_model=Envelope[dict[str, Any]])
    async def replace_list(list_id: EntryId, body: ListReplacement) -> JSONResponse:
        """Replaces a list's name and description, and its items if there are any."""
        return await entries.replace(list_id, body.wire())

    @made.patch("/lists/{list_id}", dependencies=write, response_model=Envelope[dict[str, Any]])
    async def change_list(list_id: EntryId, body: ListChange) -> JSONResponse:
        """Adds and removes items."""
        found = entries.found(list_id)
        stored = await rules.write(Section.LISTS, lambda book: _changed(book, found.id, body), entry_id=found.id)
        return answer(kind.told(stored))

    @made.delete("/lists/{list_id}", dependencies=write, response_model=Envelope[dict[str, Any]])
    async def delete_list(list_id: EntryId) -> JSONResponse:
        """Removes a list that nothing names."""
        return await entries.delete(list_id)

    @made.get("/lists/{list_id}/items", dependencies=read, response_model=Envelope[list[dict[str, Any]]])
    async def list_items(list_id: EntryId, page: PageNumber = 1, per_page: PageSize = 100) -> JSONResponse:
        """The items of a list, page by page."""
        items = kind.items(entries.found(list_id))
        here = items[(page - 1) * per_page : page * per_page]
        info = {"page": page, "per_page": per_page, "count": len(here), "total_count": len(items)}
        return answer(here, result_info=info)


def _changed(book: RuleBook, list_id: str, change: ListChange) -> tuple[str, Wire]:
    """The list as it is now with what is added and without what is removed."""
    page = book.page(Section.LISTS, list_id)
    if page is None:
        return "", {}  # gone meanwhile: the plan says so
    body = dict(page.stored.body)
    kind = str(body["type"])
    removed = {_same(kind, value) for value in change.remove}
    items = body.get("items", [])
    kept = [item for item in items if _same(kind, item["value"]) not in removed] if isinstance(items, list) else []
    added = [known_part(item.model_dump(), ("value", "description")) for item in change.append]
    return page.stored.name, {**body, "items": [*kept, *added]}


def _same(kind: str, value: str) -> str:
    try:
        return canonical(kind, value)
    except ValueError:
        return value


# ---- Choosing and ordering ----------------------------------------------------------------------------------------------


def _last(book: RuleBook) -> int:
    """A precedence behind all others."""
    taken = [int(value) for kind, value in book.claims if kind == PRECEDENCE]
    if not taken:
        return _FIRST_PRECEDENCE
    if max(taken) + _STEP > _MAX_PRECEDENCE:
        raise ConfigurationError(
            [Problem(("", "", "precedence"), "`precedence` is missing, and the last number is taken: give one")]
        )
    return max(taken) + _STEP


def _ordered(found: Iterable[StoredObject], order_by: str, direction: str) -> list[StoredObject]:
    keys: dict[str, Callable[[StoredObject], Any]] = {
        "name": lambda each: each.name,
        "created_at": lambda each: each.created_at,
        "updated_at": lambda each: each.updated_at,
        "precedence": lambda each: each.body["precedence"],
        "item_count": lambda each: len(each.body.get("items", [])),  # type: ignore[arg-type]
    }
    return sorted(found, key=keys[order_by], reverse=direction == "desc")


def _holds(stored: StoredObject, search: str) -> bool:
    wanted = search.casefold()
    return wanted in stored.name.casefold() or wanted in str(stored.body.get("description", "")).casefold()


def _is(stored: StoredObject, key: str, value: str) -> bool:
    match key:
        case "name":
            return stored.name == value
        case "id":
            return stored.id == value
        case "action" | "type":
            return stored.body.get(key) == value
        case "enabled":
            return str(bool(stored.body.get("enabled"))).lower() == value.lower()
        case "filters":
            return value in stored.body.get("filters", ())  # type: ignore[operator]
        case "expression":
            return any(value in str(stored.body.get(part, "")) for part in ("traffic", "identity", "device_posture"))
        case "item_count":
            items = stored.body.get("items", [])
            return str(len(items) if isinstance(items, list) else 0) == value
        case "source_account" | "is_shared":
            return value.lower() in ("", "false")
        case _:
            raise ConfigurationError([Problem((), f"{quoted(key)} is no field to filter by")])

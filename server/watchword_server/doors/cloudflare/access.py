"""Access: applications with their own policies, reusable policies, groups."""

import hashlib
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from watchword_server.configuration.book import RuleBook
from watchword_server.configuration.document.base import Section, quoted
from watchword_server.doors.cloudflare.envelope import Envelope, answer
from watchword_server.doors.cloudflare.resources import (
    Body,
    Entries,
    EntryId,
    Kind,
    PageNumber,
    PageSize,
    Wire,
    dashed,
    known_part,
    numbered_page,
    router,
    with_times,
)
from watchword_server.doors.operators.authentication import Authentication
from watchword_server.errors import ConflictError, NotFoundError
from watchword_server.ports.rules import StoredObject
from watchword_server.services.rules import Rules

# What decides; what would narrow access and is not enforced. All else is kept and echoed.
_APPLICATION: Final = ("type", "description", "domain", "destinations", "self_hosted_domains")
_APPLICATION_NARROWING: Final = ("allowed_idps", "mfa_config", "read_service_tokens_from_header")
_POLICY: Final = ("decision", "description", "include", "require", "exclude")
_POLICY_NARROWING: Final = (
    *("approval_required", "approval_groups", "purpose_justification_required", "isolation_required"),
    *("mfa_config", "connection_rules"),
)
_GROUP: Final = ("description", "include", "require", "exclude")
_BEHIND: Final = 2**31  # those without a precedence are asked after the others
_SCOPED: Final = "scoped"  # of a policy in `api`: made by a call of its own, and not replaced with the application

Selectors = list[dict[str, Any]]


class PolicyRequest(Body):
    """An Access policy. `precedence` only where it belongs to one application."""

    name: str
    decision: str
    include: Selectors
    require: Selectors | None = None
    exclude: Selectors | None = None
    precedence: int | None = None
    session_duration: str | None = None


class GroupRequest(Body):
    """A group of selectors, which counts as one."""

    name: str
    include: Selectors
    require: Selectors | None = None
    exclude: Selectors | None = None
    is_default: bool | None = None


class ApplicationRequest(Body):
    """A self-hosted application. Items of `policies`: an id, `{id, precedence}`, or a policy of its own."""

    name: str | None = None
    type: str
    domain: str | None = None
    destinations: list[dict[str, Any]] | None = None
    self_hosted_domains: list[str] | None = None
    policies: list[str | dict[str, Any]] | None = None
    session_duration: str | None = None


# ---- How they look outside ----------------------------------------------------------------------------------------------


class Groups:
    """See `Kind`."""

    section = Section.GROUPS

    def entry(self, wire: Wire, book: RuleBook, before: StoredObject | None) -> tuple[str, Wire]:  # noqa: ARG002
        """See `Kind`."""
        return wire["name"], known_part(wire, _GROUP)

    def told(self, stored: StoredObject) -> Wire:
        """See `Kind`."""
        return with_times(stored, {**_sent(stored), "name": stored.name})


class Policies:
    """See `Kind`."""

    section = Section.POLICIES

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def entry(self, wire: Wire, book: RuleBook, before: StoredObject | None) -> tuple[str, Wire]:  # noqa: ARG002
        """See `Kind`."""
        return wire["name"], known_part(wire, _POLICY, narrowing=_POLICY_NARROWING)

    def told(self, stored: StoredObject) -> Wire:
        """See `Kind`. Counting the applications takes a look at all of them: only where one policy is told."""
        return with_times(stored, {**_sent(stored), "name": stored.name, "reusable": True})

    def told_alone(self, stored: StoredObject) -> Wire:
        """With how many applications have it."""
        return self.told(stored) | {"app_count": len(self._rules.naming(Section.POLICIES, stored.id))}


class Applications:
    """See `Kind`."""

    section = Section.APPLICATIONS

    def __init__(self, rules: Rules, policies: Policies) -> None:
        self._rules = rules
        self._policies = policies

    def entry(self, wire: Wire, book: RuleBook, before: StoredObject | None) -> tuple[str, Wire]:  # noqa: ARG002
        """See `Kind`."""
        body = known_part(wire, _APPLICATION, narrowing=_APPLICATION_NARROWING)
        scoped = [each for each in _policies_of(before) if isinstance(each, dict) and each.get(_SCOPED)]
        given = [_with_id(each) for each in wire.get("policies") or ()]
        found = [*given, *scoped]
        if found:
            body["policies"] = [_entry_of(each, index) for index, each in enumerate(found)]
        kept = {**wire, "policies": found} if found or "policies" in wire else wire
        return wire.get("name") or str(wire.get("domain") or "application"), {**body, "api": kept}

    def told(self, stored: StoredObject) -> Wire:
        """See `Kind`."""
        return with_times(
            stored,
            {
                **_sent(stored),
                "name": stored.name,
                "aud": hashlib.sha256(stored.id.encode()).hexdigest(),
                "policies": self.policies(stored),
            },
        )

    def policies(self, stored: StoredObject) -> list[Wire]:
        """Its policies in the order in which they are asked, each whole."""
        found = []
        for place, each in enumerate(_policies_of(stored)):
            if isinstance(each, dict) and "decision" in each:
                own = {key: value for key, value in each.items() if key != _SCOPED}
                whole = with_times(stored, {**own, "reusable": False}) | {"id": own.get("id", f"{stored.id}:{place}")}
            else:
                linked = each if isinstance(each, str) else str(each["id"])
                policy = self._rules.entry(Section.POLICIES, dashed(linked)) or self._named(linked)
                if policy is None:
                    continue
                whole = self._policies.told(policy)
            precedence = None if isinstance(each, str) else each.get("precedence")
            found.append((_BEHIND + place if precedence is None else precedence, whole))
        found.sort(key=lambda pair: pair[0])
        if all(precedence < _BEHIND for precedence, _ in found):
            return [whole | {"precedence": precedence} for precedence, whole in found]
        return [whole | {"precedence": place} for place, (_, whole) in enumerate(found, 1)]

    def _named(self, name: str) -> StoredObject | None:
        return next((each for each in self._rules.entries(Section.POLICIES) if each.name == name), None)


def _sent(stored: StoredObject) -> Wire:
    sent = stored.body.get("api")
    if isinstance(sent, dict) and sent:
        return sent
    return {key: value for key, value in stored.body.items() if key != "api"}


def _policies_of(stored: StoredObject | None) -> list[str | Wire]:
    found = [] if stored is None else _sent(stored).get("policies") or []
    return list(found)


def _with_id(policy: str | Wire) -> str | Wire:
    """A policy of the application's own gets an id."""
    if isinstance(policy, dict) and "decision" in policy:
        return {"id": str(uuid.uuid4()), **policy}
    return policy


def _entry_of(policy: str | Wire, index: int) -> str | Wire:
    """As it stands in an application's entry."""
    if isinstance(policy, str):
        return policy
    if "decision" not in policy:
        return known_part(policy, ("id", "precedence"))
    path = ("policies", index)
    return known_part(policy, ("name", "precedence", *_POLICY), narrowing=_POLICY_NARROWING, path=path)


# ---- Calls --------------------------------------------------------------------------------------------------------------


def routes(rules: Rules, authentication: Authentication) -> APIRouter:
    """`/accounts/{account_id}/access/apps`, `/access/policies` and `/access/groups`."""
    made = router("/access")
    read, write = [Depends(authentication.require("read"))], [Depends(authentication.require("write"))]
    policies = Policies(rules)
    applications = Applications(rules, policies)
    _application_routes(made, Entries(rules, applications), applications, read, write)
    _scoped_policy_routes(made, rules, Entries(rules, applications), applications, read, write)
    _entry_routes(made, "/policies", Entries(rules, policies), PolicyRequest, read, write, alone=policies.told_alone)
    _entry_routes(made, "/groups", Entries(rules, Groups()), GroupRequest, read, write)
    return made


def _application_routes(made: APIRouter, entries: Entries, kind: Applications, read: list[Any], write: list[Any]) -> None:
    @made.get("/apps", dependencies=read, response_model=Envelope[list[dict[str, Any]]])
    async def list_applications(
        name: str | None = None,
        domain: str | None = None,
        aud: str | None = None,
        search: str | None = None,
        exact: bool = False,  # noqa: FBT001, FBT002 -- a query parameter
        page: PageNumber = 1,
        per_page: PageSize = 100,
    ) -> JSONResponse:
        """Applications, page by page. `name` and `domain` are looked for within, unless `exact`."""
        found = [
            each
            for each in entries.all()
            if _fits(each.name, name, exact=exact)
            and _fits(str(each.body.get("domain", "")), domain, exact=exact)
            and (aud is None or hashlib.sha256(each.id.encode()).hexdigest() == aud)
            and (_fits(each.name, search, exact=False) or _fits(str(each.body.get("domain", "")), search, exact=False))
        ]
        return numbered_page(kind, found, page=page, per_page=per_page)

    @made.post("/apps", dependencies=write, response_model=Envelope[dict[str, Any]])
    async def create_application(body: ApplicationRequest, request: Request) -> JSONResponse:
        """A new application; in force when answered. Without a policy nobody gets in."""
        return await entries.create(body.wire(), request)

    @made.get("/apps/{app_id}", dependencies=read, response_model=Envelope[dict[str, Any]])
    async def get_application(app_id: EntryId) -> JSONResponse:
        """One application, with its policies whole."""
        return await entries.get(app_id)

    @made.put("/apps/{app_id}", dependencies=write, response_model=Envelope[dict[str, Any]])
    async def replace_application(app_id: EntryId, body: ApplicationRequest) -> JSONResponse:
        """Replaces all of an application but the policies that were made by calls of their own."""
        return await entries.replace(app_id, body.wire())

    @made.delete("/apps/{app_id}", dependencies=write, response_model=Envelope[dict[str, Any]])
    async def delete_application(app_id: EntryId) -> JSONResponse:
        """Removes an application and its own policies."""
        return await entries.delete(app_id)


def _scoped_policy_routes(
    made: APIRouter, rules: Rules, entries: Entries, kind: Applications, read: list[Any], write: list[Any]
) -> None:
    path = "/apps/{app_id}/policies"

    async def rewritten(app_id: str, change: Callable[[list[str | Wire]], list[str | Wire]]) -> StoredObject:
        """The application with other policies."""
        found = entries.found(app_id)

        def entry(book: RuleBook) -> tuple[str, Wire]:
            page = book.page(Section.APPLICATIONS, found.id)
            before = found if page is None else page.stored
            wire = {**_sent(before), "name": before.name, "policies": change(_policies_of(before))}
            body = {key: value for key, value in before.body.items() if key not in ("api", "policies")}
            body["policies"] = [_entry_of(each, index) for index, each in enumerate(wire["policies"])]
            return before.name, {**body, "api": wire}

        return await rules.write(Section.APPLICATIONS, entry, entry_id=found.id)

    def own(stored: StoredObject, policy_id: str) -> Wire:
        for each in _policies_of(stored):
            if isinstance(each, dict) and each.get("id") == dashed(policy_id):
                if "decision" in each:
                    return each
                break
        if rules.entry(Section.POLICIES, dashed(policy_id)) is not None:
            raise ConflictError(f"{quoted(policy_id)} is a reusable policy: change it at `/access/policies`")
        raise NotFoundError(f"{quoted(policy_id)} is no policy of this application: list them for their ids")

    def told(stored: StoredObject, policy_id: str) -> Wire:
        found = next((each for each in kind.policies(stored) if each["id"] == dashed(policy_id)), None)
        if found is None:
            raise NotFoundError(f"{quoted(policy_id)} is no policy of this application: list them for their ids")
        return found

    @made.get(path, dependencies=read, response_model=Envelope[list[dict[str, Any]]])
    async def list_application_policies(app_id: EntryId, page: PageNumber = 1, per_page: PageSize = 100) -> JSONResponse:
        """An application's own policies and the reusable ones that it links."""
        found = kind.policies(entries.found(app_id))
        here = found[(page - 1) * per_page : page * per_page]
        return answer(here, result_info={"page": page, "per_page": per_page, "count": len(here), "total_count": len(found)})

    @made.post(path, dependencies=write, response_model=Envelope[dict[str, Any]])
    async def create_application_policy(app_id: EntryId, body: PolicyRequest) -> JSONResponse:
        """A new policy of one application."""
        new = {"id": str(uuid.uuid4()), **body.wire(), _SCOPED: True}
        return answer(told(await rewritten(app_id, lambda policies: [*policies, new]), str(new["id"])))

    @made.get(path + "/{policy_id}", dependencies=read, response_model=Envelope[dict[str, Any]])
    async def get_application_policy(app_id: EntryId, policy_id: EntryId) -> JSONResponse:
        """One policy of an application."""
        return answer(told(entries.found(app_id), policy_id))

    @made.put(path + "/{policy_id}", dependencies=write, response_model=Envelope[dict[str, Any]])
    async def replace_application_policy(app_id: EntryId, policy_id: EntryId, body: PolicyRequest) -> JSONResponse:
        """Replaces all of an application's own policy."""
        before = own(entries.found(app_id), policy_id)
        new = {"id": before["id"], **body.wire(), _SCOPED: before.get(_SCOPED, False)}
        if "precedence" in before and "precedence" not in new:
            new["precedence"] = before["precedence"]
        return answer(told(await rewritten(app_id, lambda policies: _replaced(policies, before["id"], new)), before["id"]))

    @made.delete(path + "/{policy_id}", dependencies=write, response_model=Envelope[dict[str, Any]])
    async def delete_application_policy(app_id: EntryId, policy_id: EntryId) -> JSONResponse:
        """Removes an application's own policy."""
        before = own(entries.found(app_id), policy_id)
        await rewritten(app_id, lambda policies: _replaced(policies, before["id"], None))
        return answer({"id": before["id"]})


def _replaced(policies: list[str | Wire], policy_id: str, new: Wire | None) -> list[str | Wire]:
    found: list[str | Wire] = []
    for each in policies:
        if not (isinstance(each, dict) and each.get("id") == policy_id):
            found.append(each)
        elif new is not None:
            found.append(new)
    return found


def _entry_routes(
    made: APIRouter,
    path: str,
    entries: Entries,
    request_model: type[Body],
    read: list[Any],
    write: list[Any],
    *,
    alone: Callable[[StoredObject], Mapping[str, Any]] | None = None,
) -> None:
    """The five calls on entries that are known by an id alone."""
    kind: Kind = entries.kind
    tell = alone or kind.told
    what = path.strip("/")

    async def list_entries(
        name: str | None = None, search: str | None = None, page: PageNumber = 1, per_page: PageSize = 100
    ) -> JSONResponse:
        found = [each for each in entries.all() if _fits(each.name, name, exact=True) and _fits(each.name, search, exact=False)]
        return numbered_page(kind, found, page=page, per_page=per_page)

    async def create(body: Body, request: Request) -> JSONResponse:
        return await entries.create(body.wire(), request)

    async def get(entry_id: EntryId) -> JSONResponse:
        return answer(tell(entries.found(entry_id)))

    async def replace(entry_id: EntryId, body: Body) -> JSONResponse:
        return await entries.replace(entry_id, body.wire())

    async def delete(entry_id: EntryId) -> JSONResponse:
        return await entries.delete(entry_id)

    for handler in (create, replace):
        handler.__annotations__["body"] = request_model
    calls: tuple[tuple[str, Callable[..., Any], str, list[Any]], ...] = (
        ("list", list_entries, "GET", read),
        ("create", create, "POST", write),
        ("get", get, "GET", read),
        ("replace", replace, "PUT", write),
        ("delete", delete, "DELETE", write),
    )
    for name, handler, method, who in calls:
        whole = handler in (list_entries, create)
        model = Envelope[list[dict[str, Any]]] if handler is list_entries else Envelope[dict[str, Any]]
        made.add_api_route(
            path if whole else path + "/{entry_id}",
            handler,
            methods=[method],
            dependencies=who,
            response_model=model,
            name=f"{name} {what}",
        )


def _fits(text: str, wanted: str | None, *, exact: bool) -> bool:
    if wanted is None:
        return True
    return text == wanted if exact else wanted.casefold() in text.casefold()

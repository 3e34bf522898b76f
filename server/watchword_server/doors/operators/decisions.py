"""Looking back at decisions, and explaining them."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from watchword_server.core.model.decisions import AccessRequest
from watchword_server.core.model.names import DeviceId
from watchword_server.doors.operators.authentication import Authentication
from watchword_server.doors.operators.queries import Limit, Text, Time, instant_of
from watchword_server.doors.requests import split_authority, split_url
from watchword_server.errors import NotFoundError, RequestMalformedError
from watchword_server.ports.decisions import DecisionPage, DecisionQuery
from watchword_server.services.decisions import Decisions
from watchword_server.services.explaining import Explaining, address_of, facts_of, identity_of
from watchword_server.services.recording import exact_text
from watchword_server.services.user_identities import EMAIL

_PORTS: Final = {"http": 80, "https": 443}
DecisionIdText = Annotated[str, Field(pattern="^dcn_[0-9a-f]{24}$")]


class ExplainRequest(BaseModel):
    """A request that somebody thinks of. `device` is a device's id; `facts` are by name, as a caller reports them."""

    model_config = ConfigDict(extra="forbid")

    method: Annotated[str, Field(pattern="^[A-Z][A-Z-]{0,31}$")] = "GET"
    url: str
    email: Annotated[str, Field(min_length=3, max_length=320)] | None = None
    source_ip: str | None = None
    device: str | None = None
    facts: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DecisionRoutes:
    """`/api/v1/decisions`. `find_one` and `find` look into the decision log."""

    decisions: Decisions
    explaining: Explaining
    find_one: Callable[[str], Awaitable[Mapping[str, object] | None]]
    find: Callable[[DecisionQuery], Awaitable[DecisionPage]]

    def router(self, authentication: Authentication) -> APIRouter:
        """The routes."""
        read = Depends(authentication.require("read"))
        router = APIRouter(prefix="/api/v1/decisions")
        router.add_api_route("", self.list, methods=["GET"], dependencies=[read])
        router.add_api_route("/explain", self.explain, methods=["POST"], dependencies=[read])
        router.add_api_route("/{decision_id}", self.decision, methods=["GET"], dependencies=[read])
        router.add_api_route("/{decision_id}/explanation", self.explanation, methods=["GET"], dependencies=[read])
        return router

    async def list(
        self,
        limit: Limit = 100,
        before: Annotated[DecisionIdText | None, Query()] = None,
        decision: Annotated[Literal["allow", "deny"] | None, Query()] = None,
        reason: Text = None,
        caller: Text = None,
        device: Text = None,
        user: Text = None,
        host: Text = None,
        rule: Text = None,
        since: Time = None,
        until: Time = None,
    ) -> dict[str, object]:
        """Records of the decision log that is kept, the newest first. `next` is the `before` to ask with for more."""
        from_when, to_when = instant_of(since), instant_of(until)
        page = await self.find(
            DecisionQuery(
                limit=limit,
                before=before,
                decision=decision,
                reason=reason,
                caller=caller,
                device_id=device,
                user_email=None if user is None else user.casefold(),
                host=None if host is None else host.lower(),
                rule=rule,
                since_text=None if from_when is None else exact_text(from_when),
                until_text=None if to_when is None else exact_text(to_when),
            )
        )
        return {"decisions": [dict(record) for record in page.records], "next": page.next}

    async def decision(self, decision_id: DecisionIdText) -> dict[str, object]:
        """The record of a decision."""
        record = self.decisions.record(decision_id) or await self.find_one(decision_id)
        if record is None:
            raise NotFoundError(f"no decision `{decision_id}` in memory or in the decision log that is kept")
        return dict(record)

    async def explanation(self, decision_id: DecisionIdText) -> dict[str, object]:
        """How a decision came about."""
        return await self.explaining.decision(decision_id)

    async def explain(self, body: ExplainRequest) -> dict[str, object]:
        """How a request would be decided now. Decides nothing, logs nothing."""
        scheme, authority, target = split_url(body.url)
        host, port = split_authority(authority)
        path, _, query = target.partition("?")
        if body.email is not None and not EMAIL.fullmatch(body.email):
            raise RequestMalformedError(f"`{body.email}` is not an email address: write one like `ada@corp.example`")
        request = AccessRequest(
            method=body.method,
            scheme=scheme,
            host=host,
            port=None if port == _PORTS.get(scheme) else port,
            path=path,
            query=query,
            source_ip=address_of(body.source_ip),
            identity=identity_of(body.email),
            caller="operator",
            facts=facts_of(body.facts),
        )
        return await self.explaining.request(request, None if body.device is None else DeviceId(body.device))

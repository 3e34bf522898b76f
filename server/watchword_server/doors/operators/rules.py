"""Changing and counting the rules, looking back at decisions, and explaining them."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from watchword_server.configuration.plan import Action, PlannedEntry
from watchword_server.core.model import AccessRequest, DeviceId
from watchword_server.core.statistics import statistics_of
from watchword_server.doors.operators.authentication import Authentication
from watchword_server.doors.requests import EMAIL, split_authority, split_url
from watchword_server.errors import NotFoundError, RequestMalformedError
from watchword_server.services.decisions import Decisions
from watchword_server.services.explaining import Explaining, address_of, facts_of, identity_of
from watchword_server.services.rules import Rules

_PORTS: Final = {"http": 80, "https": 443}


class ApplyRequest(BaseModel):
    """A rule document, without file references. `prune` removes entries it does not name; `dry_run` changes nothing.

    `expected_revision` is that of the plan somebody agreed to: with another in force, nothing is changed.
    """

    model_config = ConfigDict(extra="forbid")

    document: dict[str, Any]
    prune: bool = False
    dry_run: bool = False
    expected_revision: Annotated[int, Field(ge=0)] | None = None


class ExplainRequest(BaseModel):
    """A request that somebody thinks of. `device` is a device's id; `facts` are by name, as a caller reports them."""

    model_config = ConfigDict(extra="forbid")

    method: Annotated[str, Field(pattern="^[A-Z][A-Z-]{0,31}$")] = "GET"
    url: str
    email: Annotated[str, Field(min_length=3, max_length=320)] | None = None
    source_ip: str | None = None
    device: str | None = None
    facts: dict[str, Any] = Field(default_factory=dict)


DecisionIdText = Annotated[str, Field(pattern="^dcn_[0-9a-f]{24}$")]


@dataclass(frozen=True, slots=True)
class RuleRoutes:
    """`/api/v1/rules` and `/api/v1/decisions`."""

    rules: Rules
    decisions: Decisions
    find_decision: Callable[[str], Awaitable[Mapping[str, object] | None]]
    explaining: Explaining

    def router(self, authentication: Authentication) -> APIRouter:
        """The routes."""
        read, write = Depends(authentication.require("read")), Depends(authentication.require("write"))
        router = APIRouter(prefix="/api/v1")
        router.add_api_route("/rules/apply", self.apply, methods=["POST"], dependencies=[write])
        router.add_api_route("/rules/export", self.export, methods=["GET"], dependencies=[read])
        router.add_api_route("/rules/stats", self.stats, methods=["GET"], dependencies=[read])
        router.add_api_route("/decisions/explain", self.explain, methods=["POST"], dependencies=[read])
        router.add_api_route("/decisions/{decision_id}", self.decision, methods=["GET"], dependencies=[read])
        router.add_api_route("/decisions/{decision_id}/explanation", self.explanation, methods=["GET"], dependencies=[read])
        return router

    async def apply(self, body: ApplyRequest) -> dict[str, object]:
        """Makes what a document says true, all of it or nothing."""
        applied = await self.rules.apply(
            body.document, prune=body.prune, dry_run=body.dry_run, expected_revision=body.expected_revision
        )
        plan = applied.plan
        return {
            "revision": applied.revision,
            "changes": list(plan.summary),
            "changed": applied.changed,
            "plan": [_planned(entry) for entry in plan.entries if entry.action is not Action.UNCHANGED],
            "only_stored": [_planned(entry) for entry in plan.only_stored],
        }

    async def export(self) -> dict[str, object]:
        """What is stored, as a document; it holds no secret."""
        document, revision = await self.rules.document()
        return {"document": document, "revision": revision}

    async def stats(self) -> dict[str, object]:
        """What the rules in force come to."""
        return asdict(statistics_of(self.rules.in_force.current, disabled=self.rules.disabled))

    async def decision(self, decision_id: DecisionIdText) -> dict[str, object]:
        """The record of a decision."""
        record = self.decisions.record(decision_id) or await self.find_decision(decision_id)
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


def _planned(entry: PlannedEntry) -> dict[str, object]:
    return {
        "action": entry.action.value,
        "section": entry.section.value,
        "name": entry.name,
        "id": entry.id,
        "by_api": entry.by_api,
        "differences": [asdict(difference) for difference in entry.differences],
    }

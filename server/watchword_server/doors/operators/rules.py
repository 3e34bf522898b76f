"""Changing the rules, and looking back at decisions."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from watchword_server.doors.operators.authentication import Authentication
from watchword_server.errors import NotFoundError
from watchword_server.services.decisions import Decisions
from watchword_server.services.rules import Rules


class ApplyRequest(BaseModel):
    """A rule document, without file references. `prune` removes entries it does not name; `dry_run` changes nothing."""

    model_config = ConfigDict(extra="forbid")

    document: dict[str, Any]
    prune: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class RuleRoutes:
    """`/api/v1/rules` and `/api/v1/decisions`."""

    rules: Rules
    decisions: Decisions
    find_decision: Callable[[str], Awaitable[Mapping[str, object] | None]]

    def router(self, authentication: Authentication) -> APIRouter:
        """The routes."""
        read, write = Depends(authentication.require("read")), Depends(authentication.require("write"))
        router = APIRouter(prefix="/api/v1")
        router.add_api_route("/rules/apply", self.apply, methods=["POST"], dependencies=[write])
        router.add_api_route("/decisions/{decision_id}", self.decision, methods=["GET"], dependencies=[read])
        return router

    async def apply(self, body: ApplyRequest) -> dict[str, object]:
        """Makes what a document says true, all of it or nothing."""
        applied = await self.rules.apply(body.document, prune=body.prune, dry_run=body.dry_run)
        return {"revision": applied.revision, "changes": list(applied.summary), "changed": applied.changed}

    async def decision(self, decision_id: Annotated[str, Field(pattern="^dcn_[0-9a-f]{24}$")]) -> dict[str, object]:
        """The record of a decision."""
        record = self.decisions.recent(decision_id) or await self.find_decision(decision_id)
        if record is None:
            raise NotFoundError(f"no decision `{decision_id}` in memory or in the decision log that is kept")
        return dict(record)

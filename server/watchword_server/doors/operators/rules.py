"""Changing and counting the rules."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from watchword_server.configuration.plan import Action, PlannedEntry
from watchword_server.core.model.checks import Check
from watchword_server.core.statistics import statistics_of
from watchword_server.doors.operators.authentication import Authentication
from watchword_server.services.rules import Rules


class ApplyRequest(BaseModel):
    """A rule document, without file references. `prune` removes entries it does not name; `dry_run` changes nothing.

    `expected_revision` is that of the plan somebody agreed to: with another in force, nothing is changed.
    """

    model_config = ConfigDict(extra="forbid")

    document: dict[str, Any]
    prune: bool = False
    dry_run: bool = False
    expected_revision: Annotated[int, Field(ge=0)] | None = None


@dataclass(frozen=True, slots=True)
class RuleRoutes:
    """`/api/v1/rules`."""

    rules: Rules

    def router(self, authentication: Authentication) -> APIRouter:
        """The routes."""
        read, write = Depends(authentication.require("read")), Depends(authentication.require("write"))
        router = APIRouter(prefix="/api/v1")
        router.add_api_route("/rules/apply", self.apply, methods=["POST"], dependencies=[write])
        router.add_api_route("/rules/export", self.export, methods=["GET"], dependencies=[read])
        router.add_api_route("/checks", self.checks, methods=["GET"], dependencies=[read])
        router.add_api_route("/rules/stats", self.stats, methods=["GET"], dependencies=[read])
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

    async def checks(self) -> dict[str, object]:
        """The checks in force with what their entries leave open filled in: what results are judged by."""
        rules = self.rules.in_force.current.rules
        return {"checks": [_effective(check) for check in rules.checks.values()], "revision": rules.revision}

    async def stats(self) -> dict[str, object]:
        """What the rules in force come to."""
        return asdict(statistics_of(self.rules.in_force.current, disabled=self.rules.disabled))


def _planned(entry: PlannedEntry) -> dict[str, object]:
    return {
        "action": entry.action.value,
        "section": entry.section.value,
        "name": entry.name,
        "id": entry.id,
        "by_api": entry.by_api,
        "differences": [asdict(difference) for difference in entry.differences],
    }


def _effective(check: Check) -> dict[str, object]:
    return {
        "id": check.id,
        "name": check.name,
        "revision": check.revision,
        "type": check.kind,
        "platforms": sorted(check.platforms),
        "schedule_seconds": check.schedule_seconds,
        "expiration_seconds": check.expiration_seconds,
        "config": asdict(check.config),
    }

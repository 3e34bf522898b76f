"""The audit log, and revisions of the rules: what each did, and the way back to one."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict

from watchword_server.core.audit import Actor
from watchword_server.core.revisions import EntryChange, Revision, State
from watchword_server.core.times import rfc3339
from watchword_server.doors.operators.authentication import Authentication
from watchword_server.doors.operators.queries import Limit, Number, Text, Time, instant_of
from watchword_server.ports.audit import AuditQuery, AuditStore
from watchword_server.ports.rules import RuleStore
from watchword_server.services.rules import Rules

_RevisionNumber = Annotated[int, Path(ge=1, le=(1 << 62))]


class RollbackRequest(BaseModel):
    """`dry_run` changes nothing."""

    model_config = ConfigDict(extra="forbid")

    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class AuditRoutes:
    """`/api/v1/audit` and `/api/v1/revisions`."""

    audit: AuditStore
    store: RuleStore
    rules: Rules

    def router(self, authentication: Authentication) -> APIRouter:
        """The routes."""
        read, write = Depends(authentication.require("read")), Depends(authentication.require("write"))
        admin = Depends(authentication.require("admin"))
        router = APIRouter(prefix="/api/v1")
        router.add_api_route("/audit", self.records, methods=["GET"], dependencies=[admin])
        router.add_api_route("/revisions", self.revisions, methods=["GET"], dependencies=[read])
        router.add_api_route("/revisions/{number}", self.revision, methods=["GET"], dependencies=[read])
        router.add_api_route("/revisions/{number}/rollback", self.roll_back, methods=["POST"], dependencies=[write])
        return router

    async def records(
        self,
        limit: Limit = 100,
        before: Number = None,
        after: Number = None,
        actor: Text = None,
        action: Text = None,
        target: Text = None,
        since: Time = None,
        until: Time = None,
    ) -> dict[str, object]:
        """Records of the audit log, the newest first; with `after`, the oldest first. `next` is what to ask with for more."""
        query = AuditQuery(
            limit=limit,
            after=after,
            before=before,
            actor=actor,
            action=action,
            target=target,
            since=instant_of(since),
            until=instant_of(until),
        )
        found = await self.audit.audit_records(query)
        head = await self.audit.audit_head()
        more = found[-1]["number"] if len(found) == limit else None
        return {"records": list(found), "next": more, "head": {"number": head.number, "hash": head.hash}}

    async def revisions(self, limit: Limit = 100, before: Number = None) -> dict[str, object]:
        """Changes of the rules, the newest first. `next` is the `before` to ask with for more."""
        found = await self.store.revisions(before=before, limit=limit)
        more = found[-1].number if len(found) == limit else None
        return {"revisions": [_revision(each) for each in found], "next": more}

    async def revision(self, number: _RevisionNumber) -> dict[str, object]:
        """What a change did, entry by entry, without secrets."""
        revision, entries = await self.store.revision(number)
        return {**_revision(revision), "changes": [_change(each) for each in entries]}

    async def roll_back(self, number: _RevisionNumber, body: RollbackRequest) -> dict[str, object]:
        """Makes the rules what they were as of a revision: a change like any other, and a revision of its own."""
        applied = await self.rules.roll_back(number, dry_run=body.dry_run)
        return {"revision": applied.revision, "changes": list(applied.plan.summary), "changed": applied.changed}


def _revision(revision: Revision) -> dict[str, Any]:
    return {
        "revision": revision.number,
        "at": rfc3339(revision.at),
        "actor": _actor(revision.actor),
        "address": revision.actor.address,
        "entries": revision.entries,
        "rolls_back_to": revision.rolls_back_to,
        "difference_sha256": revision.difference_sha256,
        "audit_number": revision.audit_number,
    }


def _actor(actor: Actor) -> dict[str, str | None]:
    return {"kind": actor.kind, "id": actor.id, "name": actor.name}


def _change(change: EntryChange) -> dict[str, Any]:
    return {
        "action": change.action,
        "section": change.kind,
        "id": change.id,
        "name": change.name,
        "before": _state(change.before),
        "after": _state(change.after),
    }


def _state(state: State | None) -> dict[str, Any] | None:
    return None if state is None else {"name": state.name, "body": dict(state.body)}

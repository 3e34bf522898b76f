"""The posture log: what each check on each device came to, and from when until when."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query

from watchword_server.core.model.names import Instant
from watchword_server.core.times import rfc3339
from watchword_server.doors.operators.authentication import Authentication
from watchword_server.doors.operators.queries import Limit, Number, Text, Time, instant_of
from watchword_server.ports.machine import Clock
from watchword_server.ports.posture_log import PostureEntry, PostureLogStore, PostureQuery
from watchword_server.services.rules_in_force import RulesInForce


@dataclass(frozen=True, slots=True)
class PostureRoutes:
    """`/api/v1/posture-log`."""

    store: PostureLogStore
    in_force: RulesInForce
    clock: Clock

    def router(self, authentication: Authentication) -> APIRouter:
        """The routes."""
        read = Depends(authentication.require("read"))
        router = APIRouter(prefix="/api/v1")
        router.add_api_route("/posture-log", self.entries, methods=["GET"], dependencies=[read])
        return router

    async def entries(
        self,
        limit: Limit = 100,
        before: Number = None,
        device: Text = None,
        check: Text = None,
        outcome: Annotated[Literal["passed", "failed"] | None, Query()] = None,
        reason: Text = None,
        since: Time = None,
        until: Time = None,
    ) -> dict[str, object]:
        """Entries, the newest first: equal results one after the other are one. `check` is a check's id, or its name today.

        `since` and `until` ask for what held at some time between. `next` is the `before` to ask with for more.
        """
        found = await self.store.posture_entries(
            PostureQuery(
                limit=limit,
                before=before,
                device_id=device,
                check_id=None if check is None else self._check_id(check),
                passed=None if outcome is None else outcome == "passed",
                reason=reason,
                since=instant_of(since),
                until=instant_of(until),
            )
        )
        now = self.clock.now()
        more = found[-1].number if len(found) == limit else None
        return {"entries": [self._entry(entry, now=now) for entry in found], "next": more}

    def _check_id(self, name_or_id: str) -> str:
        checks = self.in_force.current.rules.checks.values()
        return next((check.id for check in checks if check.name == name_or_id), name_or_id)

    def _entry(self, entry: PostureEntry, *, now: Instant) -> dict[str, Any]:
        result = entry.result
        check = self.in_force.current.rules.checks.get(result.check_id)
        until = min((end for end in (entry.ended_at, result.expires_at) if end is not None), default=None)
        return {
            "number": entry.number,
            "device_id": entry.device_id,
            "device": entry.hostname,
            "check_id": result.check_id,
            "check": None if check is None else check.name,
            "check_revision": result.check_revision,
            "conditions_met": result.passed,
            "reason": result.reason,
            "expected_values": dict(result.expected),
            "received_values": dict(result.received),
            "certificate_sha256": None if result.certificate is None else result.certificate.hex(),
            "evidence_level": result.level.value,
            "evidence_age_seconds": round(max(0.0, now - result.evidence_at), 3),
            "from": rfc3339(entry.since),
            "until": rfc3339(until) if until is not None and until <= now else None,
            "last_evaluated_at": rfc3339(result.evaluated_at),
            "evaluations": entry.evaluations,
            "expires_at": rfc3339(result.expires_at),
        }

"""Device posture rules: our checks."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import Field

from watchword_server.configuration.book import RuleBook
from watchword_server.configuration.document.base import Model, Section
from watchword_server.configuration.document.checks import ClientCertificateInput, ClientCertificateV2Input
from watchword_server.doors.cloudflare.envelope import Envelope
from watchword_server.doors.cloudflare.resources import Body, Entries, EntryId, Wire, known_part, router, single_page, with_times
from watchword_server.doors.operators.authentication import Authentication
from watchword_server.ports.rules import StoredObject
from watchword_server.services.rules import Rules

_INPUTS: Final[Mapping[str, type[Model]]] = {
    "client_certificate": ClientCertificateInput,
    "client_certificate_v2": ClientCertificateV2Input,
}
_KNOWN: Final = ("type", "description", "schedule", "match", "input")


class PostureRuleRequest(Body):
    """A device posture rule. Types: `client_certificate` and `client_certificate_v2`."""

    name: str
    type: str
    description: str | None = None
    schedule: str | None = Field(None, description="how often agents look without cause, such as `5m`; at least `1m`")
    expiration: str | None = Field(
        None, description="how long a result lives; absent: three schedules; empty: until it is overwritten"
    )
    match: list[dict[str, Any]] | None = Field(None, description="platforms; absent or empty: all")
    input: dict[str, Any] | None = None


class PostureRules:
    """See `Kind`."""

    section = Section.CHECKS

    def entry(self, wire: Wire, book: RuleBook, before: StoredObject | None) -> tuple[str, Wire]:  # noqa: ARG002
        """See `Kind`."""
        body = known_part(wire, _KNOWN)
        if "expiration" in wire and wire["expiration"] is not None:
            body["expiration"] = wire["expiration"] or "never"
        if not body.get("schedule"):
            body.pop("schedule", None)
        model = _INPUTS.get(str(body.get("type")))
        if model is not None and isinstance(body.get("input"), dict):
            body["input"] = known_part(body["input"], {*model.model_fields, *model.hints})
        return wire["name"], body

    def told(self, stored: StoredObject) -> Wire:
        """See `Kind`."""
        wire = stored.body.get("api")
        if not isinstance(wire, dict) or not wire:
            wire = {key: value for key, value in stored.body.items() if key != "api"}
            if wire.get("expiration") == "never":
                wire["expiration"] = ""
        found = with_times(stored, {**wire, "name": stored.name, "enabled": True})
        given = found.get("input")
        if isinstance(given, dict) and found.get("type") == "client_certificate_v2":
            found["input"] = given | {"check_private_key": given.get("check_private_key", True)}  # without it, another class
        return found


def routes(rules: Rules, authentication: Authentication) -> APIRouter:
    """`/accounts/{account_id}/devices/posture`."""
    kind = PostureRules()
    entries, made = Entries(rules, kind), router("/devices/posture")
    read, write = [Depends(authentication.require("read"))], [Depends(authentication.require("write"))]

    @made.get("", dependencies=read, response_model=Envelope[list[dict[str, Any]]])
    async def list_posture_rules() -> JSONResponse:
        """All posture rules, in one page."""
        return single_page(kind, entries.all())

    @made.post("", dependencies=write, response_model=Envelope[dict[str, Any]])
    async def create_posture_rule(body: PostureRuleRequest, request: Request) -> JSONResponse:
        """A new posture rule; in force when answered."""
        return await entries.create(body.wire(), request)

    @made.get("/{rule_id}", dependencies=read, response_model=Envelope[dict[str, Any]])
    async def get_posture_rule(rule_id: EntryId) -> JSONResponse:
        """One posture rule."""
        return await entries.get(rule_id)

    @made.put("/{rule_id}", dependencies=write, response_model=Envelope[dict[str, Any]])
    async def replace_posture_rule(rule_id: EntryId, body: PostureRuleRequest) -> JSONResponse:
        """Replaces all of a posture rule."""
        return await entries.replace(rule_id, body.wire())

    @made.delete("/{rule_id}", dependencies=write, response_model=Envelope[dict[str, Any]])
    async def delete_posture_rule(rule_id: EntryId) -> JSONResponse:
        """Removes a posture rule that nothing names."""
        return await entries.delete(rule_id)

    return made

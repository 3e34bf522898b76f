"""Uploaded CAs and what is known of revocation: their lists, shown and brought."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, Depends, Request

from watchword_server.core.audit import Action, Target
from watchword_server.core.certificates.parsed import fingerprint
from watchword_server.core.model.checks import SigningCertificate
from watchword_server.core.times import rfc3339
from watchword_server.doors.operators.authentication import Authentication
from watchword_server.ports.revocation import ListSource
from watchword_server.services.auditing import Auditing
from watchword_server.services.revocation import Revocation
from watchword_server.services.revocation_places import KeptList, Slot
from watchword_server.services.revocation_sources import RevocationSources, Source
from watchword_server.services.rules_in_force import RulesInForce

_UPLOAD: Final = re.compile(r"/api/v1/certificates/.+/crl", re.DOTALL)


def is_list_upload(request: Request) -> bool:
    """Whether the body is a revocation list, which may be larger than any other."""
    return request.method == "POST" and _UPLOAD.fullmatch(request.url.path) is not None


@dataclass(frozen=True, slots=True)
class CertificateRoutes:
    """`/api/v1/certificates`."""

    revocation: Revocation
    sources: RevocationSources
    in_force: RulesInForce
    auditing: Auditing

    def router(self, authentication: Authentication) -> APIRouter:
        """The routes."""
        read, write = Depends(authentication.require("read")), Depends(authentication.require("write"))
        router = APIRouter(prefix="/api/v1")
        router.add_api_route("/certificates", self.list, methods=["GET"], dependencies=[read])
        router.add_api_route("/certificates/{name_or_id:path}/crl", self.upload, methods=["POST"], dependencies=[write])
        router.add_api_route("/certificates/{name_or_id:path}/refresh", self.refresh, methods=["POST"], dependencies=[write])
        return router

    async def list(self) -> dict[str, object]:
        """Every uploaded CA with its revocation lists."""
        certificates = sorted(self.in_force.current.rules.certificates.values(), key=lambda signing: signing.name)
        return {"certificates": [self._certificate(signing) for signing in certificates]}

    async def upload(self, name_or_id: str, request: Request) -> Mapping[str, object]:
        """Brings a revocation list, in DER or PEM. In force and durable when answered."""
        return _list(await self.revocation.upload(name_or_id, request.stream()))

    async def refresh(self, name_or_id: str) -> dict[str, object]:
        """Has the configured places read, and says what came of each. `error` None: its newest list is in force."""
        signing = self.revocation.certificate(name_or_id)
        await self.auditing.act(Action.REVOCATION_LIST_REFRESHED, Target("certificates", signing.id, signing.name))
        read = await self.sources.read_now(signing)
        lists = {source.slot: self.revocation.list_at(source.slot) for source, _ in read}
        return {
            "id": signing.id,
            "places": [
                {
                    "source": source.slot.source.value,
                    "place": source.slot.place,
                    **(_NOTHING if (kept := lists[source.slot]) is None else _list(kept)),
                    "error": error,
                }
                for source, error in read
            ],
        }

    def figures(self) -> Iterator[tuple[str, str, float | None, float | None, int]]:
        """What the metrics tell of each list: the CA's name, the place, this and next update, failures in a row."""
        for signing in self.in_force.current.rules.certificates.values():
            for slot, kept, source in self._places(signing):
                known = None if kept is None else kept.revocation_list
                yield (
                    signing.name,
                    _shown(slot),
                    None if known is None else known.this_update,
                    None if known is None else known.next_update,
                    0 if source is None else source.failures,
                )

    def _places(self, signing: SigningCertificate) -> Iterator[tuple[Slot, KeptList | None, Source | None]]:
        sources = {source.slot: source for source in self.sources.of(signing)}
        lists = {
            Slot(kept.stored.certificate_id, kept.stored.source, kept.stored.place): kept
            for kept in self.revocation.lists(signing.id)
        }
        for slot in sorted({*sources, *lists}):
            yield slot, lists.get(slot), sources.get(slot)

    def _certificate(self, signing: SigningCertificate) -> dict[str, Any]:
        return {
            "id": signing.id,
            "name": signing.name,
            "sha256": fingerprint(signing.der).hex(),
            "intermediates": len(signing.intermediates),
            "ocsp": None if signing.responder is None else signing.responder.url,
            "lists": [
                {
                    "source": slot.source.value,
                    "place": _shown(slot),
                    **(_NOTHING if kept is None else _list(kept)),
                    "last_read_at": None if source is None else rfc3339(source.fetched_at),
                    "last_error": None if source is None else source.error,
                }
                for slot, kept, source in self._places(signing)
            ],
        }


def _shown(slot: Slot) -> str:
    """An upload has no place of its own: the beginnings of the hashes tell those of different issuers and scopes apart."""
    if slot.source is not ListSource.UPLOAD:
        return slot.place
    issuer, kind, *scope = slot.place.split(" ")
    return f"upload ({', '.join([kind, f'issuer {issuer[:8]}', *(f'scope {each[:8]}' for each in scope)])})"


def _list(kept: KeptList) -> dict[str, object]:
    known = kept.revocation_list
    return {
        "sha256": known.sha256.hex(),
        "kind": kept.kind,
        "number": None if known.number is None else str(known.number),  # up to 20 bytes long
        "this_update": rfc3339(known.this_update),
        "next_update": rfc3339(known.next_update),
        "entries": len(known.entries),
        "length": kept.stored.length,
        "received_at": rfc3339(kept.stored.received_at),
    }


_NOTHING: Final = dict.fromkeys(("sha256", "kind", "number", "this_update", "next_update", "entries", "length", "received_at"))

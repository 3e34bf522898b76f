"""A caller whose users are told by tokens: a question shows the token, and what it says of the subject names nobody."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from authzen.test_certification import asked
from services.world import SECRET, World, inlined
from support.pki import Pki
from support.provider import AUDIENCE, ISSUER, Provider, provider
from support.rules import wiki_rules
from watchword_server.peer import Peer

__all__ = ["provider"]  # a fixture
ADA: Final = {"type": "user", "id": "ada@corp.example"}
VAULT: Final = {"type": "vault", "id": "vault-1"}
OPEN: Final = {"name": "open"}
MAP: Final = {"type": "route", "id": "https://map.corp.example/"}
GET: Final = {"name": "GET"}


@dataclass(slots=True)
class Point:
    """AuthZEN's door."""

    world: World
    provider: Provider

    def token(self, **claims: Any) -> str:
        return self.provider.token(now=float(self.world.house.clock.now()), **claims)

    async def told(self, endpoint: str, document: object) -> tuple[int, Any]:
        async def read_body(limit: int) -> bytes:
            body = json.dumps(document).encode()
            assert len(body) <= limit
            return body

        peer = Peer("127.0.0.1", metadata={"authorization": (f"Bearer {SECRET}",), "content-type": ("application/json",)})
        path = f"/access/v1/{endpoint}"
        answer = await self.world.house.http_doors.authzen.answer(peer, method="POST", path=path, read_body=read_body)
        return answer.status, json.loads(answer.body)

    async def reason(self, subject: object, action: object, resource: object, **context: object) -> str:
        status, told = await self.told("evaluation", asked(subject, action, resource, context=context))
        assert status == 200, told
        assert told["decision"] is told["context"]["reason"].endswith("_allow")
        return str(told["context"]["reason"])


@pytest.fixture(params=["header", "cookie"])
async def point(tmp_path: Path, provider: Provider, request: pytest.FixtureRequest) -> AsyncIterator[Point]:
    """Wherever a proxy's requests have the token, a question has it in one place."""
    pki = Pki.make()
    document = inlined(wiki_rules(pki))
    (caller,) = document["callers"]
    caller["identity"] = {
        "token": {request.param: "x-id-token", "issuer": ISSUER, "audience": AUDIENCE, "jwks_url": provider.url}
    }
    caller["may_assert"] = ["client_certificate", "identity"]
    document["gateway_rules"] = [
        {
            "name": "ada-opens",
            "precedence": 1,
            "enabled": True,
            "filters": ["authzen"],
            "action": "allow",
            "traffic": 'action.name == "open"',
            "identity": 'identity.email == "ada@corp.example"',
        }
    ]
    document["policies"].append({"name": "ada", "decision": "allow", "include": [{"email": {"email": "ada@corp.example"}}]})
    document["applications"].append({"name": "map", "type": "self_hosted", "domain": "map.corp.example", "policies": ["ada"]})
    document["entities"] = [
        {"name": "ada", "role": "subject", "type": "user", "id": "ada@corp.example"},
        {"name": "open", "role": "action"},
        {"name": "shut", "role": "action"},
        {"name": "vault-1", "role": "resource", "type": "vault"},
    ]
    async with World.open(tmp_path, pki) as world:
        await world.apply(document)
        yield Point(world, provider)


async def test_the_token_names_the_user_and_nothing_else_does(point: Point) -> None:
    nobody = {"type": "user", "id": "somebody"}
    for action, resource, allowed, denied in (
        (OPEN, VAULT, "rule_allow", "no_rule_matched"),
        (GET, MAP, "policy_allow", "fact_unknown"),
    ):
        assert await point.reason(nobody, action, resource, user_token=point.token(email="Ada@corp.example")) == allowed
        assert await point.reason(ADA, action, resource) == denied
        assert await point.reason(ADA, action, resource, user_token="") == denied
        for wrong in ("nonsense", "ada@corp.example", point.token(aud="another"), point.token(email_verified=False)):
            assert await point.reason(ADA, action, resource, user_token=wrong) == "token_refused"
        status, _ = await point.told("evaluation", asked(ADA, action, resource, context={"user_token": [1]}))
        assert status == 400


async def test_a_token_is_in_no_log(point: Point) -> None:
    token = point.token()
    _, told = await point.told("evaluation", asked(ADA, OPEN, VAULT, context={"user_token": token, "ticket": "OPS-7"}))
    record = point.world.house.operators.decisions.decisions.record(told["context"]["id"])
    assert record is not None
    assert record["evaluation"] == asked(ADA, OPEN, VAULT, context={"ticket": "OPS-7"})
    assert token not in json.dumps(record)


async def test_searches_recognise_the_user_too(point: Point) -> None:
    question: dict[str, object] = {"subject": ADA, "resource": VAULT}
    shown = {**question, "context": {"user_token": point.token()}}
    assert await point.told("search/action", shown) == (200, {"results": [{"name": "open"}]})
    assert await point.told("search/action", question) == (200, {"results": []})
    status, told = await point.told("search/action", {**question, "context": {"user_token": "nonsense"}})
    assert (status >= 400, isinstance(told, str)) == (True, True)

"""Operators of every role, who speak to both APIs of a house in the test's own process."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.world import World
from support.pki import Pki
from watchword_server.peer import OPERATORS_SOCKET, PEER, Peer
from watchword_server.ports.audit import AuditQuery
from watchword_server.transports.uvicorn_http import Receive, Scope, Send

ADDRESS = "192.0.2.44"


@dataclass(slots=True)
class Office:
    """A house, its APIs, and a token of each role, by name."""

    world: World
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def account(self) -> str:
        """The path of the Cloudflare API."""
        return f"/client/v4/accounts/{self.world.house.account_id}"

    async def hire(self, role: str, **options: Any) -> str:
        """A new token of a role; its id."""
        tokens = self.world.house.operators.tokens.tokens
        made, text = await tokens.create_api_token(name=f"the {role}", role=role, **{"expires_in_seconds": None, **options})
        self.tokens[role] = text
        return made.id

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | bytes | None = None,
        *,
        token: str | None = None,
        address: str = ADDRESS,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """A request over TCP; without a token, or with one."""
        metadata = {} if token is None else {"authorization": (f"Bearer {token}",)}
        return await self._send(Peer(address, metadata=metadata), method, path, body, headers or {})

    async def at_the_host(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        """A request over the local socket."""
        return await self._send(Peer("unix", socket_name=OPERATORS_SOCKET), method, path, body, {})

    async def _send(
        self, peer: Peer, method: str, path: str, body: Mapping[str, Any] | bytes | None, headers: Mapping[str, str]
    ) -> httpx.Response:
        app = self.world.house.operators.app

        async def with_peer(scope: Scope, receive: Receive, send: Send) -> None:
            scope[PEER] = peer
            await app(scope, receive, send)

        sent: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(with_peer), base_url="http://watchword") as client:
            return await client.request(method, path, headers=dict(headers), **({} if body is None else sent))

    async def records(self, after: int = 0) -> list[dict[str, Any]]:
        """The audit log behind a record."""
        return [dict(each) for each in await self.world.house.store.audit_records(AuditQuery(limit=1000, after=after))]

    async def last(self) -> int:
        """The number of the last record."""
        return (await self.world.house.store.audit_head()).number


@pytest.fixture(scope="session")
def pki() -> Pki:
    return Pki.make()


@pytest.fixture
async def office(tmp_path: Path, pki: Pki) -> AsyncIterator[Office]:
    """With rules in force, and a token of each role."""
    async with World.open(tmp_path, pki) as world:
        opened = Office(world)
        for role in ("read", "write", "admin"):
            await opened.hire(role)
        world.rules["service_tokens"] = [{"name": "backup"}]
        await world.apply(world.rules)
        yield opened

"""The operators' API without a server: a house opened for one command, under the lock of its data directory."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from watchword_server.cli.logs import configure_logging
from watchword_server.house import House
from watchword_server.peer import OPERATORS_SOCKET, PEER, Peer
from watchword_server.settings import Settings
from watchword_server.transports.uvicorn_http import App, Receive, Scope, Send


@contextlib.asynccontextmanager
async def offline_transport(data_dir: Path) -> AsyncIterator[httpx.AsyncBaseTransport]:
    """A transport to the API of a house that is open as long as the block. Raises what `House.open` raises."""
    configure_logging("warning")
    house = await House.open(data_dir, Settings())
    try:
        yield httpx.ASGITransport(_as_operator(house.operators.app))
    finally:
        await house.close()


def _as_operator(app: App) -> App:
    async def with_peer(scope: Scope, receive: Receive, send: Send) -> None:
        scope[PEER] = Peer("unix", socket_name=OPERATORS_SOCKET)
        await app(scope, receive, send)

    return with_peer

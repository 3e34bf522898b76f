"""How a command reaches the rules: the running server's socket, or the store itself under its lock when no server runs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click
import httpx

from watchword_server.app import SOCKET_NAME
from watchword_server.doors.operators import LOCAL_SOCKET
from watchword_server.errors import ConfigurationError, DataDirectoryBusyError, Problem, WatchwordError
from watchword_server.house import House
from watchword_server.peer import PEER, Peer
from watchword_server.settings import Settings
from watchword_server.transports.uvicorn_http import App, Receive, Scope, Send


class RefusedError(Exception):
    """The server's no: its message, and the problems of a document if it was one."""

    def __init__(self, message: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


def call(data_dir: Path, method: str, path: str, *, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Calls the operators' API of the server at `data_dir`. Raises `RefusedError`, `click.ClickException`."""
    return asyncio.run(_call(data_dir, method, path, body))


async def _call(data_dir: Path, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
    async with _client(data_dir) as client:
        response = await client.request(method, f"http://watchword{path}", json=body)
    answer: dict[str, Any] = response.json()
    if response.is_success:
        return answer
    error = answer["error"]
    problems = tuple(Problem(tuple(problem["path"]), problem["message"]) for problem in error["problems"])
    raise RefusedError(error["message"], problems)


@contextlib.asynccontextmanager
async def _client(data_dir: Path) -> AsyncIterator[httpx.AsyncClient]:
    socket_path = data_dir / SOCKET_NAME
    if await _answers(socket_path):
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(socket_path)), timeout=60) as client:
            yield client
        return
    try:
        house = await House.open(data_dir, Settings())
    except DataDirectoryBusyError as error:
        raise click.ClickException(f"{error}, or wait until its socket answers") from None
    except ConfigurationError as error:
        raise click.ClickException("; ".join(problem.message for problem in error.problems)) from None
    except WatchwordError as error:
        raise click.ClickException(str(error)) from None
    try:
        transport = httpx.ASGITransport(_as_operator(house.operators.app))
        async with httpx.AsyncClient(transport=transport, timeout=60) as client:
            yield client
    finally:
        await house.close()


async def _answers(socket_path: Path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(str(socket_path))
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


def _as_operator(app: App) -> App:
    async def with_peer(scope: Scope, receive: Receive, send: Send) -> None:
        scope[PEER] = Peer("unix", socket_name=LOCAL_SOCKET)
        await app(scope, receive, send)

    return with_peer

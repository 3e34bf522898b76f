"""How a command reaches the server: through its socket; or, when no server runs, by its own means on the store under its lock."""

import asyncio
import contextlib
import importlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click
import httpx

from watchword_server.errors import ConfigurationError, DataDirectoryBusyError, Problem, WatchwordError
from watchword_server.peer import OPERATORS_SOCKET_FILE


class RefusedError(Exception):
    """The server's no: its message, and the problems of a document if it was one."""

    def __init__(self, message: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


def call(data_dir: Path, method: str, path: str, *, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Calls the operators' API of the server at `data_dir`. Raises `click.ClickException`."""
    try:
        return call_or_refuse(data_dir, method, path, body=body)
    except RefusedError as error:
        raise click.ClickException(str(error)) from None


def call_or_refuse(data_dir: Path, method: str, path: str, *, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """As `call`, for who can say more about a refusal. Raises `RefusedError`, `click.ClickException`."""
    return asyncio.run(_call(data_dir, method, path, body))


async def _call(data_dir: Path, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
    async with _transport(data_dir) as transport, httpx.AsyncClient(transport=transport, timeout=60) as client:
        try:
            response = await client.request(method, f"http://watchword{path}", json=body)
        except httpx.TransportError as error:
            raise click.ClickException(f"the server at `{data_dir}` did not answer: {error or type(error).__name__}") from None
    answer: dict[str, Any] = response.json()
    if response.is_success:
        return answer
    refusal = answer["error"]
    problems = tuple(Problem(tuple(problem["path"]), problem["message"]) for problem in refusal["problems"])
    raise RefusedError(refusal["message"], problems)


@contextlib.asynccontextmanager
async def _transport(data_dir: Path) -> AsyncIterator[httpx.AsyncBaseTransport]:
    socket_path = data_dir / OPERATORS_SOCKET_FILE
    if await _answers(socket_path):
        yield httpx.AsyncHTTPTransport(uds=str(socket_path))
        return
    offline = importlib.import_module("watchword_server.cli.offline")  # a whole server's imports: only when they are needed
    try:
        async with offline.offline_transport(data_dir) as transport:
            yield transport
    except DataDirectoryBusyError as error:
        raise click.ClickException(f"{error}, or wait until it answers") from None
    except ConfigurationError as error:
        raise click.ClickException("; ".join(problem.message for problem in error.problems)) from None
    except WatchwordError as error:
        raise click.ClickException(str(error)) from None


async def _answers(socket_path: Path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(str(socket_path))
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True

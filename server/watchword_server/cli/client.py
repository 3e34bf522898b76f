"""How a command reaches the server: through its socket; or, when no server runs, by its own means on the store under its lock."""

import asyncio
import contextlib
import importlib
import io
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import urlencode

import click
import httpx

from watchword_server.adapters.store_sql.data_directory import DATABASE_FILE
from watchword_server.errors import ConfigurationError, DataDirectoryBusyError, Problem, WatchwordError
from watchword_server.peer import OPERATORS_SOCKET_FILE

_ANSWER_SECONDS: Final = 10.0
_UPLOAD_SECONDS: Final = 600.0
_PIECE: Final = 1 << 18


class RefusedError(Exception):
    """The server's no: its message, and the problems of a document if it was one."""

    def __init__(self, message: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


def call(
    data_dir: Path,
    method: str,
    path: str,
    *,
    body: dict[str, Any] | None = None,
    content: BinaryIO | None = None,
    may_create: bool = False,
) -> dict[str, Any]:
    """Calls the operators' API of the server at `data_dir`; with a `body`, or with a file's bytes. Raises `click.ClickException`.

    With `may_create` a store is made where there is none; else a mistyped directory would be taken for an empty one.
    """
    try:
        return call_or_refuse(data_dir, method, path, body=body, content=content, may_create=may_create)
    except RefusedError as error:
        raise click.ClickException(str(error)) from None


def call_pages(data_dir: Path, path: str, name: str, query: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """All items of a list that comes in pages, under `name` in each. Raises `click.ClickException`."""
    items: list[dict[str, Any]] = []
    asked: dict[str, str] = {"limit": "1000", **(query or {})}
    while True:
        page = call(data_dir, "GET", f"{path}?{urlencode(asked)}")
        items += page[name]
        if page["next"] is None:
            return items
        asked["after"] = page["next"]


def call_or_refuse(
    data_dir: Path,
    method: str,
    path: str,
    *,
    body: dict[str, Any] | None = None,
    content: BinaryIO | None = None,
    may_create: bool = False,
) -> dict[str, Any]:
    """As `call`, for who can say more about a refusal. Raises `RefusedError`, `click.ClickException`."""
    return asyncio.run(_call(data_dir, method, path, body, content, may_create=may_create))


async def _call(
    data_dir: Path, method: str, path: str, body: dict[str, Any] | None, content: BinaryIO | None, *, may_create: bool
) -> dict[str, Any]:
    timeout = httpx.Timeout(
        60, connect=_ANSWER_SECONDS, read=_ANSWER_SECONDS if method == "GET" else 60 if content is None else _UPLOAD_SECONDS
    )
    async with (
        _transport(data_dir, may_create=may_create) as transport,
        httpx.AsyncClient(transport=transport, timeout=timeout) as client,
    ):
        try:
            url, pieces = f"http://watchword{path}", None if content is None else _pieces(content)
            headers = None if content is None else _length(content)
            response = await client.request(method, url, json=body, content=pieces, headers=headers)
        except httpx.TransportError as error:
            why = str(error) or "it is there, but silent"
            raise click.ClickException(f"the server at `{data_dir}` does not answer: {why}") from None
    answer: dict[str, Any] = response.json()
    if response.is_success:
        return answer
    refusal = answer["error"]
    problems = tuple(
        Problem(tuple(problem["path"]), problem["message"], tuple(problem.get("excerpt", ()))) for problem in refusal["problems"]
    )
    raise RefusedError(refusal["message"], problems)


def _length(content: BinaryIO) -> dict[str, str]:
    """What is left of a file, as the header that the server insists on."""
    here = content.tell()
    length = content.seek(0, io.SEEK_END) - here
    content.seek(here)
    return {"Content-Length": str(length)}


async def _pieces(content: BinaryIO) -> AsyncIterator[bytes]:
    while piece := content.read(_PIECE):
        yield piece


@contextlib.asynccontextmanager
async def _transport(data_dir: Path, *, may_create: bool) -> AsyncIterator[httpx.AsyncBaseTransport]:
    socket_path = data_dir / OPERATORS_SOCKET_FILE
    if await _answers(socket_path):
        yield httpx.AsyncHTTPTransport(uds=str(socket_path))
        return
    if not may_create and not (data_dir / DATABASE_FILE).exists():
        raise click.ClickException(
            f"no Watchword store in `{data_dir}`: give the --data of the server; `watchword serve --data …` makes a new one"
        )
    click.echo(f"no server runs on `{data_dir}`: working on its store, for when one starts", err=True)
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

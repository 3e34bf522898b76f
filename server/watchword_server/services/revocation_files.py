"""Revocation lists as files on their way: from an operator or the store to the reader, from the reader to the store."""

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from io import BufferedWriter, FileIO
from pathlib import Path
from typing import Final

from watchword_server.errors import RevocationReadError

_PIECE: Final = 1 << 20


@contextlib.contextmanager
def passing_file(inbox: Path) -> Iterator[Path]:
    """A file to be written and read, gone afterwards."""
    inbox.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = inbox / f"{secrets.token_hex(16)}.crl"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def new_file(path: Path) -> BufferedWriter:
    """A new file that nobody else can read."""
    return BufferedWriter(FileIO(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb"))


def remove_passing_files(inbox: Path) -> None:
    """At the start: those of a server that was killed."""
    for path in inbox.glob("*.crl"):
        path.unlink(missing_ok=True)


async def save(body: AsyncIterator[bytes], path: Path, *, max_bytes: int) -> None:
    """Writes what arrives to a new file. Raises `RevocationReadError` as soon as it is too much."""
    length = 0
    with new_file(path) as file:
        async for piece in body:
            length += len(piece)
            if length > max_bytes:
                raise RevocationReadError("list_too_large", f"a list has at most {max_bytes} bytes: `revocation.max_list_bytes`")
            await asyncio.to_thread(file.write, piece)


def writing(file: BufferedWriter) -> Callable[[bytes], None]:
    """Takes pieces for a file."""

    def take(piece: bytes) -> None:
        file.write(piece)

    return take


def pieces_of(content: Path) -> Iterator[bytes]:
    """A file in the pieces that the store takes."""
    with content.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece

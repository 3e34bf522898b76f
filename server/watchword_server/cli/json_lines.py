"""JSON lines from a file, a compressed file, or stdin."""

import gzip
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Final

_GZIP: Final = b"\x1f\x8b"
_MAX_LINE: Final = 4 << 20

Progress = Callable[[int], AbstractContextManager[Callable[[int], object]]]


def json_lines(path: Path, *, progress: Progress) -> Iterator[object]:
    """The value of each line; None for one that is no JSON. `progress` is told bytes of the file. Raises `OSError`."""
    if str(path) == "-":
        yield from map(_value, sys.stdin.buffer)
        return
    with path.open("rb") as file, progress(path.stat().st_size) as advance:
        compressed = file.read(2) == _GZIP
        file.seek(0)
        seen = 0
        for line in _lines(file, compressed=compressed):
            yield _value(line)
            here = file.tell()
            if here - seen >= _MAX_LINE:
                advance(here - seen)
                seen = here
        advance(path.stat().st_size - seen)


def _lines(file: BinaryIO, *, compressed: bool) -> Iterator[bytes]:
    try:
        yield from (gzip.GzipFile(fileobj=file) if compressed else file)
    except EOFError:
        yield b""  # it was cut off: what comes now cannot be read


def _value(line: bytes) -> object:
    try:
        value: object = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value

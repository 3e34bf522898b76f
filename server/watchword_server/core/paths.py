"""The readings of a request's path: how the servers behind a proxy may understand it.

One server resolves `/public/../admin`, another does not; one decodes `%2e`, merges `//`, drops `;parameters`, takes `\\` for `/`.
Which one is behind the proxy nobody tells us, so a request has to be allowed in each reading of its path.
"""

import re
from collections.abc import Iterator
from typing import Final

_UNRESERVED_ESCAPE: Final = re.compile(rb"%(2[dDeE]|3[0-9]|[46][1-9a-fA-F]|[57][0-9aA]|5[fF]|7[eE])")  # RFC 3986 2.3
_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_PARAMETERS: Final = re.compile(rb";[^/]*")
_SLASHES: Final = re.compile(rb"/{2,}")


def is_plain(path: str) -> bool:
    """Whether every server reads the path as it is written."""
    return not ("%" in path or "//" in path or "/." in path or ";" in path or "\\" in path)


def readings(path: str) -> tuple[bytes, ...]:
    """The path as it is written first, then every other reading of it, each once."""
    return tuple(dict.fromkeys(_readings(path.encode())))


def _readings(written: bytes) -> Iterator[bytes]:
    yield written
    yield _resolved(_UNRESERVED_ESCAPE.sub(_decoded, written))
    decoded = _ESCAPE.sub(_decoded, written)
    yield _resolved(decoded)
    yield _resolved(_PARAMETERS.sub(b"", decoded))


def _decoded(escape: re.Match[bytes]) -> bytes:
    return bytes.fromhex(escape[1].decode())


def _resolved(path: bytes) -> bytes:
    """With `\\` as `/`, runs of slashes as one, and dot segments removed (RFC 3986 5.2.4)."""
    segments: list[bytes] = []
    parts = _SLASHES.sub(b"/", path.replace(b"\\", b"/")).split(b"/")[1:]
    for part in parts:
        if part == b"..":
            del segments[-1:]
        elif part != b".":
            segments.append(part)
    if parts and parts[-1] in (b".", b".."):
        segments.append(b"")
    return b"/" + b"/".join(segments)

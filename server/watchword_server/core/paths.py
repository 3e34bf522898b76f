"""The readings of a request's path: how the servers behind a proxy may understand it.

One server resolves `/public/../admin`, another does not; one decodes `%2e`, or decodes twice, merges `//`, drops `;parameters`,
takes `\\` for `/`, ends the path at a decoded `?`, strips a trailing dot. Which one is behind the proxy nobody tells us, and they
combine; so a request has to be allowed in each reading of its path. Letter case is not among them: see docs/rules.md.
"""

import re
from collections.abc import Callable, Iterable
from typing import Final

_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_UNRESERVED_ESCAPE: Final = re.compile(rb"%(2[dDeE]|3[0-9]|[46][1-9a-fA-F]|[57][0-9aA]|5[fF]|7[eE])")  # RFC 3986 2.3
_UNICODE_ESCAPE: Final = re.compile(rb"%u([0-9A-Fa-f]{4})")  # as IIS reads it
_PARAMETERS: Final = re.compile(rb";[^/]*")
_SLASHES: Final = re.compile(rb"/{2,}")
_CUT: Final = re.compile(rb"[?#\0\r\n].*", re.DOTALL)  # in a path only once it is decoded
_SEGMENT_END: Final = re.compile(rb"(?<=[^/. ])[. ]+(?=/|\Z)")  # Windows drops them

# An honest path has a handful of readings; what a client can make us work is bounded.
_MAX_READINGS: Final = 64
_MAX_CHARACTERS: Final = 2_048  # of a path that is not plain

_Reading = Callable[[bytes], bytes]


def is_plain(path: str) -> bool:
    """Whether every server reads the path as it is written."""
    if "%" in path or ";" in path or "//" in path or "\\" in path:
        return False
    return "." not in path or not ("./" in path or path.endswith("."))  # dot segments among them; `/.well-known` is plain


def readings(path: str) -> tuple[bytes, ...]:
    """The path as it is written first, then every other reading of it, each once; none if it is too odd to tell them all."""
    found = [path.encode()]
    if not is_plain(path):
        if len(path) > _MAX_CHARACTERS:
            return ()
        for some in _STAGES:
            found = list(dict.fromkeys([*found, *(reading(known) for known in found for reading in some)]))
            if len(found) > _MAX_READINGS:
                return ()
    return tuple(found)


def decoded(path: bytes) -> bytes:
    """Every escape decoded, once."""
    return _ESCAPE.sub(_byte, path)


def _byte(escape: re.Match[bytes]) -> bytes:
    return bytes.fromhex(escape[1].decode())


def _decoded_unreserved(path: bytes) -> bytes:
    """RFC 3986 6.2.2: what is equal to the path by the standard itself."""
    return _UNRESERVED_ESCAPE.sub(_byte, _ESCAPE.sub(lambda escape: escape[0].upper(), path))


def _decoded_unicode(path: bytes) -> bytes:
    return _UNICODE_ESCAPE.sub(lambda escape: chr(int(escape[1], 16)).encode(errors="replace"), path)


def _resolved(path: bytes) -> bytes:
    """Without dot segments (RFC 3986 5.2.4); the empty segments between slashes are kept."""
    segments: list[bytes] = []
    parts = path.split(b"/")[1:]
    for part in parts:
        if part == b"..":
            del segments[-1:]
        elif part != b".":
            segments.append(part)
    if parts and parts[-1] in (b".", b".."):
        segments.append(b"")
    return b"/" + b"/".join(segments)


# What servers do, in the order in which they do it; each may do it or not. A stage gives the ways of one step.
_STAGES: Final[tuple[Iterable[_Reading], ...]] = (
    (lambda path: _PARAMETERS.sub(b"", path),),
    (_decoded_unreserved, decoded, lambda path: decoded(decoded(path)), _decoded_unicode),
    (lambda path: _PARAMETERS.sub(b"", path), lambda path: _CUT.sub(b"", path)),
    (lambda path: path.replace(b"\\", b"/"),),
    (lambda path: _SLASHES.sub(b"/", path),),
    (_resolved,),
    (lambda path: _SEGMENT_END.sub(b"", path), lambda path: _SLASHES.sub(b"/", path)),
)

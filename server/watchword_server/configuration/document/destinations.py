"""What an application covers: a host and a path, each with `*` (docs/rules.md)."""

import re

from watchword_server.configuration.document.base import quoted
from watchword_server.configuration.document.hosts import host_name
from watchword_server.core.rules import Destination

MAX_CHARACTERS = 2000
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")  # RFC 3986 2.3
_IN_A_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")  # RFC 3986 3.3
_SEPARATORS = {"%2F": "/", "%5C": "\\"}


def destination_of(text: str) -> Destination:
    """The host in lower case and the path, its escapes as a request has them; an empty path is all of the host.

    Raises `ValueError` with what to write instead.
    """
    if "://" in text:
        raise ValueError(f"{quoted(text)} is a URL: write its host and path alone")
    for mark, what in (("?", "a query"), ("#", "a fragment")):
        if mark in text:
            raise ValueError(f"{what} in {quoted(text)} is not supported: write the host and path alone")
    host, slash, path = text.partition("/")
    if not host:
        raise ValueError(f"{quoted(text)} names no host: write one before the path")
    if ":" in host:
        raise ValueError(f"a port in {quoted(text)} is not supported: write the host alone")
    return Destination(_host(host), _path(slash + path))


def normalized(text: str) -> str:
    """The destination as one text; two that cover the same are written alike."""
    destination = destination_of(text)
    return destination.host + destination.path


def _host(text: str) -> str:
    if "*" not in text:
        return host_name(text)
    if not text.strip("*."):
        raise ValueError(f"{quoted(text)} names no host: write one like `*.corp.example`")
    if any(label.count("*") > 1 for label in text.split(".")):
        raise ValueError(f"{quoted(text)} has more than one `*` between two dots: leave one of them")
    if text.isascii():
        try:
            return host_name(text.replace("*", "a")) and text.lower()  # an `*` may stand wherever a letter may
        except ValueError:
            raise ValueError(f"{quoted(text)} is not a host name: write one like `*.corp.example`") from None
    raise ValueError(f"{quoted(text)} is not ASCII: write its `xn--` form")


def _path(text: str) -> str:
    if not text.isascii():
        raise ValueError(f"the path {quoted(text)} is not ASCII: write it as {quoted(_percent_encoded(text))}")
    if not _IN_A_PATH.fullmatch(text):
        raise ValueError(f"the path {quoted(text)} has characters that no path has: write them like `%20`")
    if _BAD_ESCAPE.search(text):
        raise ValueError(f"the path {quoted(text)} has a `%` without two hexadecimal digits: write `%25` for the sign itself")
    path = _ESCAPE.sub(_tidy, text)
    for escape, character in _SEPARATORS.items():
        if escape in path:
            raise ValueError(f"`{escape}` in the path {quoted(text)} is read as `{character}` by some: write another path")
    if path in ("", "/", "/*"):
        return ""
    segments = path.split("/")[1:]
    if "" in segments[:-1]:
        raise ValueError(f"the path {quoted(text)} has an empty part between two slashes: write one slash")
    if "." in segments or ".." in segments:
        raise ValueError(f"the path {quoted(text)} has `.` or `..` in it: write the path it leads to")
    if any(segment.count("*") > 1 for segment in segments):
        raise ValueError(f"the path {quoted(text)} has more than one `*` between two slashes: leave one of them")
    return path


def _tidy(escape: re.Match[str]) -> str:
    """RFC 3986 6.2.2: upper case, and nothing escaped that need not be."""
    character = chr(int(escape[1], 16))
    return character if character in _UNRESERVED else escape[0].upper()


def _percent_encoded(text: str) -> str:
    return "".join(char if char.isascii() else "".join(f"%{byte:02X}" for byte in char.encode()) for char in text)

"""Host names, as they stand in applications, Gateway expressions, lists and certificates."""

import re

from watchword_server.configuration.document.base import quoted

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_MAX_CHARACTERS = 253  # RFC 1035 2.3.4, without the root's dot


def host_name(text: str) -> str:
    """The name in lower case. Raises `ValueError` with what to write instead."""
    lowered = text.lower()
    if not text.isascii():
        raise ValueError(f"{quoted(text)} is not ASCII: write its `xn--` form")
    if len(text) > _MAX_CHARACTERS or not _HOST.fullmatch(lowered):
        raise ValueError(f"{quoted(text)} is not a host name: write one like `wiki.corp.example`")
    return lowered

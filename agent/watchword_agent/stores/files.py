"""Reading files that a server named, as root: variables, absolute paths, regular files, a size cap, and nothing that blocks.

The server chooses the path, so nothing of a file may go back to it but what a caller parsed out of it on purpose.
"""

import os
import re
import stat
import sys
from dataclasses import dataclass
from typing import Final

from watchword_agent.errors import CollectionFailedError
from watchword_agent.stores.base import Variables

MAX_FILE_BYTES: Final = 256 * 1024
_MAX_PATH_BYTES: Final = 1000
_VARIABLE: Final = re.compile(r"\$\{([^}]*)\}")
_FORBIDDEN: Final = ("/proc", "/sys")  # reading there can have effects; certificates lie elsewhere


@dataclass(frozen=True, slots=True)
class Content:
    """What a file held. `exposed`: others than its owner may read it, as PostgreSQL and ssh judge it for a key.

    A group may read what root owns: somebody with root's power put it there. Unknown on Windows, and so false.
    """

    data: bytes
    exposed: bool


def expand(template: str, variables: Variables) -> str:
    """The path with its variables filled in, absolute and without `..`.

    Raises `CollectionFailedError`: `variable_unavailable` (never filled in with nothing), `variable_unsafe`, `path_invalid`.
    """

    def value_of(match: re.Match[str]) -> str:
        value = variables.get(match[1])
        if not value:
            raise CollectionFailedError("variable_unavailable", f"`${{{match[1]}}}` in `{template}` is not known on this device")
        if "/" in value or "\\" in value or ".." in value or value == "." or not value.isprintable():
            raise CollectionFailedError("variable_unsafe", f"the value of `${{{match[1]}}}` cannot be part of a path")
        return value

    path = _VARIABLE.sub(value_of, template)
    components = path.split("/")
    if not path.startswith("/") or ".." in components or not path.isprintable() or len(path.encode()) > _MAX_PATH_BYTES:
        raise CollectionFailedError("path_invalid", f"`{template}` is not an absolute path of a file")
    path = "/" + "/".join(component for component in components if component not in ("", "."))
    if path == "/" or _is_forbidden(path):
        raise CollectionFailedError("path_invalid", f"`{template}` is not a place for certificates")
    return path


def read_file(path: str) -> bytes:
    """The content alone. Raises as `read`."""
    return read(path).data


def read(path: str) -> Content:
    """The whole content of a regular file of at most `MAX_FILE_BYTES`.

    Raises `CollectionFailedError`: `path_missing`, `path_unreadable`, `not_a_file`, `file_too_large`.
    """
    try:
        if _is_forbidden(os.path.realpath(path)):
            raise CollectionFailedError("path_invalid", f"`{path}` leads to no place for certificates")
        mode = os.stat(path).st_mode  # noqa: PTH116 -- one way to do it throughout
        if not stat.S_ISREG(mode):  # before opening: opening a device can have effects
            raise CollectionFailedError("not_a_file", f"`{path}` is {_kind(mode)}")
        # The file may have become something else since: O_NONBLOCK, so that opening a FIFO returns, and a second look.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise CollectionFailedError("not_a_file", f"`{path}` is {_kind(found.st_mode)}")
            data = file.read(MAX_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CollectionFailedError("path_missing", f"`{path}`") from error
    except OSError as error:
        raise CollectionFailedError("path_unreadable", f"`{path}`: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise CollectionFailedError("file_too_large", f"`{path}` has more than {MAX_FILE_BYTES} bytes")
    return Content(data, exposed=_is_exposed(found))


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a directory"
    if stat.S_ISFIFO(mode):
        return "a FIFO"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"


def _is_exposed(found: os.stat_result) -> bool:
    if sys.platform == "win32":
        return False
    readable_by_others = stat.S_IROTH | (stat.S_IRGRP if found.st_uid != 0 else 0)
    return bool(found.st_mode & readable_by_others)


def _is_forbidden(path: str) -> bool:
    return any(path == forbidden or path.startswith(forbidden + "/") for forbidden in _FORBIDDEN)

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
# What there is of them: Windows has none of the first three, and a text mode that changes what is read.
_OPEN_FLAGS: Final = os.O_RDONLY | sum(
    getattr(os, name, 0) for name in ("O_CLOEXEC", "O_NONBLOCK", "O_NOCTTY", "O_BINARY", "O_NOINHERIT")
)
_VARIABLE: Final = re.compile(r"\$\{([^}]*)\}")
_DRIVE: Final = re.compile(r"[A-Za-z]:[\\/]")
# "Naming Files, Paths, and Namespaces": what no name holds, a name that Windows cuts off, and devices with any suffix.
_NO_WINDOWS_NAME: Final = re.compile(r'[<>:"|?*]|[. ]$')
_DEVICE: Final = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9\u00b9\u00b2\u00b3])\s*(\.|$)", re.IGNORECASE)
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
    if not path.isprintable() or len(path.encode()) > _MAX_PATH_BYTES:
        raise CollectionFailedError("path_invalid", f"`{template}` is not an absolute path of a file")
    return _windows_path(path, template) if sys.platform == "win32" else _posix_path(path, template)


def read_file(path: str) -> bytes:
    """The content alone. Raises as `read`."""
    return read(path).data


def read(path: str) -> Content:
    """The whole content of a regular file of at most `MAX_FILE_BYTES`.

    Raises `CollectionFailedError`: `path_missing`, `path_unreadable`, `not_a_file`, `file_too_large`.
    """
    try:
        resolved = os.path.realpath(path)
        if _is_forbidden(resolved) or _is_on_a_share(resolved):
            raise CollectionFailedError("path_invalid", f"`{path}` leads to no place for certificates")
        mode = os.stat(path).st_mode  # noqa: PTH116 -- one way to do it throughout
        if not stat.S_ISREG(mode):  # before opening: opening a device can have effects
            raise CollectionFailedError("not_a_file", f"`{path}` is {_kind(mode)}")
        # The file may have become something else since: O_NONBLOCK, so that opening a FIFO returns, and a second look.
        descriptor = os.open(path, _OPEN_FLAGS)
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


def _posix_path(path: str, template: str) -> str:
    components = path.split("/")
    if not path.startswith("/") or ".." in components:
        raise CollectionFailedError("path_invalid", f"`{template}` is not an absolute path of a file")
    path = "/" + "/".join(component for component in components if component not in ("", "."))
    if path == "/" or _is_forbidden(path):
        raise CollectionFailedError("path_invalid", f"`{template}` is not a place for certificates")
    return path


def _windows_path(path: str, template: str) -> str:
    """A path on a drive: no share of another machine, which would be told who asks, no device, no stream beside a file."""
    if not _DRIVE.match(path):
        raise CollectionFailedError("path_invalid", f"`{template}` is not an absolute path on a drive of this machine")
    components = [component for component in re.split(r"[\\/]", path[3:]) if component not in ("", ".")]
    if not components or any(_NO_WINDOWS_NAME.search(component) or _DEVICE.match(component) for component in components):
        raise CollectionFailedError("path_invalid", f"`{template}` is not a place for certificates")
    return "\\".join((path[:2].upper(), *components))


def _is_exposed(found: os.stat_result) -> bool:
    if sys.platform == "win32":
        return False
    readable_by_others = stat.S_IROTH | (stat.S_IRGRP if found.st_uid != 0 else 0)
    return bool(found.st_mode & readable_by_others)


def _is_on_a_share(resolved: str) -> bool:
    """Whether a link or a mapped drive on Windows led to another machine: Windows has asked it by then, and nothing is read."""
    return os.name == "nt" and not _DRIVE.match(resolved.removeprefix("\\\\?\\"))


def _is_forbidden(path: str) -> bool:
    return any(path == forbidden or path.startswith(forbidden + "/") for forbidden in _FORBIDDEN)

"""The data directory: one process at a time, on a disk of this machine."""

import fcntl
import os
import re
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from watchword_server.errors import ConfigurationError, DataDirectoryBusyError, Problem

DATABASE_FILE: Final = "watchword.db"

# Locks and shared memory do not hold over these (https://sqlite.org/wal.html: all processes on the same host).
_NETWORK_FILE_SYSTEMS: Final = frozenset(
    {"afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "glusterfs", "lustre", "nfs", "nfs4", "smb3", "smbfs"}
)
_MOUNTS: Final = Path("/proc/self/mountinfo")
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


class DataDirectory:
    """A data directory that this process holds until `release`; the kernel releases it if the process dies."""

    def __init__(self, path: Path) -> None:
        """Creates `path` (0700) if need be and locks it.

        Raises `DataDirectoryBusyError` if another process holds it, `ConfigurationError` if it cannot be used.
        """
        self.path = path.absolute()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.path.stat().st_mode & 0o022:
                raise _unusable(self.path, f"others can write to it; `chmod 700 {self.path}`")
            file_system = file_system_of(self.path, mounts=_MOUNTS)
            if file_system in _NETWORK_FILE_SYSTEMS:
                raise _unusable(self.path, f"it lies on a network file system (`{file_system}`); choose a local disk")
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise _unusable(self.path, error.strerror or str(error)) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._lock)
            raise DataDirectoryBusyError(f"`{self.path}` is held by process {holder}: stop that one first") from error
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode("ascii"), 0)

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.path / DATABASE_FILE

    def release(self) -> None:
        """Lets another process have it. The lock file stays: removing it would let two processes lock two files."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.release()


def file_system_of(path: Path, *, mounts: Path) -> str | None:
    """The type of the file system a path lies on, as Linux names it; None where that is not known (proc(5), mountinfo)."""
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    resolved = path.resolve()
    found, depth = None, -1
    for line in lines:
        before, _, after = line.partition(" - ")
        mount_point = Path(_OCTAL.sub(lambda escape: chr(int(escape[1], 8)), before.split()[4]))
        if resolved.is_relative_to(mount_point) and len(mount_point.parts) >= depth:  # a later mount covers an earlier one
            found, depth = after.split()[0], len(mount_point.parts)
    return found


def _unusable(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError([Problem(("data_dir",), f"`{path}` cannot be used: {why}")])

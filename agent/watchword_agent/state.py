"""The state directory: where it is safe to keep the device key, what enrolling told us, and who is running."""

import contextlib
import os
import secrets
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from google.protobuf.message import DecodeError
from pydantic import BaseModel, ConfigDict, ValidationError

from watchword.v1 import posture_pb2 as pb
from watchword_agent.errors import NotEnrolledError, StateDirectoryError
from watchword_agent.windows_access import keep_to_ourselves

_LOCK_TRIES: Final = 10  # `is_running` holds the lock for a moment
_LOCK_PAUSE_SECONDS: Final = 0.02
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


class Enrollment(BaseModel):
    """What this device is to its server, and what it was told to call itself: enough to `run`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    server: str
    ca_file: Path | None
    device_id: str
    key_id: str
    audience: str  # pinned: evidence for another audience is never signed
    pending_approval: bool  # as it was when the device enrolled
    serial_number: str | None  # only where it was given by hand
    hostname: str | None


class StateDirectory:
    """The agent's files. Nobody but their owner reads them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.key_path = path / "device.key"
        self.next_key_path = path / "device.key.next"
        self.enrollment_path = path / "agent.json"
        self.status_path = path / "status.json"
        self.checks_path = path / "checks.pb"
        self.lock_path = path / "agent.lock"

    def prepare(self) -> None:
        """Makes the directory (0700), or checks that nobody else may write to the one that is there; on Windows sees to it.

        Raises `StateDirectoryError`.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.path.stat()
        except OSError as error:
            raise StateDirectoryError(
                f"cannot use `{self.path}`: {error.strerror}; run as the agent's user (root), or give `--state DIR`"
            ) from error
        if sys.platform == "win32":
            self._take_from_others()
        elif (found.st_mode & _OTHERS_WRITE) or found.st_uid not in (0, os.geteuid()):
            raise StateDirectoryError(f"others may write to `{self.path}`: `chown` it to the agent's user and `chmod 0700` it")

    def _take_from_others(self) -> None:
        """Anybody may make a directory in %ProgramData%, and read what others make there."""
        try:
            keep_to_ourselves(self.path)
        except OSError as error:
            raise StateDirectoryError(
                f"`{self.path}` is not the agent's alone ({error.strerror or error}): remove it, and run as an administrator"
            ) from error

    def enrollment(self) -> Enrollment:
        """What enrolling told us. Raises `NotEnrolledError`, or `StateDirectoryError` for a damaged file."""
        try:
            text = self.enrollment_path.read_bytes()
        except FileNotFoundError as error:
            raise NotEnrolledError(f"`{self.path}` is not enrolled: `watchword-agent enroll --help` says how") from error
        except OSError as error:
            raise StateDirectoryError(f"cannot read `{self.enrollment_path}`: {error.strerror}") from error
        try:
            return Enrollment.model_validate_json(text)
        except ValidationError as error:
            raise StateDirectoryError(f"`{self.enrollment_path}` is damaged; remove `{self.path}` and enroll anew") from error

    def keep_enrollment(self, enrollment: Enrollment) -> None:
        """Stores it durably. Raises `StateDirectoryError`."""
        write_atomically(self.enrollment_path, enrollment.model_dump_json(indent=2).encode() + b"\n")

    def keep_checks(self, checks: pb.CheckSet) -> None:
        """Stores the check set last told, durably: what the device has to show, also while the server is away.

        Raises `StateDirectoryError`.
        """
        write_atomically(self.checks_path, checks.SerializeToString(deterministic=True))

    def checks(self) -> pb.CheckSet | None:
        """The check set last told; None: none yet. What a newer agent wrote is read as far as this one knows it.

        Raises `StateDirectoryError`.
        """
        try:
            return pb.CheckSet.FromString(self.checks_path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateDirectoryError(
                f"cannot read `{self.checks_path}`: {error.strerror}; run as the agent's user (root)"
            ) from error
        except DecodeError as error:
            raise StateDirectoryError(f"`{self.checks_path}` is damaged: remove it and restart the agent") from error

    def forget(self) -> None:
        """Removes the device key, its successor, the enrollment and what the server told: nothing else. The key goes first.

        Raises `StateDirectoryError`; what is left then can be removed by the same again.
        """
        for path in (self.key_path, self.next_key_path, self.enrollment_path, self.checks_path, self.status_path):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise StateDirectoryError(f"cannot remove `{path}`: {error.strerror}; run as the agent's user (root)") from error
        try:
            _sync_directory(self.path)
        except OSError as error:
            raise StateDirectoryError(f"cannot write `{self.path}`: {error.strerror}") from error

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Holds the lock that one agent at a time has. Raises `StateDirectoryError` if another one has it."""
        try:
            descriptor = os.open(self.lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StateDirectoryError(f"cannot use `{self.lock_path}`: {error.strerror}") from error
        try:
            tries = 1
            while not _lock(descriptor):
                if tries == _LOCK_TRIES:
                    raise StateDirectoryError(f"another agent is running on `{self.path}`")
                tries += 1
                time.sleep(_LOCK_PAUSE_SECONDS)
            yield
        finally:
            os.close(descriptor)

    def is_running(self) -> bool:
        """Whether an agent holds the lock."""
        try:
            descriptor = os.open(self.lock_path, os.O_RDWR)
        except OSError:
            return False
        try:
            return not _lock(descriptor)
        finally:
            os.close(descriptor)


def write_atomically(path: Path, data: bytes, *, exclusive: bool = False, durable: bool = True) -> None:
    """Writes a file of mode 0600 that appears whole or not at all; with `exclusive`, only if there is none yet.

    Raises `FileExistsError` for that, else `StateDirectoryError`.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            if exclusive:
                os.link(temporary, path)  # fails where rename would replace
            else:
                temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        if durable:
            _sync_directory(path.parent)
    except FileExistsError:
        raise
    except OSError as error:
        raise StateDirectoryError(f"cannot write `{path}`: {error.strerror}") from error


def replace_durably(source: Path, target: Path) -> None:
    """Renames a file over another one of the same directory. Raises `StateDirectoryError`; then the target is as it was."""
    try:
        source.replace(target)
        _sync_directory(target.parent)
    except OSError as error:
        raise StateDirectoryError(f"cannot write `{target}`: {error.strerror}") from error


def _sync_directory(path: Path) -> None:
    if sys.platform == "win32":
        return  # a directory cannot be opened there; NTFS journals the rename
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

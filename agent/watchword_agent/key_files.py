"""Device keys in files: the key itself, or what its keeper (a TPM, Windows) needs to find it again.

A file's PEM label says which, so that a setting decides only about keys to come: a device keeps its key until it is rotated.
"""

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from watchword_agent.cng_key import CngKey
from watchword_agent.device_key import DeviceKey, FileKey
from watchword_agent.errors import DeviceKeyError
from watchword_agent.state import write_atomically
from watchword_agent.tpm_key import TpmKey

Keeper = Literal["file", "tpm", "cng_tpm", "cng_software"]
SYSTEM_TPM: Final = "device:/dev/tpmrm0"  # the kernel's resource manager: several programs may use the TPM at once

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_MAX_LENGTH: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """Loads keys, and makes new ones with `keeper`. `tpm_tcti` is how a TPM is reached, in the words of tpm2-tss."""

    keeper: Keeper = "file"
    tpm_tcti: str = SYSTEM_TPM

    def load_or_create(self, path: Path) -> DeviceKey:
        """The key in the file, or a new P-256 key and a new file of mode 0600. Raises `DeviceKeyError`, `StateDirectoryError`."""
        try:
            return self.load(path)
        except FileNotFoundError:
            pem = self._new_pem()
        try:
            write_atomically(path, pem, exclusive=True)
        except FileExistsError:  # another process was faster: its key is the key
            self._key(path, pem).discard()
        return self.load(path)

    def load(self, path: Path) -> DeviceKey:
        """The key in the file. Raises `DeviceKeyError` unless the file is ours alone; `FileNotFoundError`."""
        return self._key(path, _read(path))

    def remove(self, path: Path) -> None:
        """Ends a key and its file, if there is one, whatever is in it."""
        with contextlib.suppress(FileNotFoundError, DeviceKeyError):
            self.load(path).discard()
        path.unlink(missing_ok=True)

    # ---- Below: how ---------------------------------------------------------------------------------------------------

    def _key(self, path: Path, pem: bytes) -> DeviceKey:
        makers: Mapping[bytes, Callable[[bytes], DeviceKey]] = {
            TpmKey.PEM_LABEL: lambda pem: TpmKey.from_pem(pem, tcti=self.tpm_tcti),
            CngKey.PEM_LABEL: CngKey.from_pem,
        }
        label = pem.partition(b"-----BEGIN ")[2].partition(b"-----")[0]
        try:
            return makers.get(label, FileKey.from_pem)(pem)
        except ValueError as error:
            raise DeviceKeyError(f"the device key in `{path}` is {error}; remove it and enroll anew") from error

    def _new_pem(self) -> bytes:
        match self.keeper:
            case "file":
                return FileKey.new_pem()
            case "tpm":
                return TpmKey.new_pem(self.tpm_tcti)
            case "cng_tpm" | "cng_software":
                return CngKey.new_pem(self.keeper)


def _read(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DeviceKeyError(f"cannot read the device key `{path}`: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        _refuse_exposed(path, os.fstat(file.fileno()))
        return file.read(_MAX_LENGTH)


def _refuse_exposed(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise DeviceKeyError(f"`{path}` is not a regular file")
    if sys.platform == "win32":
        return  # modes say nothing there; the state directory's access list does
    if found.st_mode & _OTHERS or found.st_uid != os.geteuid():
        raise DeviceKeyError(
            f"others may have read the device key `{path}` (mode {stat.S_IMODE(found.st_mode):04o}, owner {found.st_uid}): "
            f"remove `{path.parent}` and enroll anew, or `chmod 0600` it if you know that nobody did"
        )

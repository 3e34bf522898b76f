"""What the device says of itself: platform, host name, serial number, boot. What is not known is None, never a placeholder."""

import functools
import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

from watchword_agent.system_names import mac_hostname, mac_serial_number, windows_hostname, windows_serial_number

# The field that `dmidecode -s system-serial-number` shows (readable by root alone), then ARM boards (NUL-terminated).
SERIAL_NUMBER_FILES: Final = (Path("/sys/class/dmi/id/product_serial"), Path("/sys/firmware/devicetree/base/serial-number"))
_BOOT_ID_FILE: Final = Path("/proc/sys/kernel/random/boot_id")

# What vendors and hypervisors leave in the field when they have not filled it in.
_JUNK: Final = re.compile(
    r"[0\s]*|(.)\1{2,}|none|null|n/?a|unknown|invalid|oem|serial|not (specified|applicable|available|present|settable)|"
    r"default string|default|empty|to be filled.*|(system |chassis |board |base board )?serial ?(number|#|no\.?)|"
    r"sys-?1234567890|0?123456789(0|ABCDEF)?|\.+|-+",
    re.IGNORECASE,
)
_NO_HOSTNAMES: Final = frozenset({"", "(none)", "localhost", "localhost.localdomain"})


@dataclass(frozen=True, slots=True)
class Identity:
    """Unproven, and enough to fill in `${hostname}` and `${serial_number}`."""

    platform: str  # linux, windows, mac
    hostname: str | None
    serial_number: str | None

    @property
    def variables(self) -> dict[str, str | None]:
        """The variables of paths and names, by name."""
        return {"hostname": self.hostname, "serial_number": self.serial_number}


@dataclass(frozen=True, slots=True)
class Boot:
    """This run of the system. `boot_id` is empty where the kernel tells none."""

    boot_id: bytes
    uptime_ms: int


def read_identity(*, hostname: str | None = None, serial_number: str | None = None) -> Identity:
    """The device's identity now; what is given wins over what is found."""
    return Identity(
        platform=read_platform(),
        hostname=hostname or read_hostname(),
        serial_number=serial_number or read_serial_number(),
    )


def read_platform() -> str:
    """`linux`, `windows` or `mac`; elsewhere what Python calls it."""
    return {"win32": "windows", "darwin": "mac"}.get(sys.platform, sys.platform)


def read_hostname() -> str | None:
    """The name as the administrator set it: on Linux the node name, short or fully qualified; on Windows without the domain.

    Nothing is resolved: DNS is not the device's word.
    """
    if sys.platform == "win32":
        name = windows_hostname() or ""
    elif sys.platform == "darwin":
        name = mac_hostname() or ""
    else:
        name = os.uname().nodename
    return None if name.lower() in _NO_HOSTNAMES else name


def read_serial_number(files: tuple[Path, ...] = SERIAL_NUMBER_FILES) -> str | None:
    """The system's serial number from its firmware; on Linux by the first of these files that tells one."""
    platform = read_platform()
    if platform == "windows":
        return plausible(_told_once(windows_serial_number))
    if platform == "mac":
        return plausible(_told_once(mac_serial_number))
    return next(filter(None, map(_serial_number_in, files)), None)


def plausible(serial_number: str | None) -> str | None:
    """A serial number without the space around it; None for what vendors leave in the field."""
    text = (serial_number or "").strip()
    return text if text.isprintable() and not _JUNK.fullmatch(text) else None


def read_boot(boot_id_file: Path = _BOOT_ID_FILE) -> Boot:
    """Which boot this is and how long it has lasted, suspended time included."""
    return Boot(boot_id=_boot_id(boot_id_file), uptime_ms=int(monotonic_seconds() * 1000))


def monotonic_seconds() -> float:
    """A clock that never steps and, where the system has one, goes on while it sleeps: a nonce ages then, too."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    else:  # noqa: RET505 -- mypy takes what follows a platform's return for unreachable
        return time.monotonic()


def _serial_number_in(file: Path) -> str | None:
    try:
        with file.open("rb") as opened:
            found = opened.read(256)
    except OSError:
        return None
    return plausible(found.split(b"\0")[0].decode("utf-8", "replace"))


@functools.cache
def _told_once(reading: Callable[[], str | None]) -> str | None:
    """No process outlives its machine's serial number, and a Mac starts a program to tell it."""
    return reading()


@functools.cache
def _boot_id(file: Path) -> bytes:
    """Read once: no process outlives its boot, and a server takes one that changes within a session for a second machine."""
    try:
        return UUID(file.read_text(encoding="ascii").strip()).bytes
    except (OSError, ValueError):
        return b""

"""What Windows and macOS say of themselves: host name and serial number, as bare text; None: they do not say."""

import ctypes
import plistlib
import subprocess
import sys
from typing import Any, Final
from xml.parsers.expat import ExpatError

from watchword_agent.smbios import system_serial_number

_RSMB: Final = int.from_bytes(b"RSMB", "big")
_PHYSICAL_DNS_HOSTNAME: Final = 5  # of COMPUTER_NAME_FORMAT: as it was set, where NetBIOS' cuts it off after 15 characters
_MAX_NAME: Final = 256
_TOOL_SECONDS: Final = 10.0
# Registry of I/O Kit as a property list, and the name that an administrator set; then the one that the system made of its own.
_IOREG: Final = ("/usr/sbin/ioreg", "-rd1", "-c", "IOPlatformExpertDevice", "-a")
_MAC_NAMES: Final = (("/usr/sbin/scutil", "--get", "HostName"), ("/usr/sbin/scutil", "--get", "LocalHostName"))


def windows_serial_number(kernel32: Any = None) -> str | None:  # noqa: ANN401 -- a foreign library
    """The firmware's; nobody needs to be an administrator for it."""
    get = (kernel32 or _kernel32()).GetSystemFirmwareTable
    get.restype, get.argtypes = ctypes.c_uint32, (ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32)
    buffer = ctypes.create_string_buffer(get(_RSMB, 0, None, 0))
    length = get(_RSMB, 0, buffer, len(buffer))
    serial_number = system_serial_number(buffer.raw[:length]) if length <= len(buffer) else None
    return None if serial_number is None else serial_number.decode("ascii", "replace")


def windows_hostname(kernel32: Any = None) -> str | None:  # noqa: ANN401 -- a foreign library
    """The computer's own name, without its domain, as `hostname` prints it."""
    get = (kernel32 or _kernel32()).GetComputerNameExW
    get.restype, get.argtypes = ctypes.c_int32, (ctypes.c_int, ctypes.c_wchar_p, ctypes.POINTER(ctypes.c_uint32))
    length = ctypes.c_uint32(_MAX_NAME)
    buffer = ctypes.create_unicode_buffer(_MAX_NAME)
    return buffer.value if get(_PHYSICAL_DNS_HOSTNAME, buffer, ctypes.byref(length)) else None


def mac_serial_number() -> str | None:
    """As "About This Mac" shows it."""
    return serial_number_in(_output(_IOREG))


def mac_hostname() -> str | None:
    """As the administrator set it (`scutil --set HostName`), or its name in the local network; never one that DHCP gave."""
    for command in _MAC_NAMES:
        if name := _output(command).decode("utf-8", "replace").strip():
            return name
    return None


def serial_number_in(registry: bytes) -> str | None:
    """The serial number in what `ioreg -rd1 -c IOPlatformExpertDevice -a` printed."""
    try:
        entries = plistlib.loads(registry, fmt=plistlib.FMT_XML)
    except (ExpatError, ValueError):
        return None
    for entry in entries if isinstance(entries, list) else []:
        found = entry.get("IOPlatformSerialNumber") if isinstance(entry, dict) else None
        if isinstance(found, str):
            return found
    return None


def _kernel32() -> Any:  # noqa: ANN401 -- a foreign library
    if sys.platform == "win32":
        return ctypes.WinDLL("kernel32", winmode=0x800)  # LOAD_LIBRARY_SEARCH_SYSTEM32
    else:  # noqa: RET505 -- mypy takes what follows a platform's return for unreachable
        raise OSError("kernel32 is a part of Windows")


def _output(command: tuple[str, ...]) -> bytes:
    """What it prints; nothing if it fails or takes too long."""
    try:
        done = subprocess.run(  # noqa: S603 -- words of ours
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TOOL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout if done.returncode == 0 else b""

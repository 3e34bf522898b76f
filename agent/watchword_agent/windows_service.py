"""Running as a service of Windows: what the service control manager is told, and that it says when to end.

The calls are those of winsvc.h ("Writing a ServiceMain Function"). Standard library only.
"""

import contextlib
import ctypes
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from ctypes import POINTER, c_uint32, c_void_p, c_wchar_p
from pathlib import Path
from typing import Any, Final, TextIO

NAME: Final = "watchword-agent"

QUERY: Final = ("sc.exe", "query", NAME)
STOP: Final = ("sc.exe", "stop", NAME)
STOPPED: Final = 1  # SERVICE_STOPPED
DELETE: Final = ("sc.exe", "delete", NAME)

_OWN_PROCESS: Final = 0x10  # SERVICE_WIN32_OWN_PROCESS
_STOP_PENDING: Final = 3  # SERVICE_STOP_PENDING
_RUNNING: Final = 4  # SERVICE_RUNNING
_ACCEPTED: Final = 0x1 | 0x4  # SERVICE_ACCEPT_STOP, SERVICE_ACCEPT_SHUTDOWN
_STOP: Final = 1  # SERVICE_CONTROL_STOP
_SHUTDOWN: Final = 5
_INTERROGATE: Final = 4
_NOT_IMPLEMENTED: Final = 120  # ERROR_CALL_NOT_IMPLEMENTED
_SPECIFIC_ERROR: Final = 1066  # ERROR_SERVICE_SPECIFIC_ERROR: the number is the program's own
_LOG_BYTES: Final = 8 * 2**20
_STOP_WAIT_MS: Final = 30_000

# Restarts after 5 s, 5 s, then each minute; a day without any begins anew. Also after an end with an error, not a crash alone.
_RESTARTS: Final = "restart/5000/restart/5000/restart/60000"
_RESET_SECONDS: Final = "86400"


class _Status(ctypes.Structure):
    """SERVICE_STATUS."""

    _fields_ = (
        ("type", c_uint32),
        ("state", c_uint32),
        ("accepted", c_uint32),
        ("exit_code", c_uint32),
        ("specific_exit_code", c_uint32),
        ("check_point", c_uint32),
        ("wait_hint", c_uint32),
    )


_Main: Final = ctypes.CFUNCTYPE(None, c_uint32, c_void_p)  # there is one calling convention on 64-bit Windows
_Handler: Final = ctypes.CFUNCTYPE(c_uint32, c_uint32, c_uint32, c_void_p, c_void_p)


class _Entry(ctypes.Structure):
    """SERVICE_TABLE_ENTRYW."""

    _fields_ = (("name", c_wchar_p), ("main", _Main))


class _Service:
    """This process as a service: one at most."""

    def __init__(self, work: Callable[[], int]) -> None:
        self._work = work
        self._calls = _calls()
        self._handle: int | None = None
        self._handler, self._main = _Handler(self._control), _Main(self._serve)  # referenced: Windows calls them
        self.code = 1

    def run(self) -> int:
        """Until it has ended. Raises `OSError` where no service control manager started this process."""
        table = (_Entry * 2)(_Entry(NAME, self._main), _Entry(None, _Main()))
        if not self._calls.StartServiceCtrlDispatcherW(table):
            raise OSError(f"this is no service: the service control manager starts it (error {_last_error()})")
        return self.code

    def _serve(self, _: int, __: int | None) -> None:
        """In a thread of Windows'."""
        self._handle = self._calls.RegisterServiceCtrlHandlerExW(NAME, self._handler, None)
        self._tell(_RUNNING)
        try:
            self.code = self._work()
        finally:
            self._tell(STOPPED)

    def _control(self, control: int, _: int, __: int | None, ___: int | None) -> int:
        if control in (_STOP, _SHUTDOWN):
            self._tell(_STOP_PENDING)
            _stop_requested()
            return 0
        return 0 if control == _INTERROGATE else _NOT_IMPLEMENTED

    def _tell(self, state: int) -> None:
        status = _Status(_OWN_PROCESS, state)
        if state == _RUNNING:
            status.accepted = _ACCEPTED
        elif state == _STOP_PENDING:
            status.wait_hint = _STOP_WAIT_MS
        elif self.code:  # the manager restarts what ended with an error
            status.exit_code, status.specific_exit_code = _SPECIFIC_ERROR, self.code
        self._calls.SetServiceStatus(self._handle, ctypes.byref(status))


_lock = threading.Lock()
_stop: Callable[[], object] | None = None
_asked = False


def run_as_service(work: Callable[[], int]) -> int:
    """Does the work as the service control manager wants it, and returns its exit code. Raises `OSError` where none asked."""
    return _Service(work).run()


def log_to(file: Path) -> TextIO:
    """Has standard error go to a file, as a service has none; what is longer than 8 MiB becomes `FILE.1` first.

    Raises `OSError`.
    """
    if file.exists() and file.stat().st_size > _LOG_BYTES:
        file.replace(file.with_name(f"{file.name}.1"))
    sys.stderr = file.open("a", encoding="utf-8", buffering=1, errors="backslashreplace")
    return sys.stderr


@contextlib.contextmanager
def stop_requests(stop: Callable[[], object]) -> Iterator[None]:
    """Calls `stop`, from another thread, when the service is to stop; at once if it was to before."""
    global _stop  # noqa: PLW0603 -- a process is one service
    with _lock:
        _stop = stop
        late = _asked
    if late:
        stop()
    try:
        yield
    finally:
        with _lock:
            _stop = None


def install_commands(command: Sequence[str], *, is_there: bool) -> list[list[str]]:
    """What installs the service, or configures the one that is there, and starts it: each a command of `sc.exe`'s."""
    made = "config" if is_there else "create"
    options = ["binPath=", subprocess.list2cmdline(command), "start=", "auto", "DisplayName=", "Watchword agent"]
    return [
        ["sc.exe", made, NAME, *options],
        ["sc.exe", "description", NAME, "Proves this device's client certificate to a Watchword server."],
        ["sc.exe", "failure", NAME, "reset=", _RESET_SECONDS, "actions=", _RESTARTS],
        ["sc.exe", "failureflag", NAME, "1"],
        ["sc.exe", "start", NAME],
    ]


def state_in(told: str) -> int | None:
    """The state's number in what `QUERY` printed: the line that follows the type, whatever language the words have."""
    numbers = re.findall(r":\s*([0-9A-Fa-f]+)\s", told)
    return int(numbers[1]) if len(numbers) > 1 else None


def _stop_requested() -> None:
    global _asked  # noqa: PLW0603 -- as above
    with _lock:
        _asked = True
        stop = _stop
    if stop is not None:
        stop()


def _calls() -> Any:  # noqa: ANN401 -- a foreign library
    if sys.platform == "win32":
        advapi32 = ctypes.WinDLL("advapi32", use_last_error=True, winmode=0x800)  # LOAD_LIBRARY_SEARCH_SYSTEM32
        for function, result, arguments in (
            (advapi32.StartServiceCtrlDispatcherW, ctypes.c_int32, (POINTER(_Entry),)),
            (advapi32.RegisterServiceCtrlHandlerExW, c_void_p, (c_wchar_p, _Handler, c_void_p)),
            (advapi32.SetServiceStatus, ctypes.c_int32, (c_void_p, POINTER(_Status))),
        ):
            function.restype, function.argtypes = result, arguments
        return advapi32
    else:  # noqa: RET505 -- mypy takes what follows a platform's return for unreachable
        raise OSError("services of this kind are a part of Windows")


def _last_error() -> int:
    if sys.platform == "win32":
        return ctypes.get_last_error()
    else:  # noqa: RET505 -- as above
        return 0

"""A helper in the session of the user who is signed in, started by one that runs as the system: their stores are their own.

The calls are those of "Launching an interactive client process" (wtsapi32.h, userenv.h, processthreadsapi.h). The user's helper
has the standard input and output of this one, and ends with it: it is in a job that is closed then, however it came to that.
"""

import contextlib
import ctypes
import subprocess
from collections.abc import Callable, Iterator, Sequence
from ctypes import POINTER, c_int32, c_uint32, c_void_p, c_wchar_p
from typing import Any

from watchword_agent.native import windows_processes as p
from watchword_agent.native.serving import HelperError
from watchword_agent.native.windows_calls import Function, windows_last_error, windows_library

_DWORD, _BOOL, _HANDLE_OUT, _OUT = c_uint32, c_int32, POINTER(c_void_p), POINTER(c_uint32)


class SessionCalls:
    """The functions by their own names, as `windows_calls.Calls` has them."""

    def __init__(self, library: Callable[[str], Any], last_error: Callable[[], int]) -> None:
        self.last_error = last_error
        kernel32, advapi32, wtsapi32, userenv = map(library, ("kernel32", "advapi32", "wtsapi32", "userenv"))

        def typed(function: Any, result: Any, *arguments: Any) -> Function:  # noqa: ANN401 -- foreign functions, their types
            function.restype, function.argtypes = result, arguments
            called: Function = function
            return called

        self.GetCurrentProcess = typed(kernel32.GetCurrentProcess, c_void_p)
        self.CloseHandle = typed(kernel32.CloseHandle, _BOOL, c_void_p)
        self.GetStdHandle = typed(kernel32.GetStdHandle, c_void_p, _DWORD)
        self.SetHandleInformation = typed(kernel32.SetHandleInformation, _BOOL, c_void_p, _DWORD, _DWORD)
        self.CreateJobObjectW = typed(kernel32.CreateJobObjectW, c_void_p, c_void_p, c_wchar_p)
        self.SetInformationJobObject = typed(kernel32.SetInformationJobObject, _BOOL, c_void_p, c_int32, c_void_p, _DWORD)
        self.AssignProcessToJobObject = typed(kernel32.AssignProcessToJobObject, _BOOL, c_void_p, c_void_p)
        self.ResumeThread = typed(kernel32.ResumeThread, _DWORD, c_void_p)
        self.TerminateProcess = typed(kernel32.TerminateProcess, _BOOL, c_void_p, _DWORD)
        self.WaitForSingleObject = typed(kernel32.WaitForSingleObject, _DWORD, c_void_p, _DWORD)
        self.GetExitCodeProcess = typed(kernel32.GetExitCodeProcess, _BOOL, c_void_p, _OUT)
        self.WTSGetActiveConsoleSessionId = typed(kernel32.WTSGetActiveConsoleSessionId, _DWORD)
        self.OpenProcessToken = typed(advapi32.OpenProcessToken, _BOOL, c_void_p, _DWORD, _HANDLE_OUT)
        self.GetTokenInformation = typed(advapi32.GetTokenInformation, _BOOL, c_void_p, c_int32, c_void_p, _DWORD, _OUT)
        self.IsWellKnownSid = typed(advapi32.IsWellKnownSid, _BOOL, c_void_p, c_int32)
        self.CreateProcessAsUserW = typed(
            *(advapi32.CreateProcessAsUserW, _BOOL, c_void_p, c_wchar_p, c_void_p, c_void_p, c_void_p, _BOOL, _DWORD, c_void_p),
            *(c_wchar_p, c_void_p, c_void_p),
        )
        self.WTSEnumerateSessionsW = typed(
            wtsapi32.WTSEnumerateSessionsW, _BOOL, c_void_p, _DWORD, _DWORD, POINTER(POINTER(p.SessionInfo)), _OUT
        )
        self.WTSFreeMemory = typed(wtsapi32.WTSFreeMemory, None, c_void_p)
        self.WTSQueryUserToken = typed(wtsapi32.WTSQueryUserToken, _BOOL, _DWORD, _HANDLE_OUT)
        self.CreateEnvironmentBlock = typed(userenv.CreateEnvironmentBlock, _BOOL, _HANDLE_OUT, c_void_p, _BOOL)
        self.DestroyEnvironmentBlock = typed(userenv.DestroyEnvironmentBlock, _BOOL, c_void_p)


def session_calls() -> SessionCalls:
    """Windows' own. Raises `HelperError` elsewhere."""
    return SessionCalls(windows_library, windows_last_error)


def runs_as_system(calls: SessionCalls) -> bool:
    """Whether this process is the system's (S-1-5-18), as a service is."""
    token = c_void_p()
    if not calls.OpenProcessToken(calls.GetCurrentProcess(), p.TOKEN_QUERY, ctypes.byref(token)):
        raise _failed(calls, "OpenProcessToken")
    with _closed(calls, token.value):
        length = c_uint32()
        calls.GetTokenInformation(token, p.TokenUser, None, 0, ctypes.byref(length))
        buffer = ctypes.create_string_buffer(length.value)
        if not calls.GetTokenInformation(token, p.TokenUser, buffer, length.value, ctypes.byref(length)):
            raise _failed(calls, "GetTokenInformation")
        sid = c_void_p.from_buffer(buffer)  # TOKEN_USER begins with it
        return bool(calls.IsWellKnownSid(sid, p.WinLocalSystemSid))


def run_for_user(calls: SessionCalls, command: Sequence[str]) -> int:
    """Runs a command as the user who is signed in, with our standard input and output, to its end: its exit code.

    Raises `HelperError`: `user_not_signed_in`; `helper_unavailable` where it does not start.
    """
    with _token_of_user(calls) as token, _environment(calls, token) as environment, _job(calls) as job:
        started = _started(calls, token, environment, command)
        with _closed(calls, started.thread), _closed(calls, started.process):
            if not calls.AssignProcessToJobObject(job, started.process):
                failure = _failed(calls, "AssignProcessToJobObject")
                calls.TerminateProcess(started.process, 1)  # rather none than one that nobody ends
                raise failure
            calls.ResumeThread(started.thread)
            calls.WaitForSingleObject(started.process, p.INFINITE)
            code = c_uint32()
            calls.GetExitCodeProcess(started.process, ctypes.byref(code))
            return code.value


@contextlib.contextmanager
def _token_of_user(calls: SessionCalls) -> Iterator[int | None]:
    """Of the user at the console; if there is none, of one who is connected from elsewhere."""
    token, code = c_void_p(), p.ERROR_NO_TOKEN
    for session in _sessions(calls):
        if calls.WTSQueryUserToken(session, ctypes.byref(token)):
            break
        code = calls.last_error()
    else:
        if code == p.ERROR_NO_TOKEN:
            raise HelperError("user_not_signed_in", "nobody is signed in at this machine")
        raise _failed(calls, "WTSQueryUserToken")
    with _closed(calls, token.value):
        yield token.value


def _sessions(calls: SessionCalls) -> list[int]:
    console, sessions, count = calls.WTSGetActiveConsoleSessionId(), POINTER(p.SessionInfo)(), c_uint32()
    active = []
    if calls.WTSEnumerateSessionsW(None, 0, 1, ctypes.byref(sessions), ctypes.byref(count)):
        active = [sessions[index].session for index in range(count.value) if sessions[index].state == p.WTSActive]
        calls.WTSFreeMemory(sessions)
    first = [] if console == p.NO_SESSION else [console]
    return first + [session for session in active if session != console]


@contextlib.contextmanager
def _environment(calls: SessionCalls, token: int | None) -> Iterator[int | None]:
    """The user's, not the system's: where their keys lie depends on it."""
    block = c_void_p()
    if not calls.CreateEnvironmentBlock(ctypes.byref(block), token, 0):
        raise _failed(calls, "CreateEnvironmentBlock")
    try:
        yield block.value
    finally:
        calls.DestroyEnvironmentBlock(block)


@contextlib.contextmanager
def _job(calls: SessionCalls) -> Iterator[int]:
    job = calls.CreateJobObjectW(None, None)
    if not job:
        raise _failed(calls, "CreateJobObjectW")
    limits = p.ExtendedLimits(flags=p.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE)
    with _closed(calls, job):
        size = ctypes.sizeof(limits)
        if not calls.SetInformationJobObject(job, p.JobObjectExtendedLimitInformation, ctypes.byref(limits), size):
            raise _failed(calls, "SetInformationJobObject")
        yield job


def _started(calls: SessionCalls, token: int | None, environment: int | None, command: Sequence[str]) -> p.ProcessInformation:
    handles = [calls.GetStdHandle(each) for each in (p.STD_INPUT_HANDLE, p.STD_OUTPUT_HANDLE, p.STD_ERROR_HANDLE)]
    for handle in handles:
        calls.SetHandleInformation(handle, p.HANDLE_FLAG_INHERIT, p.HANDLE_FLAG_INHERIT)
    startup = p.StartupInfo(size=ctypes.sizeof(p.StartupInfo), desktop="winsta0\\default", flags=p.STARTF_USESTDHANDLES)
    startup.input, startup.output, startup.error = handles
    started, line = p.ProcessInformation(), ctypes.create_unicode_buffer(subprocess.list2cmdline(command))  # it may write there
    flags = p.CREATE_SUSPENDED | p.CREATE_UNICODE_ENVIRONMENT | p.CREATE_NO_WINDOW
    if not calls.CreateProcessAsUserW(
        *(token, command[0], line, None, None, 1, flags, environment, None, ctypes.byref(startup), ctypes.byref(started))
    ):
        raise _failed(calls, "CreateProcessAsUserW")
    return started


@contextlib.contextmanager
def _closed(calls: SessionCalls, handle: int | None) -> Iterator[None]:
    try:
        yield
    finally:
        calls.CloseHandle(handle)


def _failed(calls: SessionCalls, call: str) -> HelperError:
    return HelperError("helper_unavailable", f"no helper for the signed-in user ({call}: {calls.last_error()})")

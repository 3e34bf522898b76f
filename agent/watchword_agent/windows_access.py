"""A directory of Windows that is the system's, the administrators' and our own account's alone, whatever it lies in.

The calls are those of aclapi.h, sddl.h and securitybaseapi.h. Standard library only.
"""

import contextlib
import ctypes
import sys
from collections.abc import Iterator
from ctypes import POINTER, c_int32, c_uint32, c_void_p, c_wchar_p
from pathlib import Path
from typing import Any, Final

_FILE_OBJECT: Final = 1  # SE_FILE_OBJECT
_OWNER: Final = 0x1  # OWNER_SECURITY_INFORMATION
_DACL: Final = 0x4
_REPARSE_POINT: Final = 0x400  # FILE_ATTRIBUTE_REPARSE_POINT: a link or junction
_SDDL_REVISION: Final = 1
_TOKEN_QUERY: Final = 0x8
_TOKEN_USER: Final = 1
_LOCAL_SYSTEM: Final = 22  # WinLocalSystemSid
_ADMINISTRATORS: Final = 26  # WinBuiltinAdministratorsSid
# Nothing inherited (P); everything, for what is made in it, too: for the system, the administrators, and whoever we are.
_ONLY: Final = "D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;{})"
_HANDLE_OUT: Final = POINTER(c_void_p)


class ForeignOwnerError(OSError):
    """Somebody else owns it, and may give themselves any access at any time."""


def keep_to_ourselves(directory: Path) -> None:
    """Takes a directory away from everybody else, with the files in it. Raises `ForeignOwnerError`, `OSError`.

    The directory comes first: nobody puts anything into it after that, and what was put there before shows by its owner.
    """
    calls = _Calls()
    with _our_sid(calls) as ours, _descriptor(calls, ours) as descriptor:
        _take(calls, directory, ours, descriptor)
        for path in directory.iterdir():
            _take(calls, path, ours, descriptor)


def _take(calls: "_Calls", path: Path, ours: c_void_p, descriptor: c_void_p) -> None:
    if getattr(path.lstat(), "st_file_attributes", 0) & _REPARSE_POINT:  # what it leads to may be the system's
        raise ForeignOwnerError(f"`{path}` leads elsewhere")
    if not _is_trusted(calls, path, ours):
        raise ForeignOwnerError(f"somebody else owns `{path}`")
    # Not SetNamedSecurityInfo: it hands on to a whole tree, and has a list merged with what the directory above hands on.
    _check(calls.SetFileSecurityW(str(path), _DACL, descriptor), "SetFileSecurityW")


@contextlib.contextmanager
def _descriptor(calls: "_Calls", ours: c_void_p) -> Iterator[c_void_p]:
    text, descriptor = c_wchar_p(), c_void_p()
    _check(calls.ConvertSidToStringSidW(ours, ctypes.byref(text)), "ConvertSidToStringSidW")
    try:
        sddl = _ONLY.format(text.value)
    finally:
        calls.LocalFree(text)
    made = calls.ConvertStringSecurityDescriptorToSecurityDescriptorW(sddl, _SDDL_REVISION, ctypes.byref(descriptor), None)
    _check(made, "ConvertStringSecurityDescriptorToSecurityDescriptorW")
    try:
        yield descriptor
    finally:
        calls.LocalFree(descriptor)


class _Calls:
    """The functions by their own names, each with its types."""

    def __init__(self) -> None:
        advapi32, kernel32 = _library("advapi32"), _library("kernel32")

        def typed(function: Any, result: Any, *arguments: Any) -> Any:  # noqa: ANN401 -- foreign functions and their types
            function.restype, function.argtypes = result, arguments
            return function

        self.GetCurrentProcess = typed(kernel32.GetCurrentProcess, c_void_p)
        self.CloseHandle = typed(kernel32.CloseHandle, c_int32, c_void_p)
        self.LocalFree = typed(kernel32.LocalFree, c_void_p, c_void_p)
        self.OpenProcessToken = typed(advapi32.OpenProcessToken, c_int32, c_void_p, c_uint32, _HANDLE_OUT)
        self.GetTokenInformation = typed(
            advapi32.GetTokenInformation, c_int32, c_void_p, c_int32, c_void_p, c_uint32, POINTER(c_uint32)
        )
        self.IsWellKnownSid = typed(advapi32.IsWellKnownSid, c_int32, c_void_p, c_int32)
        self.EqualSid = typed(advapi32.EqualSid, c_int32, c_void_p, c_void_p)
        self.ConvertSidToStringSidW = typed(advapi32.ConvertSidToStringSidW, c_int32, c_void_p, POINTER(c_wchar_p))
        self.ConvertStringSecurityDescriptorToSecurityDescriptorW = typed(
            *(advapi32.ConvertStringSecurityDescriptorToSecurityDescriptorW, c_int32, c_wchar_p, c_uint32, _HANDLE_OUT),
            POINTER(c_uint32),
        )
        self.GetNamedSecurityInfoW = typed(
            *(advapi32.GetNamedSecurityInfoW, c_uint32, c_wchar_p, c_int32, c_uint32, _HANDLE_OUT, _HANDLE_OUT, _HANDLE_OUT),
            *(_HANDLE_OUT, _HANDLE_OUT),
        )
        self.SetFileSecurityW = typed(advapi32.SetFileSecurityW, c_int32, c_wchar_p, c_uint32, c_void_p)


@contextlib.contextmanager
def _our_sid(calls: _Calls) -> Iterator[c_void_p]:
    token, length = c_void_p(), c_uint32()
    opened = calls.OpenProcessToken(calls.GetCurrentProcess(), _TOKEN_QUERY, ctypes.byref(token))
    _check(opened, "OpenProcessToken")
    try:
        calls.GetTokenInformation(token, _TOKEN_USER, None, 0, ctypes.byref(length))
        buffer = ctypes.create_string_buffer(length.value)
        told = calls.GetTokenInformation(token, _TOKEN_USER, buffer, length.value, ctypes.byref(length))
        _check(told, "GetTokenInformation")
        yield c_void_p.from_buffer(buffer)  # TOKEN_USER begins with it
    finally:
        calls.CloseHandle(token)


def _is_trusted(calls: _Calls, path: Path, ours: c_void_p) -> bool:
    owner, descriptor = c_void_p(), c_void_p()
    code = calls.GetNamedSecurityInfoW(
        str(path), _FILE_OBJECT, _OWNER, ctypes.byref(owner), None, None, None, ctypes.byref(descriptor)
    )
    _check_code(code, "GetNamedSecurityInfoW")
    try:
        known = any(calls.IsWellKnownSid(owner, each) for each in (_LOCAL_SYSTEM, _ADMINISTRATORS))
        return known or bool(calls.EqualSid(owner, ours))
    finally:
        calls.LocalFree(descriptor)


def _check(succeeded: int, call: str) -> None:
    if not succeeded:
        _check_code(_last_error() or 1, call)


def _check_code(code: int, call: str) -> None:
    if code:
        raise OSError(code, f"{call} failed with {code}")


def _library(name: str) -> Any:  # noqa: ANN401 -- a foreign library
    if sys.platform == "win32":
        return ctypes.WinDLL(name, use_last_error=True, winmode=0x800)  # LOAD_LIBRARY_SEARCH_SYSTEM32
    else:  # noqa: RET505 -- mypy takes what follows a platform's return for unreachable
        raise OSError(f"{name} is a part of Windows")


def _last_error() -> int:
    if sys.platform == "win32":
        return ctypes.get_last_error()
    else:  # noqa: RET505 -- as above
        return 0

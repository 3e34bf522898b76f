"""The functions of Windows that its helper calls, each with its types. Elsewhere they are not there, and something stands in."""

import ctypes
import sys
from collections.abc import Callable
from ctypes import POINTER, c_int32, c_size_t, c_uint32, c_void_p, c_wchar_p
from typing import Any

from watchword_agent.native.serving import HelperError

Function = Callable[..., Any]
_DWORD, _BOOL, _OUT, _HANDLE_OUT = c_uint32, c_int32, POINTER(c_uint32), POINTER(c_size_t)


class Calls:
    """The functions by their own names. Pointers and handles come as numbers, None for NULL.

    `library` gives a library by name; `last_error` is GetLastError of the call before.
    """

    def __init__(self, library: Callable[[str], Any], last_error: Callable[[], int]) -> None:
        self._last_error = last_error
        crypt32, ncrypt, advapi32, kernel32 = map(library, ("crypt32", "ncrypt", "advapi32", "kernel32"))
        typed = _typed
        self.CertOpenStore = typed(crypt32.CertOpenStore, c_void_p, c_void_p, _DWORD, c_void_p, _DWORD, c_wchar_p)
        self.CertCloseStore = typed(crypt32.CertCloseStore, _BOOL, c_void_p, _DWORD)
        self.CertControlStore = typed(crypt32.CertControlStore, _BOOL, c_void_p, _DWORD, _DWORD, POINTER(c_void_p))
        self.CertEnumCertificatesInStore = typed(crypt32.CertEnumCertificatesInStore, c_void_p, c_void_p, c_void_p)
        self.CertFreeCertificateContext = typed(crypt32.CertFreeCertificateContext, _BOOL, c_void_p)
        self.CertGetCertificateContextProperty = typed(
            crypt32.CertGetCertificateContextProperty, _BOOL, c_void_p, _DWORD, c_void_p, _OUT
        )
        self.CryptAcquireCertificatePrivateKey = typed(
            crypt32.CryptAcquireCertificatePrivateKey, _BOOL, c_void_p, _DWORD, c_void_p, _HANDLE_OUT, _OUT, POINTER(_BOOL)
        )
        self.CryptExportPublicKeyInfo = typed(crypt32.CryptExportPublicKeyInfo, _BOOL, c_size_t, _DWORD, _DWORD, c_void_p, _OUT)
        self.NCryptSignHash = typed(
            ncrypt.NCryptSignHash, _DWORD, c_size_t, c_void_p, c_void_p, _DWORD, c_void_p, _DWORD, _OUT, _DWORD
        )
        self.NCryptFreeObject = typed(ncrypt.NCryptFreeObject, _DWORD, c_size_t)
        self.CryptAcquireContextW = typed(advapi32.CryptAcquireContextW, _BOOL, _HANDLE_OUT, c_wchar_p, c_wchar_p, _DWORD, _DWORD)
        self.CryptReleaseContext = typed(advapi32.CryptReleaseContext, _BOOL, c_size_t, _DWORD)
        self.CryptCreateHash = typed(advapi32.CryptCreateHash, _BOOL, c_size_t, _DWORD, c_size_t, _DWORD, _HANDLE_OUT)
        self.CryptHashData = typed(advapi32.CryptHashData, _BOOL, c_size_t, c_void_p, _DWORD, _DWORD)
        self.CryptSignHashW = typed(advapi32.CryptSignHashW, _BOOL, c_size_t, _DWORD, c_wchar_p, _DWORD, c_void_p, _OUT)
        self.CryptDestroyHash = typed(advapi32.CryptDestroyHash, _BOOL, c_size_t)
        self.CreateEventW = typed(kernel32.CreateEventW, c_void_p, c_void_p, _BOOL, _BOOL, c_wchar_p)
        self.WaitForSingleObject = typed(kernel32.WaitForSingleObject, _DWORD, c_void_p, _DWORD)

    def last_error(self) -> int:
        """GetLastError of the call before, unsigned."""
        return self._last_error() & 0xFFFFFFFF


def windows_calls() -> Calls:
    """Windows' own. Raises `HelperError` elsewhere."""
    return Calls(windows_library, windows_last_error)


def windows_library(name: str) -> Any:  # noqa: ANN401 -- a foreign library
    """A library of the system. Raises `HelperError`."""
    if sys.platform == "win32":
        return ctypes.WinDLL(name, use_last_error=True, winmode=0x800)  # LOAD_LIBRARY_SEARCH_SYSTEM32: from nowhere else
    else:  # noqa: RET505 -- mypy takes what follows a platform's return for unreachable
        raise HelperError("library_missing", f"`{name}` is a part of Windows")


def windows_last_error() -> int:
    """GetLastError of the call before."""
    if sys.platform == "win32":
        return ctypes.get_last_error()
    else:  # noqa: RET505 -- as above
        raise HelperError("library_missing", "there is no GetLastError here")


def _typed(function: Any, result: Any, *arguments: Any) -> Function:  # noqa: ANN401 -- foreign functions and their types
    function.restype, function.argtypes = result, arguments
    called: Function = function
    return called

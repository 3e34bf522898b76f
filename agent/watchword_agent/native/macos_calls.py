"""The functions of macOS that its helper calls, each with its types; constants of its frameworks, and who releases what.

Security and CoreFoundation, by Apple's headers of those names. Elsewhere they are not there, and something stands in.
"""

import contextlib
import ctypes
import sys
from collections.abc import Callable, Iterator
from ctypes import POINTER, c_char_p, c_int32, c_long, c_ubyte, c_void_p
from typing import Any, Final

from watchword_agent.native.serving import HelperError

Function = Callable[..., Any]
_OUT, _INDEX, _STATUS, _BOOLEAN, _REF = POINTER(c_void_p), c_long, c_int32, c_ubyte, c_void_p
_FRAMEWORK: Final = "/System/Library/Frameworks/{0}.framework/{0}"  # found though the file is in the loader's cache alone


class Calls:
    """The functions by their own names. References come as numbers, None for NULL.

    `library` gives a framework by name. A function with `Create` or `Copy` in its name gives a reference that is the caller's
    to release, one with `Get` a reference that is not (Memory Management Programming Guide for Core Foundation).
    """

    def __init__(self, library: Callable[[str], Any]) -> None:
        foundation, security = self._foundation, self._security = library("CoreFoundation"), library("Security")
        typed = _typed
        self.CFRelease = typed(foundation.CFRelease, None, _REF)
        self.CFArrayCreate = typed(foundation.CFArrayCreate, _REF, _REF, _OUT, _INDEX, c_void_p)
        self.CFArrayGetCount = typed(foundation.CFArrayGetCount, _INDEX, _REF)
        self.CFArrayGetValueAtIndex = typed(foundation.CFArrayGetValueAtIndex, _REF, _REF, _INDEX)
        self.CFDataCreate = typed(foundation.CFDataCreate, _REF, _REF, c_char_p, _INDEX)
        self.CFDataGetLength = typed(foundation.CFDataGetLength, _INDEX, _REF)
        self.CFDataGetBytePtr = typed(foundation.CFDataGetBytePtr, c_void_p, _REF)
        self.CFDictionaryCreate = typed(foundation.CFDictionaryCreate, _REF, _REF, _OUT, _OUT, _INDEX, c_void_p, c_void_p)
        self.CFErrorGetCode = typed(foundation.CFErrorGetCode, _INDEX, _REF)
        self.SecKeychainSetUserInteractionAllowed = typed(security.SecKeychainSetUserInteractionAllowed, _STATUS, _BOOLEAN)
        self.SecKeychainOpen = typed(security.SecKeychainOpen, _STATUS, c_char_p, _OUT)
        self.SecItemCopyMatching = typed(security.SecItemCopyMatching, _STATUS, _REF, _OUT)
        self.SecCertificateCopyData = typed(security.SecCertificateCopyData, _REF, _REF)
        self.SecIdentityCreateWithCertificate = typed(security.SecIdentityCreateWithCertificate, _STATUS, _REF, _REF, _OUT)
        self.SecIdentityCopyPrivateKey = typed(security.SecIdentityCopyPrivateKey, _STATUS, _REF, _OUT)
        self.SecKeyIsAlgorithmSupported = typed(security.SecKeyIsAlgorithmSupported, _BOOLEAN, _REF, _INDEX, _REF)
        self.SecKeyCreateSignature = typed(security.SecKeyCreateSignature, _REF, _REF, _REF, _REF, _OUT)

    def constant(self, name: str) -> int:
        """A constant reference, such as `kSecClass`: the library's own, never to be released."""
        library = self._foundation if name.startswith("kCF") else self._security
        value = c_void_p.in_dll(library, name).value
        if value is None:
            raise HelperError("library_missing", f"`{name}` is nothing on this macOS")
        return value

    def callbacks(self, name: str) -> int:
        """The address of a structure such as `kCFTypeArrayCallBacks`: what is put in is retained, and released with it."""
        return ctypes.addressof(ctypes.c_byte.in_dll(self._foundation, name))


@contextlib.contextmanager
def released(calls: Calls, reference: int | None) -> Iterator[int]:
    """A reference that is ours until the end of the block. Raises `HelperError` for NULL, which is a lack of memory."""
    if not reference:
        raise HelperError("helper_crashed", "macOS gave nothing where it always gives something: is it out of memory?")
    try:
        yield reference
    finally:
        calls.CFRelease(reference)


def macos_calls() -> Calls:
    """The system's own. Raises `HelperError` elsewhere."""
    return Calls(macos_framework)


def macos_framework(name: str) -> Any:  # noqa: ANN401 -- a foreign library
    """A framework of the system. Raises `HelperError`."""
    if sys.platform == "darwin":
        return ctypes.CDLL(_FRAMEWORK.format(name))
    else:  # noqa: RET505 -- mypy takes what follows a platform's return for unreachable
        raise HelperError("library_missing", f"`{name}` is a part of macOS")


def _typed(function: Any, result: Any, *arguments: Any) -> Function:  # noqa: ANN401 -- foreign functions and their types
    function.restype, function.argtypes = result, arguments
    called: Function = function
    return called

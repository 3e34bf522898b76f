"""Reading the certificate stores of Windows: the `My` store of the machine or of the user that the process runs as."""

import contextlib
import ctypes
import hashlib
from collections.abc import Iterator
from typing import Final

from watchword_agent.native import windows_structures as w
from watchword_agent.native.serving import HelperError
from watchword_agent.native.windows_calls import Calls
from watchword_agent.native.windows_codes import described

_STORES: Final = {
    "system": (w.CERT_SYSTEM_STORE_LOCAL_MACHINE, "LocalMachine"),
    "user": (w.CERT_SYSTEM_STORE_CURRENT_USER, "CurrentUser"),
}
_CODES: Final = {w.ERROR_FILE_NOT_FOUND: "store_missing", w.ERROR_ACCESS_DENIED: "store_denied", w.E_ACCESSDENIED: "store_denied"}


@contextlib.contextmanager
def opened_store(calls: Calls, place: str) -> Iterator[int]:
    """The handle of a place's store, read-only. Raises `HelperError`: `store_missing`, `store_denied`, `store_unreadable`."""
    if place not in _STORES:
        raise HelperError("store_unsupported", f"there is no store `{place}` on Windows: `system` or `user`")
    flag, name = _STORES[place]
    flags = flag | w.CERT_STORE_READONLY_FLAG | w.CERT_STORE_OPEN_EXISTING_FLAG
    store = calls.CertOpenStore(w.CERT_STORE_PROV_SYSTEM_W, 0, None, flags, "MY")
    if not store:
        code = calls.last_error()
        raise HelperError(_CODES.get(code, "store_unreadable"), f"`Cert:\\{name}\\My` ({described('CertOpenStore', code)})")
    try:
        yield store
    finally:
        calls.CertCloseStore(store, 0)


def certificates_in(calls: Calls, store: int) -> Iterator[int]:
    """Each certificate's context, which lives until the next one is asked for."""
    context: int | None = None
    try:
        while context := calls.CertEnumCertificatesInStore(store, context):  # which frees the one before
            yield context
    finally:
        if context:
            calls.CertFreeCertificateContext(context)


def der_of(context: int) -> bytes:
    """The certificate of a context."""
    certificate = w.CertContext.from_address(context)
    return ctypes.string_at(certificate.encoded, certificate.encoded_length)


def location_of(place: str, der: bytes) -> str:
    """Where it lies, as PowerShell finds it: by its SHA-1 thumbprint."""
    thumbprint = hashlib.sha1(der, usedforsecurity=False).hexdigest().upper()
    return f"Cert:\\{_STORES[place][1]}\\My\\{thumbprint}"


def changes_of(calls: Calls, store: int, place: str) -> Iterator[None]:
    """Returns from `next` once it watches, then again after each change. Raises `HelperError`."""
    event = ctypes.c_void_p(calls.CreateEventW(None, 0, 0, None))
    if not event or not calls.CertControlStore(store, 0, w.CERT_STORE_CTRL_NOTIFY_CHANGE, ctypes.byref(event)):
        raise _not_watched(calls, place)
    while True:
        yield
        if calls.WaitForSingleObject(event, w.INFINITE) != w.WAIT_OBJECT_0:
            raise _not_watched(calls, place)
        if not calls.CertControlStore(store, 0, w.CERT_STORE_CTRL_RESYNC, ctypes.byref(event)):  # which also arms it again
            raise _not_watched(calls, place)


def _not_watched(calls: Calls, place: str) -> HelperError:
    return HelperError("store_unreadable", f"the store `{place}` cannot be watched (0x{calls.last_error():08X})")

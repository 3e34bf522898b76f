"""Runs in the Windows Python: puts a certificate with its key into a store, or empties one. Orders are JSON on standard input.

Keys are of the CryptoAPI, whose provider this Wine has; a CNG key it neither keeps nor finds again.
"""

import base64
import ctypes
import importlib
import json
import sys
from ctypes import POINTER, byref, c_int32, c_size_t, c_uint32, c_void_p, c_wchar_p
from typing import Any

from watchword_agent.native.windows_structures import (
    CERT_KEY_PROV_INFO_PROP_ID,
    CERT_STORE_PROV_SYSTEM_W,
    PROV_RSA_AES,
    CryptKeyProvInfo,
)

STORES = {"system": 0x20000, "user": 0x10000}
KEYSETS = {"system": 0x20, "user": 0}
PROVIDER = "Microsoft Enhanced RSA and AES Cryptographic Provider"
X509_ASN_ENCODING, CERT_STORE_ADD_REPLACE_EXISTING = 1, 3
CRYPT_NEWKEYSET, CRYPT_DELETEKEYSET, AT_KEYEXCHANGE = 0x8, 0x10, 1


def main() -> None:
    order = json.load(sys.stdin)
    put(order) if order["op"] == "put" else clear(order["place"])


def put(order: dict[str, Any]) -> None:
    """`place`, `der`, `container`, and `key` as a PRIVATEKEYBLOB; without `key` the certificate names a container in vain."""
    place, der, container = order["place"], base64.b64decode(order["der"]), order["container"]
    if order["key"] is not None:
        key = base64.b64decode(order["key"])
        provider, imported = c_size_t(), c_size_t()
        advapi32("CryptAcquireContextW", byref(provider), container, PROVIDER, PROV_RSA_AES, CRYPT_NEWKEYSET | KEYSETS[place])
        advapi32("CryptImportKey", provider, key, len(key), None, 0, byref(imported))
        advapi32("CryptDestroyKey", imported)
        advapi32("CryptReleaseContext", provider, 0)
    context = crypt32("CertCreateCertificateContext", X509_ASN_ENCODING, der, len(der))
    if container is not None:
        link = CryptKeyProvInfo(container, PROVIDER, PROV_RSA_AES, KEYSETS[place], 0, None, AT_KEYEXCHANGE)
        crypt32("CertSetCertificateContextProperty", context, CERT_KEY_PROV_INFO_PROP_ID, 0, byref(link))
    store = crypt32("CertOpenStore", CERT_STORE_PROV_SYSTEM_W, 0, None, STORES[place], "MY")
    crypt32("CertAddCertificateContextToStore", store, context, CERT_STORE_ADD_REPLACE_EXISTING, None)
    crypt32("CertCloseStore", store, 0)  # writes it


def clear(place: str) -> None:
    store = crypt32("CertOpenStore", CERT_STORE_PROV_SYSTEM_W, 0, None, STORES[place], "MY")
    while context := crypt32("CertEnumCertificatesInStore", store, None, may_fail=True):
        delete_key(context)
        crypt32("CertDeleteCertificateFromStore", context)
    crypt32("CertCloseStore", store, 0)
    forget(place)


def forget(place: str) -> None:
    """Wine keeps what was deleted in its registry when another process has the store open."""
    assert sys.platform == "win32"
    winreg: Any = importlib.import_module("winreg")
    root = winreg.HKEY_LOCAL_MACHINE if place == "system" else winreg.HKEY_CURRENT_USER
    path = r"Software\Microsoft\SystemCertificates\MY\Certificates"
    try:
        with winreg.OpenKey(root, path, 0, winreg.KEY_ALL_ACCESS) as key:
            for _ in range(winreg.QueryInfoKey(key)[0]):
                winreg.DeleteKey(key, winreg.EnumKey(key, 0))
    except FileNotFoundError:
        pass


def delete_key(context: int) -> None:
    length = c_uint32()
    if not crypt32("CertGetCertificateContextProperty", context, CERT_KEY_PROV_INFO_PROP_ID, None, byref(length), may_fail=True):
        return
    buffer = ctypes.create_string_buffer(length.value)
    crypt32("CertGetCertificateContextProperty", context, CERT_KEY_PROV_INFO_PROP_ID, buffer, byref(length))
    link, provider = CryptKeyProvInfo.from_buffer(buffer), c_size_t()
    flags = CRYPT_DELETEKEYSET | link.flags
    advapi32("CryptAcquireContextW", byref(provider), link.container, PROVIDER, PROV_RSA_AES, flags, may_fail=True)


TYPES: dict[str, tuple[Any, ...]] = {
    "CryptAcquireContextW": (c_int32, POINTER(c_size_t), c_wchar_p, c_wchar_p, c_uint32, c_uint32),
    "CryptImportKey": (c_int32, c_size_t, c_void_p, c_uint32, c_void_p, c_uint32, POINTER(c_size_t)),
    "CryptDestroyKey": (c_int32, c_size_t),
    "CryptReleaseContext": (c_int32, c_size_t, c_uint32),
    "CertCreateCertificateContext": (c_void_p, c_uint32, c_void_p, c_uint32),
    "CertSetCertificateContextProperty": (c_int32, c_void_p, c_uint32, c_uint32, c_void_p),
    "CertGetCertificateContextProperty": (c_int32, c_void_p, c_uint32, c_void_p, POINTER(c_uint32)),
    "CertOpenStore": (c_void_p, c_void_p, c_uint32, c_void_p, c_uint32, c_wchar_p),
    "CertAddCertificateContextToStore": (c_int32, c_void_p, c_void_p, c_uint32, c_void_p),
    "CertEnumCertificatesInStore": (c_void_p, c_void_p, c_void_p),
    "CertDeleteCertificateFromStore": (c_int32, c_void_p),
    "CertCloseStore": (c_int32, c_void_p, c_uint32),
}


def crypt32(name: str, *arguments: Any, may_fail: bool = False) -> Any:
    return call("crypt32", name, arguments, may_fail=may_fail)


def advapi32(name: str, *arguments: Any, may_fail: bool = False) -> Any:
    return call("advapi32", name, arguments, may_fail=may_fail)


def call(library: str, name: str, arguments: tuple[Any, ...], *, may_fail: bool) -> Any:
    """Ends the process where a call fails that may not."""
    assert sys.platform == "win32"
    function = getattr(ctypes.WinDLL(library, use_last_error=True), name)  # type: ignore[attr-defined,unused-ignore]
    function.restype, function.argtypes = TYPES[name][0], TYPES[name][1:]
    result = function(*arguments)
    if not result and not may_fail:
        sys.exit(f"{name}: 0x{ctypes.get_last_error() & 0xFFFFFFFF:08X}")  # type: ignore[attr-defined,unused-ignore]
    return result


if __name__ == "__main__":
    main()

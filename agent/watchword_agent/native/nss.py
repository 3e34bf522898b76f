"""Signing with the keys of an NSS database, by libnss3: a helper, for one database, which it opens for reading alone."""

import ctypes
import ctypes.util
import hashlib
from collections.abc import Iterator
from ctypes import POINTER, Structure, byref, c_char_p, c_int, c_uint, c_ulong, c_void_p, cast, string_at
from typing import Any, Final

from watchword import possession
from watchword_agent.native.serving import Answer, HelperError, Request, base64_of, serve, statement_of, unbase64

_LIBRARIES: Final = ("libnss3.so", "libnss3.so.1d")
# nss.h, secmodt.h, pkcs11t.h
_READONLY, _NO_MODULE_DATABASE, _NO_ROOTS, _OPTIMIZE_SPACE = 0x1, 0x4, 0x10, 0x20
_CKM_RSA_PKCS_PSS, _CKM_SHA256, _CKM_ECDSA, _CKM_INVALID = 0xD, 0x250, 0x1041, 0xFFFFFFFF
_MGF1_SHA256, _SALT_BYTES = 2, 32
_RSA_KEY, _EC_KEY = 1, 6
_EC_SCHEMES: Final = {64: (possession.ECDSA_P256_SHA256, "sha256"), 96: (possession.ECDSA_P384_SHA384, "sha384")}
_LOGIN_FAILED: Final = "SEC_ERROR_BAD_PASSWORD"


class _Item(Structure):
    """SECItem."""

    _fields_ = (("type", c_int), ("data", c_void_p), ("len", c_uint))


class _SlotNode(Structure):
    _fields_ = (("next", c_void_p), ("previous", c_void_p), ("slot", c_void_p), ("references", c_int))


class _PssParameters(Structure):
    _fields_ = (("digest", c_ulong), ("mask", c_ulong), ("salt", c_ulong))


_PItem = POINTER(_Item)
_FUNCTIONS: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "NSS_InitContext": (c_void_p, (c_char_p, c_char_p, c_char_p, c_char_p, c_void_p, c_uint)),
    "PORT_GetError": (c_int, ()),
    "PR_ErrorToName": (c_char_p, (c_int,)),
    "PK11_GetInternalKeySlot": (c_void_p, ()),
    "PK11_GetAllTokens": (c_void_p, (c_ulong, c_int, c_int, c_void_p)),
    "PK11_IsInternal": (c_int, (c_void_p,)),
    "PK11_NeedLogin": (c_int, (c_void_p,)),
    "PK11_IsLoggedIn": (c_int, (c_void_p, c_void_p)),
    "PK11_CheckUserPassword": (c_int, (c_void_p, c_char_p)),
    "CERT_GetDefaultCertDB": (c_void_p, ()),
    "CERT_NewTempCertificate": (c_void_p, (c_void_p, _PItem, c_char_p, c_int, c_int)),
    "CERT_DestroyCertificate": (None, (c_void_p,)),
    "PK11_FindPrivateKeyFromCert": (c_void_p, (c_void_p, c_void_p, c_void_p)),
    "SECKEY_DestroyPrivateKey": (None, (c_void_p,)),
    "SECKEY_GetPrivateKeyType": (c_int, (c_void_p,)),
    "PK11_SignatureLen": (c_int, (c_void_p,)),
    "PK11_SignWithMechanism": (c_int, (c_void_p, c_ulong, _PItem, _PItem, _PItem)),
}
_OTHER_LIBRARIES: Final = {"PORT_GetError": "libnssutil3.so", "PR_ErrorToName": "libnspr4.so"}  # where NSS is not one library


class Database:
    """An NSS database. NSS keeps what it opened for the whole process: one database a helper."""

    def __init__(self, directory: str, *, modules: bool) -> None:
        """Raises `HelperError`. `modules`: the libraries that its pkcs11.txt names are loaded as well."""
        self._nss = _loaded()
        flags = _READONLY | _NO_ROOTS | _OPTIMIZE_SPACE | (0 if modules else _NO_MODULE_DATABASE)
        self._modules = modules
        if not self._nss.NSS_InitContext(f"sql:{directory}".encode(), b"", b"", b"secmod.db", None, flags):
            raise HelperError("store_locked" if self._error() == "SEC_ERROR_BUSY" else "store_corrupt", self._error())

    def log_in(self, password: bytes | None) -> str:
        """`open`: no password is needed, or it was right; `wrong`; `locked`: one is needed. Only the database is asked."""
        slot = self._nss.PK11_GetInternalKeySlot()
        if not slot:
            raise HelperError("store_corrupt", self._error())
        if not self._nss.PK11_NeedLogin(slot) or self._nss.PK11_IsLoggedIn(slot, None):
            return "open"
        if password is None:
            return "locked"
        return "open" if self._nss.PK11_CheckUserPassword(slot, password) == 0 else "wrong"

    def sign(self, der: bytes, statement: bytes) -> tuple[str, bytes]:
        """The scheme and the signature by the key of this certificate. Raises `HelperError`.

        The certificate is told and not looked for: NSS takes a tenth of a second to list a thousand of them.
        """
        content = ctypes.create_string_buffer(der, len(der))
        item = _Item(0, cast(content, c_void_p), len(der))
        certificate = self._nss.CERT_NewTempCertificate(self._nss.CERT_GetDefaultCertDB(), byref(item), None, 0, 1)
        if not certificate:
            raise HelperError("possession_key_unsupported", "NSS does not read the certificate")
        try:
            for slot in self._slots():
                key = self._nss.PK11_FindPrivateKeyFromCert(slot, certificate, None)
                if key:
                    try:
                        return self._signature(key, statement)
                    finally:
                        self._nss.SECKEY_DestroyPrivateKey(key)
        finally:
            self._nss.CERT_DestroyCertificate(certificate)
        raise HelperError("private_key_absent", "the database holds no private key for it")

    def _signature(self, key: int, statement: bytes) -> tuple[str, bytes]:
        length = self._nss.PK11_SignatureLen(key)
        kind = self._nss.SECKEY_GetPrivateKeyType(key)
        parameters, mechanism = None, _CKM_ECDSA
        if kind == _RSA_KEY:
            scheme, digest = possession.RSA_PSS_SHA256, hashlib.sha256(statement).digest()
            pss = _PssParameters(_CKM_SHA256, _MGF1_SHA256, _SALT_BYTES)
            parameters, mechanism = _Item(0, cast(byref(pss), c_void_p), ctypes.sizeof(pss)), _CKM_RSA_PKCS_PSS
        elif kind == _EC_KEY and length in _EC_SCHEMES:
            scheme, name = _EC_SCHEMES[length]
            digest = hashlib.new(name, statement).digest()
        else:
            raise HelperError("possession_key_unsupported", "a kind of key that proofs are not made with")
        buffer, hashed = ctypes.create_string_buffer(max(length, 1)), ctypes.create_string_buffer(digest, len(digest))
        signature = _Item(0, cast(buffer, c_void_p), length)
        message = _Item(0, cast(hashed, c_void_p), len(digest))
        told = byref(parameters) if parameters is not None else None
        if self._nss.PK11_SignWithMechanism(key, mechanism, told, byref(signature), byref(message)):
            raise HelperError("private_key_failed", self._error())
        raw = _bytes(signature)
        return scheme, raw if kind == _RSA_KEY else possession.ecdsa_der(raw, length // 2)

    def _slots(self) -> Iterator[int]:
        """The database, and with modules, tokens that are open already: nobody's PIN is tried."""
        if not self._modules:
            yield self._nss.PK11_GetInternalKeySlot()
            return
        found = self._nss.PK11_GetAllTokens(_CKM_INVALID, 0, 0, None)
        element = cast(found, POINTER(c_void_p))[0] if found else None
        while element:
            node = cast(element, POINTER(_SlotNode)).contents
            if self._nss.PK11_IsInternal(node.slot) or not self._nss.PK11_NeedLogin(node.slot):
                yield node.slot
            element = node.next

    def _error(self) -> str:
        name = self._nss.PR_ErrorToName(self._nss.PORT_GetError())
        return name.decode("ascii", "replace") if name else "an error without a name"


def main() -> None:
    """Serves: `open` once, then `sign`."""
    opened: list[Database] = []

    def open_database(request: Request) -> Answer:
        opened.append(Database(str(request["directory"]), modules=bool(request["modules"])))
        password = request["password"]
        return {"login": opened[0].log_in(None if password is None else unbase64(password))}

    def sign(request: Request) -> Answer:
        scheme, signature = opened[0].sign(unbase64(request["der"]), statement_of(request))
        return {"scheme": scheme, "signature": base64_of(signature)}

    serve({"open": open_database, "sign": sign})


class _Nss:
    """The functions, with their types."""

    def __init__(self, library: ctypes.CDLL) -> None:
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name, None) or getattr(ctypes.CDLL(_OTHER_LIBRARIES[name]), name)
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- foreign functions
        raise AttributeError(name)


def _loaded() -> _Nss:
    for name in _LIBRARIES:
        try:
            return _Nss(ctypes.CDLL(name))
        except OSError:
            continue
    raise HelperError("library_missing", "libnss3 is not installed: `apt-get install libnss3`, or `dnf install nss`")


def _bytes(item: _Item) -> bytes:
    return string_at(item.data, item.len) if item.len else b""

"""A PKCS #11 library (Cryptoki 2.40) as this package calls it: the few functions that finding and signing need.

Numbers and structures are those of OASIS PKCS #11 Cryptographic Token Interface Base Specification 2.40.
"""

import ctypes
import sys
from collections.abc import Iterator, Mapping
from ctypes import POINTER, byref, c_char, c_ubyte, c_ulong, c_void_p
from typing import Final

# The place of a function in CK_FUNCTION_LIST, after the version (5.4)
_FUNCTIONS: Final = {
    "C_Initialize": 0,
    "C_GetInfo": 2,
    "C_GetSlotList": 4,
    "C_GetSlotInfo": 5,
    "C_GetTokenInfo": 6,
    "C_GetMechanismInfo": 8,
    "C_OpenSession": 12,
    "C_Login": 18,
    "C_GetAttributeValue": 24,
    "C_FindObjectsInit": 26,
    "C_FindObjects": 27,
    "C_FindObjectsFinal": 28,
    "C_SignInit": 42,
    "C_Sign": 43,
}
_FUNCTION_COUNT: Final = 68

CKR_CANT_LOCK: Final = 0x0A
CKR_NEED_TO_CREATE_THREADS: Final = 0x09
CKR_DEVICE_REMOVED: Final = 0x32
CKR_PIN_INCORRECT: Final = 0xA0
CKR_PIN_INVALID: Final = 0xA1
CKR_PIN_LEN_RANGE: Final = 0xA2
CKR_PIN_EXPIRED: Final = 0xA3
CKR_PIN_LOCKED: Final = 0xA4
CKR_TOKEN_NOT_PRESENT: Final = 0xE0
CKR_USER_ALREADY_LOGGED_IN: Final = 0x100
CKR_USER_NOT_LOGGED_IN: Final = 0x101
CKR_USER_PIN_NOT_INITIALIZED: Final = 0x102
CKR_CRYPTOKI_ALREADY_INITIALIZED: Final = 0x191

CKF_OS_LOCKING_OK: Final = 0x02
CKF_SERIAL_SESSION: Final = 0x04
CKF_SIGN: Final = 0x800
CKU_USER: Final = 1
CKU_CONTEXT_SPECIFIC: Final = 2

CKO_CERTIFICATE: Final = 1
CKO_PRIVATE_KEY: Final = 3
CKC_X_509: Final = 0

CKA_CLASS: Final = 0x000
CKA_LABEL: Final = 0x003
CKA_VALUE: Final = 0x011
CKA_CERTIFICATE_TYPE: Final = 0x080
CKA_ID: Final = 0x102
CKA_SIGN: Final = 0x108
CKA_MODULUS: Final = 0x120
CKA_ALWAYS_AUTHENTICATE: Final = 0x202

CKM_RSA_PKCS: Final = 0x0001
CKM_RSA_PKCS_PSS: Final = 0x000D
CKM_SHA256: Final = 0x0250
CKM_ECDSA: Final = 0x1041
CKM_EDDSA: Final = 0x1057  # PKCS #11 3.0; some libraries of 2.40 know it by the same number
CKG_MGF1_SHA256: Final = 0x02

_MAX_OBJECTS: Final = 8192  # of a class in a token
_MAX_ATTRIBUTE_BYTES: Final = 64 * 1024
_BATCH: Final = 256
_UNAVAILABLE: Final = c_ulong(-1).value  # CK_UNAVAILABLE_INFORMATION


class CryptokiError(Exception):
    """A function failed: its name, and the CK_RV it gave."""

    def __init__(self, function: str, code: int) -> None:
        super().__init__(f"{function} gave {code:#x}")
        self.code = code


class _Structure(ctypes.Structure):
    if sys.platform == "win32":
        _pack_ = 1  # 2.1: to single bytes there, else as the platform's C does it


class _Version(_Structure):
    _fields_ = (("major", c_ubyte), ("minor", c_ubyte))


class _FunctionList(_Structure):
    _fields_ = (("version", _Version), ("functions", c_void_p * _FUNCTION_COUNT))


class _InitializeArguments(_Structure):
    _fields_ = (("mutexes", c_void_p * 4), ("flags", c_ulong), ("reserved", c_void_p))


class _Info(_Structure):
    _fields_ = (
        ("cryptoki", _Version),
        ("manufacturer", c_char * 32),
        ("flags", c_ulong),
        ("description", c_char * 32),
        ("version", _Version),
    )


class _SlotInfo(_Structure):
    _fields_ = (
        ("description", c_char * 64),
        ("manufacturer", c_char * 32),
        ("flags", c_ulong),
        ("hardware", _Version),
        ("firmware", _Version),
    )


class _TokenInfo(_Structure):
    _fields_ = (
        ("label", c_char * 32),
        ("manufacturer", c_char * 32),
        ("model", c_char * 16),
        ("serial", c_char * 16),
        ("flags", c_ulong),
        ("limits", c_ulong * 10),  # sessions, PIN lengths, memory
        ("hardware", _Version),
        ("firmware", _Version),
        ("time", c_char * 16),
    )


class _MechanismInfo(_Structure):
    _fields_ = (("smallest", c_ulong), ("largest", c_ulong), ("flags", c_ulong))


class _Attribute(_Structure):
    _fields_ = (("type", c_ulong), ("value", c_void_p), ("length", c_ulong))


class _Mechanism(_Structure):
    _fields_ = (("mechanism", c_ulong), ("parameter", c_void_p), ("length", c_ulong))


class _PssParameters(_Structure):
    _fields_ = (("hash", c_ulong), ("mask", c_ulong), ("salt_length", c_ulong))


class Cryptoki:
    """A library, loaded and initialised; once in a process. Raises `OSError` for what is no such library, `CryptokiError`."""

    def __init__(self, path: str) -> None:
        library = ctypes.CDLL(path)
        try:
            entry = library.C_GetFunctionList
        except AttributeError:
            raise OSError("no PKCS #11 library") from None
        entry.restype = c_ulong
        functions = POINTER(_FunctionList)()
        code = entry(byref(functions))
        if code or not functions:
            raise CryptokiError("C_GetFunctionList", code)
        self._functions = functions.contents.functions
        try:
            self._call("C_Initialize", byref(_InitializeArguments(flags=CKF_OS_LOCKING_OK)))
        except CryptokiError as error:
            if error.code not in (CKR_CANT_LOCK, CKR_NEED_TO_CREATE_THREADS):
                raise
            self._call("C_Initialize", None)  # we call it from one thread at a time

    def library(self) -> dict[str, str]:
        """`manufacturer`, `description` and `version` as a `pkcs11:` URI names them."""
        info = _Info()
        self._call("C_GetInfo", byref(info))
        texts = {name: _text(info, name) for name in ("manufacturer", "description")}
        return {**texts, "version": f"{info.version.major}.{info.version.minor}"}

    def slots(self) -> list[int]:
        """Those with a token in them."""
        count = c_ulong()
        self._call("C_GetSlotList", c_ubyte(1), None, byref(count))
        slots = (c_ulong * (count.value + 8))()  # one may have been plugged in since
        count.value = len(slots)
        self._call("C_GetSlotList", c_ubyte(1), slots, byref(count))
        return list(slots[: count.value])

    def slot(self, slot: int) -> dict[str, str]:
        """`description` and `manufacturer`."""
        info = _SlotInfo()
        self._call("C_GetSlotInfo", c_ulong(slot), byref(info))
        return {name: _text(info, name) for name in ("description", "manufacturer")}

    def token(self, slot: int) -> tuple[dict[str, str], int]:
        """`label`, `manufacturer`, `model` and `serial`; and the flags (CKF_…)."""
        info = _TokenInfo()
        self._call("C_GetTokenInfo", c_ulong(slot), byref(info))
        return {name: _text(info, name) for name in ("label", "manufacturer", "model", "serial")}, int(info.flags)

    def can_sign(self, slot: int, mechanism: int) -> bool:
        """Whether the token signs by this mechanism (CKM_…)."""
        info = _MechanismInfo()
        try:
            self._call("C_GetMechanismInfo", c_ulong(slot), c_ulong(mechanism), byref(info))
        except CryptokiError:
            return False
        return bool(info.flags & CKF_SIGN)

    def open_session(self, slot: int) -> int:
        """A session that only reads; it ends with the process."""
        session = c_ulong()
        self._call("C_OpenSession", c_ulong(slot), c_ulong(CKF_SERIAL_SESSION), None, None, byref(session))
        return session.value

    def login(self, session: int, user: int, pin: bytes) -> None:
        """As the user or, for a key that wants it before each signature, in its context."""
        self._call("C_Login", c_ulong(session), c_ulong(user), pin, c_ulong(len(pin)))

    def objects(self, session: int, template: Mapping[int, int]) -> Iterator[int]:
        """The handles of what has these attributes; at most as many as a token reasonably holds."""
        values = [c_ulong(value) for value in template.values()]
        attributes = (_Attribute * len(values))(
            *(
                _Attribute(kind, ctypes.cast(byref(value), c_void_p), ctypes.sizeof(value))
                for kind, value in zip(template, values, strict=True)
            )
        )
        self._call("C_FindObjectsInit", c_ulong(session), attributes, c_ulong(len(values)))
        try:
            handles, count, total = (c_ulong * _BATCH)(), c_ulong(), 0
            while total < _MAX_OBJECTS:
                self._call("C_FindObjects", c_ulong(session), handles, c_ulong(_BATCH), byref(count))
                if not count.value:
                    return
                total += count.value
                yield from list(handles[: count.value])
        finally:
            self._call("C_FindObjectsFinal", c_ulong(session))

    def attribute(self, session: int, handle: int, kind: int) -> bytes:
        """The value of an attribute; empty where the token does not tell it."""
        attribute = _Attribute(kind, None, 0)
        try:
            self._call("C_GetAttributeValue", c_ulong(session), c_ulong(handle), byref(attribute), c_ulong(1))
            if attribute.length in (0, _UNAVAILABLE) or attribute.length > _MAX_ATTRIBUTE_BYTES:
                return b""
            value = ctypes.create_string_buffer(attribute.length)
            attribute.value = ctypes.cast(value, c_void_p)
            self._call("C_GetAttributeValue", c_ulong(session), c_ulong(handle), byref(attribute), c_ulong(1))
        except CryptokiError as error:
            if error.code in (CKR_DEVICE_REMOVED, CKR_TOKEN_NOT_PRESENT):
                raise
            return b""
        return value.raw[: attribute.length]

    def sign_init(self, session: int, key: int, mechanism: int) -> None:
        """PSS is the one with SHA-256 and a salt of 32 bytes."""
        pss = _PssParameters(CKM_SHA256, CKG_MGF1_SHA256, 32)
        told = _Mechanism(mechanism, None, 0)
        if mechanism == CKM_RSA_PKCS_PSS:
            told = _Mechanism(mechanism, ctypes.cast(byref(pss), c_void_p), ctypes.sizeof(pss))
        self._call("C_SignInit", c_ulong(session), byref(told), c_ulong(key))

    def sign(self, session: int, data: bytes) -> bytes:
        """What the mechanism of `sign_init` makes of it."""
        signature, length = ctypes.create_string_buffer(2048), c_ulong(2048)
        self._call("C_Sign", c_ulong(session), data, c_ulong(len(data)), signature, byref(length))
        return signature.raw[: length.value]

    def _call(self, function: str, *arguments: object) -> None:
        code = ctypes.CFUNCTYPE(c_ulong)(self._functions[_FUNCTIONS[function]])(*arguments)
        if code:
            raise CryptokiError(function, code)


def _text(info: _Structure, name: str) -> str:
    """A field of fixed length, padded with blanks (2.1); not with zeros, which some libraries do nevertheless."""
    field = getattr(type(info), name)
    raw = ctypes.string_at(ctypes.addressof(info) + field.offset, field.size)
    return raw.split(b"\0")[0].rstrip(b" ").decode("utf-8", "replace")

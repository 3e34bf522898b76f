"""Constants and structures of Windows, by the names of its headers; 64-bit.

`tests/platforms/wine/test_headers.py` has a C compiler compare them with wincrypt.h, ncrypt.h, winerror.h and others.
"""

import ctypes
from typing import Final

# ---- wincrypt.h: stores ---------------------------------------------------------------------------------------------------
CERT_STORE_PROV_SYSTEM_W: Final = 10
CERT_SYSTEM_STORE_CURRENT_USER: Final = 0x10000
CERT_SYSTEM_STORE_LOCAL_MACHINE: Final = 0x20000
CERT_STORE_OPEN_EXISTING_FLAG: Final = 0x4000
CERT_STORE_READONLY_FLAG: Final = 0x8000
CERT_KEY_PROV_INFO_PROP_ID: Final = 2
X509_ASN_ENCODING: Final = 1
CERT_STORE_CTRL_RESYNC: Final = 1
CERT_STORE_CTRL_NOTIFY_CHANGE: Final = 2

# ---- wincrypt.h, ncrypt.h, bcrypt.h: keys ---------------------------------------------------------------------------------
CRYPT_ACQUIRE_COMPARE_KEY_FLAG: Final = 0x4
CRYPT_ACQUIRE_NO_HEALING: Final = 0x8
CRYPT_ACQUIRE_SILENT_FLAG: Final = 0x40
CRYPT_ACQUIRE_PREFER_NCRYPT_KEY_FLAG: Final = 0x20000
CERT_NCRYPT_KEY_SPEC: Final = 0xFFFFFFFF
NCRYPT_SILENT_FLAG: Final = 0x40
BCRYPT_PAD_PKCS1: Final = 0x2
BCRYPT_PAD_PSS: Final = 0x8
PROV_RSA_FULL: Final = 1
PROV_RSA_SIG: Final = 2
PROV_RSA_SCHANNEL: Final = 12
PROV_RSA_AES: Final = 24
CRYPT_MACHINE_KEYSET: Final = 0x20
CRYPT_SILENT: Final = 0x40
CALG_SHA_256: Final = 0x800C

# ---- winerror.h -----------------------------------------------------------------------------------------------------------
ERROR_FILE_NOT_FOUND: Final = 2
ERROR_ACCESS_DENIED: Final = 5
ERROR_NO_TOKEN: Final = 1008
ERROR_CANCELLED: Final = 1223
ERROR_PIPE_CONNECTED: Final = 535
E_ACCESSDENIED: Final = 0x80070005
CRYPT_E_NO_KEY_PROPERTY: Final = 0x8009200B
NTE_BAD_ALGID: Final = 0x80090008
NTE_BAD_FLAGS: Final = 0x80090009
NTE_BAD_TYPE: Final = 0x8009000A
NTE_BAD_KEY_STATE: Final = 0x8009000B
NTE_NO_KEY: Final = 0x8009000D
NTE_PERM: Final = 0x80090010
NTE_NOT_FOUND: Final = 0x80090011
NTE_BAD_PUBLIC_KEY: Final = 0x80090015
NTE_BAD_KEYSET: Final = 0x80090016
NTE_KEYSET_NOT_DEF: Final = 0x80090019
NTE_KEYSET_ENTRY_BAD: Final = 0x8009001A
NTE_SILENT_CONTEXT: Final = 0x80090022
NTE_INVALID_PARAMETER: Final = 0x80090027
NTE_NOT_SUPPORTED: Final = 0x80090029
NTE_UI_REQUIRED: Final = 0x8009002E
NTE_DEVICE_NOT_READY: Final = 0x80090030
NTE_INCORRECT_PASSWORD: Final = 0x80090033
NTE_DEVICE_NOT_FOUND: Final = 0x80090035
NTE_USER_CANCELLED: Final = 0x80090036
NTE_PASSWORD_CHANGE_REQUIRED: Final = 0x80090037
SCARD_E_NO_SMARTCARD: Final = 0x8010000C
SCARD_E_NO_SERVICE: Final = 0x8010001D
SCARD_E_NO_READERS_AVAILABLE: Final = 0x8010002E
SCARD_W_REMOVED_CARD: Final = 0x80100069
SCARD_W_SECURITY_VIOLATION: Final = 0x8010006A
SCARD_W_WRONG_CHV: Final = 0x8010006B
SCARD_W_CHV_BLOCKED: Final = 0x8010006C
SCARD_W_CANCELLED_BY_USER: Final = 0x8010006E
SCARD_W_CARD_NOT_AUTHENTICATED: Final = 0x8010006F

# ---- winbase.h, winnt.h ---------------------------------------------------------------------------------------------------
INFINITE: Final = 0xFFFFFFFF
WAIT_OBJECT_0: Final = 0
INVALID_HANDLE_VALUE: Final = 2**64 - 1


class CertContext(ctypes.Structure):
    """CERT_CONTEXT."""

    _fields_ = (
        ("encoding_type", ctypes.c_uint32),
        ("encoded", ctypes.c_void_p),
        ("encoded_length", ctypes.c_uint32),
        ("info", ctypes.c_void_p),
        ("store", ctypes.c_void_p),
    )


class CryptKeyProvInfo(ctypes.Structure):
    """CRYPT_KEY_PROV_INFO."""

    _fields_ = (
        ("container", ctypes.c_wchar_p),
        ("provider", ctypes.c_wchar_p),
        ("provider_type", ctypes.c_uint32),  # 0: CNG
        ("flags", ctypes.c_uint32),
        ("parameter_count", ctypes.c_uint32),
        ("parameters", ctypes.c_void_p),
        ("key_spec", ctypes.c_uint32),
    )


class CertPublicKeyInfo(ctypes.Structure):
    """CERT_PUBLIC_KEY_INFO, with CRYPT_ALGORITHM_IDENTIFIER and CRYPT_BIT_BLOB laid out in it."""

    _fields_ = (
        ("algorithm", ctypes.c_char_p),
        ("parameters_length", ctypes.c_uint32),
        ("parameters", ctypes.c_void_p),
        ("key_length", ctypes.c_uint32),
        ("key", ctypes.c_void_p),
        ("unused_bits", ctypes.c_uint32),
    )


class PssPadding(ctypes.Structure):
    """BCRYPT_PSS_PADDING_INFO."""

    _fields_ = (("hash_algorithm", ctypes.c_wchar_p), ("salt_length", ctypes.c_uint32))


class Pkcs1Padding(ctypes.Structure):
    """BCRYPT_PKCS1_PADDING_INFO."""

    _fields_ = (("hash_algorithm", ctypes.c_wchar_p),)

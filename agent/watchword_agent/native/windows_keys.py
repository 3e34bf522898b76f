"""Using the private keys that certificates of Windows name, without ever asking the user.

CNG keys sign RSA-PSS and ECDSA. Keys of the CryptoAPI before it sign RSA with PKCS #1 v1.5 alone.
"""

import contextlib
import ctypes
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from watchword import possession
from watchword_agent.native import windows_structures as w
from watchword_agent.native.windows_calls import Calls
from watchword_agent.native.windows_codes import KeyFailureError, key_failure
from watchword_agent.native.windows_stores import der_of

_ACQUIRE: Final = (
    w.CRYPT_ACQUIRE_SILENT_FLAG
    | w.CRYPT_ACQUIRE_PREFER_NCRYPT_KEY_FLAG
    | w.CRYPT_ACQUIRE_COMPARE_KEY_FLAG
    | w.CRYPT_ACQUIRE_NO_HEALING
)
_CURVES: Final = {possession.ECDSA_P256_SHA256: ("sha256", 32), possession.ECDSA_P384_SHA384: ("sha384", 48)}
_AES_PROVIDER: Final = "Microsoft Enhanced RSA and AES Cryptographic Provider"
_WITHOUT_SHA256: Final = frozenset({w.PROV_RSA_FULL, w.PROV_RSA_SIG, w.PROV_RSA_SCHANNEL})


@dataclass(frozen=True, slots=True)
class KeyLink:
    """Where a certificate says that its key is: a link, and no key."""

    container: str | None
    provider: str | None
    provider_type: int  # 0: CNG
    flags: int
    key_spec: int


@dataclass(frozen=True, slots=True)
class Key:
    """An open key: of CNG, or a CryptoAPI provider with the key of this spec in it."""

    handle: int
    key_spec: int
    link: KeyLink

    @property
    def is_legacy(self) -> bool:
        """Whether it is the CryptoAPI's."""
        return self.key_spec != w.CERT_NCRYPT_KEY_SPEC


def state_of_key(calls: Calls, context: int, *, allow_pkcs1: bool) -> tuple[str, str]:
    """USABLE or what else is known of a certificate's key, and why."""
    try:
        with opened_key(calls, context) as key:
            _refuse_legacy(key, allow_pkcs1=allow_pkcs1)
    except KeyFailureError as failure:
        return failure.state, failure.detail
    return "USABLE", ""


def sign(calls: Calls, context: int, statement: bytes, *, scheme: str, allow_pkcs1: bool) -> tuple[str, bytes]:
    """The scheme and the signature: in this scheme, or RSA with PKCS #1 v1.5 where that is allowed and nothing else goes.

    Raises `KeyFailureError`.
    """
    with opened_key(calls, context) as key:
        _refuse_legacy(key, allow_pkcs1=allow_pkcs1)
        if key.is_legacy:
            return possession.RSA_PKCS1_SHA256, _legacy_signature(calls, key, statement)
        if scheme in _CURVES:
            return scheme, _ecdsa_signature(calls, key, statement, scheme)
        if scheme == possession.RSA_PSS_SHA256:
            return _rsa_signature(calls, key, statement, allow_pkcs1=allow_pkcs1)
    raise KeyFailureError("UNSUPPORTED", f"`{scheme}` is no scheme of Windows")


@contextlib.contextmanager
def opened_key(calls: Calls, context: int) -> Iterator[Key]:
    """The key that a certificate names, with which it was compared. Raises `KeyFailureError`."""
    link = key_link(calls, context)
    if link is None:  # asked for it all the same, Windows would try every key that there is
        raise KeyFailureError("ABSENT", "the certificate names no key")
    handle, key_spec, ours = ctypes.c_size_t(), ctypes.c_uint32(), ctypes.c_int32()
    if not calls.CryptAcquireCertificatePrivateKey(
        context, _ACQUIRE, None, ctypes.byref(handle), ctypes.byref(key_spec), ctypes.byref(ours)
    ):
        code = calls.last_error()
        if code != w.CRYPT_E_NO_KEY_PROPERTY or link.provider_type == 0:
            raise key_failure("CryptAcquireCertificatePrivateKey", code)
        # It has that property, as was just seen. Wine says so of the machine's keys, whose flag it passes over.
        with _opened_provider(calls, link, link.provider, link.provider_type) as provider:
            _refuse_foreign(calls, provider, link.key_spec, der_of(context))
            yield Key(provider, link.key_spec, link)
        return
    key = Key(handle.value, key_spec.value, link)
    try:
        yield key
    finally:
        if ours.value and key.is_legacy:
            calls.CryptReleaseContext(key.handle, 0)
        elif ours.value:
            calls.NCryptFreeObject(key.handle)


def key_link(calls: Calls, context: int) -> KeyLink | None:
    """Where the certificate says that its key is."""
    length = ctypes.c_uint32()
    if not calls.CertGetCertificateContextProperty(context, w.CERT_KEY_PROV_INFO_PROP_ID, None, ctypes.byref(length)):
        return None
    if length.value < ctypes.sizeof(w.CryptKeyProvInfo):
        return None
    buffer = ctypes.create_string_buffer(length.value)  # the texts lie behind the structure
    if not calls.CertGetCertificateContextProperty(context, w.CERT_KEY_PROV_INFO_PROP_ID, buffer, ctypes.byref(length)):
        return None
    info = w.CryptKeyProvInfo.from_buffer(buffer)
    return KeyLink(info.container, info.provider, info.provider_type, info.flags, info.key_spec)


def _refuse_foreign(calls: Calls, provider: int, key_spec: int, der: bytes) -> None:
    """What CRYPT_ACQUIRE_COMPARE_KEY_FLAG does elsewhere: the certificate has to hold this key's public half."""
    length = ctypes.c_uint32()
    arguments = provider, key_spec, w.X509_ASN_ENCODING
    if not calls.CryptExportPublicKeyInfo(*arguments, None, ctypes.byref(length)):
        raise key_failure("CryptExportPublicKeyInfo", calls.last_error())
    buffer = ctypes.create_string_buffer(
        max(length.value, ctypes.sizeof(w.CertPublicKeyInfo))
    )  # what it points to lies behind it
    if not calls.CryptExportPublicKeyInfo(*arguments, buffer, ctypes.byref(length)):
        raise key_failure("CryptExportPublicKeyInfo", calls.last_error())
    info = w.CertPublicKeyInfo.from_buffer(buffer)
    if not info.key or ctypes.string_at(info.key, info.key_length) not in der:
        raise key_failure("CryptExportPublicKeyInfo", w.NTE_BAD_PUBLIC_KEY)


def _refuse_legacy(key: Key, *, allow_pkcs1: bool) -> None:
    if key.is_legacy and not allow_pkcs1:
        named = key.link.provider or "of type " + str(key.link.provider_type)
        raise KeyFailureError(
            "UNSUPPORTED",
            f"the key's provider `{named}` signs with PKCS #1 v1.5 alone: the check may allow it (`allow_pkcs1`), or the "
            "certificate be issued anew in a key storage provider",
        )


@contextlib.contextmanager
def _opened_provider(calls: Calls, link: KeyLink, provider: str | None, provider_type: int) -> Iterator[int]:
    handle, flags = ctypes.c_size_t(), w.CRYPT_SILENT | link.flags & w.CRYPT_MACHINE_KEYSET
    if not calls.CryptAcquireContextW(ctypes.byref(handle), link.container, provider, provider_type, flags):
        raise key_failure("CryptAcquireContextW", calls.last_error())
    try:
        yield handle.value
    finally:
        calls.CryptReleaseContext(handle.value, 0)


def _ecdsa_signature(calls: Calls, key: Key, statement: bytes, scheme: str) -> bytes:
    algorithm, size = _CURVES[scheme]
    raw = _cng_signature(calls, key, hashlib.new(algorithm, statement).digest(), None, 0)
    try:
        return possession.ecdsa_der(raw, size)
    except ValueError as error:
        raise KeyFailureError("FAILED", f"NCryptSignHash gave {len(raw)} bytes") from error


def _rsa_signature(calls: Calls, key: Key, statement: bytes, *, allow_pkcs1: bool) -> tuple[str, bytes]:
    digest = hashlib.sha256(statement).digest()
    try:
        pss = w.PssPadding("SHA256", len(digest))
        return possession.RSA_PSS_SHA256, _cng_signature(calls, key, digest, pss, w.BCRYPT_PAD_PSS)
    except KeyFailureError as failure:
        if failure.state != "UNSUPPORTED" or not allow_pkcs1:  # smart cards and TPM 1.2 may lack PSS
            raise
    pkcs1 = w.Pkcs1Padding("SHA256")
    return possession.RSA_PKCS1_SHA256, _cng_signature(calls, key, digest, pkcs1, w.BCRYPT_PAD_PKCS1)


def _cng_signature(calls: Calls, key: Key, digest: bytes, padding: ctypes.Structure | None, flags: int) -> bytes:
    length, flags = ctypes.c_uint32(), flags | w.NCRYPT_SILENT_FLAG
    pointer = None if padding is None else ctypes.addressof(padding)
    status = calls.NCryptSignHash(key.handle, pointer, digest, len(digest), None, 0, ctypes.byref(length), flags)
    if status == 0:
        buffer = ctypes.create_string_buffer(length.value)
        status = calls.NCryptSignHash(key.handle, pointer, digest, len(digest), buffer, length.value, ctypes.byref(length), flags)
        if status == 0:
            return buffer.raw[: length.value]
    raise key_failure("NCryptSignHash", status)


def _legacy_signature(calls: Calls, key: Key, statement: bytes) -> bytes:
    """RSA with PKCS #1 v1.5 and SHA-256, big-endian."""
    try:
        return _hashed_and_signed(calls, key.handle, key.key_spec, statement)
    except KeyFailureError as failure:
        # Providers from before SHA-256: the container opens in the one of Microsoft that has it, too.
        if failure.state != "UNSUPPORTED" or key.link.provider_type not in _WITHOUT_SHA256:
            raise
    with _opened_provider(calls, key.link, _AES_PROVIDER, w.PROV_RSA_AES) as provider:
        return _hashed_and_signed(calls, provider, key.key_spec, statement)


def _hashed_and_signed(calls: Calls, provider: int, key_spec: int, statement: bytes) -> bytes:
    hashing, length = ctypes.c_size_t(), ctypes.c_uint32()
    if not calls.CryptCreateHash(provider, w.CALG_SHA_256, 0, 0, ctypes.byref(hashing)):
        raise key_failure("CryptCreateHash", calls.last_error())
    try:
        if not calls.CryptHashData(hashing.value, statement, len(statement), 0):
            raise key_failure("CryptHashData", calls.last_error())
        if not calls.CryptSignHashW(hashing.value, key_spec, None, 0, None, ctypes.byref(length)):
            raise key_failure("CryptSignHashW", calls.last_error())
        buffer = ctypes.create_string_buffer(length.value)
        if not calls.CryptSignHashW(hashing.value, key_spec, None, 0, buffer, ctypes.byref(length)):
            raise key_failure("CryptSignHashW", calls.last_error())
        return buffer.raw[: length.value][::-1]  # the CryptoAPI is little-endian
    finally:
        calls.CryptDestroyHash(hashing.value)

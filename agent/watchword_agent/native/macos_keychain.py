"""Reading a keychain of macOS that is a file, and signing with the keys in it, without ever asking the user.

The search is for certificates and not for identities: a search list does not keep identities of other keychains out.
"""

import contextlib
import ctypes
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from watchword import possession
from watchword_agent.native.macos_calls import Calls, released
from watchword_agent.native.macos_codes import ITEM_NOT_FOUND, SUCCESS, KeyFailureError, described, key_failure, store_code
from watchword_agent.native.serving import HelperError

SYSTEM_KEYCHAIN: Final = "/Library/Keychains/System.keychain"

_SIGN: Final = 0  # kSecKeyOperationTypeSign
# The framework hashes: what it is given is the message. ECDSA in the DER of X9.62; a PSS salt as long as the hash.
_ALGORITHMS: Final[Mapping[str, str]] = {
    possession.ECDSA_P256_SHA256: "kSecKeyAlgorithmECDSASignatureMessageX962SHA256",
    possession.ECDSA_P384_SHA384: "kSecKeyAlgorithmECDSASignatureMessageX962SHA384",
    possession.RSA_PSS_SHA256: "kSecKeyAlgorithmRSASignatureMessagePSSSHA256",
    possession.RSA_PKCS1_SHA256: "kSecKeyAlgorithmRSASignatureMessagePKCS1v15SHA256",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A certificate in a keychain, as long as the keychain is open; `certificate` is the framework's reference to it."""

    der: bytes
    certificate: int


class Keychain:
    """An open keychain. `search_list` is an array with it alone."""

    def __init__(self, calls: Calls, path: str, search_list: int) -> None:
        self._calls = calls
        self._path = path
        self._search_list = search_list

    def entries(self) -> Iterator[Entry]:
        """Every certificate. Raises `HelperError`: `store_missing`, `store_denied`, `store_corrupt`, `store_unreadable`."""
        calls = self._calls
        query = {
            "kSecClass": calls.constant("kSecClassCertificate"),
            "kSecMatchLimit": calls.constant("kSecMatchLimitAll"),
            "kSecReturnRef": calls.constant("kCFBooleanTrue"),
            "kSecMatchSearchList": self._search_list,
        }
        result = ctypes.c_void_p()
        with _dictionary(calls, query) as asked:
            status = calls.SecItemCopyMatching(asked, ctypes.byref(result))
        if status == ITEM_NOT_FOUND:
            return
        if status != SUCCESS:
            raise HelperError(store_code(status), f"`{self._path}` ({described('SecItemCopyMatching', status)})")
        with released(calls, result.value) as array:
            for index in range(calls.CFArrayGetCount(array)):
                certificate = calls.CFArrayGetValueAtIndex(array, index)
                with released(calls, calls.SecCertificateCopyData(certificate)) as data:
                    der = _bytes_of(calls, data)
                yield Entry(der, certificate)

    def state_of_key(self, entry: Entry) -> tuple[str, str]:
        """USABLE, or what else is known of a certificate's key, and why. Whether it lets the agent sign only signing tells."""
        try:
            with self._opened_key(entry):
                return "USABLE", ""
        except KeyFailureError as failure:
            return failure.state, failure.detail

    def sign(self, entry: Entry, statement: bytes, *, scheme: str, allow_pkcs1: bool) -> tuple[str, bytes]:
        """The scheme and the signature: in this scheme, or RSA with PKCS #1 v1.5 where that is allowed and the key has no PSS.

        Raises `KeyFailureError`.
        """
        if scheme not in _ALGORITHMS:
            raise KeyFailureError("UNSUPPORTED", f"`{scheme}` is no scheme of macOS")
        schemes = [scheme]
        if scheme == possession.RSA_PSS_SHA256 and allow_pkcs1:
            schemes.append(possession.RSA_PKCS1_SHA256)
        calls = self._calls
        with self._opened_key(entry) as key:
            for each in schemes:
                algorithm = calls.constant(_ALGORITHMS[each])
                if calls.SecKeyIsAlgorithmSupported(key, _SIGN, algorithm):
                    return each, _signature(calls, key, algorithm, statement)
        raise KeyFailureError("UNSUPPORTED", f"the key does not sign as `{schemes[-1]}`")

    @contextlib.contextmanager
    def _opened_key(self, entry: Entry) -> Iterator[int]:
        """The certificate's private key. Raises `KeyFailureError`."""
        calls, identity, key = self._calls, ctypes.c_void_p(), ctypes.c_void_p()
        status = calls.SecIdentityCreateWithCertificate(self._search_list, entry.certificate, ctypes.byref(identity))
        if status != SUCCESS:
            raise key_failure("SecIdentityCreateWithCertificate", status)
        with released(calls, identity.value) as ours:
            status = calls.SecIdentityCopyPrivateKey(ours, ctypes.byref(key))
            if status != SUCCESS:
                raise key_failure("SecIdentityCopyPrivateKey", status)
            with released(calls, key.value) as opened:
                yield opened


@contextlib.contextmanager
def opened_keychain(calls: Calls, path: str) -> Iterator[Keychain]:
    """A keychain by its path; whether there is one shows with the first use. Raises `HelperError`."""
    # Of the whole process: where a question would come, the call fails instead.
    status = calls.SecKeychainSetUserInteractionAllowed(0)
    if status != SUCCESS:
        raise HelperError("store_unreadable", f"`{path}` ({described('SecKeychainSetUserInteractionAllowed', status)})")
    reference = ctypes.c_void_p()
    status = calls.SecKeychainOpen(path.encode(), ctypes.byref(reference))  # deprecated; a daemon has nothing else (TN3137)
    if status != SUCCESS:
        raise HelperError(store_code(status), f"`{path}` ({described('SecKeychainOpen', status)})")
    with released(calls, reference.value) as keychain:
        values = (ctypes.c_void_p * 1)(keychain)
        array = calls.CFArrayCreate(None, values, 1, calls.callbacks("kCFTypeArrayCallBacks"))
        with released(calls, array) as search_list:
            yield Keychain(calls, path, search_list)


def location_of(path: str, der: bytes) -> str:
    """Where it lies, as `security find-certificate -Z` names it: by its SHA-256."""
    return f"{path} SHA-256 {hashlib.sha256(der).hexdigest().upper()}"


def _signature(calls: Calls, key: int, algorithm: int, message: bytes) -> bytes:
    error = ctypes.c_void_p()
    with released(calls, calls.CFDataCreate(None, message, len(message))) as data:
        signature = calls.SecKeyCreateSignature(key, algorithm, data, ctypes.byref(error))
    if signature:
        with released(calls, signature) as ours:
            return _bytes_of(calls, ours)
    if not error.value:
        raise KeyFailureError("FAILED", "SecKeyCreateSignature gave neither a signature nor an error")
    with released(calls, error.value) as told:
        raise key_failure("SecKeyCreateSignature", calls.CFErrorGetCode(told))


@contextlib.contextmanager
def _dictionary(calls: Calls, items: Mapping[str, int]) -> Iterator[int]:
    keys = (ctypes.c_void_p * len(items))(*(calls.constant(name) for name in items))
    values = (ctypes.c_void_p * len(items))(*items.values())
    callbacks = calls.callbacks("kCFTypeDictionaryKeyCallBacks"), calls.callbacks("kCFTypeDictionaryValueCallBacks")
    with released(calls, calls.CFDictionaryCreate(None, keys, values, len(items), *callbacks)) as dictionary:
        yield dictionary


def _bytes_of(calls: Calls, data: int) -> bytes:
    length = calls.CFDataGetLength(data)
    return ctypes.string_at(calls.CFDataGetBytePtr(data), length) if length else b""

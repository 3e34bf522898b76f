"""A device key that Windows keeps (CNG): in the TPM by the Platform Crypto Provider, or in the system's own store.

The file holds the key's name and its public half. The key is the machine's, not a user's, and not exportable. The calls
are those of "Cryptography API: Next Generation" (ncrypt.h). Nothing is kept open between signatures.
"""

import base64
import ctypes
import hashlib
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import ClassVar, Final, Literal, Self

from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from watchword.v1 import posture_pb2 as pb
from watchword_agent.device_key import DeviceKey
from watchword_agent.errors import DeviceKeyError

_PROVIDERS: Final = {"cng_tpm": "Microsoft Platform Crypto Provider", "cng_software": "Microsoft Software Key Storage Provider"}
_PROTECTIONS: Final = {"cng_tpm": pb.KEY_PROTECTION_CNG_TPM, "cng_software": pb.KEY_PROTECTION_CNG_SOFTWARE}
_MACHINE_KEY: Final = 0x20  # NCRYPT_MACHINE_KEY_FLAG
_SILENT: Final = 0x40  # NCRYPT_SILENT_FLAG: rather fail than ask somebody
_P256_PUBLIC: Final = b"ECS1" + (32).to_bytes(4, "little")  # BCRYPT_ECCKEY_BLOB: BCRYPT_ECDSA_PUBLIC_P256_MAGIC, cbKey
_BEGIN: Final = b"-----BEGIN WATCHWORD CNG KEY-----\n"
_END: Final = b"\n-----END WATCHWORD CNG KEY-----\n"


class CngKey(DeviceKey):
    """A P-256 key by the name that Windows has for it."""

    PEM_LABEL: ClassVar = b"WATCHWORD CNG KEY"

    def __init__(self, keeper: str, name: str, public_key_der: bytes) -> None:
        super().__init__(public_key_der)
        self.protection = _PROTECTIONS[keeper]
        self._keeper = keeper
        self._name = name

    @staticmethod
    def new_pem(keeper: Literal["cng_tpm", "cng_software"]) -> bytes:
        """A new key, made and kept by Windows. Raises `DeviceKeyError`."""
        name, ncrypt = f"watchword-{secrets.token_hex(16)}", _library()
        with _provider(ncrypt, keeper) as provider:
            key = ctypes.c_void_p()
            made = ncrypt.NCryptCreatePersistedKey(
                provider, ctypes.byref(key), ctypes.c_wchar_p("ECDSA_P256"), ctypes.c_wchar_p(name), 0, _MACHINE_KEY
            )
            _check(made, "make a key")
            try:
                _check(ncrypt.NCryptFinalizeKey(key, _SILENT), "make a key")  # not exportable, unless asked for
                public_key = _public_key(ncrypt, key)
            finally:
                ncrypt.NCryptFreeObject(key)
        fields = {"keeper": keeper, "name": name, "public_key": base64.b64encode(public_key).decode()}
        return _BEGIN + base64.encodebytes(json.dumps(fields).encode()).strip() + _END

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """The key that the file names; Windows is not asked. Raises `ValueError` that says what it is instead."""
        try:
            fields = json.loads(base64.b64decode(pem.removeprefix(_BEGIN).removesuffix(_END)))
            keeper, name, public_key = fields["keeper"], fields["name"], base64.b64decode(fields["public_key"], validate=True)
            load_der_public_key(public_key)
            if keeper not in _PROVIDERS or not isinstance(name, str):
                raise ValueError("of no provider that is known")
            return cls(keeper, name, public_key)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError("damaged: it is no `WATCHWORD CNG KEY`") from error

    def discard(self) -> None:
        """Windows forgets the key."""
        with suppress(DeviceKeyError), self._opened() as (ncrypt, key):
            ncrypt.NCryptDeleteKey(key, _SILENT)

    def _signature(self, message: bytes) -> bytes:
        digest, raw, length = hashlib.sha256(message).digest(), ctypes.create_string_buffer(64), ctypes.c_uint32()
        with self._opened() as (ncrypt, key):
            try:
                signed = ncrypt.NCryptSignHash(key, None, digest, len(digest), raw, len(raw), ctypes.byref(length), _SILENT)
                _check(signed, "sign")
            finally:
                ncrypt.NCryptFreeObject(key)
        return utils.encode_dss_signature(int.from_bytes(raw.raw[:32], "big"), int.from_bytes(raw.raw[32:], "big"))

    @contextmanager
    def _opened(self) -> Iterator[tuple[ctypes.CDLL, ctypes.c_void_p]]:
        """The key; whoever is done with it frees it, for `NCryptDeleteKey` does so itself."""
        ncrypt = _library()
        with _provider(ncrypt, self._keeper) as provider:
            key = ctypes.c_void_p()
            opened = ncrypt.NCryptOpenKey(provider, ctypes.byref(key), ctypes.c_wchar_p(self._name), 0, _MACHINE_KEY | _SILENT)
            _check(opened, "find the device key")
            yield ncrypt, key


def _library() -> ctypes.CDLL:
    try:
        return ctypes.CDLL("ncrypt.dll")  # there is one calling convention on 64-bit Windows
    except OSError as error:
        raise DeviceKeyError("a device key of Windows is used on Windows only: set `device_key` to `file` or `tpm`") from error


@contextmanager
def _provider(ncrypt: ctypes.CDLL, keeper: str) -> Iterator[ctypes.c_void_p]:
    provider = ctypes.c_void_p()
    opened = ncrypt.NCryptOpenStorageProvider(ctypes.byref(provider), ctypes.c_wchar_p(_PROVIDERS[keeper]), 0)
    _check(opened, f"open the `{_PROVIDERS[keeper]}`")
    try:
        yield provider
    finally:
        ncrypt.NCryptFreeObject(provider)


def _public_key(ncrypt: ctypes.CDLL, key: ctypes.c_void_p) -> bytes:
    blob, length = ctypes.create_string_buffer(72), ctypes.c_uint32()
    kind = ctypes.c_wchar_p("ECCPUBLICBLOB")
    _check(
        ncrypt.NCryptExportKey(key, None, kind, None, blob, len(blob), ctypes.byref(length), _SILENT),
        "tell the key's public half",
    )
    if blob.raw[:8] != _P256_PUBLIC:
        raise DeviceKeyError("Windows made a key that is not P-256: set `device_key` to `file`")
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + blob.raw[8:])
    return point.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _check(status: int, wanted: str) -> None:
    """SECURITY_STATUS: 0 is success."""
    if status:
        raise DeviceKeyError(
            f"Windows cannot {wanted}: 0x{status & 0xFFFFFFFF:08x}; does the agent run as an administrator, and for `cng_tpm`, "
            "is the TPM ready (`Get-Tpm`)? A key that is gone for good: remove the state directory and enroll anew"
        )

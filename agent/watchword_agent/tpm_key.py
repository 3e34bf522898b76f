"""A device key in a TPM 2.0, by tpm2-pytss: made there, and never outside it.

The file holds the two halves of the key as the TPM gave them out, the private one wrapped by the TPM's storage primary (ECC
P-256, of the owner hierarchy), in the form that tpm2-openssl and the kernel read as well: `TSS2 PRIVATE KEY`
(draft-bottomley-tpm2-keys). Nothing is kept in the TPM: the primary is made anew from the TPM's seed each time. Nothing is held
open between signatures, so that others may use the TPM, and after a suspend there is nothing to find again.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, ClassVar, Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import load_der_public_key

from watchword.v1 import posture_pb2 as pb
from watchword_agent.device_key import DeviceKey
from watchword_agent.errors import DeviceKeyError

# TCG TPM 2.0 Library, part 2, 8.3 TPMA_OBJECT. What must not leave the TPM, nor have come from outside.
_KEPT: Final = "fixedtpm|fixedparent|sensitivedataorigin"
_PRIMARY: Final = f"{_KEPT}|userwithauth|noda|restricted|decrypt"
_SIGNING: Final = f"{_KEPT}|userwithauth|noda|sign"
# Response codes (part 2, 6.6.3), a parameter's or session's number cleared.
_REMEDIES: Final = {
    0x09F: "it did not make this key, or it was cleared since: remove the state directory and enroll anew",  # TPM_RC_INTEGRITY
    0x0A2: "its owner hierarchy has a password: clear that, or keep the key in a file",  # TPM_RC_BAD_AUTH
    0x08E: "its owner hierarchy has a password: clear that, or keep the key in a file",  # TPM_RC_AUTH_FAIL
    0x085: "its owner hierarchy is disabled: enable it in the firmware",  # TPM_RC_HIERARCHY
    0x100: "it was not started: restart the machine",  # TPM_RC_INITIALIZE
    0x101: "it is defective or in failure mode: restart the machine",  # TPM_RC_FAILURE
    0x902: "others use all of its memory: set `tpm_tcti` to a resource manager, such as `device:/dev/tpmrm0`",  # OBJECT_MEMORY
    0x908: "it is busy with its own upkeep: it is tried again",  # TPM_RC_YIELDED
    0x90A: "it is testing itself: it is tried again",  # TPM_RC_TESTING
    0x921: "it is locked after too many wrong passwords: wait, or reset the lockout",  # TPM_RC_LOCKOUT
    0x922: "it is busy: it is tried again",  # TPM_RC_RETRY
}
_LAYER: Final = 0xFF0000  # which part of tpm2-tss says so (TSS 2.0 Overview, 3.4); the TPM's own and a resource manager's:
_FROM_TPM: Final = (0x000000, 0x0B0000, 0x0C0000)


class TpmKey(DeviceKey):
    """A P-256 key that only the TPM that made it can use."""

    PEM_LABEL: ClassVar = b"TSS2 PRIVATE KEY"
    protection = pb.KEY_PROTECTION_TPM

    def __init__(self, public: Any, private: Any, *, tcti: str) -> None:  # noqa: ANN401 -- the library has no types
        super().__init__(public.publicArea.to_der())
        self._public = public
        self._private = private
        self._tcti = tcti

    @staticmethod
    def new_pem(tcti: str) -> bytes:
        """A new key, made by the TPM. Raises `DeviceKeyError`."""
        tss = _library()
        with _opened(tss, tcti) as tpm, _primary(tss, tpm) as primary:
            template = tss.TPM2B_PUBLIC.parse("ecc256:ecdsa-sha256:null", objectAttributes=_SIGNING)
            private, public, *_ = tpm.create(primary, tss.TPM2B_SENSITIVE_CREATE(), template)
        pem: bytes = tss.tsskey.TSSPrivKey(private, public).to_pem()
        return pem

    @classmethod
    def from_pem(cls, pem: bytes, *, tcti: str) -> Self:
        """The key of the file; the TPM is not asked. Raises `ValueError` that says what it is instead, `DeviceKeyError`."""
        tss = _library()
        try:
            wrapped = tss.tsskey.TSSPrivKey.from_pem(pem)
            key = cls(wrapped.public, wrapped.private, tcti=tcti)
            attributes, curve = wrapped.public.publicArea.objectAttributes, load_der_public_key(key.public_key_der)
        except (ValueError, TypeError, RuntimeError) as error:  # RuntimeError: what tpm2-tss says of bytes it cannot read
            raise ValueError("damaged: it is no `TSS2 PRIVATE KEY`") from error
        if not isinstance(curve, ec.EllipticCurvePublicKey) or not isinstance(curve.curve, ec.SECP256R1):
            raise ValueError("of a TPM, and not P-256")  # noqa: TRY004 -- of the file, not of an argument
        kept = tss.TPMA_OBJECT.parse(_KEPT)
        if attributes & kept != kept:
            raise ValueError("of a TPM, and one that may have been outside it or may leave it")
        if wrapped.parent != tss.TPM2_RH.OWNER or not wrapped.empty_auth:
            raise ValueError("of a TPM, and not one that this agent made: under another parent, or with a password")
        return key

    def _signature(self, message: bytes) -> bytes:
        tss = _library()
        with _opened(tss, self._tcti) as tpm:
            with _primary(tss, tpm) as primary:
                handle = tpm.load(primary, self._private, self._public)
            try:
                whole = tpm.sign(  # which owns the memory of its parts
                    handle,
                    hashlib.sha256(message).digest(),
                    tss.TPMT_SIG_SCHEME(scheme=tss.TPM2_ALG.NULL),  # the key's own: ECDSA with SHA-256
                    tss.TPMT_TK_HASHCHECK(tag=tss.TPM2_ST.HASHCHECK, hierarchy=tss.TPM2_RH.NULL),
                )
            finally:
                tpm.flush_context(handle)
        numbers = (whole.signature.ecdsa.signatureR, whole.signature.ecdsa.signatureS)
        r, s = (int.from_bytes(bytes(number), "big") for number in numbers)
        signature = utils.encode_dss_signature(r, s)
        self._check(signature, message)
        return signature

    def _check(self, signature: bytes, message: bytes) -> None:
        """A file whose halves do not belong together, or a TPM that computes wrongly, is noticed here and not by the server."""
        public_key = load_der_public_key(self.public_key_der)
        try:
            if isinstance(public_key, ec.EllipticCurvePublicKey):
                return public_key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            pass
        raise DeviceKeyError("the TPM signed wrongly: it is defective; keep the key in a file, or exchange the TPM")


def _library() -> ModuleType:
    os.environ.setdefault("TSS2_LOG", "all+none")  # else it writes to stderr among the agent's events; what fails is raised
    try:
        import tpm2_pytss  # noqa: PLC0415 -- only who keeps keys in a TPM needs it
        import tpm2_pytss.tsskey  # noqa: PLC0415
    except ImportError as error:
        raise DeviceKeyError(
            "a device key in a TPM needs tpm2-pytss: `pip install 'watchword[agent,tpm]'`, on Debian after "
            f"`apt-get install libtss2-dev gcc python3-dev` ({error})"
        ) from error
    module: ModuleType = tpm2_pytss
    return module


@contextmanager
def _opened(tss: ModuleType, tcti: str) -> Iterator[Any]:
    """A connection to the TPM; what goes wrong on it is a `DeviceKeyError`."""
    try:
        with tss.ESAPI(tcti) as tpm:
            yield tpm
    except tss.TSS2_Exception as error:
        raise DeviceKeyError(_explained(error.rc, error.error, str(error), tcti)) from error


def _explained(code: int, error: int, text: str, tcti: str) -> str:
    if code & _LAYER not in _FROM_TPM:
        return (
            f"the TPM cannot be reached through `{tcti}` ({text}): is there one, is it enabled in the firmware, may this user "
            "use it (group `tss`)? `tpm_tcti` says how to reach it"
        )
    remedy = _REMEDIES.get(error & 0xFFF)
    return (
        f"the TPM does not sign with the device key: {text}"
        if remedy is None
        else f"the TPM refuses the device key: {remedy} ({text})"
    )


@contextmanager
def _primary(tss: ModuleType, tpm: Any) -> Iterator[Any]:  # noqa: ANN401 -- as above
    """The storage primary, for as long as the block runs: its place in the TPM is one of three."""
    template = tss.TPM2B_PUBLIC.parse("ecc256:aes128cfb", objectAttributes=_PRIMARY)
    handle, *_ = tpm.create_primary(tss.TPM2B_SENSITIVE_CREATE(), template, tss.ESYS_TR.OWNER)
    try:
        yield handle
    finally:
        tpm.flush_context(handle)

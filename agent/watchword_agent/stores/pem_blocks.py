"""Certificates and private keys out of PEM text (RFC 7468), in any order and number; everything else is passed over."""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from watchword.v1 import posture_pb2 as pb
from watchword_agent.errors import CollectionFailedError
from watchword_agent.stores.encrypted_keys import MAX_STEPS, steps_to_decrypt

_CERTIFICATE_LABELS: Final = frozenset({b"CERTIFICATE", b"X509 CERTIFICATE"})
_MAX_CERTIFICATE_BYTES: Final = 32 * 1024
_BEGIN: Final = b"-----BEGIN "
_END: Final = b"-----END "
_DASHES: Final = b"-----"
_USABLE: Final = pb.PRIVATE_KEY_STATE_USABLE
_LOCKED: Final = pb.PRIVATE_KEY_STATE_LOCKED
_UNREADABLE: Final = pb.PRIVATE_KEY_STATE_UNREADABLE
_UNSUPPORTED: Final = pb.PRIVATE_KEY_STATE_UNSUPPORTED
_WRONG_PASSWORD: Final = pb.PRIVATE_KEY_STATE_WRONG_PASSWORD


@dataclass(frozen=True, slots=True)
class FoundCertificate:
    """A certificate with the file it lay in. `public_key_der` is None for a kind of key that cannot be read here."""

    der: bytes
    location: str
    subject: bytes
    issuer: bytes
    public_key_der: bytes | None


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A private key, or why it is not usable; the keys only with USABLE. `detail`: why, for the person at the device."""

    state: pb.PrivateKeyState
    private_key: PrivateKeyTypes | None = None
    public_key_der: bytes | None = None
    detail: str = ""


def parse(
    data: bytes, *, location: str, password: bytes | None = None
) -> Iterator[FoundCertificate | FoundKey | CollectionFailedError]:
    """What a PEM text holds, in its order. `password`: that of its encrypted keys, None where none is known.

    A certificate that is none is told as the failure: `certificate_unreadable`, or `file_incomplete` at the end of the text.
    """
    steps_left = MAX_STEPS
    for block in _blocks(data):
        if block.label in _CERTIFICATE_LABELS:
            yield _certificate(block, location)
        elif block.label.endswith(b"PRIVATE KEY"):
            if not block.complete:
                yield FoundKey(_UNREADABLE, detail=f"`{location}` breaks off in the middle of a private key")
            elif block.label == b"ENCRYPTED PRIVATE KEY" or b"Proc-Type: 4,ENCRYPTED" in block.text:
                key, steps = _encrypted_key(block.text, location, password, steps_left)
                steps_left -= steps
                yield key
            else:
                yield _private_key(block.text, location)


@dataclass(frozen=True, slots=True)
class _Block:
    label: bytes
    text: bytes
    complete: bool = True  # its end is there
    last: bool = False


def _blocks(data: bytes) -> Iterator[_Block]:
    """In one pass, whatever the text: a regular expression would look for each END again and again."""
    label, lines = b"", list[bytes]()
    for line in data.removeprefix(codecs.BOM_UTF8).splitlines():
        text = line.strip()
        if text.startswith(_BEGIN) and text.endswith(_DASHES):
            if lines:
                yield _Block(label, b"", complete=False)
            label, lines = text[len(_BEGIN) : -len(_DASHES)], [text]
        elif lines:
            lines.append(text)
            if text == _END + label + _DASHES:
                yield _Block(label, b"\n".join([*lines, b""]))
                lines = []
    if lines:
        yield _Block(label, b"", complete=False, last=True)


def _certificate(block: _Block, location: str) -> FoundCertificate | CollectionFailedError:
    if not block.complete:
        code = "file_incomplete" if block.last else "certificate_unreadable"
        return CollectionFailedError(code, f"`{location}` breaks off in the middle of a certificate")
    try:
        certificate = x509.load_pem_x509_certificate(block.text)
        der = certificate.public_bytes(Encoding.DER)
        if len(der) > _MAX_CERTIFICATE_BYTES:  # the server would reject all evidence for it
            return CollectionFailedError("certificate_unreadable", f"`{location}` holds a certificate that is too large")
        return FoundCertificate(
            der=der,
            location=location,
            subject=certificate.subject.public_bytes(),
            issuer=certificate.issuer.public_bytes(),
            public_key_der=_public_key_der(certificate),
        )
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
        return CollectionFailedError("certificate_unreadable", f"`{location}` holds what is called a certificate and is none")


def _public_key_der(certificate: x509.Certificate) -> bytes | None:
    try:
        return spki(certificate.public_key())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None


def _private_key(block: bytes, location: str) -> FoundKey:
    try:
        return _usable(block, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return FoundKey(_UNSUPPORTED, detail=f"`{location}` holds a private key that cannot be read: is it PKCS #8 in PEM?")


def _encrypted_key(block: bytes, location: str, password: bytes | None, steps_left: int) -> tuple[FoundKey, int]:
    """The key, and what it cost."""
    if password is None:
        detail = f"the private key in `{location}` is encrypted: give its password by `password_files`"
        return FoundKey(_LOCKED, detail=detail), 0
    steps = steps_to_decrypt(block)
    if steps is None or steps > steps_left:
        detail = f"decrypting the private key in `{location}` would cost too much: encrypt it with fewer iterations"
        return FoundKey(_UNSUPPORTED, detail=detail), 0
    try:
        return _usable(block, password), steps
    except (TypeError, UnsupportedAlgorithm):
        return FoundKey(
            _UNSUPPORTED, detail=f"the private key in `{location}` is encrypted in a way that is not supported"
        ), steps
    except ValueError:
        detail = f"the password that `password_files` gives for `{location}` does not decrypt its private key"
        return FoundKey(_WRONG_PASSWORD, detail=detail), steps


def _usable(block: bytes, password: bytes | None) -> FoundKey:
    # Validating an RSA key takes 50 to 300 ms, more than everything else together. A wrong one betrays itself: it has to fit a
    # certificate, and its signature is verified before it leaves (signing.py).
    private_key = load_pem_private_key(block, password=password, unsafe_skip_rsa_key_validation=True)
    return FoundKey(_USABLE, private_key, spki(private_key.public_key()))


def spki(public_key: PublicKeyTypes) -> bytes:
    """DER SubjectPublicKeyInfo."""
    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

"""Certificates and private keys out of PEM text (RFC 7468), in any order and number; everything else is passed over."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from watchword.v1 import posture_pb2 as pb

_CERTIFICATE_LABELS: Final = frozenset({b"CERTIFICATE", b"X509 CERTIFICATE"})
_MAX_CERTIFICATE_BYTES: Final = 32 * 1024
_BEGIN: Final = b"-----BEGIN "
_END: Final = b"-----END "
_DASHES: Final = b"-----"


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
    """A private key, or why it is not usable; only with USABLE are the two others there."""

    state: pb.PrivateKeyState
    private_key: PrivateKeyTypes | None = None
    public_key_der: bytes | None = None


def parse(data: bytes, *, location: str) -> Iterator[FoundCertificate | FoundKey]:
    """What a PEM text holds, in its order. What does not parse as a certificate is no certificate."""
    for label, block in _blocks(data):
        if label in _CERTIFICATE_LABELS:
            certificate = _certificate(block, location)
            if certificate is not None:
                yield certificate
        elif label.endswith(b"PRIVATE KEY"):
            yield _private_key(block)


def _blocks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    label, lines = b"", list[bytes]()
    for line in data.splitlines():  # one pass, whatever the text: a regular expression would look for each END again and again
        text = line.strip()
        if text.startswith(_BEGIN) and text.endswith(_DASHES):
            label, lines = text[len(_BEGIN) : -len(_DASHES)], [text]
        elif lines:
            lines.append(text)
            if text == _END + label + _DASHES:
                yield label, b"\n".join([*lines, b""])
                lines = []


def _certificate(block: bytes, location: str) -> FoundCertificate | None:
    try:
        certificate = x509.load_pem_x509_certificate(block)
        der = certificate.public_bytes(Encoding.DER)
        if len(der) > _MAX_CERTIFICATE_BYTES:
            return None  # the server would reject all evidence for it
        return FoundCertificate(
            der=der,
            location=location,
            subject=certificate.subject.public_bytes(),
            issuer=certificate.issuer.public_bytes(),
            public_key_der=_public_key_der(certificate),
        )
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
        return None


def _public_key_der(certificate: x509.Certificate) -> bytes | None:
    try:
        return spki(certificate.public_key())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None


def _private_key(block: bytes) -> FoundKey:
    try:
        # Validating an RSA key takes 50 to 300 ms, more than everything else together. A wrong one betrays itself: it has to
        # fit a certificate, and its signature is verified before it leaves (signing.py).
        private_key = load_pem_private_key(block, password=None, unsafe_skip_rsa_key_validation=True)
        return FoundKey(pb.PRIVATE_KEY_STATE_USABLE, private_key, spki(private_key.public_key()))
    except TypeError:  # it is encrypted, and no password was given
        return FoundKey(pb.PRIVATE_KEY_STATE_LOCKED)
    except (ValueError, UnsupportedAlgorithm):
        locked = b"ENCRYPTED" in block  # by a cipher that is not supported here
        return FoundKey(pb.PRIVATE_KEY_STATE_LOCKED if locked else pb.PRIVATE_KEY_STATE_UNSUPPORTED)


def spki(public_key: PublicKeyTypes) -> bytes:
    """DER SubjectPublicKeyInfo."""
    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

"""Whether a certificate's key signs: tried with a statement that is worth nothing anywhere."""

import secrets
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from watchword import possession
from watchword.v1 import posture_pb2 as pb
from watchword_agent.errors import SigningFailedError
from watchword_agent.stores.base import Possession, Signer

_AUDIENCE: Final = "watchword-agent doctor"  # no server's: a statement for it proves nothing to one
_SHA256: Final = hashes.SHA256()


def why_not(sign: Signer, certificate: x509.Certificate, der: bytes) -> tuple[str, pb.PrivateKeyState] | None:
    """None if the key signs and the signature is the certificate's; else why not, and what the server would be told."""
    statement = possession.statement(
        nonce=secrets.token_bytes(possession.NONCE_LENGTH),
        audience=_AUDIENCE,
        device_id="none",
        session_id=secrets.token_bytes(16),
        check_id="none",
        certificate_der=der,
    )
    try:
        proof = sign(statement)
    except SigningFailedError as failure:
        return str(failure), failure.state
    try:
        _verify(certificate, proof, statement)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return "its signature is not the certificate's", pb.PRIVATE_KEY_STATE_USABLE
    return None


def _verify(certificate: x509.Certificate, proof: Possession, statement: bytes) -> None:
    key = certificate.public_key()
    match key, proof.scheme:
        case rsa.RSAPublicKey(), possession.RSA_PSS_SHA256:
            key.verify(proof.signature, statement, padding.PSS(padding.MGF1(_SHA256), salt_length=32), _SHA256)
        case rsa.RSAPublicKey(), possession.RSA_PKCS1_SHA256:
            key.verify(proof.signature, statement, padding.PKCS1v15(), _SHA256)
        case ec.EllipticCurvePublicKey(), possession.ECDSA_P256_SHA256:
            key.verify(proof.signature, statement, ec.ECDSA(_SHA256))
        case ec.EllipticCurvePublicKey(), possession.ECDSA_P384_SHA384:
            key.verify(proof.signature, statement, ec.ECDSA(hashes.SHA384()))
        case ed25519.Ed25519PublicKey(), possession.ED25519:
            key.verify(proof.signature, statement)
        case _:
            raise ValueError(proof.scheme)

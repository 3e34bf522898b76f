"""Verifying what an agent signs, as a server would."""

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509 import load_der_x509_certificate

from watchword import possession
from watchword.envelope import pre_authentication_encoding
from watchword.v1 import posture_pb2 as pb


def open_envelope(envelope: pb.SignedEnvelope, *, payload_type: str, public_key_der: bytes) -> bytes:
    """The payload, if the key signed it as a message of this type; raises `InvalidSignature`."""
    assert envelope.payload_type == payload_type
    (signature,) = envelope.signatures
    key = load_der_public_key(public_key_der)
    message = pre_authentication_encoding(envelope.payload_type, envelope.payload)
    if isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature.sig, message)
    else:
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(signature.sig, message, ec.ECDSA(hashes.SHA256()))
    return envelope.payload


def verify_possession(certificate_der: bytes, *, scheme: str, signature: bytes, statement: bytes) -> None:
    """Raises `InvalidSignature` unless the certificate's key signed the statement under the one scheme its kind has."""
    key = load_der_x509_certificate(certificate_der).public_key()
    match key:
        case rsa.RSAPublicKey():
            assert scheme == possession.RSA_PSS_SHA256
            key.verify(signature, statement, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
        case ec.EllipticCurvePublicKey() if key.curve.name == "secp256r1":
            assert scheme == possession.ECDSA_P256_SHA256
            key.verify(signature, statement, ec.ECDSA(hashes.SHA256()))
        case ec.EllipticCurvePublicKey() if key.curve.name == "secp384r1":
            assert scheme == possession.ECDSA_P384_SHA384
            key.verify(signature, statement, ec.ECDSA(hashes.SHA384()))
        case ed25519.Ed25519PublicKey():
            assert scheme == possession.ED25519
            key.verify(signature, statement)
        case _:
            raise AssertionError(f"no scheme for {type(key).__name__}")


def verify_candidate(candidate: pb.CertificateCandidate, evidence: pb.Evidence, check_id: str) -> None:
    """Raises unless the candidate's key signed the statement for the challenge that the evidence answers."""
    verify_possession(
        candidate.chain[0],
        scheme=candidate.possession_scheme,
        signature=candidate.possession_signature,
        statement=possession.statement(
            nonce=evidence.nonce,
            audience=evidence.audience,
            device_id=evidence.device_id,
            session_id=evidence.session_id,
            check_id=check_id,
            certificate_der=candidate.chain[0],
        ),
    )

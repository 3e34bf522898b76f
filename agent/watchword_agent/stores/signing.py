"""Possession signatures by keys in this process's memory. The scheme follows from the key, as `watchword.possession` names it."""

from collections.abc import Callable

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from watchword import possession
from watchword_agent.errors import SigningFailedError
from watchword_agent.stores.base import Possession

_SHA256 = hashes.SHA256()
_PSS = padding.PSS(mgf=padding.MGF1(_SHA256), salt_length=32)
_P256 = ec.ECDSA(_SHA256)
_P384 = ec.ECDSA(hashes.SHA384())
_SMALLEST_RSA_BITS = 1024


def signer_for(private_key: PrivateKeyTypes) -> Callable[[bytes], Possession] | None:
    """A function that signs a possession statement with this key; None for a kind of key that has no scheme.

    Each signature is verified before it is returned: a damaged RSA key can give its primes away by a wrong one.
    """

    def checked(
        scheme: str, sign: Callable[[bytes], bytes], verify: Callable[[bytes, bytes], None]
    ) -> Callable[[bytes], Possession]:
        def signer(statement: bytes) -> Possession:
            try:
                signature = sign(statement)
                verify(signature, statement)
            except (ValueError, InvalidSignature, UnsupportedAlgorithm) as error:
                raise SigningFailedError(scheme) from error
            return Possession(scheme, signature)

        return signer

    match private_key:
        case rsa.RSAPrivateKey() if private_key.key_size >= _SMALLEST_RSA_BITS:
            rsa_public = private_key.public_key()
            return checked(
                possession.RSA_PSS_SHA256,
                lambda data: private_key.sign(data, _PSS, _SHA256),
                lambda signature, data: rsa_public.verify(signature, data, _PSS, _SHA256),
            )
        case ec.EllipticCurvePrivateKey(curve=ec.SECP256R1() | ec.SECP384R1()):
            is_p256 = isinstance(private_key.curve, ec.SECP256R1)
            algorithm = _P256 if is_p256 else _P384
            ec_public = private_key.public_key()
            return checked(
                possession.ECDSA_P256_SHA256 if is_p256 else possession.ECDSA_P384_SHA384,
                lambda data: private_key.sign(data, algorithm),
                lambda signature, data: ec_public.verify(signature, data, algorithm),
            )
        case ed25519.Ed25519PrivateKey():
            return checked(possession.ED25519, private_key.sign, private_key.public_key().verify)
        case _:
            return None

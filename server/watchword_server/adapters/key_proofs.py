"""Proofs of a key that a client has: RFC 9449's JWT, whose header holds the public key that it is signed with."""

from collections.abc import Mapping
from typing import Any, Final

import jwt

from watchword_server.adapters.signing_keys import thumbprint
from watchword_server.errors import TokenRefusedError

TYPE: Final = "dpop+jwt"
_ALGORITHMS: Final = {"P-256": "ES256", "Ed25519": "EdDSA"}
_MAX_CHARACTERS: Final = 4096


class KeyProofs:
    """Verifies them. P-256 and Ed25519: never a secret, never a key chosen by the algorithm's name."""

    def verified(self, proof: str) -> tuple[str, Mapping[str, Any]]:
        """The key's thumbprint (RFC 7638), and what the key signed. Raises `TokenRefusedError`."""
        if len(proof) > _MAX_CHARACTERS:
            raise TokenRefusedError("the proof is too long")
        try:
            header = jwt.get_unverified_header(proof)
            key = header.get("jwk")
            if header.get("typ") != TYPE or "crit" in header or not isinstance(key, dict):
                raise TokenRefusedError("the proof is none")
            algorithm = _ALGORITHMS.get(str(key.get("crv")))
            if algorithm is None or header.get("alg") != algorithm or "d" in key:
                raise TokenRefusedError("the proof is of a key of another kind")
            claims = jwt.decode(
                proof,
                jwt.PyJWK.from_dict(key, algorithm),
                algorithms=[algorithm],
                options={"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False, "verify_iss": False},
            )
            return thumbprint(key), claims
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise TokenRefusedError("the proof is not signed by the key in it") from error

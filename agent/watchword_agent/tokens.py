"""A token of the server's that names this device, for a client on it to show; and the proof of that client's key beside it.

RFC 9449's proof, under names of ours: an application may have one of its own.
"""

import asyncio
import base64
import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from watchword.envelope import TOKEN_TYPE
from watchword.v1 import posture_pb2 as pb
from watchword.v1.posture_pb2_grpc import PostureServiceStub
from watchword_agent.channel import failure_of, write
from watchword_agent.device_key import DeviceKey
from watchword_agent.errors import (
    ForeignAudienceError,
    ProtocolViolationError,
    ServerSilentError,
    ServerUnreachableError,
    SettingsError,
    TokenRefusedError,
)
from watchword_agent.session import check_challenge
from watchword_agent.signing import signed
from watchword_agent.state import write_atomically

_COORDINATE_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class ProofKey:
    """The key of a client, P-256, that a token is bound to."""

    private: ec.EllipticCurvePrivateKey

    @classmethod
    def load_or_create(cls, path: Path) -> "ProofKey":
        """From a PEM file, which is made, for its owner only, where there is none. Raises `SettingsError`."""
        try:
            if not path.exists():
                private = ec.generate_private_key(ec.SECP256R1())
                pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
                write_atomically(path, pem, exclusive=True)
                return cls(private)
            found = load_pem_private_key(path.read_bytes(), None)
        except (OSError, ValueError, TypeError) as error:
            raise SettingsError(f"`{path}` holds no key that can be read: {error}") from error
        if not isinstance(found, ec.EllipticCurvePrivateKey) or not isinstance(found.curve, ec.SECP256R1):
            raise SettingsError(f"`{path}` is not a key on P-256: name another file, and it is made")
        return cls(found)

    @property
    def jwk(self) -> Mapping[str, str]:
        """The public key (RFC 7517)."""
        numbers = self.private.public_key().public_numbers()
        x, y = (_text(number.to_bytes(_COORDINATE_BYTES, "big")) for number in (numbers.x, numbers.y))
        return {"crv": "P-256", "kty": "EC", "x": x, "y": y}

    @property
    def thumbprint(self) -> str:
        """RFC 7638."""
        return _text(hashlib.sha256(_json(self.jwk)).digest())

    def proof(self, token: str, *, method: str, url: str) -> str:
        """That who shows the token for this request has the key (RFC 9449, 4.2). `url`: without query and fragment."""
        head = _text(_json({"typ": "dpop+jwt", "alg": "ES256", "jwk": dict(self.jwk)}))
        claims = {
            "jti": secrets.token_urlsafe(16),
            "htm": method,
            "htu": url,
            "iat": int(time.time()),
            "ath": _text(hashlib.sha256(token.encode()).digest()),
        }
        told = f"{head}.{_text(_json(claims))}"
        r, s = decode_dss_signature(self.private.sign(told.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{told}.{_text(r.to_bytes(_COORDINATE_BYTES, 'big') + s.to_bytes(_COORDINATE_BYTES, 'big'))}"


async def fetch_token(
    channel: grpc.aio.Channel,
    *,
    device_id: str,
    service: str,
    key: DeviceKey,
    audience: str,
    thumbprint: str,
    timeout_seconds: float,
) -> str:
    """A token for `audience`, bound to the key of this thumbprint; empty: to none.

    `service` is the name that this device enrolled with. Raises `TokenRefusedError`, `ServerError`, `DeviceKeyError`.
    """
    call = PostureServiceStub(channel).IssueToken()
    try:
        async with asyncio.timeout(timeout_seconds):
            await write(call, pb.IssueTokenRequest(device_id=device_id))
            response = await call.read()
            if not isinstance(response, pb.IssueTokenResponse) or response.WhichOneof("message") != "challenge":
                raise ProtocolViolationError("the server did not answer with a challenge")
            challenge = response.challenge
            if challenge.audience != service:
                raise ForeignAudienceError(f"the server is `{challenge.audience}`, and this device is enrolled with `{service}`")
            check_challenge(challenge.session_id, challenge.nonce, challenge.nonce_ttl_seconds)
            request = pb.TokenRequest(
                device_id=device_id,
                key_id=key.key_id,
                audience=service,
                session_id=challenge.session_id,
                nonce=challenge.nonce,
                token_audience=audience,
                key_thumbprint=thumbprint,
            )
            envelope = await signed(key, TOKEN_TYPE, request.SerializeToString(), timeout_seconds=timeout_seconds / 2)
            await write(call, pb.IssueTokenRequest(envelope=envelope))
            await call.done_writing()
            answer = await call.read()
    except TimeoutError as error:
        raise ServerSilentError(f"no answer within {timeout_seconds:g} s; try again") from error
    except grpc.aio.AioRpcError as error:
        failure = failure_of(error)
        if failure.is_refusal:
            raise TokenRefusedError(failure.text) from error
        raise ServerUnreachableError(failure.text) from error
    finally:
        call.cancel()
    if not isinstance(answer, pb.IssueTokenResponse) or answer.WhichOneof("message") != "result":
        raise ProtocolViolationError("the server did not answer with a token")
    return answer.result.token


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

"""An identity provider on loopback: publishes keys, signs tokens."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

AUDIENCE: Final = "watchword"
ISSUER: Final = "https://id.corp.example"


@dataclass(slots=True)
class Provider:
    """Publishes keys, signs tokens. `answer` replaces what it publishes; `asked` counts."""

    server: ThreadingHTTPServer
    keys: dict[str, tuple[str, Any]] = field(default_factory=dict)
    answer: bytes | None = None
    status: int = 200
    asked: int = 0

    @property
    def url(self) -> str:
        """Where its keys are."""
        return f"http://127.0.0.1:{self.server.server_port}/keys"

    def add(self, key_id: str, algorithm: str = "ES256") -> None:
        """A new key."""
        key: Any = {
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "RS256": lambda: rsa.generate_private_key(65537, 2048),
            "EdDSA": ed25519.Ed25519PrivateKey.generate,
        }[algorithm]()
        self.keys[key_id] = (algorithm, key)

    def document(self) -> bytes:
        """The key set."""
        kinds: dict[str, Any] = {"ES256": ECAlgorithm, "RS256": RSAAlgorithm, "EdDSA": OKPAlgorithm}
        keys = [
            {**kinds[algorithm].to_jwk(key.public_key(), as_dict=True), "kid": key_id, "alg": algorithm, "use": "sig"}
            for key_id, (algorithm, key) in self.keys.items()
        ]
        return json.dumps({"keys": keys}).encode()

    def token(self, key_id: str = "one", *, now: float, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token that holds, but for what is said otherwise; None leaves a claim out."""
        algorithm, key = self.keys[key_id]
        told = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "u-1",
            "email": "ada@corp.example",
            "groups": ["staff", "sec-ops"],
            "iat": now,
            "exp": now + 300,
            **claims,
        }
        payload = {name: value for name, value in told.items() if value is not None}
        return jwt.encode(payload, key, algorithm, headers={"kid": key_id, **(headers or {})})


@pytest.fixture
def provider() -> Iterator[Provider]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked += 1
            body = made.document() if made.answer is None else made.answer
            self.send_response(made.status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Provider(server)
    made.add("one")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()

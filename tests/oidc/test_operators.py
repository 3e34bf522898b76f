"""Operators with tokens of an OpenID Connect provider: a real one's part on loopback, whose keys are fetched over HTTP."""

import base64
import hmac
import json
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from pydantic import ValidationError

from audit.conftest import Office
from services.world import World
from support.pki import Pki
from watchword_server.adapters.jwks import Jwks
from watchword_server.errors import KeysUnavailableError, TokenRefusedError
from watchword_server.settings import Oidc

AUDIENCE: Final = "watchword"


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
            "iss": "https://id.corp.example",
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


@pytest.fixture
async def office(tmp_path: Path, provider: Provider) -> AsyncIterator[Office]:
    oidc = {
        "issuer": "https://id.corp.example",
        "audience": AUDIENCE,
        "jwks_url": provider.url,
        "roles": {"sec-ops": "write", "staff": "read", "root": "admin"},
    }
    limits = {"failed_logins_burst": 1000}
    async with World.open(tmp_path, Pki.make(), operators={"oidc": oidc}, limits=limits) as world:
        office = Office(world)
        await office.hire("admin")
        yield office


def now_of(office: Office) -> float:
    return float(office.world.house.clock.now())


async def status(office: Office, token: str, path: str = "/api/v1/devices") -> int:
    return (await office.call("GET", path, token=token)).status_code


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "EdDSA"])
async def test_a_token_of_the_provider_has_the_highest_role_that_its_claim_gives(
    office: Office, provider: Provider, algorithm: str
) -> None:
    provider.keys.clear()
    provider.add("one", algorithm)
    token = provider.token(now=now_of(office))
    assert await status(office, token) == 200
    applied = await office.call("POST", "/api/v1/rules/apply", {"document": {"groups": [GROUP]}}, token=token)
    assert applied.status_code == 200
    assert await status(office, token, "/api/v1/audit") == 403
    assert await status(office, provider.token(now=now_of(office), groups="root"), "/api/v1/audit") == 200
    record = next(each for each in await office.records() if each["action"] == "entry.created")
    assert record["actor"] == {"kind": "oidc", "id": "u-1", "name": "ada@corp.example"}
    verified = await office.call("GET", "/client/v4/user/tokens/verify", token=token)
    assert verified.json()["result"]["id"] == "u-1"
    assert provider.asked == 1


GROUP: Final = {"name": "everyone", "include": [{"everyone": {}}]}


REFUSED: Final[tuple[tuple[dict[str, Any], dict[str, Any]], ...]] = (  # claims, headers
    ({"iss": "https://id.evil.example"}, {}),
    ({"iss": None}, {}),
    ({"aud": "another"}, {}),
    ({"aud": None}, {}),
    ({"exp": None}, {}),
    ({"exp": 1}, {}),
    ({"exp": "tomorrow"}, {}),
    ({"exp": True}, {}),
    ({"exp": float("nan")}, {}),
    ({"exp": float("inf")}, {}),
    ({"nbf": 99_999_999_999}, {}),
    ({"iat": 99_999_999_999}, {}),
    ({"sub": None}, {}),
    ({"sub": ""}, {}),
    ({"sub": "a\nb"}, {}),
    ({"sub": "x" * 256}, {}),
    ({}, {"kid": "unknown"}),
    ({}, {"typ": "dpop+jwt"}),
    ({}, {"crit": ["b64"], "b64": True}),
    ({"padding": "x" * 17_000}, {}),
)


async def test_a_token_that_does_not_hold_lets_nobody_in(office: Office, provider: Provider) -> None:
    for claims, headers in REFUSED:
        token = provider.token(now=now_of(office), headers=headers, **claims)
        assert await status(office, token) == 401, (claims, headers)
        refusal = [each for each in await office.records() if each["action"] == "authentication.failed"][-1]
        assert refusal["details"]["reason"].startswith("oidc: ")
    assert await status(office, provider.token(now=now_of(office))) == 200


async def test_forged_tokens(office: Office, provider: Provider) -> None:
    """Without a signature, with the public key as a secret, with another's key, with one character changed."""
    good = provider.token(now=now_of(office))
    head, payload, signature = good.split(".")
    claims = jwt.decode(good, options={"verify_signature": False})
    public = provider.document()
    other = Provider(provider.server)
    other.add("one")
    forged = [
        f"{part({'alg': 'none', 'kid': 'one'})}.{payload}.AA",
        f"{part({'alg': 'None', 'kid': 'one'})}.{payload}.{signature}",
        signed_with_a_secret(claims, public),
        other.token(now=now_of(office)),
        f"{head}.{part({**claims, 'groups': ['root']})}.{signature}",
        f"{part({'alg': 'EdDSA', 'kid': 'one'})}.{payload}.{signature}",
        f"{part({'alg': 'RS256', 'kid': 'one'})}.{payload}.{signature}",
        f"{part({'alg': ['ES256'], 'kid': 'one'})}.{payload}.{signature}",
        f"{part({'alg': 'ES256', 'kid': ['one']})}.{payload}.{signature}",
        f"{part({'alg': 'ES256', 'jwk': json.loads(other.document())['keys'][0]})}.{payload}.{signature}",
        f"{head}.{payload}.{'A' * len(signature)}",
        "a.b.c",
    ]
    for token in forged:
        assert await status(office, token) == 401, token
    assert await status(office, good) == 200


def signed_with_a_secret(claims: dict[str, Any], secret: bytes) -> str:
    signed = f"{part({'alg': 'HS256', 'kid': 'one'})}.{part(claims)}"
    mac = hmac.new(secret, signed.encode(), "sha256").digest()
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


async def test_who_has_no_role_is_told_so(office: Office, provider: Provider) -> None:
    for groups in (None, [], ["guests"], 7, [["staff"]], {"staff": True}):
        answer = await office.call("GET", "/api/v1/devices", token=provider.token(now=now_of(office), groups=groups))
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden"), groups


async def test_a_clock_may_be_off_by_the_leeway(office: Office, provider: Provider) -> None:
    now = now_of(office)
    assert await status(office, provider.token(now=now, exp=now - 20)) == 200
    assert await status(office, provider.token(now=now, exp=now - 40)) == 401
    assert await status(office, provider.token(now=now, nbf=now + 20)) == 200
    assert await status(office, provider.token(now=now, nbf=now + 60)) == 401


async def test_our_own_tokens_work_as_before(office: Office) -> None:
    assert await status(office, office.tokens["admin"], "/api/v1/audit") == 200
    assert await status(office, office.tokens["admin"][:-1] + "!") == 401


async def test_a_rotation_needs_nothing_and_unknown_keys_do_not_make_us_ask_all_the_time(
    provider: Provider,
) -> None:
    now = 0.0
    keys = Jwks(provider.url, timer=lambda: now)
    await keys.key("one")
    for _ in range(5):
        with pytest.raises(TokenRefusedError):
            await keys.key("two")
    assert provider.asked == 1, "it was asked just now"
    provider.keys.clear()
    provider.add("two")
    now = 31.0
    await keys.key("two")
    with pytest.raises(TokenRefusedError):
        await keys.key("one")
    assert provider.asked == 2


async def test_while_the_provider_is_silent_its_keys_hold_for_an_hour_and_then_nothing_does(provider: Provider) -> None:
    now = 0.0
    keys = Jwks(provider.url, timer=lambda: now)
    await keys.key("one")
    provider.status = 500
    now = 3599.0
    await keys.key("one")
    now = 3601.0
    with pytest.raises(KeysUnavailableError):
        await keys.key("one")
    provider.status = 200
    now = 3700.0
    await keys.key("one")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b'{"keys": []}',
        b'{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "one", "alg": "HS256"}]}',
        b'{"keys": [' + b" " * (256 * 1024) + b"]}",
        b'{"keys": ["x"]}',
        b'{"keys": [{"kty": "EC", "kid": "one"}]}',
    ],
    ids=lambda answer: answer[:30].decode(),
)
async def test_what_is_no_key_set_gives_no_key(provider: Provider, answer: bytes) -> None:
    provider.answer = answer
    with pytest.raises(KeysUnavailableError):
        await Jwks(provider.url).key("one")


async def test_two_keys_with_one_id_and_keys_for_other_uses_are_not_taken(provider: Provider) -> None:
    [key] = json.loads(provider.document())["keys"]
    provider.answer = json.dumps({"keys": [key, key]}).encode()
    with pytest.raises(KeysUnavailableError):
        await Jwks(provider.url).key("one")
    provider.answer = json.dumps({"keys": [key, {**key, "kid": "enc", "use": "enc"}]}).encode()
    with pytest.raises(TokenRefusedError):
        await Jwks(provider.url).key("enc")


@pytest.mark.parametrize(
    "url", ["http://id.corp.example/keys", "file:///etc/passwd", "https://u:p@id.example/", "https://", "keys"]
)
def test_an_address_that_somebody_else_could_answer_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        Oidc(issuer="x", audience="x", jwks_url=url, roles={"a": "read"})

"""Operators with tokens of an OpenID Connect provider: a real one's part on loopback, whose keys are fetched over HTTP."""

import base64
import hmac
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import jwt
import pytest
from pydantic import ValidationError

from audit.conftest import Office
from services.world import World
from support.pki import Pki
from support.provider import AUDIENCE, Provider, provider
from watchword_server.adapters.jwks import Jwks
from watchword_server.errors import KeysUnavailableError, TokenRefusedError
from watchword_server.settings import Oidc

__all__ = ["provider"]  # a fixture


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

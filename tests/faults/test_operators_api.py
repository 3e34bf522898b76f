"""The operators' API for who may not, and for what it does not understand: a clear no, and nothing has changed."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from fastapi.routing import APIRoute

from faults.rough import peak_memory
from faults.servers import UNHURRIED, surprises
from server.operators import Operators
from services.world import World
from support.pki import Pki
from support.processes import wait_until
from support.rules import wiki_rules
from support.server import WatchwordServer

ROLES: Final = ("read", "write", "admin")
NOBODY: Final = "dev_00000000000000000000000000000000"
ROUTES: Final[tuple[tuple[str, str, dict[str, Any] | None, str], ...]] = (  # method, path, body, the least role
    ("GET", "/devices", None, "read"),
    ("GET", "/rules/export", None, "read"),
    ("GET", "/results", None, "read"),
    ("GET", "/posture-log", None, "read"),
    ("GET", "/decisions", None, "read"),
    ("GET", "/decisions/dcn_000000000000000000000000", None, "read"),
    ("GET", "/decisions/dcn_000000000000000000000000/explanation", None, "read"),
    ("POST", "/decisions/explain", {"url": "https://wiki.corp.example/"}, "read"),
    ("GET", "/checks", None, "read"),
    ("GET", "/rules/stats", None, "read"),
    ("GET", "/certificates", None, "read"),
    ("GET", "/enrollment-tokens", None, "read"),
    ("GET", "/service-tokens", None, "read"),
    ("GET", "/revisions", None, "read"),
    ("GET", "/revisions/999999", None, "read"),
    ("POST", "/revisions/999999/rollback", {}, "write"),
    ("POST", f"/devices/{NOBODY}/revoke", {}, "write"),
    ("POST", f"/devices/{NOBODY}/approve", {}, "write"),
    ("POST", f"/devices/{NOBODY}/lock", {"reason": "lost"}, "write"),
    ("POST", f"/devices/{NOBODY}/unlock", {}, "write"),
    ("PUT", f"/devices/{NOBODY}/owner", {"owner": None}, "write"),
    ("POST", f"/devices/{NOBODY}/clear-clone", {}, "write"),
    ("POST", f"/devices/{NOBODY}/attest", {}, "write"),
    ("POST", "/certificates/nobody/crl", {}, "write"),
    ("POST", "/certificates/nobody/refresh", {}, "write"),
    ("POST", "/rules/apply", {"document": {}, "dry_run": True}, "write"),
    ("POST", "/enrollment-tokens", {}, "write"),
    ("POST", "/service-tokens/nobody/credential", {}, "write"),
    ("GET", "/audit", None, "admin"),
    ("GET", "/settings", None, "admin"),
    ("GET", "/signing-keys", None, "admin"),
    ("POST", "/signing-keys/rotate", {}, "admin"),
    ("GET", "/tokens", None, "admin"),
    ("POST", "/tokens", {"role": "read"}, "admin"),
    ("DELETE", "/tokens/AAAAAAAAAAAAAAAA", None, "admin"),
)
_BURST: Final = 200
_MEGABYTE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Scene:
    """A server with rules in force, and a token of each role."""

    server: WatchwordServer
    operators: Operators
    api: httpx.Client
    tokens: dict[str, str]

    def call(self, method: str, path: str, *, token: str | None = None, **arguments: Any) -> httpx.Response:
        """One request over TCP. A failure has to leave in the API's one form."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        response = self.api.request(method, f"/api/v1{path}", headers={**headers, **arguments.pop("headers", {})}, **arguments)
        if response.status_code >= 400:
            assert response.headers["cache-control"] == "no-store"
            if method != "HEAD":
                error = response.json()["error"]
                assert error.keys() == {"code", "message", "problems"}
                assert error["message"]
                assert "Traceback" not in response.text
        return response

    def state(self) -> object:
        """Everything a request could have changed."""
        found = [self.operators.call("GET", path) for path in ("/devices", "/enrollment-tokens", "/tokens")]
        for token in found[-1]["tokens"]:
            del token["last_used_at"]
        return found, self.revision()

    def revision(self) -> object:
        """The rules revision in force."""
        return self.api.get("/readyz").json()


@pytest.fixture(scope="module")
def scene(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    data = tmp_path_factory.mktemp("operators") / "data"
    limits = {
        **UNHURRIED,
        "WATCHWORD_LIMITS__FAILED_LOGINS_BURST": str(_BURST),
        "WATCHWORD_LIMITS__FAILED_LOGINS_PER_SECOND": "0.001",
    }
    with WatchwordServer(data, environment=limits) as server:
        operators = Operators(data)
        rules = wiki_rules(pki)
        rules["callers"] = []
        operators.apply(rules)
        tokens = {role: operators.call("POST", "/tokens", {"role": role})["token"] for role in ROLES}
        with httpx.Client(base_url=server.endpoints.operators, timeout=20) as api:
            yield Scene(server, operators, api, tokens)
        assert server.program.running
        assert surprises(server) == []


# ---- Who may what ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path", "body", "least"), ROUTES, ids=lambda value: str(value)[:40])
def test_each_route_asks_for_its_role(scene: Scene, method: str, path: str, body: dict[str, Any] | None, least: str) -> None:
    unauthorized = scene.call(method, path, json=body)
    assert (unauthorized.status_code, unauthorized.json()["error"]["code"]) == (401, "not_authorized")
    for role in ROLES:
        response = scene.call(method, path, token=scene.tokens[role], json=body)
        if ROLES.index(role) < ROLES.index(least):
            assert (response.status_code, response.json()["error"]["code"]) == (403, "forbidden")
        else:
            assert response.status_code in {200, 404}, response.text


async def test_this_list_of_routes_is_whole(tmp_path: Path, pki: Pki) -> None:
    """A new route has to say here who may."""
    async with World.open(tmp_path, pki) as world:
        door = world.house.operators
        parts = (
            *(door.rules, door.decisions, door.devices, door.postures),
            *(door.tokens, door.certificates, door.audit, door.settings, door.signing_keys),
        )
        routers = [part.router(door.authentication) for part in parts]
    served = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    assert len(served) == len(ROUTES)
    for method, path, _, _ in ROUTES:
        assert [route for route in served if route.path_regex.match(f"/api/v1{path}") and method in (route.methods or ())]


@pytest.mark.parametrize(
    "authorization",
    [
        *("", "Bearer", "Basic YWRtaW46YWRtaW4=", "Bearer admin", "Bearer wwa..", "Bearer wwa.x.y", "Bearer null"),
        f"Bearer wwa.{'A' * 16}.{'A' * 43}",
        "Bearer " + "A" * 20_000,
    ],
    ids=lambda text: text[:24],
)
def test_what_is_no_token_is_refused(scene: Scene, authorization: str) -> None:
    response = scene.call("GET", "/devices", headers={"Authorization": authorization})
    assert (response.status_code, response.json()["error"]["code"]) == (401, "not_authorized")


def test_a_token_that_is_nearly_right_is_refused(scene: Scene) -> None:
    token = scene.tokens["admin"]
    prefix, token_id, secret = token.split(".")
    other = scene.tokens["read"].split(".")
    near = [
        f"{prefix}.{token_id}.{other[2]}",
        f"{prefix}.{other[1]}.{secret}",
        f"{prefix}.{token_id}.{secret[:-1]}",
        f"{prefix}.{token_id}.{'B' if secret[0] == 'A' else 'A'}{secret[1:]}",
        f"ww1.{token_id}.{secret}",
        f"{token}x",
        token.lower() if token.lower() != token else token.upper(),
    ]
    for text in near:
        assert scene.call("GET", "/devices", token=text).status_code == 401
    assert scene.call("GET", "/devices", headers={"Authorization": f"bearer {token}"}).status_code == 401
    headers = [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")]
    assert scene.api.get("/api/v1/devices", headers=headers).status_code == 401


def test_an_enrollment_token_is_no_api_token(scene: Scene) -> None:
    assert scene.call("GET", "/devices", token=scene.operators.enrollment_token().text).status_code == 401


def test_a_token_ends_when_it_expires(scene: Scene) -> None:
    token = scene.operators.call("POST", "/tokens", {"role": "admin", "expires_in_seconds": 1})["token"]
    wait_until(lambda: scene.call("GET", "/tokens", token=token).status_code == 401, what="the token expired")


def test_a_token_ends_when_it_is_revoked(scene: Scene) -> None:
    made = scene.operators.call("POST", "/tokens", {"role": "admin"})
    assert scene.call("GET", "/tokens", token=made["token"]).status_code == 200
    assert scene.call("DELETE", f"/tokens/{made['id']}", token=made["token"]).status_code == 200
    assert scene.call("GET", "/tokens", token=made["token"]).status_code == 401


def test_the_api_is_on_no_other_listener(scene: Scene) -> None:
    for address in (scene.server.endpoints.decisions_http, scene.server.endpoints.agents_http):
        for path in ("/api/v1/devices", "/api/v1/tokens", "/metrics"):
            response = httpx.get(f"{address}{path}", headers={"Authorization": f"Bearer {scene.tokens['admin']}"})
            assert response.status_code == 404


def test_what_needs_no_token_tells_numbers_and_nothing_about_anybody(scene: Scene) -> None:
    for path in ("/livez", "/readyz", "/metrics"):
        assert scene.api.get(path).status_code == 200
    assert "dev_" not in scene.api.get("/metrics").text
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert scene.api.get(path).status_code == 404


# ---- What it does not understand ---------------------------------------------------------------------------------------

BODIES: Final = {
    "nothing": b"",
    "no JSON": b"role=admin",
    "cut short": b'{"document": {',
    "a list": b"[]",
    "null": b"null",
    "a number too long": b'{"document": {"x": ' + b"9" * 10_000 + b"}}",
    "not UTF-8": b'{"document": {"\xff": 1}}',
    "half a character": b'{"document": {"\\ud800": 1}}',
    "deep": b'{"document": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep, and just so": b'{"document": {"checks": ' + b"[" * 500 + b"]" * 500 + b"}}",
    "no number": b'{"document": {"x": NaN}}',
    "an unknown key": b'{"document": {}, "prunee": true}',
    "an unknown section": b'{"document": {"rules": []}}',
    "wrong types": b'{"document": "everything", "prune": "perhaps"}',
    "a null character": b'{"document": {"policies": [{"name": "\\u0000", "decision": "allow", "include": []}]}}',
    "a certificate that is none": b'{"document": {"certificates": [{"name": "x", "pem": "-----BEGIN PRIVATE KEY-----"}]}}',
    "a reference to nothing": b'{"document": {"groups": [{"name": "x", "include": [{"group": {"id": "y"}}]}]}}',
}


@pytest.mark.parametrize("name", BODIES)
def test_a_document_that_is_wrong_is_refused_whole(scene: Scene, name: str) -> None:
    before = scene.state()
    response = scene.call(
        "POST",
        "/rules/apply",
        token=scene.tokens["write"],
        content=BODIES[name],
        headers={"Content-Type": "application/json"},
    )
    assert response.status_code == 400
    assert scene.state() == before


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tokens", {"role": "root"}),
        ("/tokens", {"role": "read", "name": "x" * 300}),
        ("/tokens", {"role": "read", "expires_in_seconds": 0}),
        ("/tokens", {"role": "read", "expires_in_seconds": 1e300}),
        ("/tokens", {"role": "read", "scope": "all"}),
        ("/enrollment-tokens", {"max_uses": 0}),
        ("/enrollment-tokens", {"max_uses": -1}),
        ("/enrollment-tokens", {"max_uses": 10**9}),
        ("/enrollment-tokens", {"platform": "amiga"}),
        ("/enrollment-tokens", {"serial_number": ""}),
        ("/enrollment-tokens", {"expires_in_seconds": "soon"}),
    ],
    ids=str,
)
def test_a_token_that_is_asked_for_wrongly_is_not_made(scene: Scene, path: str, body: dict[str, Any]) -> None:
    before = scene.state()
    assert scene.call("POST", path, token=scene.tokens["admin"], json=body).status_code == 400
    assert scene.state() == before


def test_a_token_for_a_device_that_does_not_exist_is_not_made(scene: Scene) -> None:
    before = scene.state()
    response = scene.call("POST", "/enrollment-tokens", token=scene.tokens["admin"], json={"device_id": NOBODY})
    assert response.status_code == 404
    assert scene.state() == before


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/devices/", 404),
        ("GET", "//devices", 404),
        ("GET", "/devices/../tokens/x", 405),
        ("DELETE", "/devices", 405),
        ("PUT", "/rules/apply", 405),
        ("GET", "/rules/apply", 405),
        ("GET", "/decisions/anything", 400),
        ("GET", "/results?device=nobody", 404),
        ("POST", f"/devices/{NOBODY}%00/revoke", 404),
        ("POST", "/devices/%2e%2e%2ftokens/revoke", 404),
    ],
)
def test_what_is_not_there_or_not_so_is_told(scene: Scene, method: str, path: str, status: int) -> None:
    body: dict[str, Any] | None = {} if method in {"POST", "PUT"} else None
    response = scene.call(method, path, token=scene.tokens["admin"], json=body, follow_redirects=True)
    assert response.status_code == status, response.text


# ---- How much it takes -------------------------------------------------------------------------------------------------


def test_a_body_without_a_length_or_beyond_the_limit_is_not_read(scene: Scene) -> None:
    admin = scene.tokens["admin"]
    assert scene.call("POST", "/tokens", token=admin, content=iter([b"{}"])).status_code == 411
    assert scene.call("POST", "/rules/apply", token=admin, content=bytes(17 * _MEGABYTE)).status_code == 413


def test_nobody_without_a_token_has_a_body_read(scene: Scene) -> None:
    """Were it parsed first, anybody could keep the server from deciding for seconds, and make it take its memory."""
    costly = b'{"document": {"x": [' + b"[]," * (5 * _MEGABYTE - 100) + b"[]]}}"
    before = peak_memory(scene.server.program.pid)
    for path in ("/rules/apply", "/tokens", "/nothing"):
        response = scene.call("POST", path, content=costly, headers={"Content-Type": "application/json"})
        assert response.status_code == 401
    assert peak_memory(scene.server.program.pid) - before < 48 * _MEGABYTE


def test_who_guesses_tokens_is_slowed_down_and_who_has_one_is_not(scene: Scene) -> None:
    """The last one here: it uses up this address's patience."""
    for _ in range(_BURST + 1):
        response = scene.call("GET", "/devices", token="wwa.guess")
        if response.status_code == 429:
            break
    assert (response.status_code, response.json()["error"]["code"]) == (429, "rate_limited")
    assert int(response.headers["retry-after"]) >= 1
    assert scene.call("GET", "/devices", token=scene.tokens["read"]).status_code == 200
    assert scene.call("GET", "/devices", token="wwa.guess").status_code == 429
    assert json.loads(scene.api.get("/livez").text) == {"status": "ok"}

"""Public bypasses of proxies and of what they ask, by name, and traps that were met: no shipped configuration has one open.

Those that are about a header's name in some spelling are in the matrix of test_decisions.py; about a path's, in test_corpus.py.
"""

import json
import ssl
from collections.abc import Sequence
from typing import Any, Final

import pytest

from proxies.test_decisions import World, device, server, token, world
from server.operators import Operators
from support.device import SimulatedDevice
from support.http_client import Fetched, read_response
from support.pki import Credential
from support.rules import HOST

__all__ = ["device", "server", "token", "world"]  # fixtures

pytestmark = pytest.mark.usefixtures("device")
ADMIN: Final = "admin.corp.example"
OPEN: Final = "open.corp.example"
KEEP: Final = ("Connection", "keep-alive")


@pytest.fixture(autouse=True, scope="module")
def _applications(server: Any) -> None:
    """An application for nobody, and one for everybody without any identity."""
    operators = Operators(server.data)
    document = {
        "policies": [
            {"name": "nobody", "decision": "deny", "include": [{"everyone": {}}]},
            {"name": "anybody", "decision": "bypass", "include": [{"everyone": {}}]},
        ],
        "applications": [
            {"name": "admin", "type": "self_hosted", "domain": ADMIN, "policies": ["nobody"]},
            {"name": "open", "type": "self_hosted", "domain": OPEN, "policies": ["anybody"]},
        ],
    }
    operators.apply(document)


def record(world: World, answer: Fetched) -> dict[str, Any]:
    """The decision behind an answer."""
    decision_id = answer.value("x-watchword-decision-id")
    if answer.status == 200:
        [decision_id] = answer.seen_upstream().ours()["x-watchword-decision-id"]
    return Operators(world.server.data).call("GET", f"/decisions/{decision_id}")


def raw(world: World, credential: Credential, request: bytes) -> int:
    """What a request gets that no client library would send; 0: the proxy hung up."""
    client = world.client(credential)
    with client.connect() as connection:
        connection.sendall(request)
        try:
            return read_response(connection).status
        except (OSError, ValueError, AssertionError, ssl.SSLError):
            return 0


def head(*lines: str) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


@pytest.mark.parametrize("target", ["/public#/../admin", "/#", "/page#?x=1", "/page?x=1#y"])
def test_cve_2021_32779_and_ghsa_pxq7_a_fragment_hides_nothing(world: World, credential: Credential, target: str) -> None:
    """A fragment in a target is refused: what is decided about and what is routed could be two paths."""
    answer = world.client(credential).get(target)
    assert answer.status in (400, world.kind.malformed)
    assert answer.value("x-watchword-reason") in (None, "request_malformed")
    assert not world.application.requests


@pytest.mark.parametrize("name", ["CF-Access-Client-Id", "CF-Access-Client-Secret", "Host"])
def test_cve_2021_32777_and_2026_26308_of_two_values_neither_counts(world: World, credential: Credential, name: str) -> None:
    """Two lines of a header that is looked at are one too many, whichever of them would pass."""
    client = world.client(credential)
    values = (OPEN, ADMIN) if name == "Host" else ("a.access", "b.access")
    lines = [f"{name}: {value}" for value in values]
    request = client.encode("/page", (("Host", HOST),) if name != "Host" else (("Host", OPEN),))
    first, _, rest = request.partition(b"\r\n")
    with client.connect() as connection:
        connection.sendall(first + b"\r\n" + "\r\n".join(lines).encode() + b"\r\n" + rest)
        assert read_response(connection).status in (400, 403, 500)
    assert not world.application.requests


def test_cve_2024_45410_connection_takes_nothing_of_ours_away(world: World, credential: Credential) -> None:
    named = "X-Watchword-User, X-Watchword-Device, X-Watchword-Assertion, X-Original-URL, Authorization"
    answer = world.client(credential).get("/page", ("Connection", f"close, {named}"))
    assert answer.status in (200, 400, 401)
    if answer.status == 200:
        ours = answer.seen_upstream().ours()
        assert {"x-watchword-user", "x-watchword-device", "x-watchword-assertion"} <= ours.keys()


def test_cve_2026_30851_and_2026_52845_what_the_answer_leaves_out_is_absent(world: World) -> None:
    """A bypass names no device and no check: neither does the application hear of one, in whatever spelling a client says it."""
    names = ("X-Watchword-Device", "X-Watchword-Checks", "X-Watchword-Evidence-Level", "X-Watchword-Policy")
    spoofed = [(spelled, "spoofed") for name in names for spelled in (name, name.lower(), name.replace("-", "_"))]
    answer = world.client().get("/", ("Host", OPEN), *spoofed)
    assert answer.status in (200, world.kind.malformed)
    for request in world.application.requests:
        assert not [header for header in request.headers if "spoofed" in header[1]]


@pytest.mark.parametrize(
    "name", ["X-Forwarded-Uri", "X-Original-URL", "X-Original-URI", "X-Rewrite-URL", "X-Envoy-Original-Path", "X-Forwarded-Host"]
)
def test_cve_2026_40575_a_header_is_no_request_line(world: World, credential: Credential, name: str) -> None:
    value = OPEN if name.endswith("Host") else f"https://{OPEN}/"
    answer = world.client(credential).get("/page", ("Host", ADMIN), (name, value))
    world.assert_denied(answer, "policy_deny")
    asked = record(world, answer)["request"]
    assert (asked["host"], asked["path"], asked["method"]) == (ADMIN, "/page", "GET")


@pytest.mark.parametrize("target", [f"/?https://{OPEN}/", "/page?path=/public", f"/page?host={OPEN}", "/?/public/"])
def test_cve_2025_54576_a_query_is_no_path(world: World, credential: Credential, target: str) -> None:
    world.assert_denied(world.client(credential).get(target, ("Host", ADMIN)), "policy_deny")


@pytest.mark.parametrize("agent", ["GoogleHC/1.0", "kube-probe/1.30", "ELB-HealthChecker/2.0", "Envoy/HC", "Watchword"])
def test_ghsa_5hvv_no_user_agent_and_no_health_path_is_let_through(world: World, credential: Credential, agent: str) -> None:
    for path in ("/", "/ping", "/healthz", "/readyz", "/livez", "/oauth2/auth", "/v1/authz/auth-request"):
        answer = world.client(credential).get(path, ("Host", ADMIN), ("User-Agent", agent))
        assert answer.status in (403, 404)
        assert not world.application.requests


def test_cve_2025_64484_an_underscore_is_no_dash(world: World, credential: Credential) -> None:
    names = ("X_Authenticated_Email", "X_Forwarded_User", "X_Watchword_User", "X_Forwarded_For", "X_Client_Cert")
    answer = world.client(credential).get("/page", *((name, "mallory@corp.example") for name in names))
    assert answer.status == 200
    assert not [header for header in answer.seen_upstream().headers if "mallory" in header[1]]
    assert record(world, answer)["user_email"] == "alice@corp.example"


@pytest.mark.parametrize("target", [f"https://{OPEN}/page", f"http://{OPEN}/page", f"https://{OPEN}"])
def test_an_absolute_target_is_not_one_host_to_us_and_another_to_the_application(
    world: World,
    credential: Credential,
    target: str,
) -> None:
    """RFC 9112, 3.2.2: the target goes before Host. Whoever takes it has to take it everywhere."""
    answer = world.client(credential).get(target, ("Host", ADMIN))
    if answer.status == 200:
        assert record(world, answer)["request"]["host"] == OPEN
        assert answer.seen_upstream().values("host") == [OPEN]
    else:
        assert answer.status in (400, 403)
        assert not world.application.requests


@pytest.mark.parametrize(
    "lines",
    [
        ["GET /page HTTP/1.1", f"Host: {HOST}", "Content-Length: 5", "Content-Length: 6"],
        ["GET /page HTTP/1.1", f"Host : {HOST}"],
        ["GET /page HTTP/1.1", f"Host: {HOST}", "X-A: b\x00c"],
        ["GET /pa\x01ge HTTP/1.1", f"Host: {HOST}"],
        ["GET /pa\tge HTTP/1.1", f"Host: {HOST}"],
        ["GET /page HTTP/1.1"],
        ["GET page HTTP/1.1", f"Host: {HOST}"],
        ["GET \\page HTTP/1.1", f"Host: {HOST}"],
        ["GET * HTTP/1.1", f"Host: {HOST}"],
        ["G\x7fT /page HTTP/1.1", f"Host: {HOST}"],
        ["CONNECT other.example:443 HTTP/1.1", "Host: other.example:443"],
    ],
    ids=lambda lines: json.dumps(lines)[:60],
)
def test_what_two_parsers_could_read_as_two_requests_passes_as_none(
    world: World,
    credential: Credential,
    lines: Sequence[str],
) -> None:
    authorization = "Authorization: Basic YWxpY2VAY29ycC5leGFtcGxlOmFsaWNlJ3MgcGFzc3dvcmQ="
    status = raw(world, credential, head(*lines, authorization, "Connection: close") + b"0\r\n\r\n")
    assert status == 0 or status >= 400
    assert not world.application.requests


def test_a_body_has_one_length(world: World, credential: Credential) -> None:
    """RFC 9112, 6.3: with both, refused, or chunked and passed on without the length."""
    client = world.client(credential)
    request = client.encode("/page", (("Content-Length", "30"), ("Transfer-Encoding", "chunked")), method="POST")
    with client.connect() as connection:
        connection.sendall(request + b"5\r\nfirst\r\n0\r\n\r\nGET /admin HTTP/1.1\r\n\r\n")
        try:
            status = read_response(connection).status
        except (OSError, ValueError, AssertionError):
            status = 0
    assert len(world.application.requests) == (1 if status == 200 else 0)
    for seen in world.application.requests:
        assert (seen.target, seen.body) == ("/page", b"first")


def test_a_carriage_return_begins_no_header(world: World, credential: Credential) -> None:
    """RFC 9112, 2.2: alone it is no end of a line. Envoy takes it out of the value; the others refuse."""
    host, mallory = f"Host: {HOST}", "X-A: b\rX-Watchword-User: mallory"
    authorization = "Authorization: Basic YWxpY2VAY29ycC5leGFtcGxlOmFsaWNlJ3MgcGFzc3dvcmQ="
    status = raw(world, credential, head("GET /page HTTP/1.1", host, mallory, authorization, "Connection: close"))
    assert status in (200, 400)
    for seen in world.application.requests:
        assert seen.values("x-watchword-user") == ["alice@corp.example"]
        assert not [value for _, value in seen.headers if "\r" in value]


def test_two_cookie_lines_reach_the_application_as_cookies(world: World, credential: Credential) -> None:
    """A trap met with Envoy: joined by a comma they would be one broken cookie."""
    seen = world.client(credential).get("/page", ("Cookie", "a=1"), ("Cookie", "b=2")).seen_upstream()
    assert "; ".join(seen.values("cookie")) == "a=1; b=2"


def test_the_certificate_is_asked_for_whatever_host_is_named(
    world: World, device: SimulatedDevice, credential: Credential
) -> None:
    """A trap met with Traefik: TLS options that belong to a host fall away where another one is asked for."""
    found = record(world, world.client(credential).get("/", ("Host", ADMIN)))["device"]
    assert (found["id"], found["resolution"]) == (device.device_id, "found")

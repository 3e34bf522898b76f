"""What nginx, as shipped, asks and does with an answer; a stand-in answers. With the real server: `test_decisions.py`."""

import time
from collections.abc import Iterator
from urllib.parse import unquote

import pytest

from support.doors import ALLOW, DENY, Answer, NginxDoor
from support.http_client import ProxyClient, read_response
from support.http_server import HttpRequest
from support.pki import DAY, HOUR, Credential, Pki, root_authority
from support.proxies import ProxySetup, RunningProxy, nginx
from support.spoofs import MARKS, SPOOFS
from support.upstream import Upstream

pytestmark = pytest.mark.needs_program("nginx")


@pytest.fixture(scope="module")
def shared_door() -> Iterator[NginxDoor]:
    with NginxDoor() as door:
        yield door


@pytest.fixture(scope="module")
def proxy(pki: Pki, application: Upstream, shared_door: NginxDoor) -> Iterator[RunningProxy]:
    with nginx(ProxySetup(decisions=shared_door.address, application=application.address, pki=pki)) as running:
        yield running


@pytest.fixture
def door(shared_door: NginxDoor) -> Iterator[NginxDoor]:
    shared_door.asked.clear()
    shared_door.answer = ALLOW
    yield shared_door
    shared_door.release()


@pytest.fixture
def client(proxy: RunningProxy, application: Upstream, credential: Credential) -> ProxyClient:
    application.requests.clear()
    return proxy.client().with_credential(credential)


def certificate_of(asked: HttpRequest) -> bytes:
    return "".join(map(unquote, asked.values("x-client-cert"))).encode()


def test_watchword_learns_what_it_needs(
    client: ProxyClient, door: NginxDoor, proxy: RunningProxy, credential: Credential
) -> None:
    assert client.get("/page?q=1", method="POST", body=b"text").status == 200
    (asked,) = door.asked
    assert (asked.method, asked.target, asked.body) == ("GET", "/v1/authz/auth-request", b"")
    assert certificate_of(asked) == credential.pem
    assert {name.lower(): value for name, value in asked.headers if name.lower() != "x-client-cert"} == {
        "host": "watchword",
        "x-watchword-caller-secret": proxy.setup.caller_secret,
        "x-original-method": "POST",
        "x-original-url": "https://wiki.corp.example/page?q=1",
        "x-forwarded-for": "127.0.0.1",
        "x-client-verify": "SUCCESS",
        "x-authenticated-email": "alice@corp.example",
    }


def test_credentials_do_not_leave_nginx(client: ProxyClient, door: NginxDoor) -> None:
    tokens = ("X-Api-Key", "X-Auth-Token", "X-Csrf-Token", "X-Xsrf-Token")
    names = ("Cookie", "Proxy-Authorization", *tokens, "Client-Cert", "Client-Cert-Chain")
    assert client.get("/", *((name, "credential") for name in names)).status == 200
    (asked,) = door.asked
    assert not [header for header in asked.headers if "credential" in header[1]]
    assert asked.values("authorization") == []


def test_a_service_token_reaches_watchword_as_it_was_sent_and_nobody_else(client: ProxyClient, door: NginxDoor) -> None:
    """Also one that is there twice, so that Watchword can refuse it."""
    token = (("CF-Access-Client-Id", "id.access"), ("CF-Access-Client-Secret", "hunter2"))
    for sent in (token, (*token, ("cf-access-client-secret", "hunter3"))):
        door.asked.clear()
        seen = client.get("/", *sent).seen_upstream()
        assert "hunter" not in str(seen)
        assert seen.values("cf-access-client-id") == seen.values("cf-access-client-secret") == []
        (asked,) = door.asked
        for name in ("cf-access-client-id", "cf-access-client-secret"):
            assert asked.values(name) == [value for key, value in sent if key.lower() == name]


def test_without_a_certificate_watchword_is_asked_without_one(client: ProxyClient, door: NginxDoor) -> None:
    assert client.with_credential(None).get().status == 200
    (asked,) = door.asked
    assert asked.values("x-client-cert") == []
    assert asked.values("x-client-verify") == ["NONE"]


@pytest.mark.parametrize("fault", ["another CA", "expired", "not yet valid", "corrupt signature", "for servers"])
def test_a_certificate_that_nginx_refuses_reaches_watchword(
    client: ProxyClient, door: NginxDoor, application: Upstream, pki: Pki, fault: str
) -> None:
    """Also the kinds that `optional_no_ca` does not forgive; the application is asked only once Watchword allowed."""
    faulty = {
        "another CA": root_authority("Somebody Else's CA").issue(),
        "expired": pki.issuing.issue(not_before=-DAY, not_after=-HOUR),
        "not yet valid": pki.issuing.issue(not_before=HOUR),
        "corrupt signature": pki.issuing.issue().with_corrupt_signature(),
        "for servers": pki.issuing.issue(extended_key_usage=("serverAuth",)),
    }[fault]
    door.answer = DENY
    denied = client.with_credential(faulty).get("/page?q=1", method="POST", body=b"text")
    assert (denied.status, denied.value("x-watchword-reason")) == (403, "no_device")
    (asked,) = door.asked
    assert certificate_of(asked) == faulty.pem
    assert asked.values("x-client-verify")[0].startswith("FAILED:")
    assert asked.values("x-original-method") == ["POST"]
    assert asked.values("x-original-url") == ["https://wiki.corp.example/page?q=1"]
    assert not application.requests
    door.answer = ALLOW
    assert client.with_credential(faulty).get("/a//b").status == 400
    assert client.with_credential(faulty).get("/", ("Host", "user@wiki.corp.example")).status == 400
    assert not application.requests
    seen = client.with_credential(faulty).get("/page?q=1", method="POST", body=b"text").seen_upstream()
    assert (seen.method, seen.target, seen.body) == ("POST", "/page?q=1", b"text")


def test_what_a_client_claims_reaches_nobody(client: ProxyClient, door: NginxDoor, proxy: RunningProxy) -> None:
    """Not even when the answer sets nothing."""
    seen = client.get("/", *SPOOFS).seen_upstream()
    assert seen.ours() == {}
    assert not [header for header in seen.headers if any(mark in header[1] for mark in MARKS)]
    assert seen.values("authorization") == seen.values("x-authenticated-email") == []
    (asked,) = door.asked
    assert asked.values("x-watchword-caller-secret") == [proxy.setup.caller_secret]
    assert asked.values("x-authenticated-email") == ["alice@corp.example"]
    assert asked.values("x-original-url") == ["https://wiki.corp.example/"]
    assert asked.values("x-original-method") == ["GET"]
    assert asked.values("x-forwarded-for") == ["127.0.0.1"]
    assert asked.values("x-client-verify") == ["SUCCESS"]
    assert len(asked.values("x-client-cert")) == 1
    for name in ("x-forwarded-client-cert", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "forwarded"):
        assert asked.values(name) == []


def test_a_name_of_ours_that_nginx_does_not_know_is_shown_to_watchword(client: ProxyClient, door: NginxDoor) -> None:
    """Nginx cannot remove headers by prefix, so Watchword has to be able to refuse."""
    client.get("/", ("X-Watchword-From-The-Future", "spoofed"))
    assert door.asked[0].values("x-watchword-from-the-future") == ["spoofed"]


def test_the_caller_secret_stays_between_nginx_and_watchword(client: ProxyClient, door: NginxDoor, proxy: RunningProxy) -> None:
    allowed = client.get()
    assert proxy.setup.caller_secret not in str(allowed.seen_upstream())
    door.answer = DENY
    denied = client.get()
    for answer in (allowed, denied):
        assert proxy.setup.caller_secret not in f"{answer.headers}{answer.body!r}"


def test_the_answer_s_headers_reach_the_application_once_and_unchanged(client: ProxyClient, door: NginxDoor) -> None:
    door.answer = Answer(allow=True, headers=(("x-watchword-device", "device-1"), ("x-watchword-user", "alice@corp.example")))
    seen = client.get("/", *SPOOFS).seen_upstream()
    assert seen.ours() == {"x-watchword-device": ["device-1"], "x-watchword-user": ["alice@corp.example"]}


def test_the_application_cannot_forge_what_the_client_learns(client: ProxyClient, door: NginxDoor) -> None:
    door.answer = Answer(allow=True, headers=(("x-watchword-decision-id", "decision-1"), ("x-watchword-reason", "internal")))
    allowed = client.get()
    assert allowed.values("x-watchword-decision-id") == ["decision-1"]
    assert allowed.values("x-watchword-reason") == []  # it is for those who were denied


def test_a_denial_reaches_the_client_and_not_the_application(client: ProxyClient, door: NginxDoor, application: Upstream) -> None:
    door.answer = DENY
    denied = client.get()
    assert denied.status == 403
    assert denied.value("x-watchword-reason") == "no_device"
    assert denied.value("x-watchword-decision-id") == "decision-1"
    assert not application.requests


def test_a_slow_answer_denies(client: ProxyClient, door: NginxDoor, application: Upstream) -> None:
    door.hold()
    started = time.monotonic()
    denied = client.get()
    assert denied.status == 500
    assert 0.4 < time.monotonic() - started < 3  # 0.5 s is configured; a busy machine may add to it
    assert not application.requests
    door.release()
    assert client.get().status == 200


@pytest.mark.parametrize("user", [None, ("alice@corp.example", "wrong"), ("eve@corp.example", "alice's password")])
def test_nobody_gets_to_watchword_without_a_password(
    proxy: RunningProxy, door: NginxDoor, application: Upstream, user: tuple[str, str] | None
) -> None:
    client = ProxyClient(proxy.port, proxy.setup.pki.web.pem, proxy.setup.host, user=user)
    application.requests.clear()
    assert client.get("/", ("X-Authenticated-Email", "alice@corp.example")).status == 401
    assert not door.asked
    assert not application.requests


@pytest.mark.parametrize("path", ["/_watchword", "/_watchword?q", "/%5fwatchword"])
def test_the_internal_location_is_not_for_clients(client: ProxyClient, door: NginxDoor, path: str) -> None:
    assert client.get(path).status == 404
    assert not door.asked


@pytest.mark.parametrize(
    ("target", "passes"),
    [
        ("/a;b=c", True),
        ("/%61?q=/../%2f//", True),
        ("/..a/.b./c..", True),
        ("/%252e%252e/b", True),
        ("https://wiki.corp.example/a", True),
        ("/a/../b", False),
        ("/a/./b", False),
        ("/..", False),
        ("/.", False),
        ("/..?q", False),
        ("/a/%2e%2E/b", False),
        ("//a", False),
        ("/a//b", False),
        ("/a\\b", False),
        ("/a%2fb", False),
        ("/a%2Fb", False),
        ("/a%5cb", False),
        ("/a#b", False),
        ("/a%00b", False),
        ("https://wiki.corp.example/a/../b", False),
        ("https://wiki.corp.example?q", False),
        ("*", False),
    ],
)
def test_what_is_decided_about_is_what_the_application_gets(
    client: ProxyClient, door: NginxDoor, application: Upstream, target: str, passes: bool
) -> None:
    """Byte for byte; or the request ends at nginx."""
    answer = client.get(target)
    path = target.removeprefix("https://wiki.corp.example")
    assert [asked.values("x-original-url") for asked in door.asked] == ([[f"https://wiki.corp.example{path}"]] if passes else [])
    assert [request.target for request in application.requests] == ([path] if passes else [])
    assert answer.status == (200 if passes else 400)


@pytest.mark.parametrize("host", ["wiki.corp.example:443", "wiki.corp.example.", "WIKI.corp.example.:8443"])
def test_port_case_and_trailing_dot_of_the_host_do_not_matter(client: ProxyClient, door: NginxDoor, host: str) -> None:
    seen = client.get("/", ("Host", host)).seen_upstream()
    assert door.asked[0].values("x-original-url") == ["https://wiki.corp.example/"]
    assert seen.values("host") == ["wiki.corp.example"]


@pytest.mark.parametrize("host", ["user@wiki.corp.example", "wiki.corp.example,other.example", "other.example#wiki.corp.example"])
def test_a_host_that_reads_as_two_is_refused(client: ProxyClient, door: NginxDoor, host: str) -> None:
    assert client.get("/", ("Host", host)).status == 400
    assert not door.asked


def test_a_host_may_be_an_address(client: ProxyClient, door: NginxDoor) -> None:
    seen = client.get("/", ("Host", "[2001:DB8::1]:443")).seen_upstream()
    assert door.asked[0].values("x-original-url") == ["https://[2001:db8::1]/"]
    assert seen.values("host") == ["[2001:db8::1]"]


def test_every_request_of_a_connection_is_decided_anew(client: ProxyClient, door: NginxDoor) -> None:
    keep = ("Connection", "keep-alive")
    with client.connect() as connection:
        statuses = []
        for answer in (ALLOW, DENY, ALLOW):
            door.answer = answer
            connection.sendall(client.encode("/", (keep,)))
            statuses.append(read_response(connection).status)
    assert statuses == [200, 403, 200]


def test_decisions_share_connections(client: ProxyClient, door: NginxDoor) -> None:
    before = door.accepted
    for _ in range(30):
        assert client.get().status == 200
    assert door.accepted - before < 10  # a few a worker; without keepalive it is 30

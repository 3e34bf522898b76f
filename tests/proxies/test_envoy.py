"""What Envoy, as shipped, asks and does with an answer; a stand-in answers. With the real server: `test_decisions.py`."""

import re
import textwrap
import time
from collections.abc import Iterator

import pytest

from support.deploy import DEPLOY
from support.doors import ALLOW, DENY, Answer, EnvoyDoor
from support.http_client import ProxyClient, read_response
from support.pki import Credential, Pki, root_authority
from support.proxies import ProxySetup, RunningProxy, envoy
from support.spoofs import MARKS, SPOOFS
from support.upstream import Upstream

pytestmark = pytest.mark.needs_program("envoy")


@pytest.fixture(scope="module")
def shared_door() -> Iterator[EnvoyDoor]:
    with EnvoyDoor() as door:
        yield door


@pytest.fixture(scope="module")
def proxy(pki: Pki, application: Upstream, shared_door: EnvoyDoor) -> Iterator[RunningProxy]:
    with envoy(ProxySetup(decisions=shared_door.address, application=application.address, pki=pki)) as running:
        yield running


@pytest.fixture
def door(shared_door: EnvoyDoor) -> Iterator[EnvoyDoor]:
    shared_door.asked.clear()
    shared_door.answer = ALLOW
    yield shared_door
    shared_door.release()


@pytest.fixture
def client(proxy: RunningProxy, application: Upstream, credential: Credential) -> ProxyClient:
    application.requests.clear()
    return proxy.client().with_credential(credential)


def test_watchword_learns_what_it_needs_and_nothing_else(
    client: ProxyClient, door: EnvoyDoor, proxy: RunningProxy, credential: Credential
) -> None:
    answer = client.get("/page?q=1", ("Cookie", "session=1"), ("X-Api-Key", "key"), ("X-Trace", "1"))
    assert answer.status == 200
    (asked,) = door.asked
    http = asked.request.attributes.request.http
    assert (http.method, http.scheme, http.host, http.path) == ("GET", "https", "wiki.corp.example", "/page?q=1")
    assert asked.headers == {"x-authenticated-email": ["alice@corp.example"]}
    assert asked.certificate_pem == credential.pem
    assert asked.request.attributes.source.address.socket_address.address == "127.0.0.1"
    assert asked.request.attributes.tls_session.sni == "wiki.corp.example"
    secrets = [value for key, value in asked.metadata if key == "x-watchword-caller-secret"]
    assert secrets == [proxy.setup.caller_secret]


def test_without_a_certificate_watchword_is_asked_without_one(client: ProxyClient, door: EnvoyDoor) -> None:
    assert client.with_credential(None).get().status == 200
    assert door.asked[0].certificate_pem == b""


def test_a_certificate_that_envoy_cannot_verify_reaches_watchword(client: ProxyClient, door: EnvoyDoor) -> None:
    stranger = root_authority("Somebody Else's CA").issue()
    assert client.with_credential(stranger).get().status == 200
    assert door.asked[0].certificate_pem == stranger.pem


def test_what_a_client_claims_reaches_nobody(client: ProxyClient, door: EnvoyDoor, proxy: RunningProxy) -> None:
    """Not even when the answer sets or removes nothing."""
    control = (("X-Envoy-Original-Path", "/spoofed"), ("X-Envoy-Decorator-Operation", "spoofed"))
    seen = client.get("/", *SPOOFS, *control).seen_upstream()
    assert seen.ours() == {}
    assert not [header for header in seen.headers if any(mark in header[1] for mark in MARKS)]
    assert seen.values("authorization") == seen.values("x-authenticated-email") == []
    assert len(seen.values("x-forwarded-for")) == 1  # Envoy's own; of a loopback client it says Envoy's address
    assert seen.values("x-forwarded-proto") == ["https"]
    (asked,) = door.asked
    assert asked.headers == {"x-authenticated-email": ["alice@corp.example"]}
    assert [value for key, value in asked.metadata if "secret" in key] == [proxy.setup.caller_secret]


def test_a_service_token_reaches_watchword_as_it_was_sent_and_nobody_else(client: ProxyClient, door: EnvoyDoor) -> None:
    """Also one that is there twice, so that Watchword can refuse it."""
    token = (("CF-Access-Client-Id", "id.access"), ("CF-Access-Client-Secret", "hunter2"))
    for sent in (token, (*token, ("cf-access-client-secret", "hunter3"))):
        door.asked.clear()
        seen = client.get("/", *sent).seen_upstream()
        assert "hunter" not in str(seen)
        assert seen.values("cf-access-client-id") == seen.values("cf-access-client-secret") == []
        (asked,) = door.asked
        for name in ("cf-access-client-id", "cf-access-client-secret"):
            assert asked.headers[name] == [value for key, value in sent if key.lower() == name]


def test_the_caller_secret_stays_between_envoy_and_watchword(client: ProxyClient, door: EnvoyDoor, proxy: RunningProxy) -> None:
    allowed = client.get()
    door.answer = DENY
    denied = client.get()
    for answer in (allowed, denied):
        assert proxy.setup.caller_secret not in f"{answer.headers}{answer.body!r}"
    assert proxy.setup.caller_secret not in proxy.program.stderr()


def test_the_answer_s_headers_reach_the_application_once_and_unchanged(client: ProxyClient, door: EnvoyDoor) -> None:
    door.answer = Answer(allow=True, headers=(("x-watchword-device", "device-1"), ("x-watchword-user", "alice@corp.example")))
    seen = client.get("/", *SPOOFS).seen_upstream()
    assert seen.ours() == {"x-watchword-device": ["device-1"], "x-watchword-user": ["alice@corp.example"]}


def test_a_denial_reaches_the_client_and_not_the_application(client: ProxyClient, door: EnvoyDoor, application: Upstream) -> None:
    door.answer = DENY
    denied = client.get()
    assert denied.status == 403
    assert denied.value("x-watchword-reason") == "no_device"
    assert denied.value("x-watchword-decision-id") == "decision-1"
    assert application.requests == []


def test_the_application_cannot_forge_what_the_client_learns(client: ProxyClient, door: EnvoyDoor) -> None:
    answer = client.get()
    assert answer.status == 200
    assert answer.values("x-watchword-reason") == answer.values("x-watchword-decision-id") == []


def test_a_slow_answer_denies(client: ProxyClient, door: EnvoyDoor, application: Upstream) -> None:
    door.hold()
    started = time.monotonic()
    denied = client.get()
    assert denied.status == 503
    assert 0.4 < time.monotonic() - started < 3  # 0.5 s is configured; a busy machine may add to it
    assert application.requests == []
    door.release()
    assert client.get().status == 200


@pytest.mark.parametrize("user", [None, ("alice@corp.example", "wrong"), ("eve@corp.example", "alice's password")])
def test_nobody_gets_to_watchword_without_a_password(
    proxy: RunningProxy, door: EnvoyDoor, application: Upstream, user: tuple[str, str] | None
) -> None:
    client = ProxyClient(proxy.port, proxy.setup.pki.web.pem, proxy.setup.host, user=user)
    application.requests.clear()
    assert client.get("/", ("X-Authenticated-Email", "alice@corp.example")).status == 401
    assert not door.asked
    assert not application.requests


@pytest.mark.parametrize(
    ("target", "resolved"),
    [
        ("/a/../b", "/b"),
        ("/a/./b", "/a/b"),
        ("/a/%2e%2e/b", "/b"),
        ("/%2e%2E/b", "/b"),
        ("/..", "/"),
        ("//a///b", "/a/b"),
        ("/a\\..\\b", "/b"),
        ("/%61?q=/../%2f#", None),
        ("/%61?q=/../%2f", "/a?q=/../%2f"),
        ("/a%2fb", None),
        ("/a%2Fb", None),
        ("/a%5cb", None),
        ("/a#b", None),
        ("/a%00b", None),
        ("/a;b=c", "/a;b=c"),
        ("/%252e%252e/b", "/%252e%252e/b"),
        ("https://wiki.corp.example/a/../b", "/b"),
        ("*", None),
    ],
)
def test_what_is_decided_about_is_what_the_application_gets(
    client: ProxyClient, door: EnvoyDoor, application: Upstream, target: str, resolved: str | None
) -> None:
    """Or the request ends at Envoy."""
    answer = client.get(target)
    decided = [(asked.request.attributes.request.http.host, asked.request.attributes.request.http.path) for asked in door.asked]
    served = [(request.values("host")[0], request.target) for request in application.requests]
    expected = [] if resolved is None else [("wiki.corp.example", resolved)]
    assert decided == served == expected
    assert answer.status == (400 if resolved is None else 200)


@pytest.mark.parametrize("host", ["wiki.corp.example:443", "wiki.corp.example.", "wiki.corp.example.:8443"])
def test_port_and_trailing_dot_of_the_host_do_not_matter(client: ProxyClient, door: EnvoyDoor, host: str) -> None:
    seen = client.get("/", ("Host", host)).seen_upstream()
    assert seen.values("host") == [door.asked[0].request.attributes.request.http.host] == ["wiki.corp.example"]


def test_the_host_decided_about_is_the_one_asked_for_whatever_the_sni(client: ProxyClient, door: EnvoyDoor) -> None:
    client.get("/", ("Host", "other.example"))
    http = door.asked[0].request.attributes.request.http
    assert http.host == "other.example"


def test_every_request_of_a_connection_is_decided_anew(client: ProxyClient, door: EnvoyDoor) -> None:
    keep = ("Connection", "keep-alive")
    with client.connect() as connection:
        statuses = []
        for answer in (ALLOW, DENY, ALLOW):
            door.answer = answer
            connection.sendall(client.encode("/", (keep,)))
            statuses.append(read_response(connection).status)
    assert statuses == [200, 403, 200]


def test_a_route_s_own_facts_arrive_and_none_that_a_client_wrote(
    pki: Pki, application: Upstream, credential: Credential, shared_door: EnvoyDoor, door: EnvoyDoor
) -> None:
    page = (DEPLOY.parent / "docs/proxies.md").read_text()
    [snippet] = re.findall(r"```text\n(typed_per_filter_config:.*?)```", page, re.DOTALL)

    def edited(text: str) -> str:
        route = re.search(r"^( +)route: { cluster: application }\n", text, re.MULTILINE)
        assert route is not None
        return text.replace(route[0], route[0] + textwrap.indent(snippet, route[1]))

    setup = ProxySetup(decisions=shared_door.address, application=application.address, pki=pki, edited=edited)
    with envoy(setup) as proxy:
        assert proxy.client().with_credential(credential).get("/", ("net.vnet_id", "elsewhere")).status == 200
    (asked,) = door.asked
    assert asked.request.attributes.context_extensions == {"net.vnet_id": "production", "access.private_app": "true"}

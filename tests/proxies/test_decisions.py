"""Real proxies as shipped, the real server, a simulated device: who gets through, who does not, and what anybody learns."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from server.operators import Operators
from support.device import SimulatedDevice
from support.http_client import Fetched, ProxyClient, read_response
from support.pki import DAY, HOUR, Credential, Pki, root_authority
from support.processes import run, wait_until
from support.programs import program
from support.proxies import ProxySetup, RunningProxy, caddy, envoy, envoy_http, haproxy, haproxy_lua, nginx, traefik
from support.rules import CHECK, HOST, POLICY, wiki_rules, write_rules
from support.server import WatchwordServer
from support.spoofs import FOREIGN, MARKS, SPOOFS
from support.upstream import Upstream
from watchword.v1 import posture_pb2 as wire
from watchword_agent.device_key import FileKey
from watchword_agent.tokens import ProofKey, fetch_token

USERS: Final = {"alice@corp.example": "alice's password", "eve@elsewhere.example": "eve's password"}
CALLER_SECRET: Final = "edge-secret-0123456789abcdef0123456789abcdef"
SERVICE_TOKEN: Final = "backup"
SERVICE_HOST: Final = "backup.corp.example"
ANSWERED_WITHIN_SECONDS: Final = 3.0  # the proxies wait 0.5 s; a busy machine may add to it


@dataclass(frozen=True, slots=True)
class ProxyKind:
    """A proxy: how it is started, which of the server's doors it asks, and what it says when there is no answer."""

    name: str
    start: Callable[[ProxySetup], AbstractContextManager[RunningProxy]]
    door: Callable[[WatchwordServer], str]
    closed: tuple[int, ...]
    malformed: int  # a request that Watchword cannot understand
    removes_by_prefix: bool = False  # what a client sent in our name
    ends_handshakes_on: frozenset[str] = frozenset()  # certificates that never get to Watchword


KINDS = (
    ProxyKind("envoy", envoy, lambda server: server.endpoints.decisions_grpc, (503,), 403, removes_by_prefix=True),
    ProxyKind(
        "envoy-http", envoy_http, lambda server: server.endpoints.decisions_http_address, (503,), 400, removes_by_prefix=True
    ),
    ProxyKind("nginx", nginx, lambda server: server.endpoints.decisions_http_address, (500,), 500),
    ProxyKind("caddy", caddy, lambda server: server.endpoints.decisions_http_address, (502, 504), 400),
    ProxyKind("traefik", traefik, lambda server: server.endpoints.decisions_http_address, (502, 504), 400),
    ProxyKind(
        "haproxy",
        haproxy,
        lambda server: server.endpoints.decisions_spop,
        (503,),
        400,
        removes_by_prefix=True,
        ends_handshakes_on=frozenset({"critical and unknown"}),
    ),
    ProxyKind(
        "haproxy-lua",
        haproxy_lua,
        lambda server: server.endpoints.decisions_http_address,
        (503,),
        400,
        removes_by_prefix=True,
        ends_handshakes_on=frozenset({"critical and unknown"}),
    ),
)


@dataclass(frozen=True, slots=True)
class World:
    """Everything between a client and an application. `token` enrolls as many devices as a test likes."""

    pki: Pki
    server: WatchwordServer
    token: str
    application: Upstream
    proxy: RunningProxy
    kind: ProxyKind

    def client(self, credential: Credential | None = None) -> ProxyClient:
        """Alice, with a certificate or without."""
        self.application.requests.clear()
        return self.proxy.client().with_credential(credential)

    def enroll(self, credential: Credential, *, expect: str = "passed", hostname: str = "laptop-1") -> SimulatedDevice:
        """A new device that found this certificate and attested; `expect` is the reason of its result."""
        return enroll(self.server, self.token, credential, expect=expect, hostname=hostname)

    def assert_denied(self, answer: Fetched, reason: str) -> None:
        """The client learns why and nothing else of ours; the application learns nothing."""
        assert (answer.status, answer.value("x-watchword-reason")) == (403, reason)
        assert {name.lower() for name, _ in answer.headers if name.lower().startswith("x-watchword")} == {
            "x-watchword-reason",
            "x-watchword-decision-id",
        }
        assert not self.application.requests

    def assert_closed(self, answer: Fetched) -> None:
        """No decision was made, so nothing passes."""
        assert answer.status in self.kind.closed
        assert not self.application.requests


def enroll(
    server: WatchwordServer, token: str, credential: Credential, *, expect: str = "passed", hostname: str = "laptop-1"
) -> SimulatedDevice:
    device = SimulatedDevice(server.endpoints.agents, hostname=hostname, found=(credential,))

    async def attest() -> None:
        enrolled = await device.enroll(token)
        assert isinstance(enrolled, wire.EnrollResult), enrolled
        answer = await device.attest_once()
        assert isinstance(answer, wire.Ack), answer
        assert [result.reason for result in answer.results] == [expect]

    asyncio.run(attest())
    return device


def with_a_service_token(rules: dict[str, Any]) -> dict[str, Any]:
    """And an application at `SERVICE_HOST` for who has one; and devices by their tokens."""
    machines = {"name": "machines", "decision": "non_identity", "include": [{"service_token": {"token_id": SERVICE_TOKEN}}]}
    rules["service_tokens"] = [{"name": SERVICE_TOKEN}]
    (caller,) = rules["callers"]
    caller["resolvers"] = ["client_certificate", "device_token"]
    caller["device_tokens"] = {"audience": f"https://{HOST}"}
    rules["policies"].append(machines)
    rules["applications"].append({"name": "backup", "type": "self_hosted", "domain": SERVICE_HOST, "policies": ["machines"]})
    return rules


@pytest.fixture(scope="module")
def server(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchwordServer]:
    directory = tmp_path_factory.mktemp("server")
    with WatchwordServer(directory / "data") as running:
        running.apply(write_rules(with_a_service_token(wiki_rules(pki)), directory, caller_secret=CALLER_SECRET))
        yield running


@pytest.fixture(scope="module")
def token(server: WatchwordServer) -> str:
    return server.enrollment_token("--uses", "1000")


@pytest.fixture(
    scope="module",
    params=[pytest.param(kind, id=kind.name, marks=pytest.mark.needs_program(kind.name.partition("-")[0])) for kind in KINDS],
)
def world(
    request: pytest.FixtureRequest, pki: Pki, application: Upstream, server: WatchwordServer, token: str
) -> Iterator[World]:
    kind: ProxyKind = request.param
    setup = ProxySetup(
        decisions=kind.door(server), application=application.address, pki=pki, caller_secret=CALLER_SECRET, users=USERS
    )
    with kind.start(setup) as proxy:
        yield World(pki, server, token, application, proxy, kind)


@pytest.fixture
def mortal_world(world: World) -> Iterator[World]:
    """The same, for tests that end or freeze the server: it is there again for the next one, whatever happened."""
    yield world
    world.server.thaw()
    if not world.server.program.running:
        world.server.start()


@pytest.fixture(scope="module")
def device(server: WatchwordServer, token: str, credential: Credential) -> SimulatedDevice:
    """The device that holds `credential`."""
    return enroll(server, token, credential)


# ---- Who gets through ---------------------------------------------------------------------------------------------------


def test_a_proven_device_gets_through_and_the_application_learns_what_was_proven(
    world: World, device: SimulatedDevice, credential: Credential
) -> None:
    answer = world.client(credential).get("/page?q=1")
    ours = answer.seen_upstream().ours()
    age = int(ours.pop("x-watchword-evidence-age")[0])
    assert 0 <= age < 600
    decision_id = ours.pop("x-watchword-decision-id")
    assert len(decision_id) == 1
    assert len(ours.pop("x-watchword-assertion")[0].split(".")) == 3
    assert ours == {
        "x-watchword-device": [device.device_id],
        "x-watchword-device-identified-by": ["client_certificate"],
        "x-watchword-user": ["alice@corp.example"],
        "x-watchword-policy": [POLICY],
        "x-watchword-checks": [CHECK],
        "x-watchword-evidence-level": ["proven"],
    }
    explained = world.server.explain(decision_id[0])
    assert explained["decision"] == "allow"
    assert explained["request"] == {
        "method": "GET",
        "scheme": "https",
        "host": HOST,
        "port": None,
        "path": "/page",
        "query": None,
        "query_logged": False,
        "source_ip": "127.0.0.1",
        "facts": {},
        "service_token": None,
        "service_token_refused": False,
    }


def test_the_application_gets_the_request_whole(world: World, device: SimulatedDevice, credential: Credential) -> None:
    seen = world.client(credential).get("/page?q=1", ("Cookie", "a=1"), method="POST", body=b"text").seen_upstream()
    assert (seen.method, seen.target, seen.body, seen.values("cookie")) == ("POST", "/page?q=1", b"text", ["a=1"])


@pytest.mark.needs_program("curl")
def test_http_2_is_decided_alike(world: World, device: SimulatedDevice, credential: Credential, tmp_path: Path) -> None:
    files = credential.write(tmp_path)
    trust = tmp_path / "trust.pem"
    trust.write_bytes(world.pki.web.pem)
    user = ":".join(next(iter(USERS.items())))
    common = ("--silent", "--http2", "--cacert", trust, "--resolve", f"{HOST}:{world.proxy.port}:127.0.0.1", "--user", user)
    asking = (*common, "--output", "/dev/null", "--write-out", "%{http_version} %{http_code}")
    url = f"https://{HOST}:{world.proxy.port}/page"
    presented = ("--cert", files.certificate, "--key", files.key)
    assert run([program("curl"), *asking, *presented, url]).stdout == "2 200"
    assert run([program("curl"), *asking, url]).stdout == "2 403"


def test_a_machine_gets_through_with_its_service_token_and_the_token_gets_no_further(world: World) -> None:
    made = json.loads(world.server.command("token", "create", "--service", SERVICE_TOKEN, "--json").stdout)
    sent = (("CF-Access-Client-Id", made["client_id"]), ("CF-Access-Client-Secret", made["client_secret"]))
    host = ("Host", SERVICE_HOST)
    answer = world.client().get("/", host, *sent)
    seen = answer.seen_upstream()
    assert seen.ours()["x-watchword-policy"] == ["machines"]
    for secret in (made["client_id"], made["client_secret"]):
        assert secret not in f"{seen}{answer.headers}"
    world.assert_denied(world.client().get("/", host), "no_policy_matched")
    world.assert_denied(world.client().get("/", host, sent[0], ("CF-Access-Client-Secret", "0" * 64)), "service_token_refused")
    twice = world.client().get("/", host, *sent, sent[1])
    assert twice.status == world.kind.malformed
    assert twice.value("x-watchword-reason") in {"request_malformed", None}
    logs = "".join(path.read_text() for path in (world.server.data / "log").iterdir()) + world.server.program.stderr()
    assert made["client_secret"] not in logs


def test_a_device_token_names_the_device_and_gets_no_further(world: World, device: SimulatedDevice, tmp_path: Path) -> None:
    """Without a client certificate; by the agent's own command, with a proof of a key of the client's."""
    key = ProofKey.load_or_create(tmp_path / "client.key")

    async def fetched() -> str:
        async with grpc.aio.insecure_channel(world.server.endpoints.agents) as channel:
            return await fetch_token(
                channel,
                device_id=device.device_id,
                service=device.audience,
                key=FileKey(cast("EllipticCurvePrivateKey", device.key)),
                audience=f"https://{HOST}",
                thumbprint=key.thumbprint,
                timeout_seconds=20,
            )

    token = asyncio.run(fetched())
    shown = (("Device-Token", token), ("Device-Proof", key.proof(token, method="GET", url=f"https://{HOST}/page")))
    answer = world.client().get("/page?q=1", *shown)
    seen = answer.seen_upstream()
    assert seen.ours()["x-watchword-device"] == [device.device_id]
    assert seen.ours()["x-watchword-device-identified-by"] == ["device_token"]
    assert not [header for header in seen.headers if token in header[1] or header[0].lower().startswith("device-")]
    world.assert_denied(world.client().get("/page", *shown), "device_proof_refused")
    world.assert_denied(world.client().get("/page", shown[0]), "device_proof_refused")
    assert world.client().get("/page", *shown, shown[0]).status == world.kind.malformed


# ---- Who does not -------------------------------------------------------------------------------------------------------


def test_without_a_certificate_there_is_no_device(world: World) -> None:
    world.assert_denied(world.client().get(), "no_device")


def test_a_certificate_that_no_device_has_proven_is_of_an_unknown_device(world: World, device: SimulatedDevice) -> None:
    world.assert_denied(world.client(world.pki.issuing.issue("laptop-1.corp.example")).get(), "unknown_device")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("another CA", "certificate_wrong_issuer"),
        ("another CA of the same name", "certificate_signature_invalid"),
        ("corrupt signature", "certificate_signature_invalid"),
        ("expired", "certificate_expired"),
        ("not yet valid", "certificate_not_yet_valid"),
        ("for servers", "extended_key_usage_missing"),
        ("X.509 v1", "certificate_malformed"),
        ("critical and unknown", "certificate_extension_not_understood"),
    ],
)
def test_a_certificate_that_does_not_verify_is_refused_by_watchword_with_the_reason(
    world: World, device: SimulatedDevice, fault: str, reason: str
) -> None:
    issuing = world.pki.issuing
    faulty = {
        "another CA": root_authority("Somebody Else's CA").issue(),
        "another CA of the same name": root_authority("Corp Device CA").issue(),
        "corrupt signature": issuing.issue().with_corrupt_signature(),
        "expired": issuing.issue(not_before=-DAY, not_after=-HOUR),
        "not yet valid": issuing.issue(not_before=HOUR),
        "for servers": issuing.issue(extended_key_usage=("serverAuth",)),
        "X.509 v1": issuing.issue(version=1),
        "critical and unknown": issuing.issue(unknown_critical_extension=True),
    }[fault]
    if fault in world.kind.ends_handshakes_on:
        with pytest.raises(OSError, match="alert"):
            world.client(faulty).get()
        assert not world.application.requests
    else:
        world.assert_denied(world.client(faulty).get(), reason)


def test_the_device_alone_is_not_enough_where_the_user_is_not_of_the_staff(
    world: World, device: SimulatedDevice, credential: Credential
) -> None:
    eve = world.client(credential).with_user("eve@elsewhere.example", USERS["eve@elsewhere.example"])
    world.assert_denied(eve.get(), "no_policy_matched")


def test_a_host_without_an_application_is_denied(world: World, device: SimulatedDevice, credential: Credential) -> None:
    world.assert_denied(world.client(credential).get("/", ("Host", "other.example")), "no_application")


@pytest.mark.parametrize("host", [f"user@{HOST}", f"{HOST},other.example", f"other.example/{HOST}"])
def test_a_host_that_reads_as_two_is_refused(world: World, device: SimulatedDevice, credential: Credential, host: str) -> None:
    assert world.client(credential).get("/", ("Host", host)).status in (400, 403)
    assert not world.application.requests


def test_each_request_of_a_connection_is_decided_on_its_own(
    world: World, device: SimulatedDevice, credential: Credential
) -> None:
    """By the host it asks for, not by the one the connection was opened for."""
    client, keep = world.client(credential), ("Connection", "keep-alive")
    with client.connect() as connection:
        statuses = []
        for host in (HOST, "other.example", HOST):
            connection.sendall(client.encode("/", (keep, ("Host", host))))
            statuses.append(read_response(connection).status)
    assert statuses == [200, 403, 200]


def test_a_proxy_that_watchword_does_not_know_is_closed(world: World, device: SimulatedDevice, credential: Credential) -> None:
    with world.kind.start(replace(world.proxy.setup, caller_secret="a secret that nobody registered")) as stranger:
        answer = replace(world.client(credential), port=stranger.port).get()
        assert answer.status in (401, *world.kind.closed)
        assert not world.application.requests


# ---- What a client claims -----------------------------------------------------------------------------------------------


def test_no_claim_of_a_client_survives_an_allow(world: World, device: SimulatedDevice, credential: Credential) -> None:
    plain = world.client(credential).get().seen_upstream().ours()
    answer = world.client(credential).get("/", *SPOOFS)
    seen = answer.seen_upstream()
    ours = seen.ours()
    changing = {"x-watchword-decision-id", "x-watchword-evidence-age", "x-watchword-assertion"}
    assert ours.keys() == plain.keys()
    assert {name: values for name, values in ours.items() if name not in changing} == {
        name: values for name, values in plain.items() if name not in changing
    }
    assert all(len(values) == 1 for values in ours.values())
    assert not [header for header in seen.headers if any(mark in header[1] for mark in MARKS)]
    assert CALLER_SECRET not in f"{seen}{answer.headers}"


FORMS: Final[dict[str, Callable[[str], list[tuple[str, str]]]]] = {
    "once": lambda name: [(name, "spoofed")],
    "twice": lambda name: [(name, "spoofed"), (name, "spoofed-again")],
    "empty, then once": lambda name: [(name, ""), (name, "spoofed")],
    "lower case": lambda name: [(name.lower(), "spoofed")],
    "capitals": lambda name: [(name.upper(), "spoofed")],
    "underscores": lambda name: [(name.replace("-", "_"), "spoofed")],
    "one underscore": lambda name: [(name.replace("-", "_", 1), "spoofed")],
    "the last an underscore": lambda name: [("_".join(name.rsplit("-", 1)), "spoofed")],
    "named by Connection": lambda name: [(name, "spoofed"), ("Connection", f"{name}, {name.replace('-', '_')}")],
}


@pytest.mark.parametrize("form", FORMS)
def test_no_foreign_header_changes_a_decision_or_reaches_the_application(
    world: World, device: SimulatedDevice, credential: Credential, form: str
) -> None:
    """Every name, in every form: a matrix. Names go together where that is one request, a third of them at a time."""
    plain = asked_about(world, world.client(credential).get("/page"))
    for start in range(3):
        headers = [header for name in FOREIGN[start::3] for header in FORMS[form](name)]
        answer = world.client(credential).get("/page", *headers)
        if form == "named by Connection" and answer.status == 400:  # Envoy refuses to forget who the client is
            assert not world.application.requests
            continue
        assert answer.status == 200, (start, answer.status)
        leaked = [header for header in answer.seen_upstream().headers if any(mark in header[1] for mark in MARKS)]
        assert leaked == []
        assert asked_about(world, answer) == plain


def asked_about(world: World, answer: Fetched) -> object:
    """What the decision behind an answer rested on."""
    [decision_id] = answer.seen_upstream().ours()["x-watchword-decision-id"]
    record = Operators(world.server.data).call("GET", f"/decisions/{decision_id}")
    return [record[name] for name in ("decision", "reason", "request", "user_email", "rules")], record["device"]["id"]


@pytest.mark.parametrize(
    "claim",
    [
        ("X-Watchword-Device", "{device}"),
        ("X-Watchword-User", "alice@corp.example"),
        ("X-Client-Cert", "{certificate}"),
        ("X-Forwarded-Client-Cert", 'Hash={sha256};Cert="{certificate}"'),
        ("Client-Cert", ":{base64}:"),
        ("X-SSL-Client-Cert", "{certificate}"),
    ],
    ids=lambda claim: str(claim[0]),
)
def test_a_certificate_in_a_header_is_no_certificate(
    world: World, device: SimulatedDevice, credential: Credential, claim: tuple[str, str]
) -> None:
    certificate = credential.pem.decode().replace("\n", "%0A").replace(" ", "%20").replace("+", "%2B")
    base64 = "".join(credential.pem.decode().splitlines()[1:-1])
    value = claim[1].format(device=device.device_id, certificate=certificate, sha256=credential.sha256, base64=base64)
    world.assert_denied(world.client().get("/", (claim[0], value)), "no_device")


def test_a_user_in_a_header_is_no_user(world: World, device: SimulatedDevice, credential: Credential) -> None:
    eve = world.client(credential).with_user("eve@elsewhere.example", USERS["eve@elsewhere.example"])
    world.assert_denied(eve.get("/", ("X-Authenticated-Email", "alice@corp.example")), "no_policy_matched")


def test_the_caller_secret_of_a_client_is_worth_nothing(world: World, device: SimulatedDevice, credential: Credential) -> None:
    """Whether it is right or wrong: a client is no caller."""
    assert world.client(credential).get("/", ("X-Watchword-Caller-Secret", "wrong")).status == 200
    world.assert_denied(world.client().get("/", ("X-Watchword-Caller-Secret", CALLER_SECRET)), "no_device")


def test_a_name_of_ours_that_the_proxy_does_not_know_never_reaches_the_application(
    world: World, device: SimulatedDevice, credential: Credential
) -> None:
    """Some remove it by its prefix; the others cannot, so Watchword refuses."""
    answer = world.client(credential).get("/", ("X-Watchword-From-The-Future", "spoofed"))
    assert answer.status == (200 if world.kind.removes_by_prefix else world.kind.malformed)
    for request in world.application.requests:
        assert not request.values("x-watchword-from-the-future")


# ---- What changes -------------------------------------------------------------------------------------------------------


def test_a_device_that_loses_its_certificate_or_is_revoked_is_denied_at_once(world: World) -> None:
    """On connections that are open, too; and the denial says why."""
    credential = world.pki.issuing.issue()
    device = world.enroll(credential)
    client = world.client(credential)
    with client.connect() as connection:

        def ask() -> tuple[int, str | None]:
            connection.sendall(client.encode("/", (("Connection", "keep-alive"),)))
            answer = read_response(connection)
            return answer.status, answer.value("x-watchword-reason")

        assert ask() == (200, None)
        device.found = ()
        asyncio.run(device.attest_once())
        assert ask() == (403, "check_failed")
        device.found = (credential,)
        asyncio.run(device.attest_once())
        assert ask() == (200, None)
        world.server.revoke(device.device_id)
        assert ask() == (403, "device_revoked")


def test_two_devices_with_one_certificate_are_both_refused(world: World) -> None:
    credential = world.pki.issuing.issue()
    world.enroll(credential)
    assert world.client(credential).get().status == 200
    world.enroll(credential, expect="certificate_cloned", hostname="laptop-2")
    world.assert_denied(world.client(credential).get(), "certificate_cloned")


def test_a_dead_server_denies_and_a_restarted_one_remembers(mortal_world: World) -> None:
    credential = mortal_world.pki.issuing.issue()
    mortal_world.enroll(credential)
    client = mortal_world.client(credential)
    assert client.get().status == 200
    for end in (mortal_world.server.stop, mortal_world.server.kill):
        end()
        mortal_world.application.requests.clear()
        started = time.monotonic()
        mortal_world.assert_closed(client.get())
        assert time.monotonic() - started < ANSWERED_WITHIN_SECONDS
        mortal_world.server.start()
        wait_until(lambda: client.get().status == 200, what="the proxy finds the server again")


def test_a_frozen_server_denies_and_a_thawed_one_decides_again(mortal_world: World) -> None:
    credential = mortal_world.pki.issuing.issue()
    mortal_world.enroll(credential)
    client = mortal_world.client(credential)
    assert client.get().status == 200
    mortal_world.server.freeze()
    mortal_world.application.requests.clear()
    for _ in range(3):
        started = time.monotonic()
        mortal_world.assert_closed(client.get())
        assert time.monotonic() - started < ANSWERED_WITHIN_SECONDS
    mortal_world.server.thaw()
    wait_until(lambda: client.get().status == 200, what="the proxy gets answers again")

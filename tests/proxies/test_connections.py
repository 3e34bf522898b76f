"""Connections through a real Envoy without HTTP, decided by network rules when they open."""

import asyncio
import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from proxies.test_decisions import enroll
from server.operators import Operators
from support.pki import Credential, Pki, root_authority
from support.processes import wait_until
from support.proxies import ProxySetup, RunningProxy, envoy_tcp
from support.rules import CHECK, wiki_rules, write_rules
from support.server import WatchwordServer

SECRET: Final = "edge-secret-0123456789abcdef0123456789abcdef"
met: list[object] = []  # who got to the database
pytestmark = pytest.mark.needs_program("envoy")


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """Answers everybody who gets to it."""

    class Greeting(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            met.append(self.client_address)
            self.request.recv(100)
            self.request.sendall(b"a database\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greeting) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def server(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchwordServer]:
    directory = tmp_path_factory.mktemp("server")
    rules = wiki_rules(pki)
    common = {"enabled": True, "filters": ["l4"]}
    rules["gateway_rules"] = [
        {"name": "nobody", "precedence": 1, "action": "block", "traffic": 'net.sni.host == "old.corp.example"', **common},
        {
            "name": "managed-laptops",
            "precedence": 2,
            "action": "allow",
            "traffic": 'net.sni.host == "wiki.corp.example" and net.src.ip in {127.0.0.0/8} and net.dst.ip == 127.0.0.1',
            "device_posture": f'any(device_posture.checks.passed[*] == "{CHECK}")',
            **common,
        },
    ]
    with WatchwordServer(directory / "data") as running:
        running.apply(write_rules(rules, directory, caller_secret=SECRET))
        yield running


@pytest.fixture(scope="module")
def proxy(pki: Pki, server: WatchwordServer, database: str) -> Iterator[RunningProxy]:
    with envoy_tcp(ProxySetup(server.endpoints.decisions_grpc, database, pki, caller_secret=SECRET)) as running:
        yield running


def greeting(
    proxy: RunningProxy,
    credential: Credential | None,
    directory: Path,
    *,
    name: str = "wiki.corp.example",
    says: bytes = b"hello",
) -> bytes:
    """What a client reads until the end."""
    context = ssl.create_default_context(cadata=proxy.setup.pki.web.pem.decode())
    context.check_hostname = False
    if credential is not None:
        files = credential.write(directory)
        context.load_cert_chain(files.certificate, files.key)
    with (
        socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as connection,
        context.wrap_socket(connection, server_hostname=name) as tls,
    ):
        try:
            if not says:
                return b""
            tls.sendall(says)
            return tls.recv(100)
        except (ConnectionError, ssl.SSLError):
            return b""


def test_a_proven_device_gets_through_and_nobody_else(
    proxy: RunningProxy, server: WatchwordServer, credential: Credential, tmp_path: Path
) -> None:
    device = enroll(server, server.enrollment_token(), credential)
    assert greeting(proxy, credential, tmp_path) == b"a database\n"
    log = server.data / "log" / "decisions.jsonl"
    wait_until(lambda: bool(log.read_text().strip()), what="the decision is in the log")
    record = json.loads(log.read_text().splitlines()[0])
    assert (record["decision"], record["reason"], record["device"]["id"]) == ("allow", "rule_allow", device.device_id)
    assert (record["request"]["connection"], record["request"]["host"]) == (True, "wiki.corp.example")
    assert record["request"]["facts"]["net.dst.ip"] == "127.0.0.1"
    explained = Operators(server.data).call("GET", f"/decisions/{record['id']}/explanation")
    assert (explained["agrees"], explained["decision"]) == (True, "allow")
    stranger = proxy.setup.pki.issuing.issue("laptop-1.corp.example")
    foreign = root_authority("Somebody Else's CA").issue()
    for shown, name in (
        (None, "wiki.corp.example"),
        (stranger, "wiki.corp.example"),
        (foreign, "wiki.corp.example"),
        (credential, "old.corp.example"),
        (credential, "elsewhere.example"),
    ):
        met.clear()
        assert greeting(proxy, shown, tmp_path, name=name) == b"", name
        assert not met
    device.found = ()
    asyncio.run(device.attest_once())
    assert greeting(proxy, credential, tmp_path) == b""
    device.found = (credential,)
    asyncio.run(device.attest_once())
    assert greeting(proxy, credential, tmp_path) == b"a database\n"


def test_nothing_gets_to_the_service_before_it_is_decided(
    proxy: RunningProxy, server: WatchwordServer, pki: Pki, tmp_path: Path
) -> None:
    """A trap: Envoy asks when the client's first bytes are there, and would have connected the service by then."""
    credential = pki.issuing.issue("laptop-3.corp.example")
    enroll(server, server.enrollment_token(), credential, hostname="laptop-3")
    met.clear()
    assert greeting(proxy, None, tmp_path, says=b"") == b""
    assert greeting(proxy, credential, tmp_path) == b"a database\n"
    assert len(met) == 1


def test_without_an_answer_no_connection_is_made(proxy: RunningProxy, server: WatchwordServer, pki: Pki, tmp_path: Path) -> None:
    credential = pki.issuing.issue("laptop-2.corp.example")
    enroll(server, server.enrollment_token(), credential, hostname="laptop-2")
    assert greeting(proxy, credential, tmp_path) == b"a database\n"
    server.freeze()
    try:
        assert greeting(proxy, credential, tmp_path) == b""
    finally:
        server.thaw()
    server.stop()
    assert greeting(proxy, credential, tmp_path) == b""
    server.start()
    wait_until(lambda: greeting(proxy, credential, tmp_path) == b"a database\n", what="Envoy finds the server again")

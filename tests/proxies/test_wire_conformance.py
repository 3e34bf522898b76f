"""Our small ext_authz messages are Envoy's on the wire: a client with the official ones (xds-protos) asks the real server."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from support.pki import Credential, Pki
from support.programs import program
from support.rules import IDENTITY_HEADER, wiki_rules, write_rules
from support.server import WatchwordServer

SECRET = "the-secret-of-the-conformance-client"
CLIENT = Path(__file__).with_name("xds_client.py")
OPEN_HOST = "open.corp.example"

pytestmark = pytest.mark.needs_program("python-with-xds-protos")


@pytest.fixture(scope="module")
def server(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchwordServer]:
    directory = tmp_path_factory.mktemp("conformance")
    rules = wiki_rules(pki)
    rules["policies"].append({"name": "all", "decision": "allow", "include": [{"everyone": {}}]})
    rules["applications"].append({"name": "open", "type": "self_hosted", "domain": OPEN_HOST, "policies": ["all"]})
    with WatchwordServer(directory / "data") as running:
        running.apply(write_rules(rules, directory, caller_secret=SECRET))
        yield running


def ask(server: WatchwordServer, host: str, *, certificate: str = "", headers: dict[str, str] | None = None) -> dict[str, Any]:
    """The answer to a request with every field that Envoy fills in, those we do not read among them."""
    request = {
        "attributes": {
            "source": {
                "address": {"socketAddress": {"address": "192.0.2.7", "portValue": 5000}},
                "principal": "CN=laptop-1",
                "certificate": certificate,
                "labels": {"ignored": "yes"},
            },
            "destination": {"address": {"socketAddress": {"address": "192.0.2.1", "portValue": 443}}, "service": "ignored"},
            "request": {
                "time": "2026-11-23T12:00:00Z",
                "http": {
                    "id": "1",
                    "method": "GET",
                    "headers": headers or {},
                    "path": "/pages/7?q=1",
                    "host": host,
                    "scheme": "https",
                    "size": "-1",
                    "protocol": "HTTP/2",
                },
            },
            "contextExtensions": {"route": "wiki"},
            "metadataContext": {},
            "tlsSession": {"sni": host},
        }
    }
    arguments: list[str | Path] = [program("python-with-xds-protos"), CLIENT, server.endpoints.decisions_grpc, SECRET]
    done = subprocess.run(arguments, input=json.dumps(request), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["unknown"] == 0
    response: dict[str, Any] = answer["response"]
    return response


def headers_of(options: list[dict[str, Any]]) -> dict[str, str]:
    assert {option["appendAction"] for option in options} == {"OVERWRITE_IF_EXISTS_OR_ADD"}
    return {option["header"]["key"]: option["header"]["value"] for option in options}


def test_an_allow_is_an_allow_to_envoy(server: WatchwordServer) -> None:
    response = ask(server, OPEN_HOST, headers={IDENTITY_HEADER: "ada@corp.example", "x-watchword-device": "forged"})
    assert response.get("status", {}).get("code", 0) == 0
    told = headers_of(response["okResponse"]["headers"])
    assert told["x-watchword-user"] == "ada@corp.example"
    assert told["x-watchword-policy"] == "all"
    assert {"x-watchword-device", "device-token", "device-proof"} <= set(response["okResponse"]["headersToRemove"])
    assert "x-watchword-assertion" in told


def test_a_denial_is_a_denial_to_envoy(server: WatchwordServer) -> None:
    response = ask(server, "wiki.corp.example")
    assert response["status"]["code"] == 7
    assert response["deniedResponse"]["status"]["code"] == "Forbidden"
    assert headers_of(response["deniedResponse"]["headers"])["x-watchword-reason"] == "no_device"
    assert json.loads(response["deniedResponse"]["body"])["reason"] == "no_device"


def test_the_certificate_is_read(server: WatchwordServer, credential: Credential) -> None:
    response = ask(server, "wiki.corp.example", certificate=quote(credential.pem.decode(), safe=""))
    assert headers_of(response["deniedResponse"]["headers"])["x-watchword-reason"] == "unknown_device"

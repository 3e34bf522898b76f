"""A server over TLS with the certification scenario, a wiki behind Access, and a decision point to ask."""

import hashlib
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from ruamel.yaml import YAML

from server.operators import Operators
from support.pki import Pki
from support.rules import wiki_rules
from support.server import WatchwordServer

SECRET: Final = "a-secret-of-the-application-of-40-chars"
SCENARIO: Final = Path(__file__).with_name("certification.yaml")


@dataclass(frozen=True, slots=True)
class DecisionPoint:
    """Where questions go, as a caller that may say everything."""

    client: httpx.Client
    server: WatchwordServer
    operators: Operators
    pki: Pki

    def post(self, path: str, body: object, **options: Any) -> httpx.Response:
        """One question."""
        return self.client.post(path, json=body, **options)

    def evaluate(self, body: object) -> httpx.Response:
        """One evaluation."""
        return self.post("/access/v1/evaluation", body)

    def decision(self, body: object) -> bool:
        """Its decision."""
        response = self.evaluate(body)
        assert response.status_code == 200, response.text
        decision = response.json()["decision"]
        assert isinstance(decision, bool)
        return decision


@contextmanager
def decision_point(directory: Path, more: Mapping[str, Sequence[object]]) -> Iterator[DecisionPoint]:
    """One with the wiki behind Access and more entries, by their section."""
    pki = Pki.make()
    files = pki.server("127.0.0.1").write(directory, "server")
    trusted = directory / "web-ca.pem"
    trusted.write_bytes(pki.web.pem)
    environment = {
        "WATCHWORD_DECISIONS__TLS__CERTIFICATE": str(files.certificate),
        "WATCHWORD_DECISIONS__TLS__PRIVATE_KEY": str(files.key),
    }
    wiki = wiki_rules(pki)
    document = {**wiki, **{section: [*wiki.get(section, ()), *entries] for section, entries in more.items()}}
    (caller,) = document["callers"]
    caller["authenticate"] = {"secret_sha256": hashlib.sha256(SECRET.encode()).hexdigest()}
    caller["may_assert"] = [*caller["may_assert"], "device", "facts"]
    caller["facts"] = {"header": "x-access-facts"}
    caller["resolvers"] = ["client_certificate", "device"]
    with WatchwordServer(directory / "data", environment=environment) as server:
        operators = Operators(server.data)
        operators.apply(document)
        context = ssl.create_default_context(cafile=str(trusted))
        with httpx.Client(
            base_url=server.endpoints.decisions_http, headers={"Authorization": f"Bearer {SECRET}"}, verify=context, timeout=30
        ) as client:
            yield DecisionPoint(client, server, operators, pki)


@pytest.fixture(scope="package")
def point(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DecisionPoint]:
    with decision_point(tmp_path_factory.mktemp("authzen"), YAML(typ="safe").load(SCENARIO)) as point:
        yield point

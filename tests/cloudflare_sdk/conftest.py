"""One server for all of them, empty again before each test."""

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from cloudflare import Cloudflare

from support.pki import Pki
from support.server import WatchwordServer


@dataclass(frozen=True, slots=True)
class Account:
    """A server, and what reaches it."""

    server: WatchwordServer
    id: str
    token: str
    pki: Pki

    @property
    def base_url(self) -> str:
        """For the SDK."""
        return f"{self.server.endpoints.operators}/client/v4"

    def client(self, token: str | None = None, *, retries: int = 2) -> Cloudflare:
        """The SDK's client."""
        return Cloudflare(base_url=self.base_url, api_token=token or self.token, max_retries=retries)


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    directory = tmp_path_factory.mktemp("cloudflare")
    arguments = ("--config", str(directory / "watchword.toml"))
    (directory / "watchword.toml").write_text("[limits]\nfailed_logins_burst = 1000\n")
    with WatchwordServer(directory / "data", arguments=arguments) as server:
        yield Account(server, server.endpoints.account_id, token_of(server, "write"), Pki.make())


def token_of(server: WatchwordServer, role: str, *options: str) -> str:
    """A new API token."""
    return server.command("token", "create", "--name", f"test-{role}", "--role", role, *options).stdout.strip()


@pytest.fixture
def account(running: Account) -> Account:
    """Without rules."""
    applied = httpx.post(
        f"{running.server.endpoints.operators}/api/v1/rules/apply",
        json={"document": {}, "prune": True},
        headers={"Authorization": f"Bearer {running.token}"},
    )
    assert applied.status_code == 200
    return running


@pytest.fixture
def client(account: Account) -> Iterator[Cloudflare]:
    with account.client() as client:
        yield client


@pytest.fixture
def certificate_id(account: Account, client: Cloudflare) -> str:
    uploaded = client.mtls_certificates.create(
        account_id=account.id, ca=True, certificates=account.pki.issuing.pem.decode(), name="device-ca"
    )
    assert uploaded is not None
    return str(uploaded.id)


@pytest.fixture
def posture_id(account: Account, client: Cloudflare, certificate_id: str) -> str:
    rule = client.zero_trust.devices.posture.create(
        account_id=account.id,
        name="managed",
        type="client_certificate_v2",
        input={"certificate_id": certificate_id, "check_private_key": True, "operating_system": "linux"},
    )
    assert rule is not None
    return str(rule.id)

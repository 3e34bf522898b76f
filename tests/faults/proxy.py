"""What a proxy asks over HTTP: nginx's `auth_request` contract, spoken to a real server."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

import httpx

from support.pki import Credential
from support.rules import HOST, IDENTITY_HEADER

PATH: Final = "/v1/authz/auth-request"
USER: Final = "alice@corp.example"
SECRET: Final = "the-secret-of-the-proxy-in-these-tests"
SECRET_HEADER: Final = "X-Watchword-Caller-Secret"
_PATIENCE_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Decided:
    """What the proxy was told."""

    status: int
    reason: str  # empty for an allow
    decision_id: str

    @property
    def allowed(self) -> bool:
        """Only 200 lets a request pass."""
        return self.status == 200


class Proxy:
    """A registered caller with one connection. `socket`: a caller's unix socket instead of the listener."""

    def __init__(self, decisions: str, *, secret: str | None = SECRET, socket: Path | None = None) -> None:
        transport = None if socket is None else httpx.HTTPTransport(uds=str(socket))
        self._client = httpx.Client(base_url=decisions, transport=transport, timeout=_PATIENCE_SECONDS)
        self._secret = secret

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ask(self, credential: Credential | None = None, *, host: str = HOST, method: str = "GET") -> Decided:
        """Asks about a request of `USER` with this client certificate."""
        return decided(self._client.request(method, PATH, headers=self.headers(credential, host=host)))

    def headers(self, credential: Credential | None = None, *, host: str = HOST) -> Mapping[str, str]:
        """What it sends."""
        return {
            "X-Original-Method": "GET",
            "X-Original-URL": f"https://{host}/page",
            IDENTITY_HEADER: USER,
            **({} if self._secret is None else {SECRET_HEADER: self._secret}),
            **({} if credential is None else {"X-Client-Cert": quote(credential.pem)}),
        }


def decided(response: httpx.Response) -> Decided:
    """Reads an answer; fails unless it is one of ours."""
    headers = response.headers
    assert response.status_code == 200 or headers.get("x-watchword-reason"), response
    return Decided(response.status_code, headers.get("x-watchword-reason", ""), headers.get("x-watchword-decision-id", ""))

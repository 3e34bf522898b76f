"""A client of a proxy that writes its request byte by byte: duplicate and odd headers, raw targets, a certificate or none."""

import base64
import http.client
import json
import socket
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

from support.pki import Credential

_TIMEOUT_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def values(self, name: str) -> list[str]:
        """Every value of a header, in order."""
        return [value for found, value in self.headers if found.lower() == name.lower()]

    def value(self, name: str) -> str | None:
        """The value of a header that stands there at most once."""
        values = self.values(name)
        assert len(values) < 2, f"`{name}` stands there {len(values)} times: {values}"
        return values[0] if values else None

    def seen_upstream(self) -> "SeenUpstream":
        """What the application behind the proxy saw. Fails if the request did not get there."""
        assert self.status == 200, f"{self.status} {self.headers} {self.body!r}"
        seen: dict[str, Any] = json.loads(self.body)
        headers = tuple((name, value) for name, value in seen["headers"])
        return SeenUpstream(seen["method"], seen["target"], headers, seen["body"].encode("latin-1"))


@dataclass(frozen=True, slots=True)
class SeenUpstream:
    """A request as `support.upstream` saw it."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def values(self, name: str) -> list[str]:
        """Every value of a header, in order."""
        return [value for found, value in self.headers if found.lower() == name.lower()]

    def ours(self) -> dict[str, list[str]]:
        """Every header that reads as one of Watchword's to some application: `-` and `_` alike, as in CGI and WSGI."""
        found: dict[str, list[str]] = {}
        for name, value in self.headers:
            if name.lower().replace("_", "-").startswith("x-watchword"):
                found.setdefault(name.lower(), []).append(value)
        return found


@dataclass(frozen=True, slots=True)
class ProxyClient:
    """Asks a proxy on 127.0.0.1 over TLS, one connection a request.

    `trust_pem`: the root that signed what the proxy shows. `credential`: the client certificate, or none. `user`: the name and
    password of Basic authentication, or none. `host`: the name asked for, also by SNI.
    """

    port: int
    trust_pem: bytes
    host: str
    credential: Credential | None = None
    user: tuple[str, str] | None = None
    _contexts: dict[bytes | None, ssl.SSLContext] = field(default_factory=dict, repr=False, compare=False)

    def with_credential(self, credential: Credential | None) -> Self:
        """The same client with another certificate, or none."""
        return replace(self, credential=credential)

    def with_user(self, name: str, password: str) -> Self:
        """The same client as another user."""
        return replace(self, user=(name, password))

    def get(self, target: str = "/", *headers: tuple[str, str], method: str = "GET", body: bytes = b"") -> Fetched:
        """Sends one request as written and reads the answer."""
        with self.connect() as connection:
            connection.sendall(self.encode(target, headers, method=method, body=body))
            return read_response(connection, method=method)

    def connect(self) -> ssl.SSLSocket:
        """A TLS connection to the proxy; the certificate, if there is one, is presented."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=_TIMEOUT_SECONDS)
        connection.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )  # else the request waits 40 ms behind the handshake's end
        try:
            return self._context().wrap_socket(connection, server_hostname=self.host)
        except BaseException:
            connection.close()
            raise

    def encode(self, target: str, headers: Sequence[tuple[str, str]] = (), *, method: str = "GET", body: bytes = b"") -> bytes:
        """The bytes of a request. A `Host` or `Authorization` among `headers` replaces ours."""
        given = {name.lower() for name, _ in headers}
        lines = [f"{method} {target} HTTP/1.1"]
        if "host" not in given:
            lines.append(f"Host: {self.host}")
        if self.user is not None and "authorization" not in given:
            lines.append(f"Authorization: {basic(*self.user)}")
        lines += [f"{name}: {value}" for name, value in headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        if "connection" not in given:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body

    def _context(self) -> ssl.SSLContext:
        der = None if self.credential is None else self.credential.der
        if der not in self._contexts:
            context = ssl.create_default_context(cadata=self.trust_pem.decode())
            if self.credential is not None:
                with tempfile.TemporaryDirectory() as directory:  # the ssl module takes client certificates from files only
                    files = self.credential.write(Path(directory))
                    context.load_cert_chain(files.certificate, files.key)
            self._contexts[der] = context
        return self._contexts[der]


def basic(name: str, password: str) -> str:
    """The value of an `Authorization` header (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def read_response(connection: ssl.SSLSocket, *, method: str = "GET") -> Fetched:
    """Reads one response; the connection can be used on if neither side closes it."""
    response = http.client.HTTPResponse(connection, method=method)
    try:
        response.begin()
        return Fetched(response.status, tuple(response.getheaders()), response.read())
    finally:
        response.close()

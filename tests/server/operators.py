"""The operators' API through the server's own socket: what the commands do, without starting a program for each."""

import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

_TIMEOUT_SECONDS: Final = 20.0


class EnrollmentToken(NamedTuple):
    """An enrollment token as the server told it, once."""

    id: str
    text: str


class _LocalConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("watchword", timeout=_TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@dataclass(frozen=True, slots=True)
class Operators:
    """Speaks to the server whose data directory this is."""

    data: Path

    def call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        """One request; fails unless the answer is 200."""
        connection = _LocalConnection(self.data / "operators.sock")
        try:
            encoded = None if body is None else json.dumps(body).encode()
            connection.request(method, f"/api/v1{path}", encoded, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
        finally:
            connection.close()
        assert response.status == 200, f"{method} {path}: {response.status} {answer}"
        return answer

    def apply(self, document: Mapping[str, object]) -> None:
        """Makes a rule document true; in force when it returns."""
        self.call("POST", "/rules/apply", {"document": document})

    def enrollment_token(self, **options: object) -> EnrollmentToken:
        """A new token; by default for one use within an hour."""
        made = self.call("POST", "/enrollment-tokens", options)
        return EnrollmentToken(made["id"], made["token"])

    def uses(self, token: EnrollmentToken) -> int:
        """How often a token was used."""
        [found] = [entry for entry in self.call("GET", "/enrollment-tokens")["tokens"] if entry["id"] == token.id]
        return int(found["uses"])

    def revoke_token(self, token: EnrollmentToken) -> None:
        """Ends a token."""
        self.call("DELETE", f"/tokens/{token.id}")

    def devices(self) -> dict[str, dict[str, Any]]:
        """Every device by id."""
        return {device["id"]: device for device in self.call("GET", "/devices")["devices"]}

    def revoke(self, device_id: str) -> None:
        """Ends a device."""
        self.call("POST", f"/devices/{device_id}/revoke")

    def approve(self, device_id: str) -> None:
        """Lets a pending device attest."""
        self.call("POST", f"/devices/{device_id}/approve")

    def results(self, device_id: str) -> dict[str, dict[str, Any]]:
        """A device's newest results by the name of the check, without their ages, which change by themselves."""
        found = self.call("GET", f"/results?device={device_id}")["results"]
        return {
            result["check"]: {key: value for key, value in result.items() if not key.endswith("_age_seconds")} for result in found
        }

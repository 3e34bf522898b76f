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


class Refusal(NamedTuple):
    """What the API says instead of doing it."""

    status: int
    message: str


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

    def call(self, method: str, path: str, body: Mapping[str, object] | bytes | None = None) -> dict[str, Any]:
        """One request, its body JSON or bytes as they are; fails unless the answer is 200."""
        status, answer = self._ask(method, path, body)
        assert status == 200, f"{method} {path}: {status} {answer}"
        return answer

    def pages(self, path: str, name: str) -> list[dict[str, Any]]:
        """All items of a list that comes in pages by device."""
        items: list[dict[str, Any]] = []
        query = "?limit=1000"
        while True:
            page = self.call("GET", f"{path}{query}")
            items += page[name]
            if page["next"] is None:
                return items
            query = f"?limit=1000&after={page['next']}"

    def attempt(self, method: str, path: str, body: Mapping[str, object] | bytes | None = None) -> Refusal:
        """One request that is refused."""
        status, answer = self._ask(method, path, body)
        return Refusal(status, answer["error"]["message"])

    def _ask(self, method: str, path: str, body: Mapping[str, object] | bytes | None) -> tuple[int, dict[str, Any]]:
        connection = _LocalConnection(self.data / "operators.sock")
        try:
            encoded = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            kind = "application/pkix-crl" if isinstance(body, bytes) else "application/json"
            connection.request(method, f"/api/v1{path}", encoded, {"Content-Type": kind})
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
        finally:
            connection.close()
        return response.status, answer

    def apply(self, document: Mapping[str, object]) -> None:
        """Makes a rule document true; in force when it returns."""
        self.call("POST", "/rules/apply", {"document": document})

    def upload(self, certificate: str, revocation_list: bytes) -> dict[str, Any]:
        """Brings a CA's revocation list; in force when it returns."""
        return self.call("POST", f"/certificates/{certificate}/crl", revocation_list)

    def certificates(self) -> dict[str, dict[str, Any]]:
        """Every uploaded CA by name, with its lists."""
        return {found["name"]: found for found in self.call("GET", "/certificates")["certificates"]}

    def numbers(self) -> dict[str, list[str | None]]:
        """The numbers of the revocation lists in force, by the CA's name; None: a place that has told none."""
        return {name: [kept["number"] for kept in found["lists"]] for name, found in self.certificates().items()}

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
        return {device["id"]: device for device in self.pages("/devices", "devices")}

    def revoke(self, device_id: str) -> None:
        """Ends a device."""
        self.call("POST", f"/devices/{device_id}/revoke")

    def clear_clone(self, device_id: str) -> None:
        """Forgets that two machines were seen with a device's key."""
        self.call("POST", f"/devices/{device_id}/clear-clone")

    def approve(self, device_id: str) -> None:
        """Lets a pending device attest."""
        self.call("POST", f"/devices/{device_id}/approve")

    def results(self, device_id: str) -> dict[str, dict[str, Any]]:
        """A device's newest results by the name of the check, without their ages, which change by themselves."""
        found = self.call("GET", f"/results?device={device_id}")["results"]
        return {
            result["check"]: {key: value for key, value in result.items() if not key.endswith("_age_seconds")} for result in found
        }

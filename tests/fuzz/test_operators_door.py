"""The operators' door to somebody without a token: no body is read, nothing is told, and only typed refusals come out."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fuzz.conftest import Served
from fuzz.effort import latin, spoiled, tries
from watchword_server.peer import PEER, Peer

TOKEN = f"Bearer wwa.{'a' * 16}.{'b' * 43}"
PATHS = [
    "/api/v1/rules",
    "/api/v1/rules/apply",
    "/api/v1/devices",
    "/api/v1/devices/dev_1/revoke",
    "/api/v1/tokens",
    "/api/v1/decisions/dcn_1",
    "/api/v1/certificates/corp/revocation-list",
    "/api/v1/",
]
paths = st.sampled_from(PATHS).flatmap(spoiled)
authorizations = latin(spoiled(TOKEN) | st.text(max_size=20))
numbers = spoiled("12") | st.sampled_from(["0", "2", "-1", "1e3", "0x2", "", " 2", "9" * 30, "9" * 5000, "\xb2"])
bodies = st.binary(max_size=40) | st.sampled_from([b"{}", b"[" * 5000, b'{"document": ', b"\xff\xfe"])


@tries(200)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"]),
    path=paths,
    authorization=st.none() | authorizations,
    length=st.none() | latin(numbers),
    body=bodies,
)
def test_without_a_token_nothing_is_read_and_nothing_told(
    served: Served, method: str, path: str, authorization: str | None, length: str | None, body: bytes
) -> None:
    status, told, read = served.run(_asked(served, method, path, authorization, length, body))
    if path.startswith("/api/"):
        assert status in {401, 411, 413}, told
        assert not read
    assert status < 500, told


async def _asked(
    served: Served, method: str, path: str, authorization: str | None, length: str | None, body: bytes
) -> tuple[int, Any, bool]:
    """What the application answers, and whether it took the body."""
    given_headers = {"authorization": authorization, "content-length": length}
    headers = {name: value for name, value in given_headers.items() if value is not None}
    metadata = {name: (value,) for name, value in headers.items()}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": path,
        "raw_path": path.encode("utf-8", "replace"),
        "query_string": b"",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
        "client": ("192.0.2.9", 5555),
        "server": ("192.0.2.1", 443),
        PEER: Peer("192.0.2.9", metadata=metadata),
    }
    sent: list[dict[str, Any]] = []
    read = False

    async def receive() -> dict[str, Any]:
        nonlocal read
        read = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await served.world.house.operators.app(scope, receive, send)
    content = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], json.loads(content) if content.startswith(b"{") else content[:80], read

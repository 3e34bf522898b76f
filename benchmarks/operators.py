"""The operators' API of a server with much in it: what a list takes, and one entry more.

    make bench ONLY=operators

A real server over TCP, asked by one client, with 1,000 posture rules, 10,000 Gateway rules and 10,000 applications. The floor of
making an entry is the same call on a server that has none of them: authentication, a transaction made durable, the audit log.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx

from benchmarks.entries import Document, document
from benchmarks.measure import arguments, report, table, talk
from support.server import WatchwordServer

_SIZE: Final = 10_000
_CHECKS: Final = 1_000
_TIMES: Final = 15
_PATHS: Final = {"posture": "/devices/posture", "gateway": "/gateway/rules", "applications": "/access/apps"}
_PAGE: Final = "?per_page=1000"
_GOALS_MS: Final = {"list": 1000.0, "create": 100.0}


def _rules(size: int, checks: int) -> Document:
    rules = document(applications=size, gateway_rules=size)
    first = rules["checks"][0]
    rules["checks"] += [{**first, "name": f"check {number}"} for number in range(checks - len(rules["checks"]))]
    return rules


def _body(kind: str, number: int, certificate_id: str) -> dict[str, Any]:
    match kind:
        case "posture":
            told = {"certificate_id": certificate_id, "check_private_key": True, "operating_system": "linux"}
            return {"name": f"one more {number}", "type": "client_certificate_v2", "input": told}
        case "gateway":
            traffic = f'http.request.host == "more-{number}.corp.example"'
            return {"name": f"one more {number}", "action": "block", "enabled": True, "filters": ["http"], "traffic": traffic}
    return {"name": f"one more {number}", "type": "self_hosted", "domain": f"more-{number}.corp.example"}


def _timed(call: Callable[[], httpx.Response]) -> float:
    """Milliseconds. Raises for what was not done."""
    begun = time.perf_counter()
    call().raise_for_status()
    return (time.perf_counter() - begun) * 1e3


def _measure(rules: Document) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as directory, WatchwordServer(Path(directory) / "data") as server:
        token = server.command("token", "create", "--name", "benchmark", "--role", "write").stdout.strip()
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=server.endpoints.operators, headers=headers, timeout=120) as client:
            client.post("/api/v1/rules/apply", json={"document": rules}).raise_for_status()
            account = f"/client/v4/accounts/{server.endpoints.account_id}"
            certificate_id = client.get(f"{account}/mtls_certificates").json()["result"][0]["id"]
            for kind, path in _PATHS.items():
                at = account + path
                listing = at + (_PAGE if kind == "applications" else "")
                taken[f"list {kind}"] = [_timed(partial(client.get, listing)) for _ in range(_TIMES)]
                taken[f"create {kind}"] = [
                    _timed(partial(client.post, at, json=_body(kind, number, certificate_id))) for number in range(_TIMES)
                ]
    return taken


def main() -> None:
    parser = arguments(__doc__, seconds=0)
    parser.add_argument(
        "--size", type=int, default=_SIZE, metavar="N", help="applications and Gateway rules (default: %(default)s)"
    )
    options = parser.parse_args()
    talk("a server with nothing in it")
    few = _measure(_rules(0, 1))
    talk("a server with much in it")
    many = _measure(_rules(options.size, max(1, options.size * _CHECKS // _SIZE)))
    rows = [
        [
            name,
            statistics.median(taken),
            max(taken),
            _GOALS_MS[name.split()[0]],
            statistics.median(few[name]),
            statistics.median(taken) / statistics.median(few[name]) if name.startswith("create") else None,
        ]
        for name, taken in many.items()
    ]
    figures = {name: {"ms": statistics.median(taken), "max_ms": max(taken)} for name, taken in many.items()}
    text = table(["operators, ms", "median", "largest", "goal", "nothing in it", "ratio"], rows)
    report("operators", figures, as_json=options.json, text=text)


if __name__ == "__main__":
    main()

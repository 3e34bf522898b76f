"""schemathesis reads our OpenAPI pages and asks for everything they name, with what fits and with what does not.

No answer is a failure of ours, and each is one that the page tells of: its status, its content type, its schema.
WATCHWORD_SOAK asks for a hundred times as much.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from faults.servers import surprises
from support.pki import Pki
from support.rules import wiki_rules
from support.server import WatchwordServer

_EXAMPLES: Final = 600 if os.environ.get("WATCHWORD_SOAK") else 5
_CHECKS: Final = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)
_LONGEST_TARGET: Final = 8192  # beyond 64 KiB the HTTP parser refuses a request, in its own words
_NOT_ASKED: Final = {("DELETE", "/api/v1/tokens/{token_id}")}  # it might be the one that asks


@dataclass(frozen=True, slots=True)
class Scene:
    """A server with one of everything, and ids that name something, by their parameter."""

    server: WatchwordServer
    token: str
    known: dict[str, list[str]]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("openapi")
    pki = Pki.make()
    with WatchwordServer(directory / "data", environment={"WATCHWORD_LIMITS__FAILED_LOGINS_BURST": "10000"}) as server:
        token = server.command("token", "create", "--name", "everything", "--role", "admin").stdout.strip()
        with httpx.Client(base_url=server.endpoints.operators, headers={"Authorization": f"Bearer {token}"}) as client:
            rules = wiki_rules(pki)
            rules["callers"] = []
            for certificate in rules["certificates"]:
                certificate["pem"] = pki.issuing.pem.decode()
                certificate.pop("file", None)
            applied = client.post("/api/v1/rules/apply", json={"document": rules})
            assert applied.status_code == 200, applied.text
        yield Scene(server, token, {"account_id": [server.endpoints.account_id], "number": ["1", "4"]})
        assert server.program.running
        assert surprises(server) == []


@pytest.mark.parametrize("page", ["/client/v4/openapi.json", "/api/v1/openapi.json"])
def test_every_answer_is_one_that_the_page_tells_of(scene: Scene, page: str) -> None:
    base, headers = scene.server.endpoints.operators, {"Authorization": f"Bearer {scene.token}"}
    spec = httpx.get(base + page, headers=headers).json()
    config = schemathesis.Config.from_dict({"base-url": base + ("/client/v4" if page.startswith("/client") else "")})
    schema = schemathesis.openapi.from_dict(spec, config=config)
    asked: Counter[int] = Counter()
    wrong: list[str] = []
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result
        operation = result.ok()
        if (operation.method.upper(), operation.path) in _NOT_ASKED:
            continue
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query):
                continue

            @settings(
                max_examples=_EXAMPLES,
                derandomize=True,
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: Any) -> None:
                for name, ids in scene.known.items():
                    if name in (case.path_parameters or {}):
                        case.path_parameters[name] = ids[len(str(case.body)) % len(ids)]
                query = case.query or {}
                assume(len(str(query)) + len(case.formatted_path) < _LONGEST_TARGET)
                response = case.call(headers=headers)
                asked[response.status_code] += 1
                try:
                    case.validate_response(response, checks=list(_CHECKS))
                except (Failure, FailureGroup) as failure:
                    wrong.append(f"{case.method} {case.formatted_path} {str(case.body)[:200]}: {response.status_code} {failure}")

            ask()
    assert not wrong, "\n".join(wrong[:20])
    assert asked[200] > 25
    assert asked[400] > 25

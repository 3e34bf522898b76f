"""`watchword token` for service tokens, on the store of a server that does not run."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner, Result

from services.world import Asked, World
from support.pki import Pki
from watchword_server.cli.tokens import token

TOKEN: Final = "backup"
HOST: Final = "backup.corp.example"
HEADERS: Final = ("CF-Access-Client-Id", "CF-Access-Client-Secret")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory whose rules have service tokens, and an application for one of them."""

    async def prepare() -> None:
        async with World.open(tmp_path, Pki.make()) as world:
            rules = world.rules
            rules["service_tokens"] = [{"name": TOKEN}, {"name": "a/b c"}]
            rules["policies"].append(
                {"name": "machines", "decision": "non_identity", "include": [{"service_token": {"token_id": TOKEN}}]}
            )
            rules["applications"].append({"name": TOKEN, "type": "self_hosted", "domain": HOST, "policies": ["machines"]})
            await world.apply(rules)

    asyncio.run(prepare())
    return tmp_path / "data"


def run(data: Path, *arguments: str) -> Result:
    return CliRunner().invoke(token, [*arguments, "--data", str(data)])


def credential(result: Result) -> Mapping[str, str]:
    """What stdout has: two headers, as `curl -H @FILE` reads them."""
    assert result.exit_code == 0, result.output
    headers = dict(line.split(": ") for line in result.stdout.splitlines())
    assert tuple(headers) == HEADERS
    return headers


def ask(data: Path, headers: Mapping[str, str]) -> Asked:
    async def asked() -> Asked:
        async with World.open(data.parent, Pki.make()) as world:
            return await world.ask(host=HOST, headers=headers)

    return asyncio.run(asked())


def listed(data: Path) -> dict[str, dict[str, Any]]:
    result = run(data, "list", "--json")
    return {found["name"]: found for found in json.loads(result.stdout) if found["kind"] == "service"}


def test_a_credential_is_shown_once_and_ends_the_one_before(data: Path) -> None:
    first = run(data, "create", "--service", TOKEN)
    assert "not shown again" in first.stderr
    assert ask(data, credential(first)).allowed
    second = run(data, "create", "--service", TOKEN, "--json")
    made = json.loads(second.stdout)
    assert made.keys() == {"id", "name", "client_id", "client_secret", "expires_at"}
    assert not ask(data, credential(first)).allowed
    assert ask(data, dict(zip(HEADERS, (made["client_id"], made["client_secret"]), strict=True))).allowed
    for secret in (made["client_secret"], credential(first)[HEADERS[1]]):
        assert secret not in run(data, "list", "--json").output + run(data, "list").output


def test_a_name_may_hold_what_a_path_may_not(data: Path) -> None:
    assert credential(run(data, "create", "--service", "a/b c"))
    assert listed(data)["a/b c"]["issued"]


def test_the_list_tells_whether_it_was_issued_and_until_when(data: Path) -> None:
    assert {name: (found["issued"], found["expires_at"]) for name, found in listed(data).items()} == {
        TOKEN: (False, None),
        "a/b c": (False, None),
    }
    assert "not issued" in run(data, "list").stdout
    run(data, "create", "--service", TOKEN, "--expires", "60")
    found = listed(data)[TOKEN]
    assert (found["issued"], found["expired"]) == (True, False)
    assert found["expires_at"].endswith("Z")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("create",), "--role, for an API token, and --service"),
        (("create", "--role", "read", "--service", TOKEN), "--role, for an API token, and --service"),
        (("create", "--service", TOKEN, "--name", "x"), "leave out --name"),
        (("create", "--service", "bakcup"), "did you mean `backup`"),
        (("create", "--service", TOKEN, "--expires", "0"), "x>=1"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_made(data: Path, arguments: tuple[str, ...], message: str) -> None:
    result = run(data, *arguments)
    assert result.exit_code != 0
    assert message in result.output
    assert result.stdout == ""
    assert not listed(data)[TOKEN]["issued"]

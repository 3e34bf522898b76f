"""`watchword audit list` and `watchword revisions`, on the store of a server that does not run."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from watchword_server.cli.apply import apply
from watchword_server.cli.audit import audit
from watchword_server.cli.revisions import revisions
from watchword_server.cli.tokens import token


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Rules in their third form."""
    data = tmp_path / "data"
    invoke(token, "create", "--role", "read", "--name", "grafana", data=data)
    for domain in ("a.example", "b.example"):
        (tmp_path / "rules.yaml").write_text(
            f"groups:\n  - name: staff\n    include: [{{ email_domain: {{ domain: {domain} }} }}]\n"
        )
        invoke(apply, str(tmp_path / "rules.yaml"), data=data)
    return data


def invoke(command: click.Command, *arguments: str, data: Path, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(command, [*arguments, "--data", str(data)])
    assert result.exit_code == exit_code, result.output
    return result


def test_the_log_is_listed_newest_first_and_filtered(data: Path) -> None:
    records = json.loads(invoke(audit, "list", "--json", data=data).stdout)
    actions = ["entry.updated", "entry.created", "api_token.created", "audit.began"]
    assert [each["action"] for each in records] == actions
    told = invoke(audit, "list", "--target", "groups", data=data).stdout.splitlines()
    assert [line.split()[0] for line in told] == ["NUMBER", "4", "3"]
    assert "groups staff" in told[1]
    of_tokens = invoke(audit, "list", "--action", "api_token", "--limit", "1", data=data).stdout
    assert "api_token grafana" in of_tokens
    assert len(invoke(audit, "list", "--until", "2020-01-01T00:00:00Z", data=data).stdout.splitlines()) == 1
    assert "not as expected" in invoke(audit, "list", "--since", "yesterday", data=data, exit_code=1).stderr


def test_a_revision_is_listed_shown_and_gone_back_to(data: Path) -> None:
    listed = json.loads(invoke(revisions, "list", "--json", data=data).stdout)
    second, first = (str(each["revision"]) for each in listed)
    assert [line.split()[0] for line in invoke(revisions, "list", data=data).stdout.splitlines()] == ["REVISION", second, first]
    shown = invoke(revisions, "show", second, data=data).stdout
    assert shown.startswith("updated   groups.staff (")
    lines = [line.strip() for line in shown.splitlines()]
    assert [line for line in lines if line[0] in "+-"] == [
        '-           "domain": "a.example"',
        '+           "domain": "b.example"',
    ]
    planned = invoke(revisions, "rollback", first, "--dry-run", data=data)
    assert (planned.stdout, "would change" in planned.stderr) == ("updated   groups.staff\n", True)
    assert len(json.loads(invoke(revisions, "list", "--json", data=data).stdout)) == 2
    done = invoke(revisions, "rollback", first, data=data)
    assert (done.stdout, "in force: rules revision" in done.stderr) == ("updated   groups.staff\n", True)
    again = invoke(revisions, "rollback", first, data=data)
    assert (again.stdout, "nothing to change" in again.stderr) == ("", True)
    [newest, *_] = json.loads(invoke(revisions, "list", "--json", data=data).stdout)
    assert newest["rolls_back_to"] == int(first)
    change = json.loads(invoke(revisions, "show", str(newest["revision"]), "--json", data=data).stdout)["changes"][0]
    assert change["after"]["body"]["include"] == [{"email_domain": {"domain": "a.example"}}]


def test_a_revision_that_is_not_there_is_told(data: Path) -> None:
    for command in ("show", "rollback"):
        assert "watchword revisions list" in invoke(revisions, command, "999", data=data, exit_code=1).stderr

"""`watchword apply` and `watchword export` on a running server: directories, plans, confirmation, and what is refused."""

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from cloudflare import Cloudflare

from cloudflare_sdk.conftest import Account, token_of
from rehearsal.files import CA, a_check, a_document, a_rule, written
from support.pki import Pki
from support.server import WATCHWORD, WatchwordServer
from watchword_server.__main__ import main


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with WatchwordServer(tmp_path_factory.mktemp("files") / "data") as server:
        yield Account(server, server.endpoints.account_id, token_of(server, "write"), Pki.make())


@pytest.fixture
def account(running: Account, tmp_path: Path) -> Account:
    """Without rules."""
    assert watchword(running, "apply", written(tmp_path / "none.yaml", "{}"), "--prune", "--yes").returncode == 0
    return running


def watchword(account: Account, *arguments: object) -> "Ran":
    """As a script runs it: nobody can be asked."""
    return run(*arguments, "--data", account.server.data)


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a command."""

    returncode: int
    stdout: str
    stderr: str


def run(*arguments: object) -> Ran:
    """The command in this process, which saves a second of imports each time."""
    result = CliRunner().invoke(main, [*map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return Ran(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Rules in several files, nested, beside files that are no rules."""
    document = a_document()
    root = tmp_path / "rules"
    (root / "gateway").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / "ca.pem").write_text(CA)
    written(root / ".git" / "hidden.yaml", "nonsense: true")
    written(root / "notes.txt", "nonsense")
    written(root / "10-devices.yaml", {"certificates": [{"name": "ca", "file": "ca.pem"}], "checks": document["checks"]})
    written(root / "20-access.yml", {key: document[key] for key in ("policies", "applications")})
    written(root / "gateway" / "rules.yaml", {"gateway_rules": [a_rule('http.request.host == "x.test"')], "unmatched": "deny"})
    return root


def test_a_directory_is_one_document(account: Account, directory: Path) -> None:
    applied = watchword(account, "apply", directory)
    assert (applied.returncode, applied.stdout.splitlines()) == (
        0,
        [
            "created   certificates.ca",
            "created   checks.laptop",
            "created   policies.ada",
            "created   applications.wiki",
            "created   gateway_rules.rule",
            "created   settings.unmatched",
        ],
    )
    again = watchword(account, "apply", directory)
    assert again.stderr.startswith("nothing to change: rules revision ")


def test_the_plan_tells_what_differs_and_what_stays(account: Account, directory: Path) -> None:
    assert watchword(account, "apply", directory).returncode == 0
    written(
        directory / "gateway" / "rules.yaml",
        {"gateway_rules": [a_rule('http.request.host == "y.test"', name="other", precedence=20)]},
    )
    check = a_check(schedule="10m", expiration="20m")
    written(directory / "10-devices.yaml", {"certificates": [{"name": "ca", "file": "ca.pem"}], "checks": [check]})
    planned = watchword(account, "apply", directory, "--dry-run")
    assert planned.returncode == 0
    assert planned.stdout.splitlines() == [
        "unchanged certificates.ca",
        "updated   checks.laptop",
        '            schedule: "5m" → "10m"',
        '            expiration: "15m" → "20m"',
        "unchanged policies.ada",
        "unchanged applications.wiki",
        "created   gateway_rules.other",
    ]
    first, last = planned.stderr.splitlines()
    assert first == "2 entries are not in the files and stay as they are: gateway_rules.rule, settings.unmatched"
    assert last.startswith("would change: rules revision ")
    assert watchword(account, "apply", directory, "--dry-run").stdout == planned.stdout  # nothing was done


def test_nothing_is_removed_unless_somebody_says_yes(account: Account, directory: Path) -> None:
    assert watchword(account, "apply", directory).returncode == 0
    (directory / "gateway" / "rules.yaml").unlink()
    refused = watchword(account, "apply", directory, "--prune")
    assert refused.returncode == 2
    assert "this would remove 2 entries: say --yes to do so, or --dry-run to look" in refused.stderr
    assert "removed   gateway_rules.rule" in refused.stdout
    assert watchword(account, "apply", directory).stderr.startswith("2 entries are not in the files")

    assert _at_a_terminal(account, "n\n", "apply", directory, "--prune") == 1
    assert watchword(account, "apply", directory).stderr.startswith("2 entries are not in the files")
    assert _at_a_terminal(account, "y\n", "apply", directory, "--prune") == 0
    assert watchword(account, "apply", directory).stderr.startswith("nothing to change")


def _at_a_terminal(account: Account, answer: str, *arguments: object) -> int:
    ours, theirs = pty.openpty()
    try:
        command = [str(WATCHWORD), *map(str, arguments), "--data", str(account.server.data)]
        with subprocess.Popen(command, stdin=theirs, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            os.write(ours, answer.encode())
            return process.wait()
    finally:
        os.close(ours)
        os.close(theirs)


def test_what_changed_between_plan_and_execution_is_not_overwritten(account: Account, directory: Path) -> None:
    """As `apply` does it: the revision that was planned for is the one that is changed, or none."""
    api = f"{account.server.endpoints.operators}/api/v1/rules/apply"
    headers = {"Authorization": f"Bearer {account.token}"}
    document = {"groups": [{"name": "staff", "include": [{"everyone": {}}]}]}
    plan = httpx.post(api, json={"document": document, "dry_run": True}, headers=headers).json()
    assert watchword(account, "apply", directory).returncode == 0  # somebody else
    late = httpx.post(api, json={"document": document, "expected_revision": plan["revision"]}, headers=headers)
    assert (late.status_code, late.json()["error"]["code"]) == (409, "plan_outdated")
    assert "look at the plan again" in late.json()["error"]["message"]
    assert "groups.staff" not in watchword(account, "export").stdout
    now = httpx.post(api, json={"document": document, "dry_run": True}, headers=headers).json()["revision"]
    assert httpx.post(api, json={"document": document, "expected_revision": now}, headers=headers).json()["changed"] is True


def test_a_name_that_stands_twice_is_told_with_both_places(account: Account, directory: Path) -> None:
    check = "  - {{ name: {}, type: client_certificate, input: {{ certificate_id: ca, cn: x }} }}\n"
    written(directory / "gateway" / "again.yaml", "checks:\n" + check.format("other") + check.format("laptop"))
    refused = watchword(account, "apply", directory)
    assert (refused.returncode, refused.stdout) == (1, "")
    line = next(
        number for number, line in enumerate((directory / "10-devices.yaml").read_text().splitlines(), 1) if '"laptop"' in line
    )
    assert refused.stderr == (
        f"{directory}/gateway/again.yaml:3:7: checks.laptop.name: `laptop` is the name of another check, "
        f"in `{directory}/10-devices.yaml` line {line}: write another name\n"
    )


@pytest.mark.parametrize("what", ["a file outside", "a directory", "nothing"])
def test_what_a_directory_must_not_have(account: Account, directory: Path, tmp_path: Path, what: str) -> None:
    if what == "a file outside":
        (directory / "linked.yaml").symlink_to(written(tmp_path / "elsewhere.yaml", "{}"))
        told = (
            f"{directory / 'linked.yaml'}: it is a link that leads out of the directory: put the file here, or name it as well\n"
        )
    elif what == "a directory":
        (directory / "linked").symlink_to(directory / "gateway")
        told = f"{directory / 'linked'}: it is a link to a directory: put the files here, or name that directory as well\n"
    else:
        directory = tmp_path / "empty"
        directory.mkdir()
        told = f"{directory}: there is no `*.yaml` or `*.yml` in it: name the directory that has the rules\n"
    refused = watchword(account, "apply", directory)
    assert (refused.returncode, refused.stderr) == (1, told)


def test_a_link_within_the_directory_is_followed(account: Account, tmp_path: Path) -> None:
    """As Kubernetes mounts a config map."""
    (tmp_path / "map" / "..data").mkdir(parents=True)
    written(tmp_path / "map" / "..data" / "rules.yaml", {"unmatched": "allow"})
    (tmp_path / "map" / "rules.yaml").symlink_to(Path("..data") / "rules.yaml")
    assert watchword(account, "apply", tmp_path / "map").stdout == "created   settings.unmatched\n"


def test_what_is_exported_makes_the_same_again(account: Account, directory: Path, tmp_path: Path) -> None:
    """Files and the API made it; applied to the same server it changes nothing, applied to an empty one it makes the same."""
    assert watchword(account, "apply", directory).returncode == 0
    with Cloudflare(base_url=account.base_url, api_token=account.token) as client:
        client.zero_trust.gateway.lists.create(
            account_id=account.id, name="Office Networks", type="IP", items=[{"value": "192.0.2.0/24"}]
        )
        client.zero_trust.access.groups.create(account_id=account.id, name="Everybody", include=[{"everyone": {}}])
    exported = watchword(account, "export")
    assert exported.returncode == 0
    whole = tmp_path / "whole.yaml"
    whole.write_text(exported.stdout)
    parts = tmp_path / "parts"
    told = watchword(account, "export", parts)
    assert (told.returncode, told.stderr) == (0, f"8 files in {parts}\n")
    for files in (whole, parts):
        assert watchword(account, "apply", files, "--prune").stderr.startswith("nothing to change")

    empty = tmp_path / "empty"
    subprocess.run([WATCHWORD, "migrate", "--data", empty], check=True, capture_output=True)
    for command in (["apply", parts], ["export"]):
        again = subprocess.run([WATCHWORD, *command, "--data", empty], capture_output=True, text=True, check=False)
        assert again.returncode == 0, again.stderr
    assert again.stdout == exported.stdout


def test_an_export_overwrites_nothing_unasked(account: Account, directory: Path, tmp_path: Path) -> None:
    assert watchword(account, "apply", directory).returncode == 0
    target = tmp_path / "exported"
    assert watchword(account, "export", target).returncode == 0
    assert watchword(account, "export", target).returncode == 1
    written(target / "groups.yaml", {"groups": []})
    again = watchword(account, "export", target, "--force")
    assert again.returncode == 0
    assert not (target / "groups.yaml").exists()  # there is no group
    written(target / "notes.yaml", "{}")
    refused = watchword(account, "export", target, "--force")
    assert (refused.returncode, "notes.yaml` is there already" in refused.stderr) == (1, True)


def test_an_export_of_nothing_can_be_applied(account: Account, tmp_path: Path) -> None:
    assert watchword(account, "export").stdout == "{}\n"
    assert watchword(account, "export", tmp_path / "nothing").returncode == 0
    assert watchword(account, "apply", tmp_path / "nothing").stderr.startswith("nothing to change")


def test_the_plan_for_scripts(account: Account, directory: Path) -> None:
    assert watchword(account, "apply", directory).returncode == 0
    written(directory / "gateway" / "rules.yaml", {"gateway_rules": [a_rule('http.request.host == "y.test"')]})
    answer = json.loads(watchword(account, "apply", directory, "--dry-run", "--json").stdout)
    [entry] = answer["plan"]
    assert (answer["changed"], entry["action"], entry["section"], entry["name"]) == (False, "updated", "gateway_rules", "rule")
    assert [difference["path"] for difference in entry["differences"]] == ["traffic"]
    assert [(entry["section"], entry["name"]) for entry in answer["only_stored"]] == [("settings", "unmatched")]


def test_commands_on_rules_take_directories(account: Account, directory: Path, tmp_path: Path) -> None:
    def rules(*arguments: object) -> Ran:
        return run("rules", *arguments)

    assert rules("check", directory).stderr == f"{directory}: no errors, 0 warnings, 0 notes\n"
    assert "certificates" in rules("stats", directory).stdout
    scenario = {"name": "x", "request": {"url": "https://x.test/"}, "expect": {"decision": "deny"}}
    file = {"rules": "../rules", "now": "2026-11-24T00:00:00Z", "scenarios": [scenario]}
    (tmp_path / "scenarios").mkdir()
    written(tmp_path / "scenarios" / "x.yaml", file)
    assert rules("test", tmp_path / "scenarios").stdout == "ok   x\n"
    log = written(tmp_path / "log.jsonl", "")
    assert rules("diff", directory, directory, "--decisions", log).returncode == 3

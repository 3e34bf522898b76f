"""`watchword rules`: what stands on stdout and stderr, and the exit codes that a pipeline looks at."""

import gzip
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from rehearsal.files import HOST, a_check, a_document, a_rule, written
from rehearsal.test_diffing import ADA, POSTURE, loaded, of_ada, recorded
from rehearsal.test_scenario_files import a_file, a_scenario
from watchword_server.__main__ import main

WATCHWORD = Path(sys.executable).with_name("watchword")
CASES = Path(__file__).resolve().parents[1] / "cases"


@dataclass(frozen=True, slots=True)
class Done:
    """What a command said, and its exit code."""

    returncode: int
    stdout: str
    stderr: str


def watchword(*arguments: object, stdin: str | None = None) -> Done:
    """In this process: the program itself takes a second to start."""
    result = CliRunner().invoke(main, ["rules", *map(str, arguments)], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    return written(tmp_path / "rules.yaml", a_document())


@pytest.fixture
def worrying(tmp_path: Path) -> Path:
    rule = a_rule("http.conn.src_ip in {192.0.2.0/24}", report_only=True)
    return written(tmp_path / "worrying.yaml", a_document(gateway_rules=[rule]))


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    return written(tmp_path / "broken.yaml", a_document(gateway_rules=[a_rule("http.request.hots == 1")]))


def test_check(rules: Path, worrying: Path, broken: Path) -> None:
    fine = watchword("check", rules, "--strict")
    assert (fine.returncode, fine.stdout) == (0, "")
    assert fine.stderr == f"{rules}: no errors, 0 warnings, 0 notes\n"

    found = watchword("check", worrying)
    assert found.returncode == 0
    assert f"{worrying}:" in found.stdout
    assert "[warning: absence-lifts-block]\n    http.conn.src_ip in" in found.stdout
    assert found.stderr == f"{worrying}: no errors, 1 warning, 1 note\n"
    assert watchword("check", worrying, "--strict").returncode == 1

    refused = watchword("check", broken)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "gateway_rules.rule.traffic: 1:1: " in refused.stderr
    assert "^^^" in refused.stderr
    assert watchword("check", "nowhere.yaml").returncode == 2


def test_several_files_are_checked_as_one(tmp_path: Path, broken: Path) -> None:
    whole = a_document(gateway_rules=[a_rule("http.conn.src_ip in {192.0.2.0/24}", report_only=True)])
    policies = written(tmp_path / "policies.yaml", {"policies": whole.pop("policies")})
    rest = written(tmp_path / "rest.yaml", whole)
    assert watchword("check", rest).returncode == 1
    found = watchword("check", policies, rest)
    assert (found.returncode, found.stderr) == (0, "2 files: no errors, 1 warning, 1 note\n")
    assert all(line.startswith((f"{rest}:", "    ")) for line in found.stdout.splitlines())
    record = json.loads(watchword("check", policies, rest, "--json").stdout)["findings"][0]
    assert (record["file"], record["path"][:2]) == (str(rest), ["gateway_rules", 0])

    more = written(tmp_path / "more.yaml", {"policies": [{"name": "eve", "decision": "alow"}], "unmatched": "allow"})
    other = written(tmp_path / "other.yaml", {"unmatched": "deny", "nonsense": 1})
    lines = watchword("check", policies, rest, more, other).stderr.splitlines()
    assert [line.split(": ")[0].split(":")[0] for line in lines] == [str(more)] * 3 + [str(other)] * 2
    assert any(line.startswith(f"{other}:") and "`nonsense` is not known here" in line for line in lines)
    unread = written(tmp_path / "unread.yaml", "policies: [")
    assert watchword("check", policies, unread).stderr.startswith(f"{unread}:")


def test_check_for_scripts(worrying: Path, broken: Path) -> None:
    found = json.loads(watchword("check", worrying, "--json").stdout)
    assert found["errors"] == []
    assert {one["code"]: one["weight"] for one in found["findings"]} == {"absence-lifts-block": "warning", "report-only": "note"}
    assert all(one["line"] > 0 and one["file"] == str(worrying) for one in found["findings"])
    refused = watchword("check", broken, "--json")
    assert refused.returncode == 1
    assert "1:1: " in json.loads(refused.stdout)["errors"][0]


def test_the_shared_cases_pass() -> None:
    done = watchword("test", *sorted(CASES.glob("*/scenarios.yaml")))
    assert done.returncode == 0, done.stdout
    assert all(line.startswith("ok   ") for line in done.stdout.splitlines())
    assert done.stderr.endswith(" 0 failed\n")


def test_a_scenario_that_fails(tmp_path: Path, rules: Path, broken: Path) -> None:
    path = written(tmp_path / "scenarios.yaml", a_file(a_scenario(identity=ADA), a_scenario(name="two")))
    done = watchword("test", path)
    assert done.returncode == 1
    assert done.stdout.splitlines() == ["FAIL one: expected deny, got allow (policy_allow, policy ada)", "ok   two"]
    assert done.stderr == "2 scenarios, 1 failed\n"

    explained = watchword("test", path, "--explain").stdout
    assert "       application wiki → allow\n         policy ada → applies" in explained
    record = json.loads(watchword("test", path, "--json").stdout)
    assert (record["passed"], record["failed"], [one["passed"] for one in record["scenarios"]]) == (1, 1, [False, True])

    stricter = written(tmp_path / "stricter.yaml", a_document(policies=[of_ada(require=POSTURE)]))
    assert watchword("test", path, "--rules", stricter).returncode == 0
    unusable = watchword("test", path, "--rules", broken)
    assert (unusable.returncode, unusable.stdout) == (2, "")
    assert "gateway_rules.rule.traffic: 1:1: " in unusable.stderr
    assert watchword("test").returncode == 2


@pytest.mark.parametrize("how", ["plain", "gz", "stdin"])
def test_diff(tmp_path: Path, how: str) -> None:
    old = loaded(tmp_path, "old")
    loaded(tmp_path, "new", policies=[of_ada(require=POSTURE)])
    lines: list[Any] = [recorded(old, identity=ADA), recorded(old), {"event": "posture_result"}]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"event": "deci'
    log = tmp_path / ("log.gz" if how == "gz" else "log")
    log.write_bytes(gzip.compress(text.encode()) if how == "gz" else text.encode())
    source: object = "-" if how == "stdin" else log
    told = text if how == "stdin" else None
    done = watchword("diff", tmp_path / "old.yaml", tmp_path / "new.yaml", "--decisions", source, stdin=told)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "allow→deny  1 decision  policy ada → no_device",
        f"         1  GET https://{HOST}/pages/7  ada@corp.example",
    ]
    assert done.stderr.splitlines() == [
        "2 decisions: 1 would change, 1 would not",
        "1 line skipped that are no decisions",
        "1 line could not be read",
    ]
    same = watchword("diff", tmp_path / "old.yaml", tmp_path / "old.yaml", "--decisions", source, "--json", stdin=told)
    assert (same.returncode, json.loads(same.stdout)["changed"]) == (0, [])


def test_diff_says_where_it_cannot_tell(tmp_path: Path, rules: Path) -> None:
    """Exit code 3 is no promise that nothing changes."""
    for text in ("", '{"event": "posture_result"}\n', '{"event": "decision"}\n'):
        assert watchword("diff", rules, rules, "--decisions", written(tmp_path / "log", text)).returncode == 3
    old = loaded(tmp_path, "old", policies=[of_ada(require=POSTURE)])
    changed = [a_check(input={**a_check()["input"], "cn": "other"})]
    loaded(tmp_path, "new", policies=[of_ada(require=POSTURE)], checks=changed)
    device = {"id": "dev", "results": {"laptop": {"passed": True, "age": "60s"}}}
    log = written(tmp_path / "log", json.dumps(recorded(old, identity=ADA, device=device)) + "\n")
    done = watchword("diff", tmp_path / "old.yaml", tmp_path / "new.yaml", "--decisions", log)
    assert done.returncode == 3
    assert "1 decision cannot be told: a check is new" in done.stderr


def test_diff_of_what_cannot_be_used(tmp_path: Path, rules: Path, broken: Path) -> None:
    log = written(tmp_path / "log", "")
    assert watchword("diff", rules, broken, "--decisions", log).returncode == 2
    assert watchword("diff", rules, rules, "--decisions", tmp_path / "nowhere").returncode == 2
    cut_off = tmp_path / "log.gz"
    cut_off.write_bytes(gzip.compress(b'{"event": "x"}\n' * 1000)[:-20])
    done = watchword("diff", rules, rules, "--decisions", cut_off)
    assert done.returncode == 3
    assert "1 line could not be read\nthe log has no decision" in done.stderr


def test_stats(tmp_path: Path) -> None:
    gateway = [
        a_rule(f'http.request.host == "{HOST}"', name="by-host"),
        a_rule('http.request.uri.path matches "^/a"', name="by-pattern", precedence=20),
        a_rule(device_posture='not(any(device_posture.checks.passed[*] == "laptop"))', name="by-posture", precedence=30),
        a_rule(name="all", precedence=40),
        a_rule('not(http.request.method == "GET")', name="negated", precedence=50),
        a_rule(name="off", precedence=60, enabled=False),
    ]
    lists = [{"name": "nets", "type": "IP", "items": [{"value": "192.0.2.0/24"}]}]
    wild = {"name": "any", "type": "self_hosted", "domain": "*.corp.example", "policies": ["ada"]}
    document = a_document(gateway_rules=gateway, lists=lists)
    document["applications"].append(wild)
    path = written(tmp_path / "rules.yaml", document)
    found = json.loads(watchword("stats", path, "--json").stdout)
    assert found["entries"]["gateway rules, enabled"] == 5
    assert found["entries"]["gateway rules, disabled"] == 1
    assert found["hosts"] == {"exact": 1, "with a wildcard": 1}
    (http,) = found["gateway"]
    assert http["indexed"] == {"http.request.host": 1}
    assert {one["name"]: one["why"].split(":")[0] for one in http["always"]} == {
        "by-pattern": "it requires no certain value of any field",
        "by-posture": "it asks for posture alone, which nearly every request has the same of",
        "all": "it has no condition",
        "negated": "it requires no certain value of any field",
    }
    assert found["lists"] == [{"name": "nets", "type": "IP", "values": 1}]
    told = watchword("stats", path).stdout
    assert "by-pattern (block): it requires no certain value of any field: a regular expression" in told
    assert "negated (block): it requires no certain value of any field: a negation" in told


def test_the_settings_say_how_expressions_are_read(tmp_path: Path) -> None:
    path = written(tmp_path / "rules.yaml", a_document(gateway_rules=[a_rule('http.src_ip.geo.country != "PT"', action="allow")]))
    config = written(tmp_path / "watchword.toml", "[rules]\nmissing_not_equal = false\n")
    assert "absence-opens-allow" in watchword("check", path).stdout
    assert "absence-opens-allow" not in watchword("check", path, "--config", config).stdout
    wrong = written(tmp_path / "wrong.toml", "[rules]\nnonsense = 1\n")
    assert watchword("check", path, "--config", wrong).returncode == 2


@pytest.mark.parametrize(
    ("request_arguments", "told"),
    [
        ((f"https://{HOST}/", "GET"), f"`https://{HOST}/` is no method: write the method first"),
        (("GET", HOST), f"`{HOST}` is no absolute URL: write one like"),
    ],
)
def test_explain_says_which_argument_is_wrong(request_arguments: tuple[str, str], told: str) -> None:
    done = subprocess.run([WATCHWORD, "explain", "--request", *request_arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert told in done.stderr

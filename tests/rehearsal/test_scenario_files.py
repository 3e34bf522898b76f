"""A scenario file is read strictly: every mistake is told at once, with its line and what to write instead."""

import re
from pathlib import Path
from typing import Any

import pytest

from rehearsal.files import HOST, a_document, written
from watchword_server.core.certificates.refusal import REASONS
from watchword_server.doors.requests import split_authority, split_url
from watchword_server.rehearsal.reasons import DECISION_REASONS
from watchword_server.rehearsal.requests import target_of
from watchword_server.rehearsal.running import run
from watchword_server.rehearsal.scenarios import load_scenarios
from watchword_server.rehearsal.snapshots import RefusedFileError

URL = f"https://{HOST}/pages/7"


def a_scenario(**fields: Any) -> dict[str, Any]:
    return {"name": "one", "request": {"url": URL}, "expect": {"decision": "deny"}, **fields}


def a_file(*scenarios: Any, **fields: Any) -> dict[str, Any]:
    return {"rules": "rules.yaml", "now": "2026-11-23T12:00:00Z", "scenarios": list(scenarios or [a_scenario()]), **fields}


def refused(directory: Path, value: Any) -> list[str]:
    written(directory / "rules.yaml", a_document())
    with pytest.raises(RefusedFileError) as caught:
        load_scenarios(written(directory / "scenarios.yaml", value))
    return [line.removeprefix(str(directory) + "/") for line in caught.value.lines]


def test_every_mistake_is_told_with_its_line(tmp_path: Path) -> None:
    text = f"""\
rules: rules.yaml
now: 2026-11-23
scenarios:
  - name: one
    request: {{ method: get, url: wiki.corp.example, source_ip: 192.0.2.300 }}
    identity: {{ email: ada, groups: engineers, gruops: [] }}
    facts: {{ http.src_ip.geo.contry: PT }}
    device: {{ id: d, results: {{ laptop: {{ passed: yes, age: 5 }} }} }}
    expect: {{ decison: deny, decision: maybe }}
  - name: one
    request: {{ url: "{URL}" }}
    expect: {{ decision: deny }}
"""
    lines = refused(tmp_path, text)
    assert [int(line.split(":")[1]) for line in lines] == sorted(int(line.split(":")[1]) for line in lines)
    told = "\n".join(lines)
    for part in (
        "scenarios.yaml:2:1: now: `2026-11-23` is not a time with its zone: write one like `2026-11-23T12:00:00Z`",
        "scenarios.one.request.method: `get` is not a method: write it in capitals, like `GET`",
        "scenarios.one.request.url: `wiki.corp.example` is not an absolute URL",
        "scenarios.one.request.source_ip: `192.0.2.300` is not an IP address",
        "scenarios.one.identity.email: `ada` is not an email address",
        "`http.src_ip.geo.contry` is no fact that a caller reports: did you mean `http.src_ip.geo.country`?",
        "an age is written like `60s`, `5m` or `1h30m`",
        "scenarios.one.expect.decison: `decison` is not known here: did you mean `decision`?",
        "scenarios.one.expect.decision: `maybe` is not known here",
    ):
        assert part in told


def test_two_scenarios_of_one_name(tmp_path: Path) -> None:
    (line,) = refused(tmp_path, a_file(a_scenario(), a_scenario()))
    assert line.endswith("scenarios.one.name: `one` is the name of another scenario: write another name")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            {"device": {"id": "d", "results": {"lapto": {"passed": True, "age": "5m"}}}},
            "`lapto` is no check of the rules: did you mean `laptop`?",
        ),
        ({"service_token": "backup"}, "`backup` is no service token of the rules: there are none yet"),
        ({"caller": "edge"}, "`edge` is no caller of the rules"),
        ({"expect": {"decision": "deny", "policy": "adda"}}, "`adda` is no policy of the rules: did you mean `ada`?"),
        (
            {"expect": {"decision": "deny", "application": "wikki"}},
            "`wikki` is no application of the rules: did you mean `wiki`?",
        ),
        ({"expect": {"decision": "deny", "gateway_rule": "x"}}, "`x` is no enabled Gateway rule of the rules"),
        ({"expect": {"decision": "deny", "reported": ["x"]}}, "`x` is no policy or enabled Gateway rule of the rules"),
    ],
)
def test_a_name_that_is_nobodys_is_a_mistake(tmp_path: Path, fields: dict[str, Any], told: str) -> None:
    (line,) = refused(tmp_path, a_file(a_scenario(**fields)))
    assert told in line


def test_the_rule_file_is_beside_it_and_its_mistakes_are_its_own(tmp_path: Path) -> None:
    written(tmp_path / "rules.yaml", {"policies": [{"name": "x", "decision": "allow"}]})
    with pytest.raises(RefusedFileError, match=r"rules\.yaml:\d+:\d+: policies\.x"):
        load_scenarios(written(tmp_path / "scenarios.yaml", a_file()))
    with pytest.raises(RefusedFileError, match="cannot be read"):
        load_scenarios(written(tmp_path / "scenarios.yaml", a_file(rules="nowhere.yaml")))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            {"identity": {"mail": "ada@corp.example"}},
            "identity.mail: `mail` is not known of a user: write the user's address as `email`",
        ),
        ({"identity": {"groups": [{"nme": "x"}]}}, "unknown member `nme` of `identity.groups`: did you mean `name`?"),
        (
            {"expect": {"decision": "deny", "reason": "no_devise"}},
            "`no_devise` is no reason that it can have: did you mean `no_device`?",
        ),
        ({"certificate": {"refused": "expired"}}, "`expired` is no reason that it can have: docs/reasons.md has them"),
        ({"service_token": {"refused": False}}, "write it, or `refused: true`"),
        ({"expect": {"reason": "no_device"}}, "expect.decision: `decision` is missing: write `allow` or `deny`"),
        ({"request": {}}, "request.url: `url` is missing: write one like"),
    ],
)
def test_what_to_write_instead(tmp_path: Path, fields: dict[str, Any], told: str) -> None:
    (line,) = refused(tmp_path, a_file(a_scenario(**fields)))
    assert told in line


def test_a_rule_file_that_is_not_there_is_told_where_it_is_named(tmp_path: Path) -> None:
    (line,) = refused(tmp_path, a_file(rules="nowhere.yaml"))
    assert line.startswith("scenarios.yaml:2:")


def test_the_reasons_are_those_of_the_docs() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "reasons.md").read_text()
    table = page.split("## Decisions")[1].split("\n## ")[0]
    rows = {code for row in re.findall(r"^\| (`.*?`) \|", table, flags=re.MULTILINE) for code in re.findall(r"`([a-z_]+)`", row)}
    of_a_server = {
        *("request_malformed", "caller_refused", "store_unavailable", "overloaded", "internal"),
        *("token_refused", "keys_unavailable"),
    }
    assert rows - of_a_server == DECISION_REASONS - REASONS


def test_what_came_instead_is_told_in_words(tmp_path: Path) -> None:
    rules = {"name": "no-wiki", "precedence": 1, "enabled": True, "filters": ["http"], "action": "block", "report_only": True}
    written(tmp_path / "rules.yaml", a_document(gateway_rules=[rules]))
    path = written(
        tmp_path / "scenarios.yaml",
        a_file(
            a_scenario(name="a", identity={"email": "Ada@corp.example"}),
            a_scenario(
                name="b", expect={"decision": "deny", "reason": "no_device", "policy": "ada", "check": "laptop", "reported": []}
            ),
            a_scenario(
                name="c", expect={"decision": "deny", "application": "wiki", "reported": ["no-wiki"], "reason": "fact_unknown"}
            ),
        ),
    )
    assert [ran.differences for ran in run(load_scenarios(path))] == [
        ("expected deny, got allow (policy_allow, policy ada)",),
        (
            "expected reason no_device, got fact_unknown",
            "expected policy ada, got none",
            "expected check laptop to stand in the way, got none",
            "expected to report none, got no-wiki",
        ),
        (),
    ]


@pytest.mark.parametrize(
    "url",
    [
        "https://wiki.corp.example/pages/7?a=b&c",
        "http://WIKI.Corp.Example.:8080",
        "https://wiki.corp.example:443/?",
        "https://[2001:db8::1]:8443/x",
        "https://wiki.corp.example?x=1",
        "https://user@wiki.corp.example/",
        "https://wiki.corp.example/a#b",
        "https://wiki..example/",
        "https://wiki.corp.example:99999/",
        "ftp://wiki.corp.example/",
        "https://wiki.corp.example/a b",
        "https://-wiki/",
    ],
)
def test_a_url_is_read_as_the_doors_read_it(url: str) -> None:
    try:
        scheme, authority, rest = split_url(url)
        host, port = split_authority(authority)
    except Exception:  # noqa: BLE001 - whatever a door refuses
        with pytest.raises(ValueError, match="write one like"):
            target_of(url)
        return
    path, _, query = rest.partition("?")
    assert target_of(url) == (scheme, host, None if port == {"http": 80, "https": 443}[scheme] else port, path, query)

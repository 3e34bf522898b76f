"""`watchword expr`."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from watchword_server.__main__ import main

CASES = Path(__file__).parents[1] / "cases" / "rules-language.jsonl"


def run(*arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(main, ["expr", *arguments], input=given)


def test_an_expression_is_evaluated_on_a_context() -> None:
    context = json.dumps({"http.request.host": "wiki.corp.example"})
    assert run('http.request.host wildcard "*.corp.example"', "--context", "-", given=context).stdout == "true\n"
    assert run('http.request.host == "x"').stdout == "false\n"
    assert run("score > 1 and net.dst.port == 22", "--filter", "l4", "--type", "score=Int").stdout == "false\n"


def test_lists_come_from_a_file(tmp_path: Path) -> None:
    lists = tmp_path / "lists.json"
    lists.write_text(json.dumps({"office": {"type": "Ip", "items": ["10.0.0.0/8", "192.0.2.1..192.0.2.9"]}}))
    context = json.dumps({"http.conn.src_ip": "192.0.2.5"})
    answer = run("http.conn.src_ip in $office", "--lists", str(lists), "--context", "-", given=context)
    assert answer.stdout == "true\n"
    assert "no list `home`" in run("http.conn.src_ip in $home", "--lists", str(lists)).stderr


@pytest.mark.parametrize(
    ("kind", "items", "field", "told"),
    [
        ("IP", ["10.0.0.0/8"], "http.conn.src_ip", "true"),
        ("Ip", ["10.0.0.0/8"], "http.conn.src_ip", "true"),
        ("EMAIL", ["Ada@corp.example"], "identity.email", "true"),
        ("Bytes", ["ada@corp.example"], "identity.email", "true"),
        ("ip", ["10.0.0.0/8"], "http.conn.src_ip", "`ip` of `l` is no type of a list"),
        ("Foo", [], "http.conn.src_ip", "`Foo` of `l` is no type of a list: write"),
        ("EMAIL", ["10.0.0.0/8"], "http.conn.src_ip", "is not an email address"),
        ("EMAIL", ["ada@corp.example"], "http.conn.src_ip", "`l` is a list of no addresses"),
        ("IP", ["10.0.0.1 10.0.0.2"], "http.conn.src_ip", "is not one address"),
        ("Int", ["1"], "http.conn.src_ip", "is no Int: write a whole number"),
    ],
)
def test_types_of_lists(tmp_path: Path, kind: str, items: list[object], field: str, told: str) -> None:
    lists = tmp_path / "lists.json"
    lists.write_text(json.dumps({"l": {"type": kind, "items": items}}))
    context = json.dumps({"http.conn.src_ip": "10.1.1.1", "identity.email": "ada@corp.example"})
    answer = run(f"{field} in $l", "--lists", str(lists), "--context", "-", given=context)
    assert told in answer.output
    assert (answer.exit_code == 0) is (told == "true")


def test_the_settings_say_how_it_is_read(tmp_path: Path) -> None:
    config = tmp_path / "watchword.toml"
    config.write_text("[rules]\nmissing_not_equal = false\n")
    assert run('http.src_ip.geo.country != "PT"').stdout == "true\n"
    assert run('http.src_ip.geo.country != "PT"', "--config", str(config)).stdout == "false\n"


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ('any(identity.groups[*].nme == "x")', "unknown member `nme` of `identity.groups`: did you mean `name`?"),
        ('any(identity.groups[*]["x"] == "x")', "unknown member `x` of `identity.groups`: there are `email`, `id`, `name`"),
        ('any(identity.groups.nme[*] == "x")', "unknown member `nme`"),
        ('identity.groups == "x"', "`any(identity.groups[*].name == …)`"),
        ("net.dst.port == 22", "`net.dst.port` is a field of `filters: [l4]`"),
        ('dns.fqdn == "x"', "is a field of `filters: [dns]`"),
        ("http.conn.src_ip in $Bad", "a list's name is expected: lower-case letters, digits, `_`, and dots and dashes inside"),
    ],
)
def test_the_remedy_is_in_the_message(expression: str, told: str) -> None:
    assert told in run(expression).stderr


def test_a_fault_is_shown_with_its_place() -> None:
    answer = run('http.request.hots == "x"')
    assert answer.exit_code == 1
    assert answer.stdout == ""
    assert answer.stderr.split("\n")[1:3] == ['http.request.hots == "x"', "^" * len("http.request.hots")]


@pytest.mark.parametrize(
    ("arguments", "given", "code", "told"),
    [
        ((), None, 2, "give either"),
        (("managed", "--cases", "-"), "", 2, "give either"),
        (("managed", "--type", "managed"), None, 2, "is no type"),
        (("managed", "--type", "notable=Bool"), None, 2, "cannot be a field's name"),
        (("managed", "--type", "managed=Bool", "--context", "-"), "nonsense", 1, "is no JSON"),
        (("managed", "--type", "managed=Bool", "--context", "-"), "[]", 1, "must be a JSON object"),
        (("managed", "--type", "managed=Bool", "--context", "-"), '{"managed": 1}', 1, "managed: this is no Bool"),
        (("managed", "--type", "managed=Bool", "--lists", "-"), '{"a": {"type": "Ip"}}', 1, "--lists cannot be used"),
    ],
)
def test_wrong_usage_is_told(arguments: tuple[str, ...], given: str | None, code: int, told: str) -> None:
    answer = run(*arguments, given=given)
    assert (answer.exit_code, answer.stdout) == (code, "")
    assert told in answer.stderr


def test_a_file_of_cases_is_answered_line_by_line() -> None:
    answer = run("--cases", str(CASES))
    assert answer.exit_code == 0
    cases = [json.loads(line) for line in CASES.read_text(encoding="utf-8").split("\n") if line]
    found = {line["id"]: line for line in map(json.loads, answer.stdout.splitlines())}
    assert len(found) == len(cases)
    for case in cases:
        line: dict[str, Any] = found[case["id"]]
        outcome = line["result"] if "result" in line else f"error:{line['error']}"
        assert outcome in [case["expect"], *case.get("accept", ())]
        assert "result" in line or line["message"]


def test_a_broken_case_is_one_line_among_others() -> None:
    good = {"id": "good", "expr": "t", "types": {"t": "Bool"}, "context": {"t": True}}
    broken: list[object] = [
        *("text", [1], None, {}, {"id": 1, "expr": 5}, {**good, "types": {"t": "Nonsense"}}, {**good, "types": 5}),
        *({**good, "context": {"t": 5}}, {**good, "context": []}, {**good, "lists": [1]}),
        {**good, "lists": {"l": {"type": "Ip", "items": ["nonsense"]}}},
    ]
    given = "\n".join(["{not json", *map(json.dumps, broken), "", "[" * 100_000, json.dumps(good)]) + "\n"
    answer = run("--cases", "-", given=given)
    assert answer.exit_code == 0
    lines = [json.loads(line) for line in answer.stdout.splitlines()]
    assert [line.get("error") for line in lines[:-1]].count("case") >= len(broken)
    assert lines[-1] == {"id": "good", "result": True}


def test_an_expression_that_nothing_can_reach_is_an_unknown_field() -> None:
    line = json.dumps({"id": "n", "expr": "notable", "types": {"notable": "Bool"}})
    assert json.loads(run("--cases", "-", given=line).stdout)["error"] == "unknown_field"

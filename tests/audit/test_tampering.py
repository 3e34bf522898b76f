"""Verification is silent about a whole log, and finds whatever was done to one: in an export, in a store, at either end."""

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner, Result

from watchword_server.cli.apply import apply
from watchword_server.cli.audit import audit
from watchword_server.cli.tokens import token
from watchword_server.core.audit import (
    NOTHING_YET,
    SERVER,
    Act,
    Action,
    Actor,
    Link,
    Target,
    Verification,
    canonical,
    hash_of,
    linked,
)
from watchword_server.core.model.names import Instant
from watchword_server.core.revisions import difference_sha256

RECORDS: Final = 8
DOCUMENTED: Final = Path(__file__).resolve().parents[2] / "docs" / "logs.md"
Lines = list[str]


def a_log() -> Lines:
    """As an export has it."""
    link, lines = NOTHING_YET, []
    for number in range(1, RECORDS + 1):
        began = number == 1
        act = Act(
            Instant(1000.0 + number),
            SERVER if began else Actor("api_token", f"t{number}", "Ægir \u0007 \U0001f511", "192.0.2.1"),
            Action.LOG_BEGAN if began else Action.ENTRY_CREATED,
            Target("checks", f"c{number}"),
            number,
            {"entries": 1},
        )
        record, link = linked(act, link)
        lines.append(canonical({**record, "hash": link.hash}))
    return lines


def verified(lines: Lines, head: Link | None = None) -> list[str]:
    verification = Verification(head)
    for line in lines:
        verification.take_line(line)
    return list(map(str, verification.finish()))


def link_of(line: str) -> Link:
    record = json.loads(line)
    return Link(record["number"], record["hash"])


def changed(line: str, *, hashed_anew: bool, **members: Any) -> str:
    record = json.loads(line) | members
    if hashed_anew:
        record["hash"] = hash_of(record)
    return canonical(record)


def test_a_whole_log_is_whole() -> None:
    lines = a_log()
    assert verified(lines) == []
    for line in lines:
        assert verified(lines, link_of(line)) == []


def test_the_canonical_form_is_the_one_of_rfc_8785() -> None:
    """Its own example of strings (section 3.2.2.2), and members in order."""
    text = '\u20ac$\u000f\nA\'B"\\\\"/'
    assert canonical({"b": None, "a": [text, True, -1], "A": {}}) == (
        '{"A":{},"a":["\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/",true,-1],"b":null}'
    )
    for number in (0.5, 1 << 53, -(1 << 53), float("nan")):
        with pytest.raises(ValueError, match="53 bits"):
            canonical({"x": [number]})


def test_somebody_else_can_check_it_with_what_the_documentation_says() -> None:
    """The program in docs/logs.md, which has nothing of ours."""
    [program] = re.findall(r"^```python\n(.*?)^```$", DOCUMENTED.read_text(), re.MULTILINE | re.DOTALL)

    def checked(lines: Lines) -> subprocess.CompletedProcess[str]:
        command, text = [sys.executable, "-I", "-c", program], "\n".join(lines) + "\n"
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False, env={"PYTHONIOENCODING": "utf-8"})

    lines = a_log()
    assert checked(lines).stdout == f"{link_of(lines[-1])}\n"
    for tamper in ("changed", "changed, and hashed anew", "removed", "inserted", "reordered"):
        assert checked(TAMPERINGS[tamper][0](lines)).returncode == 1


TAMPERINGS: Final[dict[str, tuple[Callable[[Lines], Lines], str]]] = {
    "changed": (
        lambda log: [*log[:3], changed(log[3], hashed_anew=False, action="entry.removed"), *log[4:]],
        "record 4: its content is not what its hash was made of",
    ),
    "changed, and hashed anew": (
        lambda log: [*log[:3], changed(log[3], hashed_anew=True, action="entry.removed"), *log[4:]],
        "record 5: it does not follow record 4",
    ),
    "an unknown member": (
        lambda log: [*log[:3], changed(log[3], hashed_anew=True, note="x"), *log[4:]],
        "what is at place 4 is no record",
    ),
    "another form of the same": (
        lambda log: [*log[:3], json.dumps(json.loads(log[3])), *log[4:]],
        "record 4: its content is not what its hash was made of",
    ),
    "a member twice": (
        lambda log: [*log[:3], '{"action":"entry.removed",' + log[3][1:], *log[4:]],
        "record 4: its content is not what its hash was made of",
    ),
    "removed": (lambda log: [*log[:3], *log[4:]], "record 4 is missing before record 5"),
    "several removed": (lambda log: [*log[:3], *log[6:]], "records 4 to 6 are missing before record 7"),
    "inserted": (lambda log: [*log[:4], log[3], *log[4:]], "record 4: it stands behind record 4"),
    "inserted with a number of its own": (
        lambda log: [*log[:4], changed(log[3], hashed_anew=True, number=5, previous=json.loads(log[3])["hash"]), *log[4:]],
        "record 5: it stands behind record 5",
    ),
    "reordered": (lambda log: [*log[:3], log[4], log[3], *log[5:]], "record 4: it stands behind record 5"),
    "the beginning removed": (lambda log: log[2:], "records 1 to 2 are missing, and no record says that they were trimmed"),
    "another beginning": (
        lambda log: [changed(log[0], hashed_anew=True, action="entry.created"), *log[1:]],
        "record 1: it is not the beginning of a log",
    ),
    "no JSON": (lambda log: [*log[:3], "{", *log[4:]], "line 4 is no JSON object"),
    "nothing left": (lambda _: [], "there is no record at all"),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_what_was_done_to_a_log_is_found(name: str) -> None:
    tamper, finding = TAMPERINGS[name]
    found = verified(tamper(a_log()))
    assert any(finding in fault for fault in found), found


def test_an_end_that_was_cut_off_shows_against_a_head_that_was_kept() -> None:
    lines = a_log()
    head = link_of(lines[-1])
    assert verified(lines[:-2]) == []  # nothing in what is left tells
    assert verified(lines[:-2], head) == [f"the log ends with record {RECORDS - 2}, and it had {RECORDS}: its end was cut off"]
    other = [*lines[:-1], changed(lines[-1], hashed_anew=True, action="entry.removed")]
    assert verified(other) == []
    assert verified(other, head) == [f"record {RECORDS} is another one than the head that was given: the log was written anew"]


def test_a_log_whose_beginning_was_trimmed_says_so_itself() -> None:
    lines = a_log()
    through = link_of(lines[2])
    act = Act(Instant(2000.0), SERVER, Action.LOG_TRIMMED, Target("audit"), None, {"through": 3, "hash": through.hash})
    record, link = linked(act, link_of(lines[-1]))
    trimmed = [*lines[3:], canonical({**record, "hash": link.hash})]
    assert verified(trimmed) == []
    assert verified(trimmed, through) == []
    assert "no record says" in verified(trimmed[1:])[0]  # one more than was said
    assert "not in the log: take a newer one" in verified(trimmed, link_of(lines[1]))[0]


# ---- The command ----------------------------------------------------------------------------------------------------------


def run(*arguments: str | Path, text: str | None = None) -> Result:
    return CliRunner().invoke(audit, [str(each) for each in arguments], input=text)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a history, of a server that does not run."""
    directory = tmp_path_factory.mktemp("kept")
    data = ("--data", str(directory / "data"))
    assert CliRunner().invoke(token, ["create", "--role", "read", *data]).exit_code == 0
    for number in range(3):
        (directory / "rules.yaml").write_text(
            f"callers:\n  - name: edge{number}\n    authenticate: {{ unix_socket: true }}\n"
            "  - name: proxy\n    authenticate: { secret_sha256: '" + "ab" * 32 + "' }\n"
        )
        applied = CliRunner().invoke(apply, [str(directory / "rules.yaml"), "--prune", "--yes", *data])
        assert applied.exit_code == 0, applied.output
    return directory / "data"


@pytest.fixture
def data(kept: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kept, tmp_path / "data"))


def execute(data: Path, statement: str) -> None:
    with closing(sqlite3.connect(data / "watchword.db")) as connection, connection:
        connection.execute(statement)


def test_an_export_and_a_store_are_whole_and_end_alike(data: Path, tmp_path: Path) -> None:
    exported = run("export", "--data", data)
    assert exported.exit_code == 0
    (tmp_path / "audit.jsonl").write_text(exported.stdout)
    of_the_store = run("verify", "--data", data)
    copy = shutil.copy(data / "watchword.db", tmp_path / "copy")
    for other in (run("verify", tmp_path / "audit.jsonl"), run("verify", copy), run("verify", "-", text=exported.stdout)):
        assert (other.exit_code, other.stdout) == (of_the_store.exit_code, of_the_store.stdout) == (0, of_the_store.stdout)
    head = of_the_store.stdout.strip()
    assert run("verify", "--data", data, "--head", head).exit_code == 0
    last = exported.stdout.splitlines()[:-1]
    cut = run("verify", "-", "--head", head, text="\n".join(last) + "\n")
    assert (cut.exit_code, "its end was cut off" in cut.stderr) == (1, True)
    as_json = json.loads(run("verify", "--data", data, "--json").stdout)
    assert as_json == {"head": head, "records": len(last) + 1, "faults": []}


def test_no_secret_is_in_it(data: Path) -> None:
    everything = run("export", "--data", data).stdout
    assert "ab" * 32 not in everything
    with closing(sqlite3.connect(data / "watchword.db")) as connection:
        lines = [line for (line,) in connection.execute("SELECT line FROM revision_entries")]
    assert any("(not kept)" in line for line in lines)
    assert not any("ab" * 32 in line for line in lines)


STATEMENTS: Final = {
    "a record's text": "UPDATE audit SET record = replace(record, '\"read\"', '\"admin\"') WHERE number = 2",
    "its hash": f"UPDATE audit SET hash = '{'1' * 64}' WHERE number = 3",
    "what is looked for beside it": "UPDATE audit SET actor_id = 'somebody' WHERE number = 2",
    "a record less": "DELETE FROM audit WHERE number = 3",
    "the first one less": "DELETE FROM audit WHERE number = 1",
    "all of them": "DELETE FROM audit",
    "what a revision did": "UPDATE revision_entries SET line = replace(line, 'edge1', 'edgy1') WHERE revision = 3",
    "an entry of a revision less": "DELETE FROM revision_entries WHERE revision = 3 AND place = 0",
    "a revision less": "DELETE FROM revisions WHERE number = 3",
    "a revision's hash": f"UPDATE revisions SET difference_sha256 = '{'1' * 64}' WHERE number = 3",
    "when": "UPDATE audit SET at = at - 86400 WHERE number = 2",
    "who made a revision": "UPDATE revisions SET actor = replace(actor, 'host', 'oidc') WHERE number = 3",
    "when it was made": "UPDATE revisions SET at = at - 86400 WHERE number = 3",
    "the record of a revision": "UPDATE revisions SET audit_number = 2 WHERE number = 3",
    "no JSON": "UPDATE audit SET record = '[]' WHERE number = 3",
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_whatever_is_changed_in_a_store_is_found(data: Path, name: str) -> None:
    execute(data, STATEMENTS[name])
    found = run("verify", "--data", data)
    assert (found.exit_code, bool(found.stderr)) == (1, True)


def test_two_records_of_a_store_in_another_order_are_found(data: Path) -> None:
    for statement in ("-3 WHERE number = 3", "3 WHERE number = 4", "4 WHERE number = -3"):
        execute(data, f"UPDATE audit SET number = {statement}")
    assert run("verify", "--data", data).exit_code == 1


def test_what_is_no_log_is_told(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello\n")
    assert "line 1 is no JSON object" in run("verify", tmp_path / "text").stderr
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection, connection:
        connection.execute("CREATE TABLE t (x)")
    assert "has no audit log" in run("verify", tmp_path / "other.db").stderr
    assert "no Watchword store" in run("verify", "--data", tmp_path / "nowhere").stderr
    assert run("verify", tmp_path / "text", "--head", "5").exit_code == 2


def test_the_hash_of_a_difference_is_of_its_lines() -> None:
    assert difference_sha256([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert difference_sha256(["a", "b"]) != difference_sha256(["ab"])

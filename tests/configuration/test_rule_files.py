"""Rule files as operators write them: what is accepted, and every refusal with its place."""

import hashlib
import json
from itertools import count
from pathlib import Path

import pytest

from watchword_server.configuration.book import EMPTY_BOOK
from watchword_server.configuration.document.sections import Document
from watchword_server.configuration.plan import plan_changes
from watchword_server.configuration.yaml_file import RuleFile, read_rule_file
from watchword_server.errors import ConfigurationError, Problem

REFUSED = sorted((Path(__file__).parent / "refused").glob("*.yaml"))


def problems_with(rule_file: RuleFile) -> list[str]:
    """Reads and plans on an empty store; the problems, without the file's name."""
    numbers = count()
    try:
        plan_changes(rule_file.document(), EMPTY_BOOK, new_id=lambda: f"id-{next(numbers)}", prune=False)
    except ConfigurationError as error:
        told = rule_file.explain(error)
        assert all(text.startswith(f"{rule_file.name}:") for text in told)
        assert all(line.startswith("    ") for text in told for line in text.split("\n")[1:])
        return [text.removeprefix(f"{rule_file.name}:") for text in told]
    return []


def read(directory: Path, text: str | bytes) -> RuleFile:
    path = directory / "rules.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_rule_file(path)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.stem)
def test_a_bad_file_is_refused_with_every_problem_and_its_place(case: Path, workplace: Path) -> None:
    """The expected lines stand behind `#> ` at the end of each file, in the order they are told."""
    expected = [line.removeprefix("#> ") for line in case.read_text().splitlines() if line.startswith("#> ")]
    assert expected
    assert "\n".join(problems_with(read_rule_file(workplace / case.name))).split("\n") == expected


def test_the_shared_example_is_accepted(workplace: Path) -> None:
    assert problems_with(read_rule_file(workplace / "the-shared-example.yaml")) == []


def test_the_supported_format_is_read_as_it_is_written(workplace: Path) -> None:
    document = read_rule_file(workplace / "supported.yaml").document()
    assert [(section.value, entry.name) for section, _, entry in document.entries()] == [
        ("certificates", "corp-device-ca"),
        ("checks", "managed-laptop"),
        ("checks", "older-laptop"),
        ("groups", "staff"),
        ("policies", "staff-on-managed-laptops"),
        ("policies", "from-the-office"),
        ("policies", "machines"),
        ("applications", "wiki"),
        ("applications", "previews"),
        ("lists", "office-networks"),
        ("lists", "admins"),
        ("gateway_rules", "block-old-wiki"),
        ("gateway_rules", "allow-the-rest"),
        ("gateway_rules", "admin-pages-from-managed-laptops-only"),
        ("gateway_rules", "ssh"),
        ("gateway_rules", "no-ads"),
        ("gateway_rules", "isolated"),
        ("gateway_rules", "admins-write-archived-records"),
        ("callers", "edge-envoy"),
        ("callers", "edge-caddy"),
        ("callers", "local"),
        ("service_tokens", "ci-runner"),
        ("service_tokens", "for-ever"),
        ("service_tokens", "a-year"),
        ("entities", "ada"),
        ("entities", "record-1"),
        ("entities", "write"),
        ("settings", "unmatched"),
    ]


def test_what_was_read_is_plain_json_without_file_references(workplace: Path) -> None:
    rule_file = read_rule_file(workplace / "supported.yaml")
    value = json.loads(json.dumps(rule_file.text.value))
    assert value["certificates"] == [
        {"name": "corp-device-ca", "pem": (workplace / "pki" / "issuing-ca.pem").read_text()},
    ]
    assert Document.model_validate(value) == rule_file.document()


def test_a_caller_s_secret_leaves_the_reader_only_as_a_hash(workplace: Path) -> None:
    secret = (workplace / "secrets" / "edge-envoy").read_text().strip()
    rule_file = read_rule_file(workplace / "supported.yaml")
    assert secret not in repr(rule_file)
    authenticate = rule_file.document().callers[0].authenticate
    assert authenticate.secret_sha256 == hashlib.sha256(secret.encode()).hexdigest()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a" * 32, None),
        (b"a" * 32 + b"\r\n", None),
        (b"a" * 31 + b"\n\n", "shorter than 32"),
        (b"", "shorter than 32"),
        (b" " + b"a" * 32, "cannot stand in a header"),
        (b"a" * 32 + b"\n" + b"a" * 32, "cannot stand in a header"),
        ("ä".encode() * 32, "cannot stand in a header"),
        (b"a" * 5000, "larger than 4096 bytes"),
    ],
)
def test_what_makes_a_secret(content: bytes, problem: str | None, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(content)
    problems = problems_with(read(tmp_path, "callers: [{ name: edge, authenticate: { secret_file: secret } }]"))
    assert len(problems) == (0 if problem is None else 1)
    assert problem is None or problem in problems[0]
    assert not any("aaaa" in told for told in problems)


def test_the_first_certificate_of_a_bundle_is_the_one(workplace: Path, tmp_path: Path) -> None:
    bundle = workplace / "pki" / "bundle.pem"
    rule_file = read(tmp_path, f"certificates: [{{ name: ca, file: '{bundle}' }}]")
    assert rule_file.document().certificates[0].pem == bundle.read_text()


def test_a_problem_that_only_the_server_finds_is_placed_at_what_was_written(workplace: Path) -> None:
    rule_file = read_rule_file(workplace / "supported.yaml")
    error = ConfigurationError([Problem(("certificates", 0, "pem"), "is not trusted")])
    assert rule_file.explain(error) == [f"{rule_file.name}:4:5: certificates.corp-device-ca.file: is not trusted"]


def test_an_absent_file_is_a_problem_like_any_other(tmp_path: Path) -> None:
    rule_file = read_rule_file(tmp_path / "nowhere.yaml")
    assert problems_with(rule_file) == ["1:1: cannot be read: no such file or directory; correct the path or its permissions"]


def test_a_file_over_the_limit_is_not_parsed(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("#" * 2000)
    rule_file = read_rule_file(tmp_path / "rules.yaml", max_bytes=1000)
    assert problems_with(rule_file) == ["1:1: is larger than 1000 bytes: this cannot be right, or has to be split"]


def test_bytes_that_are_not_utf_8_are_told_with_their_place(tmp_path: Path) -> None:
    assert problems_with(read(tmp_path, b"unmatched: deny\n# b\xfccher")) == ["2:4: is not UTF-8: save it as UTF-8"]


def test_a_byte_order_mark_and_dos_line_ends_change_nothing(tmp_path: Path) -> None:
    rule_file = read(tmp_path, b"\xef\xbb\xbfunmatched: deny\r\nunmached: deny\r\n")
    assert problems_with(rule_file) == ["2:1: unmached: `unmached` is not known here: did you mean `unmatched`?"]


def test_a_path_with_a_null_character_is_a_problem_and_not_a_crash(tmp_path: Path) -> None:
    rule_file = read(tmp_path, 'certificates: [{ name: ca, file: "a\\0b" }]')
    expected = "1:28: certificates.ca.file: `a\\x00b` cannot be read: there is no such path; correct it"
    assert problems_with(rule_file) == [expected]


def test_nothing_a_terminal_obeys_comes_back_from_a_file(tmp_path: Path) -> None:
    rule_file = read(tmp_path, 'groups: [{ name: "a\\e[2J", "\\e]0;x\\a": 1, include: [{ everyone: {} }] }]')
    assert all(line.isprintable() for line in problems_with(rule_file))


def test_a_problem_of_what_is_not_in_the_file_has_no_line(tmp_path: Path) -> None:
    rule_file = read(tmp_path, "unmatched: deny")
    error = ConfigurationError([Problem(("groups", "staff"), "the group contains itself"), Problem(("unmatched",), "is odd")])
    assert rule_file.explain(error) == [
        f"{rule_file.name}:1:1: unmatched: is odd",
        f"{rule_file.name}: groups.staff: the group contains itself",
    ]

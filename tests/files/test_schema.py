"""`watchword schema`: what is accepted validates, and what does not validate is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from watchword_server.__main__ import main
from watchword_server.configuration.document.sections import validate_document
from watchword_server.configuration.yaml_text import parse_yaml
from watchword_server.errors import ConfigurationError

TESTS = Path(__file__).resolve().parents[1]
ACCEPTED = sorted([*(TESTS / "configuration" / "accepted").glob("*.yaml"), *(TESTS / "cases").glob("*/rules.yaml")])
SCENARIOS = sorted((TESTS / "cases").glob("*/scenarios.yaml"))
REFUSED = sorted((TESTS / "configuration" / "refused").glob("*.yaml"))
# What only reading can know: what names lead to, what expressions say, what two entries have in common, how YAML is written.
BEYOND_A_SCHEMA = {
    *("an-exclamation-mark", "clashes", "duplicate-keys", "expressions", "group-cycles", "list-names", "names-in-expressions"),
    *("policies-through-groups", "references"),
}


def validator(what: str) -> Draft202012Validator:
    printed = CliRunner().invoke(main, ["schema", what])
    assert printed.exit_code == 0
    schema = json.loads(printed.stdout)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def faults(what: str, value: object) -> set[tuple[Any, ...]]:
    """The entries at fault, by section and index."""
    return {tuple(error.absolute_path)[:2] for error in validator(what).iter_errors(value)}


@pytest.mark.parametrize("path", ACCEPTED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_accepted_file_validates(path: Path) -> None:
    assert faults("rules", parse_yaml(path.read_text()).value) == set()


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.parent.name)
def test_every_scenario_file_validates(path: Path) -> None:
    assert faults("scenarios", parse_yaml(path.read_text()).value) == set()


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_what_does_not_validate_is_refused_where_the_schema_says_so(path: Path) -> None:
    """And most files that are refused for their structure do not validate."""
    text = parse_yaml(path.read_text())
    found = faults("rules", text.value)
    assert bool(found) == (path.stem not in BEYOND_A_SCHEMA)
    if text.readable:
        refused: set[tuple[Any, ...]] = {problem.path[:2] for problem in text.problems}
        try:
            validate_document(text.value)
        except ConfigurationError as error:
            refused |= {problem.path[:2] for problem in error.problems}
        assert found - {()} <= refused

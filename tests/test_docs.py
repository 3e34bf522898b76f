"""The documentation tells the truth where a program can tell: codes explained, links that lead somewhere, examples accepted."""

import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from support.pki import Pki
from watchword_server import errors
from watchword_server.configuration.book import EMPTY_BOOK
from watchword_server.configuration.document.sections import validate_document
from watchword_server.configuration.plan import plan_changes
from watchword_server.configuration.yaml_file import read_rule_file
from watchword_server.core import verify
from watchword_server.core.audit import Action
from watchword_server.core.certificates import refusal
from watchword_server.core.facts import REPORTABLE
from watchword_server.core.gateway import scheme_of
from watchword_server.core.kinds import client_certificate
from watchword_server.core.language.gateway import HTTP_FIELDS, IDENTITY_FIELDS, L4_FIELDS, OWNER_FIELDS, POSTURE_FIELDS
from watchword_server.core.language.parse import parse
from watchword_server.core.model.decisions import Standing
from watchword_server.core.rules import LanguageSettings
from watchword_server.core.snapshot import compile_rules

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "deploy" / "README.md", ROOT / ".github" / "SECURITY.md"]
)
NOT_FOR_OUTSIDE = {"internal", "peer_error", "operator_error", "unavailable", "evidence_rejected"}  # parents that are not raised
OPERATORS_OWN = {"configuration_invalid", "not_authorized", "not_found", "conflict", "data_directory_busy"}  # say it in words


def all_errors(parent: type[errors.WatchwordError] = errors.WatchwordError) -> Iterator[type[errors.WatchwordError]]:
    for child in parent.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from all_errors(child)


def codes() -> set[str]:
    found = {error.code for error in all_errors()} - NOT_FOR_OUTSIDE - OPERATORS_OWN
    found |= set(refusal.ORDER) | verify.COLLECTION_ERRORS | set(client_certificate._NO_SIGNATURE.values())
    found |= {standing.value for standing in Standing if standing.value not in {"passed", "failed"}}
    for room in ("core", "services", "doors"):
        for path in (ROOT / "server" / "watchword_server" / room).rglob("*.py"):
            text = path.read_text()
            found |= set(re.findall(r'(?:Verdict|ABSENT, |Close|_invalid|reason=)\(?"([a-z_]+)"', text))
            found |= set(re.findall(r'return "(possession_[a-z_]+)"', text))
    return found


def test_every_code_is_explained() -> None:
    explained = set(re.findall(r"`([a-z_]+)`", (ROOT / "docs" / "reasons.md").read_text()))
    assert codes() - explained == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith(("http", "#"))]
    assert [link for link in links if not (page.parent / link).exists()] == []


# ---- Examples of rules ----------------------------------------------------------------------------------------------------


def fenced(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", [line for block in fenced(ROOT / "docs" / "rules.md", "expr") for line in block.splitlines()])
def test_the_expressions_in_the_guide_are_expressions(text: str) -> None:
    rule_filter = "l4" if text.startswith("net.") else "http"
    assert parse(text, scheme_of(rule_filter, "traffic", LanguageSettings())).text == text


def test_the_guide_names_every_field_and_fact_with_its_type() -> None:
    guide = (ROOT / "docs" / "rules.md").read_text()
    table = guide.split("\n## Fields and facts\n")[1].split("\n## ")[0]
    types: dict[str, str] = {}
    filters: dict[str, str] = {}
    reported: set[str] = set()
    for names, kind, rule_filter, source in re.findall(r"^\| (`.*?) \| (.*?) \| (.*?) \| (.*?) \|$", table, re.MULTILINE):
        for name in re.findall(r"`(.*?)`", names):
            assert name not in types
            types[name], filters[name] = kind, rule_filter
            reported |= {name} if source.startswith("a fact") else set()
    everywhere = {**IDENTITY_FIELDS, **POSTURE_FIELDS, **OWNER_FIELDS}
    known = {**HTTP_FIELDS, **L4_FIELDS, **everywhere}
    assert types == {name: str(kind) for name, kind in {**known, **REPORTABLE}.items()}
    assert reported == REPORTABLE.keys() - {"net.sni.domains"}  # which is taken and not read
    assert {name for name, told in filters.items() if told == "both"} == {*everywhere, *(HTTP_FIELDS.keys() & L4_FIELDS.keys())}
    assert {name for name, told in filters.items() if told == "http"} == HTTP_FIELDS.keys() - L4_FIELDS.keys()
    assert {name for name, told in filters.items() if told == "l4"} == L4_FIELDS.keys() - HTTP_FIELDS.keys()
    assert {name for name, told in filters.items() if told == "none"} == REPORTABLE.keys() - known.keys()


def test_the_complete_example_is_complete() -> None:
    """The guide and the demo send readers to it."""
    rules = read_rule_file(ROOT / "tests" / "cases" / "wiki" / "rules.yaml").document()
    compile_rules(plan_changes(rules, EMPTY_BOOK, new_id=lambda: str(uuid.uuid4()), prune=False).book.rules)


def test_the_guide_s_examples_make_one_rule_file() -> None:
    """Together, for they refer to one another. What is read from files is put in place, as the reader of rule files does."""
    pki = Pki.make()
    document: dict[str, Any] = {}
    for block in fenced(ROOT / "docs" / "rules.md", "yaml"):
        for section, entries in YAML(typ="safe", pure=True).load(block).items():
            document.setdefault(section, []).extend(entries)
    for certificate in document["certificates"]:
        del certificate["file"]
        certificate["pem"] = pki.issuing.pem.decode()
    for number, caller in enumerate(document["callers"]):
        caller["authenticate"] = {"secret_sha256": f"{number:064x}"}
    plan = plan_changes(validate_document(document), EMPTY_BOOK, new_id=lambda: str(uuid.uuid4()), prune=False)
    compile_rules(plan.book.rules)


# ---- Flows ------------------------------------------------------------------------------------------------------------------


def test_the_operator_s_steps_work_as_they_are_printed(tmp_path: Path) -> None:
    """Files are written where the first line of each says, commands are run in the order of the page."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "issuing-ca.pem").write_bytes(Pki.make().issuing.pem)
    page = ROOT / "docs" / "operating.md"
    for block in fenced(page, "yaml"):
        path = re.match(r"# (rules/[a-z]+\.yaml)\n", block)
        if path is not None:
            (tmp_path / path[1]).write_text(block)
    steps = page.read_text().split("## A certificate check, step by step")[1].split("\n## From another account")[0]
    commands = re.findall(r"^\$ (watchword [^#\n]*)", steps, re.MULTILINE)
    assert len(commands) == 8
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "WATCHWORD_DATA": str(tmp_path / "data"),
    }
    for command in ("watchword migrate", *commands):
        ran = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, (command, ran.stderr)
    assert (tmp_path / "watchword-rules.schema.json").read_text().startswith("{")


def test_the_page_of_logs_names_every_act_that_is_recorded() -> None:
    page = (ROOT / "docs" / "logs.md").read_text()
    assert [action for action in Action if f"`{action}`" not in page] == []

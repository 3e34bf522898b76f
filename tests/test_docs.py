"""The documentation tells the truth where a program can tell: every code is explained, every link leads somewhere."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from watchword_server import errors
from watchword_server.core import certificates, verify
from watchword_server.core.kinds import client_certificate
from watchword_server.core.model import Standing

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
    found |= set(certificates._ORDER) | verify.COLLECTION_ERRORS | set(client_certificate._NO_SIGNATURE.values())
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

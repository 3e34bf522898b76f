"""Stores of Windows that are empty before each test."""

import os
import subprocess
from collections.abc import Iterator

import pytest

from platforms.wine.setup import PYTHON
from platforms.wine.wine import clear
from support.pki import Pki


@pytest.fixture(scope="session", autouse=True)
def _wine() -> Iterator[None]:
    """A program that runs all the time: the next one starts sooner."""
    assert PYTHON.exists(), f"`{PYTHON}` is missing: make test-platforms"
    waits = "import sys; print('here', flush=True); sys.stdin.read()"
    waiting = subprocess.Popen(
        [PYTHON, "-I", "-S", "-c", waits], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert waiting.stdout is not None
    waiting.stdout.readline()
    clear()
    yield
    waiting.communicate()


@pytest.fixture(scope="session")
def pki() -> Pki:
    return Pki.make()


@pytest.fixture
def _stores() -> Iterator[None]:
    """Whatever a test puts there goes with it."""
    yield
    clear()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("WATCHWORD_AGENT_"):
            monkeypatch.delenv(name)

"""A service of Windows under Wine's service control manager: installed by the agent's own commands, run, and stopped."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

import pytest

from platforms.wine.setup import PYTHON, ROOT
from platforms.wine.wine import ROOTS, windows_path
from watchword_agent import windows_service

PATIENCE_SECONDS = 60


def sc(*words: str) -> subprocess.CompletedProcess[bytes]:
    """Wine's `sc.exe`, by the command that runs Python with Wine's settings."""
    code = f"import subprocess, sys; sys.exit(subprocess.call({list(words)!r}, stdin=subprocess.DEVNULL))"
    return subprocess.run(
        [PYTHON, "-I", "-S", "-c", code], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
    )


def when(path: Path, text: str) -> None:
    """Returns once the file has this text. A service of Wine tells nobody else."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (path.exists() and path.read_text() == text):
        assert time.monotonic() < deadline, path.read_text() if path.exists() else "nothing was said"
        time.sleep(0.05)


@pytest.fixture
def said(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "said"
    sc(*windows_service.STOP)
    sc(*windows_service.DELETE)


def command(said: Path, code: int) -> list[str]:
    python = str(PureWindowsPath("Z:", str((ROOT / "home" / "python.exe").resolve())))
    toy = windows_path(Path(__file__).with_name("toy_service.py"))
    return [python, "-I", "-S", toy, *map(windows_path, ROOTS), "--", windows_path(said), str(code)]


def test_it_is_installed_runs_and_stops_when_told_to(said: Path) -> None:
    for words in windows_service.install_commands(command(said, 0), is_there=False):
        done = sc(*words)
        assert done.returncode == 0 or words[1] == "failureflag", (words, done)  # which Wine's does not know
    when(said, "running")
    assert windows_service.state_in(sc(*windows_service.QUERY).stdout.decode()) == 4  # SERVICE_RUNNING
    assert sc(*windows_service.STOP).returncode == 0
    when(said, "ended 0")
    assert sc(*windows_service.DELETE).returncode == 0
    assert sc(*windows_service.QUERY).returncode != 0


def test_what_no_manager_started_is_no_service(said: Path) -> None:
    done = subprocess.run(
        [PYTHON, *command(said, 0)[1:]], stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert b"this is no service" in done.stderr
    assert not said.exists()

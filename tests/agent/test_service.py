"""The agent as a service: the file, where it goes, and that doing it again changes nothing."""

import configparser
import plistlib
from pathlib import Path

import pytest
from click.testing import CliRunner

from watchword_agent.__main__ import main
from watchword_agent.errors import OperatorError
from watchword_agent.service import service_file


def unit(**options: Path) -> configparser.ConfigParser:
    arguments: dict[str, Path | None] = {"config": None, "state_dir": Path("/var/lib/watchword-agent")}
    parsed = configparser.ConfigParser(interpolation=None, strict=False)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read_string(service_file("linux", **(arguments | options)).content.decode())  # type: ignore[arg-type]
    return parsed


def test_the_unit_runs_the_agent_with_few_rights() -> None:
    service = unit()["Service"]
    assert service["ExecStart"].endswith("watchword-agent run --state /var/lib/watchword-agent")
    assert service["ProtectSystem"] == "strict"
    assert service["NoNewPrivileges"] == "true"
    assert "CAP_SYS_ADMIN" not in service["CapabilityBoundingSet"]


def test_words_reach_the_agent_as_they_are() -> None:
    command = unit(config=Path("/etc/a b/$x%.toml"))["Service"]["ExecStart"]
    assert command.endswith('--config "/etc/a b/$$x%%.toml"')


def test_the_daemon_of_macos_runs_the_same() -> None:
    plist = plistlib.loads(service_file("mac", config=None, state_dir=Path("/var/lib/x")).content)
    assert plist["ProgramArguments"][1:] == ["run", "--state", "/var/lib/x"]
    assert plist["KeepAlive"] is True


def test_elsewhere_there_is_none() -> None:
    with pytest.raises(OperatorError, match="watchword-agent run"):
        service_file("windows", config=None, state_dir=Path("/x"))


def test_it_is_installed_once_and_removed_once(tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        done = CliRunner().invoke(main, [*arguments, "--root", str(tmp_path)])
        assert done.exit_code == 0, done.output
        return done.output

    assert "installed\n" in run("install-service")
    path = tmp_path / "etc/systemd/system/watchword-agent.service"
    assert path.stat().st_mode & 0o777 == 0o644
    printed = CliRunner().invoke(main, ["install-service", "--print"])
    assert printed.output == path.read_text()
    assert "already" in run("install-service")
    assert "removed" in run("uninstall-service")
    assert not path.exists()
    assert "there was none" in run("uninstall-service")

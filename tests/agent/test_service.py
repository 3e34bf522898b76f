"""The agent as a service: the file, where it goes, and that doing it again changes nothing."""

import configparser
import plistlib
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from watchword_agent import service_commands, windows_service
from watchword_agent.__main__ import main
from watchword_agent.errors import OperatorError
from watchword_agent.service import service_file
from watchword_agent.windows_service import log_to


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
        service_file("freebsd", config=None, state_dir=Path("/x"))


def test_windows_is_told_by_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_commands, "read_platform", lambda: "windows")
    printed = CliRunner().invoke(main, ["install-service", "--print", "--state", "C:/Program Data/x"])
    assert printed.exit_code == 0, printed.output
    create, *_, start = printed.output.splitlines()
    assert create.startswith("sc.exe create watchword-agent binPath= ")
    assert 'run --service --state \\"C:/Program Data/x\\"' in create
    assert start == "sc.exe start watchword-agent"


def test_the_state_of_a_service_is_read_by_its_number() -> None:
    """The words are those of the system's language."""
    told = (
        "\r\nSERVICE_NAME: watchword-agent\r\n  TYP  : 10  WIN32_OWN_PROCESS\r\n  STATUS  : 1  STOPPED\r\n  CODE : 0  (0x0)\r\n"
    )
    assert windows_service.state_in(told) == windows_service.STOPPED
    assert windows_service.state_in("") is None


def test_as_a_service_it_is_started_by_the_service_manager_alone(tmp_path: Path) -> None:
    refused = CliRunner().invoke(main, ["run", "--service", "--state", str(tmp_path)])
    assert refused.exit_code == 1
    assert "leave it out" in refused.output


def test_a_stop_that_came_before_anybody_listened_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows_service, "_asked", False)
    stops: list[str] = []
    with windows_service.stop_requests(lambda: stops.append("first")):
        windows_service._stop_requested()
    with windows_service.stop_requests(lambda: stops.append("second")):
        pass
    assert stops == ["first", "second"]


def test_a_services_log_begins_anew_when_it_is_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows_service, "_LOG_BYTES", 10)
    monkeypatch.setattr(sys, "stderr", sys.stderr)  # put back
    log = tmp_path / "agent.log"
    log.write_text("a line that is long\n")
    with closing(log_to(log)):
        sys.stderr.write("new\n")
    assert log.read_text() == "new\n"
    assert (tmp_path / "agent.log.1").read_text() == "a line that is long\n"


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

"""A device that nobody sits at: settings where a management system puts them, and a token that is used when the agent starts."""

import os
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner

from agent.device import QUICK, Device
from agent.fake_server import TOKEN, End, FakeServer
from watchword_agent import cli_options
from watchword_agent.__main__ import main
from watchword_agent.errors import EnrollmentRefusedError, NotEnrolledError, OperatorError, ServerUnreachableError, SettingsError
from watchword_agent.settings import Settings, load_settings
from watchword_agent.state import StateDirectory
from watchword_agent.zero_touch import enroll_if_told


def settings_for(server: str, directory: Path, **options: object) -> Settings:
    told = {"server": server, "state_dir": directory / "state", "enroll_token_file": directory / "token", **QUICK, **options}
    return load_settings(options=told)


async def test_an_agent_that_starts_with_a_token_enrolls_attests_and_removes_the_token(
    server: FakeServer, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    settings = settings_for(server.address, tmp_path)
    device = Device(settings, enrollment=None)  # type: ignore[arg-type] # it is not enrolled yet
    async with device.running():
        assert (await server.next_evidence()).device_id == StateDirectory(settings.state_dir).enrollment().device_id
    assert not (tmp_path / "token").exists()
    async with device.running():  # and it stays enrolled without
        await server.next_evidence()
    assert len(server.devices) == 1


async def test_a_device_that_is_enrolled_uses_no_token(server: FakeServer, device: Device, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    async with device.running(enroll_token_file=tmp_path / "token"):
        await server.next_evidence()
    assert (tmp_path / "token").exists()
    assert len(server.devices) == 1


async def test_without_a_token_it_is_not_enrolled(server: FakeServer, tmp_path: Path) -> None:
    with pytest.raises(NotEnrolledError, match="enroll_token_file"):
        await enroll_if_told(settings_for(server.address, tmp_path), lambda _: pytest.fail("there is no token"))
    assert not (tmp_path / "state").exists()


async def test_it_tries_until_it_is_enrolled_and_slowly_where_it_is_refused(tmp_path: Path) -> None:
    """A new token that is dropped meanwhile is the one that is tried next."""
    (tmp_path / "token").write_text("first")
    settings = settings_for("http://127.0.0.1:9", tmp_path, reconnect_base_seconds=1, refused_base_seconds=30)
    tried: list[str] = []
    slept: list[float] = []
    failures = [ServerUnreachableError("gone"), ServerUnreachableError("gone"), EnrollmentRefusedError("used up")]

    async def enroll(token: str) -> None:
        tried.append(token)
        if failures:
            raise failures.pop(0)

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        (tmp_path / "token").write_text("second")

    await enroll_if_told(settings, enroll, sleep=sleep, uniform=lambda _, high: high)
    assert tried == ["first", "second", "second", "second"]
    assert slept == [1, 2, 30]
    assert not (tmp_path / "token").exists()


async def test_what_only_an_administrator_can_mend_ends_it(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("token")

    async def enroll(_: str) -> None:
        raise OperatorError("wrong settings")

    with pytest.raises(OperatorError, match="wrong settings"):
        await enroll_if_told(settings_for("http://127.0.0.1:9", tmp_path), enroll)
    assert (tmp_path / "token").exists()


async def test_a_refusal_of_the_server_is_survived(server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    server.enrollments_refused.append(End(grpc.StatusCode.PERMISSION_DENIED))
    device = Device(settings_for(server.address, tmp_path), enrollment=None)  # type: ignore[arg-type] # as above
    async with device.running():
        await server.next_evidence()


# ---- Settings -----------------------------------------------------------------------------------------------------------


def test_settings_are_read_where_a_management_system_puts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_options, "DEFAULT_CONFIG", tmp_path / "agent.toml")
    assert cli_options.settings_of(None, {}).server is None
    (tmp_path / "agent.toml").write_text('server = "https://watchword.corp.example:7403"\n')
    (tmp_path / "agent.toml").chmod(0o644)
    assert cli_options.settings_of(None, {}).server == "https://watchword.corp.example:7403"
    (tmp_path / "other.toml").write_text("")
    (tmp_path / "other.toml").chmod(0o644)
    assert cli_options.settings_of(tmp_path / "other.toml", {}).server is None


@pytest.mark.skipif(os.geteuid() != 0, reason="what root may be told by others")
@pytest.mark.parametrize(
    "change", [lambda path: path.chmod(0o664), lambda path: path.chmod(0o646), lambda path: os.chown(path, 65534, 0)]
)
def test_root_takes_no_settings_from_a_file_that_others_can_write(tmp_path: Path, change: object) -> None:
    path = tmp_path / "agent.toml"
    path.write_text('pkcs11_modules = ["/tmp/evil.so"]\n')
    path.chmod(0o644)
    assert load_settings(path).pkcs11_modules
    change(path)  # type: ignore[operator] # one of the above
    with pytest.raises(SettingsError, match="can be written by others"):
        load_settings(path)
    refused = CliRunner().invoke(main, ["status", "--config", str(path)])
    assert (refused.exit_code, "chmod go-w" in refused.stderr) == (2, True)

"""What the agent asks of Windows besides its stores, under Wine: files, names, access, and a helper in a user's session."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from platforms.wine.wine import call, put, windows_helpers, windows_path
from support.pki import Pki
from watchword_agent.errors import CollectionFailedError
from watchword_agent.helper_process import Helpers


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "state"
    path.mkdir()
    path.chmod(0o755)
    yield path
    path.chmod(0o755)


def test_a_file_is_read_byte_for_byte(tmp_path: Path) -> None:
    """In the text mode of Windows a line's end would change, and Ctrl-Z would be the end."""
    path = tmp_path / "client.pem"
    path.write_bytes(b"one\r\ntwo\x1athree\n")
    assert call("stores.files", "read", windows_path(path)) == {"data": "one\r\ntwo\x1athree\n", "exposed": False}


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    assert call("stores.files", "read", windows_path(tmp_path / "missing")) == ("CollectionFailedError", "path_missing")
    assert call("stores.files", "read", windows_path(tmp_path)) == ("CollectionFailedError", "not_a_file")


def test_a_path_is_one_on_a_drive() -> None:
    expanded = call("stores.files", "expand", "c:/Watchword//.\\${hostname}.pem", {"hostname": "laptop-1"})
    assert expanded == "C:\\Watchword\\laptop-1.pem"


@pytest.mark.parametrize("path", ["\\\\server\\share\\a.pem", "//server/share/a.pem", "\\a.pem", "C:a.pem", "C:\\"])
def test_a_path_elsewhere_is_refused(path: str) -> None:
    assert call("stores.files", "expand", path, {}) == ("CollectionFailedError", "path_invalid")


def test_a_path_on_a_drive_is_watched(tmp_path: Path) -> None:
    (tmp_path / "client.pem").touch()
    view = call("watch", "survey", [windows_path(tmp_path / "client.pem")])
    assert windows_path(tmp_path) in view["directories"]
    assert view["marks"][windows_path(tmp_path / "client.pem")][0] == "file"


def test_the_host_says_its_name() -> None:
    hostname = call("system_names", "windows_hostname")
    assert hostname
    assert "." not in hostname
    assert call("identity", "read_hostname") == hostname


def test_the_firmwares_tables_are_asked_for() -> None:
    """Wine gives what Linux shows of the machine it runs on: a serial number, or none."""
    serial_number = call("system_names", "windows_serial_number")
    assert serial_number is None or isinstance(serial_number, str)


def test_a_state_directory_becomes_ours_alone(directory: Path) -> None:
    """Wine keeps an access list as a mode: administrators are its group there, and nobody else has anything."""
    (directory / "device.key").touch()
    (directory / "device.key").chmod(0o644)
    assert call("windows_access", "keep_to_ourselves", {"path": windows_path(directory)}) is None
    assert directory.stat().st_mode & 0o007 == 0
    assert (directory / "device.key").stat().st_mode & 0o007 == 0


def as_system(**environment: str) -> Helpers:
    """Helpers that take themselves for a service of the system: see `as_system.py`."""
    usual = windows_helpers()
    script = windows_path(Path(__file__).with_name("as_system.py"))
    command = tuple(script if word.endswith("__main__.py") else word for word in usual.command)
    return Helpers(command, {**usual.environment, **environment}, usual.answer_seconds)


def listed(helpers: Helpers) -> list[dict[str, Any]]:
    with helpers.start("windows_user") as process:
        answer = process.ask({"op": "list", "place": "user", "allow_pkcs1": True})
        certificates: list[dict[str, Any]] = answer["certificates"]
        return certificates


@pytest.mark.usefixtures("_stores")
def test_a_service_of_the_system_sees_what_the_signed_in_user_has(pki: Pki) -> None:
    """A process made by CreateProcessAsUserW, with this one's pipes: Wine has the calls, and one user alone."""
    put("user", pki.issuing.issue(key="rsa2048"))
    (told,) = listed(as_system())
    assert told["state"] == "USABLE"


def test_nobody_is_signed_in() -> None:
    with pytest.raises(CollectionFailedError) as caught:
        listed(as_system(STAND_IN_SIGNED_OUT="1"))
    assert caught.value.code == "user_not_signed_in"


def test_the_users_helper_ends_with_the_one_that_started_it() -> None:
    """Its input stays open here: only the job that it is in ends it, and with it the output."""
    helpers = as_system()
    command = [*helpers.command, "--", "windows_user"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b'{"op":"watch","place":"user"}\n')
    process.stdin.flush()
    assert b"watching" in process.stdout.readline()
    process.kill()
    assert process.stdout.read() == b""
    process.stdin.close()
    process.stdout.close()
    process.wait()

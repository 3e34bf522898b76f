"""Paths that a server names: what is filled in, and what is opened."""

import contextlib
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchword_agent.errors import CollectionFailedError
from watchword_agent.stores import files
from watchword_agent.stores.files import MAX_FILE_BYTES, expand, read_file

KNOWN = {"hostname": "laptop-1", "serial_number": "SN-1"}


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("/etc/pki/client.pem", "/etc/pki/client.pem"),
        ("/etc/${hostname}/${serial_number}.pem", "/etc/laptop-1/SN-1.pem"),
        ("/etc/${hostname}.com.${serial_number}", "/etc/laptop-1.com.SN-1"),
        ("//etc/./pki//client.pem", "/etc/pki/client.pem"),
        ("/etc/$hostname/{hostname}", "/etc/$hostname/{hostname}"),
    ],
)
def test_variables_are_filled_in(template: str, path: str) -> None:
    assert expand(template, KNOWN) == path


@pytest.mark.parametrize(
    ("template", "values", "code"),
    [
        ("/etc/${serial_number}.pem", {"serial_number": None}, "variable_unavailable"),
        ("/etc/${serial_number}.pem", {"serial_number": ""}, "variable_unavailable"),
        ("/etc/${HOSTNAME}.pem", KNOWN, "variable_unavailable"),
        ("/etc/${home}.pem", KNOWN, "variable_unavailable"),
        ("/etc/${}.pem", KNOWN, "variable_unavailable"),
        ("/etc/${hostname}/key", {"hostname": "../root"}, "variable_unsafe"),
        ("/etc/${hostname}/key", {"hostname": "a/b"}, "variable_unsafe"),
        ("/etc/${hostname}/key", {"hostname": ".."}, "variable_unsafe"),
        ("/etc/${hostname}/key", {"hostname": "."}, "variable_unsafe"),
        ("/etc/${hostname}", {"hostname": "a\0b"}, "variable_unsafe"),
        ("/etc/${hostname}", {"hostname": "a\nb"}, "variable_unsafe"),
        ("client.pem", KNOWN, "path_invalid"),
        ("~/client.pem", KNOWN, "path_invalid"),
        ("", KNOWN, "path_invalid"),
        ("/", KNOWN, "path_invalid"),
        ("/etc/../root/key", KNOWN, "path_invalid"),
        ("/etc/a\0b", KNOWN, "path_invalid"),
        ("/" + "a" * 1001, KNOWN, "path_invalid"),
        ("/proc/1/environ", KNOWN, "path_invalid"),
        ("//sys/kernel/debug", KNOWN, "path_invalid"),
    ],
)
def test_a_path_that_cannot_be_meant_is_refused_with_its_reason(template: str, values: dict[str, str | None], code: str) -> None:
    with pytest.raises(CollectionFailedError) as caught:
        expand(template, values)
    assert caught.value.code == code


@given(value=st.text(), template=st.sampled_from(["/etc/${hostname}", "/etc/${hostname}/key", "/etc/a${hostname}b"]))
def test_no_value_leads_out_of_the_directory(value: str, template: str) -> None:
    with contextlib.suppress(CollectionFailedError):
        path = expand(template, {"hostname": value})
        assert os.path.normpath(path) == path
        assert path.startswith("/etc/")
        assert path.count("/") == template.count("/")


def test_a_file_is_read_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * MAX_FILE_BYTES)
    assert len(read_file(str(path))) == MAX_FILE_BYTES
    path.write_bytes(b"x" * (MAX_FILE_BYTES + 1))
    assert _refusal(path) == "file_too_large"


def test_a_link_to_a_file_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_file(str(tmp_path / "link")) == b"content"


def test_what_is_not_there_is_missing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    assert _refusal(tmp_path / "missing") == "path_missing"
    assert _refusal(tmp_path / "missing" / "file") == "path_missing"
    assert _refusal(tmp_path / "file" / "file") == "path_missing"
    assert _refusal(tmp_path / "dangling") == "path_missing"


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert _refusal(tmp_path / "fifo") == "not_a_file"
    assert _refusal(tmp_path) == "not_a_file"
    assert _refusal(Path("/dev/zero")) == "not_a_file"


def test_what_becomes_something_else_before_it_is_opened_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, really_open = tmp_path / "file", os.open
    path.touch()
    os.mkfifo(tmp_path / "fifo")

    def swap_and_open(name: str, flags: int) -> int:
        (tmp_path / "fifo").rename(path)
        return really_open(name, flags)

    monkeypatch.setattr(os, "open", swap_and_open)
    assert _refusal(path) == "not_a_file"


def test_what_cannot_be_read_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert _refusal(tmp_path / "loop") == "path_unreadable"
    assert _refusal(tmp_path / ("n" * 300)) == "path_unreadable"


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_file_of_somebody_else_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"content")
    path.chmod(stat.S_IRUSR)
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o755)
    os.seteuid(65534)
    try:
        assert _refusal(path) == "path_unreadable"
    finally:
        os.seteuid(0)


def _refusal(path: Path) -> str:
    with pytest.raises(CollectionFailedError) as caught:
        read_file(str(path))
    return caught.value.code


@pytest.mark.parametrize(
    ("path", "expanded"),
    [
        ("C:\\Watchword\\client.pem", "C:\\Watchword\\client.pem"),
        ("c:/Watchword//./client.pem", "C:\\Watchword\\client.pem"),
        ("D:\\console\\nullify.pem", "D:\\console\\nullify.pem"),
    ],
)
def test_a_path_of_windows_lies_on_a_drive(path: str, expanded: str) -> None:
    assert files._windows_path(path, path) == expanded


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/client.pem", "client.pem", "C:client.pem", "C:\\", "\\client.pem"),
        *("\\\\server\\share\\a.pem", "//server/share/a.pem", "\\\\?\\C:\\a.pem", "\\\\.\\PhysicalDrive0"),
        *("C:\\a\\..\\b.pem", "C:\\a.pem:stream", "C:\\a.pem.", "C:\\a.pem ", "C:\\a*.pem", 'C:\\"a".pem'),
        *("C:\\NUL", "C:\\x\\con.txt", "C:\\com1", "C:\\LPT\u00b9.pem", "C:\\conin$", "C:\\aux .txt"),
    ],
)
def test_a_share_a_device_or_a_stream_of_windows_is_no_path(path: str) -> None:
    """A share's server would be told who asks; a device may have effects."""
    with pytest.raises(CollectionFailedError) as caught:
        files._windows_path(path, path)
    assert caught.value.code == "path_invalid"

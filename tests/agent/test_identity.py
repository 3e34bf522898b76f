"""What a device says of itself; what is not known is None."""

import os
import sys
from pathlib import Path

import pytest

from watchword_agent.identity import Boot, Identity, monotonic_seconds, read_boot, read_identity, read_serial_number


@pytest.mark.parametrize(
    "content", [b"5CG1234XYZ\n", b"PF-2Q3R4S", b"VMware-56 4d 8a 1b", b"1000000000abcdef\0", b"  C02XK1ABJG5H \n"]
)
def test_a_serial_number_is_read_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "product_serial"
    path.write_bytes(content)
    assert read_serial_number((path,)) == content.split(b"\0")[0].strip().decode()


@pytest.mark.parametrize(
    "junk",
    [
        "",
        " ",
        "0",
        "00000000",
        "0 0 0",
        "None",
        "N/A",
        "NA",
        "Not Specified",
        "Not Applicable",
        "not available",
        "Default string",
        "To Be Filled By O.E.M.",
        "to be filled",
        "System Serial Number",
        "Chassis Serial Number",
        "Serial Number",
        "SerialNumber",
        "XXXXXXXX",
        "xxx",
        "........",
        "OEM",
        "Invalid",
        "unknown",
        "0123456789",
        "123456789",
        "1234567890",
        "0123456789ABCDEF",
        "System-Serial\x01Number",
        "-",
    ],
)
def test_what_vendors_leave_in_the_field_is_no_serial_number(tmp_path: Path, junk: str) -> None:
    path = tmp_path / "product_serial"
    path.write_text(junk + "\n")
    assert read_serial_number((path,)) is None


def test_the_next_source_is_asked_where_one_is_missing_or_junk(tmp_path: Path) -> None:
    (tmp_path / "junk").write_text("None\n")
    (tmp_path / "real").write_text("SN-1\0")
    assert read_serial_number((tmp_path / "missing", tmp_path / "junk", tmp_path, tmp_path / "real")) == "SN-1"
    assert read_serial_number((tmp_path / "missing",)) is None


def test_what_is_given_wins() -> None:
    assert read_identity(hostname="laptop-1", serial_number="SN-1") == Identity("linux", "laptop-1", "SN-1")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no uname")
def test_the_host_name_is_the_node_name() -> None:
    assert read_identity().hostname in (os.uname().nodename, None)


@pytest.mark.parametrize("name", ["", "localhost", "Localhost.localdomain", "(none)"])
def test_a_host_that_was_not_named_has_no_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", name, "6", "1", "x86_64")))
    assert read_identity().hostname is None


def test_the_boot_is_named_by_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "boot_id").write_text("01234567-89ab-cdef-0123-456789abcdef\n")
    boot = read_boot(tmp_path / "boot_id")
    assert boot.boot_id == bytes.fromhex("0123456789abcdef0123456789abcdef")
    assert 0 < boot.uptime_ms <= monotonic_seconds() * 1000
    assert isinstance(read_boot(tmp_path / "missing"), Boot)
    assert read_boot(tmp_path / "missing").boot_id == b""

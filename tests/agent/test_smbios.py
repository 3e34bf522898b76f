"""Serial numbers out of a firmware's tables, and out of what macOS prints; whatever else the bytes are, there is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchword_agent.identity import plausible
from watchword_agent.smbios import system_serial_number, tables_in
from watchword_agent.system_names import serial_number_in


def raw(*tables: bytes) -> bytes:
    """RawSMBIOSData: calling method, version 3.2, revision, length."""
    body = b"".join(tables)
    return b"\x00\x03\x02\x00" + len(body).to_bytes(4, "little") + body


def table(kind: int, formatted: bytes, *strings: bytes) -> bytes:
    header = bytes([kind, 4 + len(formatted), 0, 0])
    return header + formatted + (b"".join(string + b"\0" for string in strings) or b"\0") + b"\0"


def system(*strings: bytes, number: int = 4) -> bytes:
    """System information as in version 2.4: maker, product, version, serial number, UUID, wake-up, SKU, family."""
    return table(1, bytes([1, 2, 3, number]) + b"\x11" * 16 + b"\x06\x05\x06", *strings)


BIOS = table(0, bytes(20), b"LENOVO", b"N2HET66W (1.49 )", b"11/10/2021")
END = table(127, b"")
MAKER = (b"LENOVO", b"20QES1F100", b"ThinkPad X1 Carbon 7th")


def test_the_serial_number_is_the_systems() -> None:
    board = table(2, b"\x01\x02\x03\x04", b"LENOVO", b"20QES1F100", b"Not Defined", b"L1HF95K00A4")
    assert system_serial_number(raw(BIOS, board, system(*MAKER, b"PF1ABCDE"), END)) == b"PF1ABCDE"


@pytest.mark.parametrize(
    "tables",
    [
        pytest.param((), id="nothing"),
        pytest.param((BIOS, END), id="no system information"),
        pytest.param((system(*MAKER, b"x", number=0), END), id="no string named"),
        pytest.param((system(*MAKER, number=4), END), id="a string that is not there"),
        pytest.param((table(1, b"\x01"), END), id="of an age before serial numbers"),
        pytest.param((BIOS, END, system(*MAKER, b"PF1ABCDE")), id="after the end"),
        pytest.param((b"\x01\x02",), id="cut off in a header"),
        pytest.param((b"\x01\x02\x00\x00\x00\x00",), id="shorter than its header"),
        pytest.param((system(*MAKER, b"PF1ABCDE")[:-2],), id="cut off in a string"),
    ],
)
def test_where_none_is_told_there_is_none(tables: tuple[bytes, ...]) -> None:
    assert system_serial_number(raw(*tables)) is None


def test_a_length_beyond_the_bytes_reads_what_is_there() -> None:
    data = bytearray(raw(system(*MAKER, b"PF1ABCDE"), END))
    data[4:8] = b"\xff\xff\xff\x7f"
    assert system_serial_number(bytes(data)) == b"PF1ABCDE"


@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_a_fault(data: bytes) -> None:
    system_serial_number(data)
    system_serial_number(raw(data))
    assert sum(len(each.formatted) for each in tables_in(data)) <= len(data)


_STRING = st.binary(min_size=1, max_size=20).filter(lambda text: 0 not in text)


@given(st.lists(st.tuples(st.integers(2, 126), st.binary(max_size=40), st.lists(_STRING, max_size=5))), _STRING)
def test_tables_before_it_do_not_hide_it(others: list[tuple[int, bytes, list[bytes]]], serial_number: bytes) -> None:
    tables = [table(kind, formatted, *strings) for kind, formatted, strings in others]
    assert system_serial_number(raw(*tables, system(*MAKER, serial_number), END)) == serial_number


IOREG = b"""<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<array>
	<dict>
		<key>IOClass</key>
		<string>IOPlatformExpertDevice</string>
		<key>IOPlatformSerialNumber</key>
		<string>C02XK1ABJG5H</string>
		<key>IOPlatformUUID</key>
		<string>00000000-0000-1000-8000-0011223344AA</string>
		<key>model</key>
		<data>TWFjQm9va1BybzE1LDEA</data>
	</dict>
</array>
</plist>
"""


def test_a_mac_tells_its_serial_number_in_its_registry() -> None:
    assert serial_number_in(IOREG) == "C02XK1ABJG5H"


@pytest.mark.parametrize(
    "printed",
    [
        b"",
        b"ioreg: error",
        IOREG[:200],
        IOREG.replace(b"IOPlatformSerialNumber", b"serial"),
        IOREG.replace(b"<string>C02XK1ABJG5H</string>", b"<integer>5</integer>"),
        b"bplist00",
    ],
)
def test_a_registry_without_it_tells_none(printed: bytes) -> None:
    assert serial_number_in(printed) is None


@given(st.binary(max_size=200))
def test_whatever_is_printed_is_read_without_a_fault(printed: bytes) -> None:
    serial_number_in(printed)
    serial_number_in(IOREG[:-20] + printed)


def test_what_vendors_leave_there_is_no_serial_number() -> None:
    assert plausible("To Be Filled By O.E.M.") is None
    assert plausible(None) is None
    assert plausible(" PF1ABCDE ") == "PF1ABCDE"

"""The serial number in the tables of a PC's firmware (DMTF DSP0134, "System Management BIOS Reference Specification")."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_SYSTEM: Final = 1  # "System Information", section 7.2: the serial number's string number is at offset 7
_SERIAL_NUMBER: Final = 7
_END: Final = 127  # "End-of-Table", section 7.45
_RAW_HEADER: Final = 8  # of Windows' RawSMBIOSData: four bytes, then the tables' length


@dataclass(frozen=True, slots=True)
class Table:
    """A structure of the tables: its formatted area, header included, and its strings, which are numbered from 1."""

    type: int
    formatted: bytes
    strings: tuple[bytes, ...]

    def string_at(self, offset: int) -> bytes | None:
        """The string whose number is at this offset; None: there is none."""
        number = self.formatted[offset] if offset < len(self.formatted) else 0
        return self.strings[number - 1] if 0 < number <= len(self.strings) else None


def system_serial_number(raw: bytes) -> bytes | None:
    """What `Win32_BIOS.SerialNumber` shows, from what GetSystemFirmwareTable('RSMB') gave: as the vendor left it, junk as well.

    None where there is none, and for bytes that are no such tables.
    """
    if len(raw) < _RAW_HEADER:
        return None
    length = int.from_bytes(raw[4:_RAW_HEADER], "little")
    for table in tables_in(raw[_RAW_HEADER : _RAW_HEADER + length]):
        if table.type == _SYSTEM:
            return table.string_at(_SERIAL_NUMBER)
    return None


def tables_in(data: bytes) -> Iterator[Table]:
    """The structures one after the other (section 6.1.2), up to the last or to one that is cut off."""
    at = 0
    while at + 4 <= len(data):
        kind, length = data[at], data[at + 1]
        if length < 4 or at + length > len(data):
            return
        ending = data.find(b"\0\0", at + length)
        if ending < 0:
            return
        strings = data[at + length : ending]
        yield Table(kind, data[at : at + length], tuple(strings.split(b"\0")) if strings else ())
        if kind == _END:
            return
        at = ending + 2

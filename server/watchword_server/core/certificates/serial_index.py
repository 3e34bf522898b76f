"""The entries of a revocation list as sorted bytes: small, shared between processes by a file, searched where they lie.

A header (magic, version, count), then `count` records of equal length in ascending order: the serial number as a signed integer
of 21 bytes (RFC 5280, 4.1.2.2 allows 20; one more holds those with their highest bit set), the code of the reason, the date.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import Final, Protocol

from watchword_server.core.certificates.revocation import RevocationReason, Revoked
from watchword_server.core.model.names import Instant

SERIAL_LENGTH: Final = 21
_HEADER: Final = struct.Struct(">8sIQ")
_MAGIC: Final = b"wwserial"
_VERSION: Final = 1
_RECORD: Final = struct.Struct(f">{SERIAL_LENGTH}sBq")
# RFC 5280, 5.3.1
_CODES: Final = {
    RevocationReason.UNSPECIFIED: 0,
    RevocationReason.KEY_COMPROMISE: 1,
    RevocationReason.CA_COMPROMISE: 2,
    RevocationReason.AFFILIATION_CHANGED: 3,
    RevocationReason.SUPERSEDED: 4,
    RevocationReason.CESSATION_OF_OPERATION: 5,
    RevocationReason.CERTIFICATE_HOLD: 6,
    RevocationReason.REMOVE_FROM_CRL: 8,
    RevocationReason.PRIVILEGE_WITHDRAWN: 9,
    RevocationReason.AA_COMPROMISE: 10,
}
_REASONS: Final = {code: reason for reason, code in _CODES.items()}
_REMOVED: Final = _CODES[RevocationReason.REMOVE_FROM_CRL]
_HELD: Final = _CODES[RevocationReason.CERTIFICATE_HOLD]


class Buffer(Protocol):
    """Bytes, or a file mapped into memory: what gives bytes for a slice."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: slice, /) -> bytes: ...


class PackedSerialIndex:
    """A `SerialIndex` over what `pack` made. Raises `ValueError` for a buffer that is not of the form or the wrong length.

    The order of the records is not looked at: whoever wrote the buffer is trusted with it.
    """

    def __init__(self, buffer: Buffer) -> None:
        if len(buffer) < _HEADER.size:
            raise ValueError("an index of serial numbers is cut off")
        magic, version, count = _HEADER.unpack(buffer[: _HEADER.size])
        if (magic, version) != (_MAGIC, _VERSION):
            raise ValueError("not an index of serial numbers, or of another version")
        if len(buffer) != _HEADER.size + count * _RECORD.size:
            raise ValueError(f"an index of {count} serial numbers has {len(buffer)} bytes")
        self.buffer = buffer
        self._count: int = count

    def __len__(self) -> int:
        return self._count

    def find(self, serial_number: int) -> Revoked | None:
        """The entry of a serial number; None: it is not on the list."""
        try:
            wanted = serial_number.to_bytes(SERIAL_LENGTH, "big", signed=True)
        except OverflowError:  # no list with such a number is accepted
            return None
        buffer, low, high = self.buffer, 0, self._count
        while low < high:
            middle = (low + high) // 2
            start = _HEADER.size + middle * _RECORD.size
            if buffer[start : start + SERIAL_LENGTH] < wanted:
                low = middle + 1
            else:
                high = middle
        if low == self._count:
            return None
        start = _HEADER.size + low * _RECORD.size
        serial, code, revoked_at = _RECORD.unpack(buffer[start : start + _RECORD.size])
        return Revoked(Instant(revoked_at), _REASONS[code]) if serial == wanted else None

    def serial_numbers(self) -> Iterator[tuple[bytes, bool]]:
        """Every serial number as it is packed, ascending, and whether it is revoked: not so with `REMOVE_FROM_CRL`."""
        buffer = self.buffer
        for start in range(_HEADER.size, len(buffer), _RECORD.size):
            serial, code, _ = _RECORD.unpack(buffer[start : start + _RECORD.size])
            yield serial, code != _REMOVED


def pack(entries: Iterable[tuple[int, Revoked]]) -> bytes:
    """The bytes of an index. Of two entries for one serial number the one that is harder to lift stays, then the earlier.

    Raises `OverflowError` for a serial number of more than 21 bytes.
    """
    records = [
        _RECORD.pack(serial.to_bytes(SERIAL_LENGTH, "big", signed=True), _CODES[revoked.reason], int(revoked.revoked_at))
        for serial, revoked in entries
    ]
    records.sort()
    kept: list[bytes] = []
    for record in records:
        if kept and kept[-1][:SERIAL_LENGTH] == record[:SERIAL_LENGTH]:
            kept[-1] = max(kept[-1], record, key=_firmness)
        else:
            kept.append(record)
    return _HEADER.pack(_MAGIC, _VERSION, len(kept)) + b"".join(kept)


def serial_number_of(packed: bytes) -> int:
    """The serial number that `PackedSerialIndex.serial_numbers` gave."""
    return int.from_bytes(packed, "big", signed=True)


def _firmness(record: bytes) -> tuple[int, int]:
    _, code, revoked_at = _RECORD.unpack(record)
    return {_REMOVED: 0, _HELD: 1}.get(code, 2), -revoked_at

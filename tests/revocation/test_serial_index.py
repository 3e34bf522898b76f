"""The packed index finds what a dictionary finds."""

import mmap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchword_server.core.certificates.revocation import RevocationReason, Revoked
from watchword_server.core.certificates.serial_index import PackedSerialIndex, pack, serial_number_of
from watchword_server.core.model.names import Instant

SERIALS = st.one_of(st.integers(-(2**167), 2**167 - 1), st.integers(-300, 300))
ENTRIES = st.builds(
    Revoked, st.integers(-(2**40), 2**40).map(lambda seconds: Instant(float(seconds))), st.sampled_from(RevocationReason)
)


@given(st.dictionaries(SERIALS, ENTRIES), st.lists(SERIALS))
def test_it_finds_exactly_what_was_packed(entries: dict[int, Revoked], others: list[int]) -> None:
    index = PackedSerialIndex(pack(entries.items()))
    assert len(index) == len(entries)
    for serial in (*entries, *others):
        assert index.find(serial) == entries.get(serial)
    assert {serial_number_of(packed) for packed, _ in index.serial_numbers()} == set(entries)


@given(st.lists(st.sampled_from(RevocationReason), min_size=2, max_size=4))
def test_of_two_entries_for_one_serial_number_the_firmer_stays(reasons: list[RevocationReason]) -> None:
    found = PackedSerialIndex(pack([(5, Revoked(Instant(0.0), reason)) for reason in reasons])).find(5)
    assert found is not None
    firm = set(reasons) - {RevocationReason.REMOVE_FROM_CRL}
    assert found.reason in ((firm - {RevocationReason.CERTIFICATE_HOLD}) or firm or set(reasons))


def test_a_serial_number_too_long_for_the_index_is_refused_and_never_found() -> None:
    with pytest.raises(OverflowError):
        pack([(2**167, Revoked(Instant(0.0), RevocationReason.UNSPECIFIED))])
    assert PackedSerialIndex(pack([])).find(2**400) is None


def test_it_works_over_a_file_in_memory(tmp_path: Path) -> None:
    (tmp_path / "index").write_bytes(pack([(n, Revoked(Instant(1.0), RevocationReason.SUPERSEDED)) for n in range(0, 100, 2)]))
    with (tmp_path / "index").open("rb") as file:
        index = PackedSerialIndex(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    assert [n for n in range(-5, 105) if index.find(n)] == list(range(0, 100, 2))


def test_what_is_cut_off_or_something_else_does_not_open() -> None:
    packed = pack([(1, Revoked(Instant(0.0), RevocationReason.UNSPECIFIED))])
    for wrong in (b"", packed[:10], packed[:-1], packed + b"\0", b"x" + packed[1:], packed[:11] + b"\x02" + packed[12:]):
        with pytest.raises(ValueError):
            PackedSerialIndex(wrong)

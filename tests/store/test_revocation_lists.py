"""Revocation lists are kept in pieces, one a place; and claims are found by the serial number of their certificate."""

from dataclasses import replace

import pytest

from store.builders import CERTIFICATE, NOW, OTHER_CHECK, a_judged_claim, a_token, an_enrollment, later
from watchword_server.adapters.store_sql.store import SqlStore
from watchword_server.core.model.names import CertificateId, DeviceId
from watchword_server.errors import NotFoundError
from watchword_server.ports.devices import EvidenceCommit
from watchword_server.ports.revocation import ListSource, StoredRevocationList

LIST = StoredRevocationList(CertificateId("ca"), ListSource.URL, "http://pki.example/1.crl", b"a" * 32, 5, NOW)
ELSEWHERE = replace(LIST, source=ListSource.UPLOAD, place="key complete", sha256=b"b" * 32, received_at=later(1))


async def content(store: SqlStore, stored: StoredRevocationList) -> list[bytes]:
    taken: list[bytes] = []
    await store.read_revocation_list(stored, taken.append)
    return taken


async def test_a_list_comes_back_as_it_was_kept_and_is_replaced_by_the_next_of_its_place(store: SqlStore) -> None:
    assert await store.revocation_lists() == []
    first = await store.commit_revocation_list(LIST, [b"abc", b"de"])
    assert await store.commit_revocation_list(ELSEWHERE, iter([b"x"])) == first + 1
    assert await store.revocation_lists() == [ELSEWHERE, LIST]
    assert await content(store, LIST) == [b"abc", b"de"]
    newer = replace(LIST, sha256=b"c" * 32, length=1, received_at=later(2))
    await store.commit_revocation_list(newer, [b"f"])
    assert await store.revocation_lists() == [ELSEWHERE, newer]
    assert await content(store, newer) == [b"f"]
    with pytest.raises(NotFoundError):
        await content(store, LIST)


async def test_a_list_whose_pieces_end_badly_leaves_the_old_one(store: SqlStore) -> None:
    await store.commit_revocation_list(LIST, [b"abc"])
    with pytest.raises(ValueError, match="at most 1048576"):
        await store.commit_revocation_list(replace(LIST, sha256=b"c" * 32), [b"new", bytes((1 << 20) + 1)])
    assert await store.revocation_lists() == [LIST]
    assert await content(store, LIST) == [b"abc"]


async def test_only_the_lists_that_were_meant_are_removed(store: SqlStore) -> None:
    await store.commit_revocation_list(LIST, [b"abc"])
    await store.commit_revocation_list(ELSEWHERE, [b"x"])
    await store.remove_revocation_lists([replace(LIST, sha256=b"c" * 32), ELSEWHERE], now=later(3))  # one is another by now
    assert await store.revocation_lists() == [LIST]
    assert await content(store, LIST) == [b"abc"]
    with pytest.raises(NotFoundError):
        await content(store, ELSEWHERE)


async def test_claims_are_found_by_serial_number_however_many_are_asked_for(store: SqlStore) -> None:
    await store.add_enrollment_token(a_token(max_uses=2))
    for name in ("device-1", "device-2"):
        await store.enroll(an_enrollment(name), now=NOW)
        judged = (
            replace(a_judged_claim(name, proves=CERTIFICATE), serial_number=0x7F + int(name[-1])),
            a_judged_claim(name, check_id=OTHER_CHECK),
        )
        commit = EvidenceCommit(DeviceId(name), epoch=1, claims_epoch=True, seen_at=NOW, hostname=None, judged=judged)
        await store.commit_evidence(commit)
    for numbers, expected in (
        (frozenset[int](), []),
        (frozenset({0x80, -1, 0, 1 << 200}), ["device-1"]),
        (frozenset(range(1, 3000)), ["device-1", "device-2"]),
    ):
        found = await store.claims(serial_numbers=numbers)
        assert [claim.device.id for claim in found] == expected, numbers
        assert all(claim.judged.serial_number in numbers for claim in found)
    either = await store.claims(check_ids=frozenset({OTHER_CHECK}), serial_numbers=frozenset({0x80}))
    assert len(either) == 3

"""Certificates that responders called revoked are kept as they were told, and only what is meant goes."""

from dataclasses import replace

import pytest

from store.builders import NOW, later
from watchword_server.adapters.store_sql.store import SqlStore
from watchword_server.core.certificates.names import CanonicalName
from watchword_server.core.certificates.revocation import IssuerKey, OcspStatus, RevocationReason, Revoked
from watchword_server.core.model.names import CertificateId
from watchword_server.ports.revocation import StoredOcspRevocation

STATUS = OcspStatus(Revoked(NOW, RevocationReason.KEY_COMPROMISE), NOW, later(60), responder=1 << 159)
ONE = StoredOcspRevocation(
    CertificateId("ca"), IssuerKey(CanonicalName(b"name"), b"k" * 32), (1 << 160) - 1, STATUS, not_after=later(1000)
)
ELSEWHERE = replace(ONE, certificate_id=CertificateId("other"), status=STATUS._replace(this_update=later(5), responder=None))


async def test_a_revocation_comes_back_as_it_was_kept_and_is_replaced_by_the_next(store: SqlStore) -> None:
    first = await store.commit_ocsp_revocation(ONE, now=NOW)
    assert await store.commit_ocsp_revocation(ELSEWHERE, now=NOW) == first + 1
    assert await store.ocsp_revocations() == [ONE, ELSEWHERE]
    newer = replace(ONE, status=STATUS._replace(this_update=later(2)))
    await store.commit_ocsp_revocation(newer, now=NOW)
    assert await store.ocsp_revocations() == [newer, ELSEWHERE]
    with pytest.raises(ValueError, match="only what is revoked"):
        await store.commit_ocsp_revocation(replace(ONE, status=STATUS._replace(revoked=None)), now=NOW)


async def test_an_answer_takes_back_what_was_said_before_it_of_this_certificate(store: SqlStore) -> None:
    another = replace(ONE, serial_number=7)
    namesake = replace(ONE, issuer=IssuerKey(ONE.issuer.name, b"x" * 32))
    for each in (ONE, ELSEWHERE, another, namesake):
        await store.commit_ocsp_revocation(each, now=NOW)
    await store.remove_ocsp_revocations(ONE.issuer, ONE.serial_number, before=NOW, now=later(9))
    assert len(await store.ocsp_revocations()) == 4  # not newer
    await store.remove_ocsp_revocations(ONE.issuer, ONE.serial_number, before=later(1), now=later(9))
    kept = await store.ocsp_revocations()
    assert ONE not in kept
    assert len(kept) == 3


async def test_what_has_ended_or_belongs_to_no_ca_is_let_go(store: SqlStore) -> None:
    ended = replace(ONE, serial_number=7, not_after=later(1))
    for each in (ONE, ELSEWHERE, ended):
        await store.commit_ocsp_revocation(each, now=NOW)
    await store.retire_ocsp_revocations([ONE.certificate_id], now=later(2))
    assert await store.ocsp_revocations() == [ONE]
    await store.retire_ocsp_revocations([], now=later(2))
    assert await store.ocsp_revocations() == []

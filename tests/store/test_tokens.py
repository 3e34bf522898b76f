"""Contract: tokens."""

from dataclasses import replace

import pytest

from store.builders import NOW, Store, a_token, an_api_token, an_enrollment, enroll, later
from watchword_server.core.enrollment import EnrollmentToken
from watchword_server.core.model.names import DeviceId
from watchword_server.errors import ConflictError, EnrollmentRefusedError, NotFoundError


async def test_tokens_come_back_as_stored_and_newest_first(store: Store) -> None:
    await enroll(store, "d", at=NOW)
    full = EnrollmentToken(
        id="full",
        secret_sha256=b"\x00\xff",
        max_uses=7,
        uses=0,
        created_at=later(20),
        expires_at=later(30),
        needs_approval=True,
        serial_number="S1",
        platform="linux",
        device_id=DeviceId("d"),
    )
    plain = a_token("plain", created_at=later(10))
    for token in (plain, full):
        await store.add_enrollment_token(token)
    assert list(await store.enrollment_tokens())[:2] == [full, plain]


async def test_api_tokens_come_back_as_stored_and_newest_first(store: Store) -> None:
    old, new = an_api_token("old"), an_api_token("new", created_at=later(10), expires_at=later(20))
    for token in (old, new):
        await store.add_api_token(token)
    assert list(await store.api_tokens()) == [new, old]
    assert await store.api_token("new") == new
    assert await store.api_token("neither") is None


async def test_a_token_is_not_bound_to_a_device_that_does_not_exist(store: Store) -> None:
    with pytest.raises(NotFoundError, match="`nobody`"):
        await store.add_enrollment_token(a_token(device_id=DeviceId("nobody")))
    assert await store.enrollment_tokens() == []


async def test_an_id_is_given_once(store: Store) -> None:
    await store.add_enrollment_token(a_token())
    await store.add_api_token(an_api_token())
    with pytest.raises(ConflictError):
        await store.add_enrollment_token(a_token(max_uses=1000))
    with pytest.raises(ConflictError):
        await store.add_api_token(an_api_token(created_at=later(1)))
    assert list(await store.enrollment_tokens()) == [a_token()]
    assert list(await store.api_tokens()) == [an_api_token()]


async def test_a_revoked_enrollment_token_enrolls_nobody(store: Store) -> None:
    await store.add_enrollment_token(a_token(max_uses=2))
    await store.enroll(an_enrollment("d"), now=NOW)
    await store.revoke_token("token", now=NOW)
    await store.revoke_token("token", now=NOW)  # once more changes nothing
    assert list(await store.enrollment_tokens()) == [replace(a_token(max_uses=2), uses=1, revoked=True)]
    for name in ("d", "e"):  # nor does it give a lost answer again
        with pytest.raises(EnrollmentRefusedError, match="token_revoked"):
            await store.enroll(an_enrollment(name), now=NOW)


async def test_a_revoked_api_token_says_so(store: Store) -> None:
    await store.add_api_token(an_api_token("a"))
    await store.add_api_token(an_api_token("b"))
    await store.revoke_token("a", now=NOW)
    assert await store.api_token("a") == replace(an_api_token("a"), revoked=True)
    assert await store.api_token("b") == an_api_token("b")


async def test_a_token_that_does_not_exist_cannot_be_revoked(store: Store) -> None:
    with pytest.raises(NotFoundError, match="`nothing`"):
        await store.revoke_token("nothing", now=NOW)

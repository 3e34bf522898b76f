"""Contract: judged claims, the fence around them, and the bindings that follow them."""

import asyncio
from dataclasses import replace

import pytest

from store.builders import (
    CERTIFICATE,
    CHECK,
    NOW,
    OTHER_CERTIFICATE,
    OTHER_CHECK,
    Store,
    a_commit,
    a_judged_claim,
    a_token,
    an_enrollment,
    device,
    enroll,
    enroll_in_session,
    key_of,
    later,
    proven_until,
)
from watchword_server.core.model.devices import DeviceState, SeenBoot
from watchword_server.core.model.names import DeviceId, Instant
from watchword_server.errors import ConflictError, DeviceNotActiveError, NotFoundError, SupersededError
from watchword_server.ports.devices import Rejudgement

# ---- Results and the fence ----------------------------------------------------------------------------------------------


async def test_an_unknown_device_has_no_posture(store: Store) -> None:
    assert await store.posture(DeviceId("nobody")) is None


async def test_committed_evidence_is_the_posture(store: Store) -> None:
    await enroll(store, "d")
    judged = a_judged_claim("d", proves=CERTIFICATE, expires_at=later(900))
    revision = await store.commit_evidence(a_commit("d", judged, claims_epoch=True, at=later(1), hostname="renamed"))
    posture = await store.posture(DeviceId("d"))
    assert posture is not None
    assert dict(posture.results) == {CHECK: judged.result}
    assert posture.revision == revision
    assert (posture.device.epoch, posture.device.hostname, posture.device.last_seen_at) == (1, "renamed", later(1))


async def test_only_the_newest_result_of_a_check_stays(store: Store) -> None:
    await enroll_in_session(store, "d")
    other = a_judged_claim("d", check_id=OTHER_CHECK)
    await store.commit_evidence(a_commit("d", a_judged_claim("d"), other))
    newest = a_judged_claim("d", at=later(60), proves=CERTIFICATE)
    await store.commit_evidence(a_commit("d", newest, at=later(60)))
    posture = await store.posture(DeviceId("d"))
    assert posture is not None
    assert dict(posture.results) == {CHECK: newest.result, OTHER_CHECK: other.result}


async def test_evidence_without_claims_still_tells_that_the_device_lives(store: Store) -> None:
    await enroll_in_session(store, "d")
    before = await store.commit_evidence(a_commit("d", at=later(5)))
    assert await store.commit_evidence(a_commit("d", at=later(7))) == before + 1
    assert (await device(store, "d")).last_seen_at == later(7)


async def test_a_newer_session_fences_off_the_older_one(store: Store) -> None:
    await enroll_in_session(store, "d")
    await store.commit_evidence(a_commit("d", epoch=2, claims_epoch=True))
    before = await store.posture(DeviceId("d"))
    with pytest.raises(SupersededError):
        await store.commit_evidence(a_commit("d", a_judged_claim("d", proves=CERTIFICATE), epoch=1, at=later(9), hostname="late"))
    assert await store.posture(DeviceId("d")) == before
    assert await proven_until(store, CERTIFICATE) == {}


@pytest.mark.parametrize(("epoch", "claims_epoch"), [(1, True), (3, True), (0, False), (2, False)])
async def test_no_epoch_but_the_held_or_the_next_one_gets_in(store: Store, epoch: int, claims_epoch: bool) -> None:
    await enroll_in_session(store, "d")  # holds epoch 1
    with pytest.raises(SupersededError):
        await store.commit_evidence(a_commit("d", a_judged_claim("d"), epoch=epoch, claims_epoch=claims_epoch))
    assert (await device(store, "d")).epoch == 1


async def test_of_many_sessions_that_claim_an_epoch_one_gets_it(store: Store) -> None:
    await enroll(store, "d")
    attempts = [store.commit_evidence(a_commit("d", claims_epoch=True, at=later(n))) for n in range(50)]
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    assert sum(isinstance(outcome, int) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, SupersededError) for outcome in outcomes) == 49


@pytest.mark.parametrize("state", [DeviceState.PENDING, DeviceState.REVOKED, None])
async def test_only_an_active_device_brings_evidence(store: Store, state: DeviceState | None) -> None:
    if state is not None:
        await enroll(store, "d", needs_approval=True)
    if state is DeviceState.REVOKED:
        await store.set_device_state(DeviceId("d"), DeviceState.REVOKED, now=NOW)
    with pytest.raises(DeviceNotActiveError):
        await store.commit_evidence(a_commit("d", a_judged_claim("d"), claims_epoch=True))
    posture = await store.posture(DeviceId("d"))
    assert posture is None or (dict(posture.results), posture.device.epoch) == ({}, 0)


# ---- Bindings -----------------------------------------------------------------------------------------------------------


async def test_a_proven_certificate_is_bound_until_its_result_expires(store: Store) -> None:
    await enroll_in_session(store, "d")
    judged = a_judged_claim("d", proves=CERTIFICATE, expires_at=later(900))
    revision = await store.commit_evidence(a_commit("d", judged))
    (binding,), as_of = await store.bindings(key_of(CERTIFICATE))
    assert (binding.certificate, binding.device_id, binding.device_state) == (CERTIFICATE, "d", DeviceState.ACTIVE)
    assert (binding.proven_until, as_of) == (later(900), revision)


async def test_a_certificate_nobody_proved_is_bound_to_nobody(store: Store) -> None:
    await enroll_in_session(store, "d")
    revision = await store.commit_evidence(a_commit("d", a_judged_claim("d")))
    assert await store.bindings(key_of(CERTIFICATE)) == ([], revision)


@pytest.mark.parametrize("now_proves", [None, OTHER_CERTIFICATE])
async def test_a_binding_ends_when_its_check_proves_it_no_more_and_stays_known(store: Store, now_proves: object) -> None:
    await enroll_in_session(store, "d")
    await store.commit_evidence(a_commit("d", a_judged_claim("d", proves=CERTIFICATE, expires_at=later(900))))
    next_claim = a_judged_claim("d", at=later(60), proves=now_proves, expires_at=later(960))  # type: ignore[arg-type]
    await store.commit_evidence(a_commit("d", next_claim, at=later(61)))
    assert await proven_until(store, CERTIFICATE) == {"d": later(61)}
    assert await proven_until(store, OTHER_CERTIFICATE) == ({"d": later(960)} if now_proves else {})


async def test_a_binding_that_never_ends_by_itself_ends_with_the_proof(store: Store) -> None:
    await enroll_in_session(store, "d")
    await store.commit_evidence(a_commit("d", a_judged_claim("d", proves=CERTIFICATE, expires_at=None)))
    assert await proven_until(store, CERTIFICATE) == {"d": None}
    await store.commit_evidence(a_commit("d", a_judged_claim("d"), at=later(60)))
    assert await proven_until(store, CERTIFICATE) == {"d": later(60)}


async def test_a_binding_that_ended_keeps_its_end(store: Store) -> None:
    await enroll_in_session(store, "d")
    await store.commit_evidence(a_commit("d", a_judged_claim("d", proves=CERTIFICATE, expires_at=later(30))))
    await store.commit_evidence(a_commit("d", a_judged_claim("d"), at=later(60)))
    assert await proven_until(store, CERTIFICATE) == {"d": later(30)}


async def test_a_certificate_proved_again_is_bound_again(store: Store) -> None:
    await enroll_in_session(store, "d")
    for at, proves in ((0, CERTIFICATE), (60, None), (120, CERTIFICATE)):
        judged = a_judged_claim("d", at=later(at), proves=proves, expires_at=later(at + 900))
        await store.commit_evidence(a_commit("d", judged, at=later(at)))
    assert await proven_until(store, CERTIFICATE) == {"d": later(1020)}


@pytest.mark.parametrize(("other_end", "want"), [(later(100), later(900)), (later(2000), later(2000)), (None, None)])
async def test_of_a_device_the_proof_that_ends_last_counts(store: Store, other_end: Instant | None, want: Instant | None) -> None:
    await enroll_in_session(store, "d")
    one = a_judged_claim("d", proves=CERTIFICATE, expires_at=later(900))
    two = a_judged_claim("d", check_id=OTHER_CHECK, proves=CERTIFICATE, expires_at=other_end)
    await store.commit_evidence(a_commit("d", one, two))
    assert await proven_until(store, CERTIFICATE) == {"d": want}


async def test_one_check_that_fails_leaves_the_proof_of_another(store: Store) -> None:
    await enroll_in_session(store, "d")
    one = a_judged_claim("d", proves=CERTIFICATE, expires_at=later(900))
    two = a_judged_claim("d", check_id=OTHER_CHECK, proves=CERTIFICATE, expires_at=later(500))
    await store.commit_evidence(a_commit("d", one, two))
    await store.commit_evidence(a_commit("d", a_judged_claim("d"), at=later(60)))
    assert await proven_until(store, CERTIFICATE) == {"d": later(500)}


async def test_a_clone_is_two_bindings_and_a_revoked_device_keeps_its_own(store: Store) -> None:
    for name in ("a", "b"):
        await enroll_in_session(store, name)
        await store.commit_evidence(a_commit(name, a_judged_claim(name, proves=CERTIFICATE, expires_at=later(900))))
    await store.set_device_state(DeviceId("a"), DeviceState.REVOKED, now=later(1))
    bindings, _ = await store.bindings(key_of(CERTIFICATE))
    assert [(binding.device_id, binding.device_state, binding.proven_until) for binding in bindings] == [
        ("a", DeviceState.REVOKED, later(900)),
        ("b", DeviceState.ACTIVE, later(900)),
    ]


async def test_a_clone_that_fails_its_check_is_bound_all_the_same(store: Store) -> None:
    """`proven_certificate`, not `passed`, binds: else two clones would free each other."""
    await enroll_in_session(store, "d")
    clone = a_judged_claim("d", proves=CERTIFICATE, expires_at=later(900), reason="certificate_cloned")
    await store.commit_evidence(a_commit("d", clone))
    assert await proven_until(store, CERTIFICATE) == {"d": later(900)}


async def test_a_key_leads_to_each_of_its_certificates_on_each_device(store: Store) -> None:
    key = key_of(CERTIFICATE)
    for name, certificate in (("a", CERTIFICATE), ("b", OTHER_CERTIFICATE)):
        await enroll_in_session(store, name)
        await store.commit_evidence(a_commit(name, a_judged_claim(name, proves=certificate, key=key, expires_at=later(900))))
    renewed = a_judged_claim("a", at=later(60), proves=OTHER_CERTIFICATE, key=key, expires_at=later(960))
    await store.commit_evidence(a_commit("a", renewed, at=later(61)))
    bindings, _ = await store.bindings(key)
    assert {(binding.device_id, binding.certificate, binding.proven_until) for binding in bindings} == {
        ("a", CERTIFICATE, later(61)),
        ("a", OTHER_CERTIFICATE, later(960)),
        ("b", OTHER_CERTIFICATE, later(900)),
    }
    assert {binding.key for binding in bindings} == {key}
    assert await store.bindings(key_of(OTHER_CERTIFICATE)) == ([], (await store.bindings(key))[1])


async def test_a_binding_of_before_keys_were_kept_leads_nowhere_until_it_is_proved_again(store: Store) -> None:
    await enroll_in_session(store, "d")
    judged = a_judged_claim("d", proves=CERTIFICATE, expires_at=later(900))
    await store.commit_evidence(a_commit("d", replace(judged, result=replace(judged.result, proven_key=None))))
    assert await proven_until(store, CERTIFICATE) == {}
    await store.commit_evidence(a_commit("d", judged))
    assert await proven_until(store, CERTIFICATE) == {"d": later(900)}


# ---- Two machines with one device key -----------------------------------------------------------------------------------


async def test_boots_and_what_they_tell_are_the_devices_with_its_evidence(store: Store) -> None:
    await enroll_in_session(store, "d")
    boots = (SeenBoot(b"A", NOW, later(1)), SeenBoot(bytes(64), later(2), later(3)))
    await store.commit_evidence(a_commit("d", boots=boots, key_cloned_at=later(3)))
    known = await device(store, "d")
    assert (known.boots, known.key_cloned_at) == (boots, later(3))


async def test_what_is_cleared_is_forgotten_and_ends_the_session_that_is_committing(store: Store) -> None:
    await enroll_in_session(store, "d")
    boots = (SeenBoot(b"A", NOW, later(1)),)
    await store.commit_evidence(a_commit("d", boots=boots, key_cloned_at=later(3)))
    await store.clear_key_clone(DeviceId("d"), now=later(4))
    known = await device(store, "d")
    assert (known.boots, known.key_cloned_at) == ((), None)
    with pytest.raises(SupersededError):
        await store.commit_evidence(a_commit("d", boots=boots, key_cloned_at=later(3), at=later(5)))


async def test_there_has_to_be_something_to_clear(store: Store) -> None:
    await enroll_in_session(store, "d")
    with pytest.raises(ConflictError):
        await store.clear_key_clone(DeviceId("d"), now=NOW)
    with pytest.raises(NotFoundError):
        await store.clear_key_clone(DeviceId("nobody"), now=NOW)


# ---- Judging again ------------------------------------------------------------------------------------------------------


async def test_a_claim_judged_again_has_its_new_result_and_keeps_its_claim(store: Store) -> None:
    await enroll_in_session(store, "d")
    first = a_judged_claim("d", proves=CERTIFICATE, expires_at=later(900))
    await store.commit_evidence(a_commit("d", first))
    again = a_judged_claim("d", reason="certificate_revoked", evaluated_at=later(30))
    revision = await store.commit_rejudged([Rejudgement(DeviceId("d"), again)])
    (stored,) = await store.claims(check_ids=frozenset({CHECK}))
    assert stored.judged == again
    assert await proven_until(store, CERTIFICATE) == {"d": later(30)}
    posture = await store.posture(DeviceId("d"))
    assert posture is not None
    assert posture.revision == revision
    assert posture.device.last_seen_at == NOW, "the device did not say anything"


async def test_a_claim_judged_again_can_bind(store: Store) -> None:
    await enroll_in_session(store, "d")
    await store.commit_evidence(a_commit("d", a_judged_claim("d")))
    again = a_judged_claim("d", proves=CERTIFICATE, expires_at=later(900), evaluated_at=later(30))
    await store.commit_rejudged([Rejudgement(DeviceId("d"), again)])
    assert await proven_until(store, CERTIFICATE) == {"d": later(900)}
    assert [stored.judged for stored in await store.claims(key=key_of(CERTIFICATE))] == [again]


async def test_a_newer_claim_is_not_overruled(store: Store) -> None:
    await enroll_in_session(store, "d")
    await store.commit_evidence(a_commit("d", a_judged_claim("d", proves=CERTIFICATE, expires_at=later(900))))
    newer = a_judged_claim("d", at=later(60))
    revision = await store.commit_evidence(a_commit("d", newer, at=later(60)))
    overtaken = a_judged_claim("d", proves=CERTIFICATE, expires_at=later(5000), evaluated_at=later(61))
    assert await store.commit_rejudged([Rejudgement(DeviceId("d"), overtaken)]) == revision
    posture = await store.posture(DeviceId("d"))
    assert posture is not None
    assert dict(posture.results) == {CHECK: newer.result}
    assert await proven_until(store, CERTIFICATE) == {"d": later(60)}


async def test_judging_again_reaches_active_devices_only(store: Store) -> None:
    for name in ("a", "b"):
        await enroll_in_session(store, name)
        await store.commit_evidence(a_commit(name, a_judged_claim(name)))
    before = await store.posture(DeviceId("a"))
    assert before is not None
    await store.set_device_state(DeviceId("a"), DeviceState.REVOKED, now=NOW)
    again = [a_judged_claim(name, proves=CERTIFICATE, evaluated_at=later(30)) for name in ("a", "b", "nobody")]
    await store.commit_rejudged([Rejudgement(judged.context.device_id, judged) for judged in again])
    after = await store.posture(DeviceId("a"))
    assert after is not None
    assert after.results == before.results
    assert await proven_until(store, CERTIFICATE) == {"b": None}


# ---- Claims -------------------------------------------------------------------------------------------------------------


async def test_claims_are_found_by_check_by_key_and_by_device(store: Store) -> None:
    proves = {"a": CERTIFICATE, "b": OTHER_CERTIFICATE, "c": CERTIFICATE}
    for name, certificate in proves.items():
        await enroll_in_session(store, name)
        other = a_judged_claim(name, check_id=OTHER_CHECK)
        await store.commit_evidence(a_commit(name, a_judged_claim(name, proves=certificate), other))
    await store.set_device_state(DeviceId("c"), DeviceState.REVOKED, now=NOW)

    async def found(**wanted: object) -> list[tuple[str, str]]:
        claims = await store.claims(**wanted)  # type: ignore[arg-type]
        return [(claim.device.id, claim.judged.claim.check_id) for claim in claims]

    assert await found(check_ids=frozenset({CHECK})) == [("a", CHECK), ("b", CHECK)]
    assert await found(check_ids=frozenset()) == []
    assert await found(key=key_of(CERTIFICATE)) == [("a", CHECK)]
    assert await found(check_ids=frozenset({OTHER_CHECK}), key=key_of(OTHER_CERTIFICATE)) == [
        ("a", OTHER_CHECK),
        ("b", CHECK),
        ("b", OTHER_CHECK),
    ]
    assert await found(device_id=DeviceId("a")) == [("a", CHECK), ("a", OTHER_CHECK)]
    assert len(await found()) == 4


async def test_a_claim_comes_back_as_it_was_judged(store: Store) -> None:
    await store.add_enrollment_token(a_token())
    await store.enroll(an_enrollment("d", serial_number="S1"), now=NOW)
    judged = a_judged_claim("d", proves=CERTIFICATE, expires_at=later(900))
    await store.commit_evidence(a_commit("d", judged, claims_epoch=True))
    (stored,) = await store.claims(key=key_of(CERTIFICATE))
    assert stored.judged == judged
    assert stored.device == await device(store, "d")

"""SQLite: group commit, its bounds, and revisions without gaps."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from store.builders import (
    CERTIFICATE,
    NOW,
    OTHER_CERTIFICATE,
    a_commit,
    a_judged_claim,
    a_token,
    an_api_token,
    an_enrollment,
    an_entry,
    an_upsert,
    device,
    enroll,
    enroll_in_session,
    key_of,
    later,
    uses,
)
from store.sqlite import Commits, busy_writer, change_log, clock_floor, queue, revision
from watchword_server.adapters.store_sql.store import SqlStore, StoreLimits
from watchword_server.core.model.devices import DeviceState
from watchword_server.core.model.names import DeviceId
from watchword_server.errors import ConflictError, NotFoundError, OverloadedError, StoreUnavailableError, WatchwordError
from watchword_server.ports.devices import Rejudgement

# ---- Group commit -------------------------------------------------------------------------------------------------------


async def test_what_waits_together_is_committed_together(store: SqlStore) -> None:
    async with busy_writer(store):
        commits = Commits(store)
        tasks = await queue(store, [store.add_api_token(an_api_token(f"t{n}")) for n in range(100)])
    await asyncio.gather(*tasks)
    assert commits.count == 2, "the busy one and one for all hundred"
    assert await revision(store) == 100


async def test_one_commit_takes_a_bounded_number(tmp_path: Path) -> None:
    store = await SqlStore.open(tmp_path, limits=StoreLimits(writes_per_commit=20))
    async with busy_writer(store):
        commits = Commits(store)
        tasks = await queue(store, [store.add_api_token(an_api_token(f"t{n}")) for n in range(50)])
    await asyncio.gather(*tasks)
    assert commits.count == 1 + 3
    await store.close()


async def test_a_refusal_leaves_the_others_of_its_commit_alone(store: SqlStore) -> None:
    await store.add_enrollment_token(a_token())
    async with busy_writer(store):
        commits = Commits(store)
        tasks: list[asyncio.Task[object]] = await queue(
            store,
            [
                store.add_api_token(an_api_token("before")),
                store.enroll(an_enrollment("d"), now=NOW),
                store.enroll(an_enrollment("e"), now=NOW),  # the token is used up
                store.revoke_token("nothing", now=NOW),
                store.add_api_token(an_api_token("before")),  # a unique index notices
                store.add_api_token(an_api_token("after")),
            ],
        )
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(outcome, WatchwordError) for outcome in outcomes] == [False, False, True, True, True, False]
    assert commits.count == 2
    assert {token.id for token in await store.api_tokens()} == {"before", "after"}
    assert [posture.device.id for posture in await store.devices()] == ["d"]
    assert await revision(store) == 4


async def test_an_operations_own_fault_is_its_callers_alone_and_leaves_no_trace(store: SqlStore) -> None:
    async with busy_writer(store):
        faulty = an_entry("p", body={"x": object()})
        change = await queue(store, [store.commit_rules(an_upsert(faulty), expected_revision=0, now=NOW)])
        good = await queue(store, [store.add_api_token(an_api_token())])
    outcomes = await asyncio.gather(*change, *good, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [TypeError, type(None)]
    assert await revision(store) == 1


async def test_an_operation_whose_caller_went_away_is_still_done(store: SqlStore) -> None:
    async with busy_writer(store):
        (gone,) = await queue(store, [store.add_api_token(an_api_token("gone"))])
        (stays,) = await queue(store, [store.add_api_token(an_api_token("stays"))])
        gone.cancel()
    await stays
    assert gone.cancelled()
    assert {token.id for token in await store.api_tokens()} == {"gone", "stays"}


# ---- Bounds -------------------------------------------------------------------------------------------------------------


async def test_a_full_queue_refuses_at_once_and_takes_again_when_there_is_room(tmp_path: Path) -> None:
    store = await SqlStore.open(tmp_path, limits=StoreLimits(pending_writes=2))
    async with busy_writer(store):
        tasks = await queue(store, [store.add_api_token(an_api_token(f"t{n}")) for n in range(2)])
        with pytest.raises(OverloadedError, match="2 writes waiting"):
            await store.add_api_token(an_api_token("one too many"))
    await asyncio.gather(*tasks)
    await store.add_api_token(an_api_token("later"))
    assert {token.id for token in await store.api_tokens()} == {"t0", "t1", "later"}
    await store.close()


async def test_too_many_reads_are_refused_and_the_others_answered(tmp_path: Path) -> None:
    store = await SqlStore.open(tmp_path, limits=StoreLimits(pending_reads=3, read_threads=2))
    outcomes = await asyncio.gather(*(store.devices() for _ in range(5)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [list] * 3 + [OverloadedError] * 2
    assert await store.devices() == []
    await store.close()


async def test_closing_finishes_what_was_asked_for_and_then_refuses(tmp_path: Path) -> None:
    store = await SqlStore.open(tmp_path)
    async with busy_writer(store):
        tasks = await queue(store, [store.add_api_token(an_api_token(f"t{n}")) for n in range(30)])
        closing = asyncio.ensure_future(store.close())
    await asyncio.gather(closing, *tasks)
    await store.close()  # once more does nothing
    refused: list[Callable[[], Awaitable[object]]] = [store.devices, lambda: store.revoke_token("t0", now=NOW)]
    for operation in refused:
        with pytest.raises(StoreUnavailableError, match="closed"):
            await operation()
    again = await SqlStore.open(tmp_path)
    assert len(await again.api_tokens()) == 30
    await again.close()


# ---- Revisions ----------------------------------------------------------------------------------------------------------


async def test_revisions_have_no_gaps_whatever_happens_at_once(store: SqlStore) -> None:
    await store.add_enrollment_token(a_token(max_uses=20))
    for name in ("a", "b", "c"):
        await enroll_in_session(store, name)
    chance = random.Random(1)
    operations = [
        *(store.enroll(an_enrollment(f"d{n}"), now=NOW) for n in range(40)),  # 20 of them refused
        *(store.commit_rules(an_upsert(an_entry(f"p{n}")), expected_revision=0, now=NOW) for n in range(10)),  # 9 refused
        *(store.revoke_token(f"nothing {n}", now=NOW) for n in range(10)),  # all refused
        *(store.commit_evidence(a_commit(chance.choice("abcx"), a_judged_claim("a"))) for _ in range(100)),
        *(store.add_api_token(an_api_token(f"t{n}")) for n in range(40)),
    ]
    chance.shuffle(operations)
    before = await revision(store)
    outcomes = await asyncio.gather(*operations, return_exceptions=True)
    assert all(isinstance(outcome, WatchwordError) for outcome in outcomes if isinstance(outcome, BaseException))
    done = sum(not isinstance(outcome, BaseException) for outcome in outcomes)
    assert 0 < done < len(operations)
    logged = {number for number, _, _ in await change_log(store)}
    assert logged == set(range(1, before + done + 1))
    assert await revision(store) == before + done
    told = [outcome for outcome in outcomes if isinstance(outcome, int)]
    assert len(set(told)) == len(told), "each revision was given to one caller"


async def test_the_change_log_names_all_that_an_operation_changed_under_one_revision(store: SqlStore) -> None:
    await enroll_in_session(store, "d", serial_number="S1")
    await store.commit_evidence(a_commit("d", a_judged_claim("d", proves=CERTIFICATE)))
    start = await revision(store)

    async def logged(number: int) -> set[tuple[str, str]]:
        return {(kind, key) for at, kind, key in await change_log(store) if at == number}

    await store.commit_evidence(a_commit("d", a_judged_claim("d", at=later(1), proves=OTHER_CERTIFICATE), at=later(1)))
    assert await logged(start + 1) == {
        ("device", "d"),
        ("certificate", key_of(CERTIFICATE).hex()),
        ("certificate", key_of(OTHER_CERTIFICATE).hex()),
    }
    rejudged = Rejudgement(DeviceId("d"), a_judged_claim("d", at=later(1), evaluated_at=later(2)))
    await store.commit_rejudged([rejudged])
    assert await logged(start + 2) == {("device", "d"), ("certificate", key_of(OTHER_CERTIFICATE).hex())}
    await enroll(store, "e", serial_number="S1", needs_approval=True)
    assert await logged(start + 3) == {("enrollment_token", "token of e")}
    assert await logged(start + 4) == {("enrollment_token", "token of e"), ("device", "e")}
    await store.set_device_state(DeviceId("e"), DeviceState.ACTIVE, now=NOW)
    assert await logged(start + 5) == {("device", "d"), ("device", "e")}
    await store.commit_rules(an_upsert(an_entry("p"), an_entry("q")), expected_revision=0, now=NOW)
    assert await logged(start + 6) == {("rules", "")}
    await store.add_api_token(an_api_token())
    await store.revoke_token("api", now=NOW)
    assert await logged(start + 7) == await logged(start + 8) == {("api_token", "api")}
    await store.commit_evidence(a_commit("e", a_judged_claim("e", proves=CERTIFICATE), claims_epoch=True))
    await store.add_enrollment_token(a_token("again", device_id=DeviceId("e")))
    await store.enroll(an_enrollment("x", key="new", token_id="again"), now=later(3))
    assert await logged(start + 11) == {
        ("device", "e"),
        ("enrollment_token", "again"),
        ("certificate", key_of(CERTIFICATE).hex()),
    }
    assert await revision(store) == start + 11


async def test_what_changes_nothing_has_no_revision(store: SqlStore) -> None:
    await store.add_enrollment_token(a_token())
    await store.enroll(an_enrollment("d"), now=NOW)
    before = await revision(store)
    await store.enroll(an_enrollment("again", key="d"), now=NOW)
    assert await store.commit_rejudged([]) == before
    assert await store.commit_rules(an_upsert(), expected_revision=0, now=NOW) == 0
    await store.save_clock_floor(later(1e5))
    with pytest.raises(NotFoundError):
        await store.revoke_token("nothing", now=NOW)
    assert await revision(store) == before


async def test_the_change_log_is_trimmed_to_the_newest(tmp_path: Path) -> None:
    store = await SqlStore.open(tmp_path, limits=StoreLimits(kept_changes=20))
    lengths = []
    for n in range(100):
        await store.add_api_token(an_api_token(f"t{n}"))
        kept = [number for number, _, _ in await change_log(store)]
        assert kept == list(range(kept[0], n + 2)), "no gap in what is kept"
        lengths.append(len(kept))
    assert lengths[:20] == list(range(1, 21))
    assert set(lengths[20:]) == {20, 21}, "trimmed now and then, not each time"
    await store.close()


# ---- The clock's floor and reads ----------------------------------------------------------------------------------------


async def test_every_commit_keeps_the_latest_instant(store: SqlStore) -> None:
    await store.add_api_token(an_api_token(created_at=later(100)))
    assert await clock_floor(store) == later(100)
    await enroll_in_session(store, "d")  # earlier
    assert await clock_floor(store) == later(100)
    await store.commit_evidence(a_commit("d", at=later(200)))
    assert await clock_floor(store) == later(200)
    with pytest.raises(ConflictError):
        await store.add_api_token(an_api_token(created_at=later(300)))
    assert await clock_floor(store) == later(200), "what was refused does not move it"


async def test_readers_cannot_write(store: SqlStore) -> None:
    statement = text("UPDATE meta SET revision = 7")
    with pytest.raises(StoreUnavailableError, match="readonly"):
        await store._reader.run(lambda connection: connection.execute(statement))
    assert await revision(store) == 0


async def test_a_posture_belongs_together_while_evidence_comes_in(store: SqlStore) -> None:
    """Device, result and revision are of one moment, however reads and commits interleave."""
    await enroll_in_session(store, "d")
    start = await revision(store)
    done = asyncio.Event()

    async def write() -> None:
        for n in range(1, 101):
            await store.commit_evidence(a_commit("d", a_judged_claim("d", at=later(n)), at=later(n)))
        done.set()

    async def read() -> int:
        seen = 0
        while not done.is_set():
            posture = await store.posture(DeviceId("d"))
            assert posture is not None
            moment = posture.revision - start
            if moment:
                assert posture.device.last_seen_at == later(moment)
                assert [result.evaluated_at for result in posture.results.values()] == [later(moment)]
                seen += 1
        return seen

    readers = [asyncio.create_task(read()) for _ in range(3)]
    await write()
    assert min(await asyncio.gather(*readers)) > 0
    assert (await device(store, "d")).last_seen_at == later(100)


async def test_a_token_used_in_the_same_commit_is_seen_as_used(store: SqlStore) -> None:
    await store.add_enrollment_token(a_token())
    async with busy_writer(store):
        tasks = await queue(store, [store.enroll(an_enrollment(f"d{n}"), now=NOW) for n in range(10)])
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(outcome, WatchwordError) for outcome in outcomes) == 9
    assert await uses(store, "token") == 1

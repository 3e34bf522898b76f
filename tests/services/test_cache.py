"""Memory over a store that is slow, silent, wrong-footed by commits, or away."""

import asyncio
import gc
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.values import (
    CHECK,
    DEVICE,
    KEY,
    NOW,
    OTHER_CHECK,
    OTHER_DEVICE,
    a_binding,
    a_device,
    a_posture,
    a_result,
    found,
)
from watchword_server.adapters.cache import CacheLimits, PostureCache, RevisionedCache
from watchword_server.core.model.checks import Check, ClientCertificateConfig, OnClone, Trust
from watchword_server.core.model.decisions import Standing
from watchword_server.core.model.devices import DeviceState
from watchword_server.core.model.names import CheckId, DeviceId, Fingerprint, Instant
from watchword_server.core.model.results import CertificateBinding, DevicePosture
from watchword_server.core.posture import standing_of
from watchword_server.errors import OverloadedError, StoreUnavailableError
from watchword_server.ports.devices import DeviceStore

PATIENT: Final = CacheLimits(load_deadline_seconds=20.0)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass(slots=True)
class SlowStore:
    """Answers by key, with what it held when it was asked. After `hold`, new questions wait until `release`."""

    answers: dict[Hashable, tuple[Any, int]] = field(default_factory=dict)
    failure: Exception | None = None
    asked: dict[Hashable, int] = field(default_factory=lambda: defaultdict(int))
    _go_on: asyncio.Event = field(default_factory=asyncio.Event)
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    def __post_init__(self) -> None:
        self._go_on.set()

    def hold(self) -> None:
        self._go_on = asyncio.Event()

    def release(self) -> None:
        self._go_on.set()

    async def was_asked(self, key: Hashable, times: int = 1) -> None:
        async with asyncio.timeout(20), self._arrived:
            await self._arrived.wait_for(lambda: self.asked[key] >= times)

    async def load(self, key: Hashable) -> tuple[Any, int]:
        self.asked[key] += 1
        go_on = self._go_on
        answer = self.answers.get(key, (None, 0))
        async with self._arrived:
            self._arrived.notify_all()
        await go_on.wait()
        if self.failure is not None:
            raise self.failure
        return answer

    async def posture(self, device_id: DeviceId) -> DevicePosture | None:
        return cast("DevicePosture | None", (await self.load(device_id))[0])

    async def bindings(self, certificate: Fingerprint) -> tuple[Sequence[CertificateBinding], int]:
        found, revision = await self.load(certificate)
        return found or (), revision

    def holds(self, posture: DevicePosture) -> None:
        """The store's state from now on."""
        self.answers[posture.device.id] = (posture, posture.revision)


@pytest.fixture
def store() -> SlowStore:
    return SlowStore()


@pytest.fixture
def timer() -> Clock:
    return Clock()


@pytest.fixture
def cached(store: SlowStore, timer: Clock) -> RevisionedCache[Hashable, str]:
    return RevisionedCache(store.load, max_entries=3, limits=PATIENT, timer=timer)


@pytest.fixture
def memory(store: SlowStore, timer: Clock) -> PostureCache:
    return PostureCache(cast("DeviceStore", store), PATIENT, timer)


async def passes(memory: PostureCache, check_id: CheckId = CHECK) -> bool:
    posture = await memory.posture(DEVICE)
    assert posture is not None
    return posture.results[check_id].passed


# ---- One question for all who wait -------------------------------------------------------------------------------------


async def test_all_who_wait_for_an_entry_ask_the_store_once(store: SlowStore, cached: RevisionedCache[Hashable, str]) -> None:
    store.answers["a"] = ("value", 1)
    store.hold()
    waiting = [asyncio.create_task(cached.get("a")) for _ in range(50)]
    await store.was_asked("a")
    store.release()
    assert await asyncio.gather(*waiting) == ["value"] * 50
    assert await cached.get("a") == "value"
    assert store.asked["a"] == 1


async def test_a_waiter_that_gives_up_does_not_take_the_answer_from_the_others(
    store: SlowStore, cached: RevisionedCache[Hashable, str]
) -> None:
    store.answers["a"] = ("value", 1)
    store.hold()
    first, second = asyncio.create_task(cached.get("a")), asyncio.create_task(cached.get("a"))
    await store.was_asked("a")
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    store.release()
    assert await second == "value"
    assert store.asked["a"] == 1


async def test_a_waiter_that_is_cancelled_at_the_moment_of_the_answer_is_cancelled(
    store: SlowStore, cached: RevisionedCache[Hashable, str]
) -> None:
    """Python 3.11's `asyncio.wait_for` would swallow it, and whoever cancelled would wait for ever."""
    store.answers["a"] = ("value", 1)
    store.hold()
    waiting = asyncio.create_task(cached.get("a"))
    await store.was_asked("a")
    (load,) = cached._loads.values()
    load.task.add_done_callback(lambda _: waiting.cancel())
    store.release()
    await asyncio.wait({waiting})
    assert waiting.cancelled()


@pytest.mark.parametrize("failure", [StoreUnavailableError("away"), OverloadedError("full")], ids=lambda error: error.code)
async def test_a_failure_reaches_all_who_wait_and_is_not_remembered(
    store: SlowStore, cached: RevisionedCache[Hashable, str], failure: Exception
) -> None:
    store.answers["a"], store.failure = ("value", 1), failure
    store.hold()
    waiting = [asyncio.create_task(cached.get("a")) for _ in range(3)]
    await store.was_asked("a")
    store.release()
    assert await asyncio.gather(*waiting, return_exceptions=True) == [failure] * 3
    store.failure = None
    assert await cached.get("a") == "value"


async def test_a_store_that_is_silent_is_unavailable_after_the_deadline(store: SlowStore, timer: Clock) -> None:
    impatient: RevisionedCache[Hashable, str] = RevisionedCache(
        store.load, max_entries=3, limits=CacheLimits(load_deadline_seconds=0.01), timer=timer
    )
    store.answers["a"] = ("value", 1)
    store.hold()
    with pytest.raises(StoreUnavailableError):
        await impatient.get("a")
    with pytest.raises(StoreUnavailableError):
        await impatient.get("a")
    assert store.asked["a"] == 1, "who comes later waits for the question that is on its way"
    (load,) = impatient._loads.values()
    store.release()
    await asyncio.wait({load.task})
    assert await impatient.get("a") == "value", "the late answer is not lost"
    assert store.asked["a"] == 1


async def test_a_failure_that_nobody_waits_for_any_more_is_nobodys_surprise(store: SlowStore, timer: Clock) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    impatient: RevisionedCache[Hashable, str] = RevisionedCache(
        store.load, max_entries=3, limits=CacheLimits(load_deadline_seconds=0.01), timer=timer
    )
    store.failure = StoreUnavailableError("away")
    store.hold()
    with pytest.raises(StoreUnavailableError):
        await impatient.get("a")
    (load,) = impatient._loads.values()
    store.release()
    await asyncio.wait({load.task})
    del load
    gc.collect()
    assert not complaints


# ---- What is not there, and how much is kept ---------------------------------------------------------------------------


async def test_what_is_not_there_is_remembered_for_its_time(
    store: SlowStore, cached: RevisionedCache[Hashable, str], timer: Clock
) -> None:
    assert await cached.get("nobody") is None
    assert await cached.get("nobody") is None
    assert store.asked["nobody"] == 1
    timer.now += PATIENT.keep_absent_seconds + 1
    assert await cached.get("nobody") is None
    assert store.asked["nobody"] == 2


async def test_what_was_not_there_is_found_as_soon_as_a_commit_made_it(
    store: SlowStore, cached: RevisionedCache[Hashable, str]
) -> None:
    assert await cached.get("a") is None
    store.answers["a"] = ("value", 4)
    cached.forget("a", 4)
    assert await cached.get("a") == "value"


async def test_the_memory_of_what_is_not_there_is_bounded(store: SlowStore, timer: Clock) -> None:
    cached: RevisionedCache[Hashable, str] = RevisionedCache(
        store.load, max_entries=3, limits=CacheLimits(max_absent=10), timer=timer
    )
    for guess in range(1000):
        assert await cached.get(f"guess {guess}") is None
    assert len(cached._absent) == 10
    assert not cached._entries
    assert not cached._loads


async def test_entries_are_bounded_and_the_least_used_goes_first(
    store: SlowStore, cached: RevisionedCache[Hashable, str]
) -> None:
    store.answers |= {name: (name, 1) for name in "abcd"}
    for name in "abca":
        await cached.get(name)
    await cached.get("d")
    await cached.get("a")
    assert {name: store.asked[name] for name in "abcd"} == {"a": 1, "b": 1, "c": 1, "d": 1}
    await cached.get("b")
    assert store.asked["b"] == 2


async def test_an_entry_is_read_again_after_its_time(
    store: SlowStore, cached: RevisionedCache[Hashable, str], timer: Clock
) -> None:
    store.answers["a"] = ("old", 1)
    await cached.get("a")
    store.answers["a"] = ("new", 2)
    timer.now += PATIENT.keep_seconds - 1
    assert await cached.get("a") == "old"
    timer.now += 2
    assert await cached.get("a") == "new"


# ---- A fill never overwrites something newer ---------------------------------------------------------------------------


async def test_a_fill_that_a_commit_overtook_is_read_again(store: SlowStore, cached: RevisionedCache[Hashable, str]) -> None:
    store.answers["a"] = ("before the commit", 5)
    store.hold()
    reading = asyncio.create_task(cached.get("a"))
    await store.was_asked("a")
    store.answers["a"] = ("after the commit", 7)
    cached.forget("a", 7)
    store.release()
    assert await reading == "after the commit"
    assert store.asked["a"] == 2


async def test_a_fill_that_found_nothing_is_read_again_if_a_commit_made_it_meanwhile(
    store: SlowStore, cached: RevisionedCache[Hashable, str]
) -> None:
    store.hold()
    reading = asyncio.create_task(cached.get("a"))
    await store.was_asked("a")
    store.answers["a"] = ("made meanwhile", 7)
    cached.forget("a", 7)
    store.release()
    assert await reading == "made meanwhile"
    assert await cached.get("a") == "made meanwhile"


async def test_a_fill_does_not_replace_what_a_commit_put_there(store: SlowStore, cached: RevisionedCache[Hashable, str]) -> None:
    store.answers["a"] = ("before", 5)
    store.hold()
    reading = asyncio.create_task(cached.get("a"))
    await store.was_asked("a")
    cached.put("a", "put", 9)
    store.answers["a"] = ("a store that is behind", 8)
    store.release()
    assert await reading == "put"
    assert cached.peek("a") == ("put", 9)


async def test_every_commit_that_overtakes_makes_it_read_once_more(
    store: SlowStore, cached: RevisionedCache[Hashable, str]
) -> None:
    store.answers["a"] = ("5", 5)
    store.hold()
    reading = asyncio.create_task(cached.get("a"))
    for revision in (6, 7, 8):
        await store.was_asked("a", revision - 5)
        store.answers["a"] = (str(revision), revision)
        cached.forget("a", revision)
        store.release()
        store.hold()
    store.release()
    assert await reading == "8"


async def test_an_older_commit_takes_nothing_away(store: SlowStore, cached: RevisionedCache[Hashable, str]) -> None:
    cached.put("a", "newer", 9)
    cached.forget("a", 9)
    cached.forget("a", 3)
    cached.put("a", "older", 3)
    assert await cached.get("a") == "newer"
    assert not store.asked


async def test_forgetting_all_reads_all_again_fills_on_their_way_included(
    store: SlowStore, cached: RevisionedCache[Hashable, str]
) -> None:
    store.answers |= {"a": ("old", 1), "b": ("old", 1)}
    await cached.get("a")
    store.hold()
    reading = asyncio.create_task(cached.get("b"))
    await store.was_asked("b")
    store.answers |= {"a": ("new", 2), "b": ("new", 2)}
    cached.forget_all(2)
    store.release()
    assert (await reading, await cached.get("a")) == ("new", "new")


# ---- Devices with their results ----------------------------------------------------------------------------------------


async def test_an_expired_result_stays_in_memory_and_is_known_as_expired(store: SlowStore, memory: PostureCache) -> None:
    """Not read again for being expired, and not dropped, which would turn it into another reason."""
    store.holds(a_posture([a_result(expires_at=Instant(NOW - 1))]))
    for _ in range(3):
        posture = await memory.posture(DEVICE)
    assert store.asked[DEVICE] == 1
    assert standing_of(_check(), found(posture), NOW) is Standing.EXPIRED


async def test_a_commit_is_in_memory_at_once(store: SlowStore, memory: PostureCache) -> None:
    store.holds(a_posture([a_result(), a_result(OTHER_CHECK)], revision=3))
    await memory.posture(DEVICE)
    memory.committed(a_device(epoch=2), [a_result(passed=False)], revision=4)
    posture = await memory.posture(DEVICE)
    assert posture is not None
    assert (posture.revision, posture.device.epoch) == (4, 2)
    assert {check_id: result.passed for check_id, result in posture.results.items()} == {CHECK: False, OTHER_CHECK: True}
    assert store.asked[DEVICE] == 1


async def test_a_commit_about_a_device_that_is_not_in_memory_adds_nothing_partial(store: SlowStore, memory: PostureCache) -> None:
    memory.committed(a_device(), [a_result()], revision=4)
    store.holds(a_posture([a_result(), a_result(OTHER_CHECK)], revision=4))
    posture = await memory.posture(DEVICE)
    assert posture is not None
    assert posture.results.keys() == {CHECK, OTHER_CHECK}


async def test_a_commit_that_is_told_late_does_not_undo_a_newer_one(store: SlowStore, memory: PostureCache) -> None:
    store.holds(a_posture([a_result(passed=False)], revision=9))
    await memory.posture(DEVICE)
    memory.committed(a_device(), [a_result()], revision=8)
    assert not await passes(memory)


async def test_bindings_are_cached_forgotten_and_filled_as_devices_are(store: SlowStore, memory: PostureCache) -> None:
    assert await memory.bindings(KEY) == ()
    store.answers[KEY] = ([a_binding()], 5)
    assert await memory.bindings(KEY) == ()
    memory.forget_key(KEY, revision=5)
    assert await memory.bindings(KEY) == [a_binding()]
    store.hold()
    memory.forget_key(KEY, revision=6)
    reading = asyncio.create_task(memory.bindings(KEY))
    await store.was_asked(KEY, 3)
    store.answers[KEY] = ([a_binding(), a_binding(OTHER_DEVICE)], 7)
    memory.forget_key(KEY, revision=7)
    store.release()
    assert len(await reading) == 2


# ---- What narrows holds ------------------------------------------------------------------------------------------------


async def test_a_failed_result_holds_before_its_commit_and_a_passed_one_does_not(store: SlowStore, memory: PostureCache) -> None:
    store.holds(a_posture([a_result(), a_result(OTHER_CHECK, passed=False)]))
    await memory.posture(DEVICE)
    memory.narrow(DEVICE, [a_result(passed=False), a_result(OTHER_CHECK)])
    assert not await passes(memory)
    assert not await passes(memory, OTHER_CHECK)


async def test_a_narrowing_lies_over_an_entry_that_is_read_later(store: SlowStore, memory: PostureCache) -> None:
    memory.narrow(DEVICE, [a_result(passed=False)])
    store.holds(a_posture([a_result()]))
    assert not await passes(memory)


async def test_a_narrowing_lies_over_a_fill_that_is_on_its_way(store: SlowStore, memory: PostureCache) -> None:
    store.holds(a_posture([a_result()]))
    store.hold()
    reading = asyncio.create_task(memory.posture(DEVICE))
    await store.was_asked(DEVICE)
    memory.narrow(DEVICE, [a_result(passed=False)])
    store.release()
    posture = await reading
    assert posture is not None
    assert not posture.results[CHECK].passed


async def test_a_narrowing_is_about_its_device_alone(store: SlowStore, memory: PostureCache) -> None:
    store.holds(a_posture([a_result()]))
    memory.narrow(OTHER_DEVICE, [a_result(passed=False)])
    assert await passes(memory)


async def test_a_narrowing_outlives_the_entry_and_everything_being_forgotten(
    store: SlowStore, memory: PostureCache, timer: Clock
) -> None:
    store.holds(a_posture([a_result()], revision=1))
    await memory.posture(DEVICE)
    memory.narrow(DEVICE, [a_result(passed=False)])
    timer.now += PATIENT.keep_seconds * 100
    assert not await passes(memory)
    memory.forget_device(DEVICE, revision=2)
    assert not await passes(memory)
    memory.forget_all(revision=3)
    assert not await passes(memory)
    assert store.asked[DEVICE] == 4


async def test_a_narrowing_that_came_to_nothing_is_lifted(store: SlowStore, memory: PostureCache) -> None:
    store.holds(a_posture([a_result()]))
    narrowing = memory.narrow(DEVICE, [a_result(passed=False)])
    assert not await passes(memory)
    memory.settle(narrowing)
    assert await passes(memory)


async def test_a_narrowing_that_was_committed_gives_way_to_the_commit(store: SlowStore, memory: PostureCache) -> None:
    store.holds(a_posture([a_result()], revision=1))
    await memory.posture(DEVICE)
    narrowing = memory.narrow(DEVICE, [a_result(passed=False, reason="narrowed")])
    memory.committed(a_device(), [a_result(passed=False, reason="committed")], revision=2)
    memory.settle(narrowing, revision=2)
    posture = await memory.posture(DEVICE)
    assert posture is not None
    assert posture.results[CHECK].reason == "committed"


async def test_settling_one_narrowing_leaves_another_that_is_not_settled(store: SlowStore, memory: PostureCache) -> None:
    store.holds(a_posture([a_result(), a_result(OTHER_CHECK)]))
    first = memory.narrow(DEVICE, [a_result(passed=False)])
    second = memory.narrow(DEVICE, [a_result(OTHER_CHECK, passed=False)])
    memory.settle(first)
    assert (await passes(memory), await passes(memory, OTHER_CHECK)) == (True, False)
    memory.settle(second)
    assert (await passes(memory), await passes(memory, OTHER_CHECK)) == (True, True)


async def test_a_lock_holds_whatever_is_committed_about_results(store: SlowStore, memory: PostureCache) -> None:
    store.holds(a_posture([a_result()], revision=1))
    lock = memory.narrow(DEVICE, state=DeviceState.REVOKED)
    evidence = memory.narrow(DEVICE, [a_result()])
    memory.committed(a_device(), [a_result()], revision=2)
    memory.settle(evidence, revision=2)
    assert await state(memory) is DeviceState.REVOKED
    memory.settle(lock)
    assert await state(memory) is DeviceState.ACTIVE


# ---- What narrows holds where the store does not take it ---------------------------------------------------------------


async def test_a_failed_result_holds_though_its_commit_failed(store: SlowStore, memory: PostureCache) -> None:
    store.holds(a_posture([a_result()]))
    memory.hold(memory.narrow(DEVICE, [a_result(passed=False)]))
    memory.forget_device(DEVICE, revision=2)
    assert not await passes(memory)


async def test_what_is_held_is_one_entry_a_device_however_often_it_is_tried(store: SlowStore, memory: PostureCache) -> None:
    store.holds(a_posture([a_result()]))
    for attempt in range(1000):
        memory.hold(memory.narrow(DEVICE, [a_result(passed=False, reason=f"attempt {attempt}")]))
    assert not memory._narrowings
    assert len(memory._held) == 1
    posture = await memory.posture(DEVICE)
    assert posture is not None
    assert posture.results[CHECK].reason == "attempt 999"


async def test_a_passing_result_that_was_not_committed_lifts_nothing(store: SlowStore, memory: PostureCache) -> None:
    """What widens access takes effect only after its commit (DESIGN.md 3): an earlier failure that is held stays."""
    store.holds(a_posture([a_result()]))
    memory.hold(memory.narrow(DEVICE, [a_result(passed=False)]))
    memory.hold(memory.narrow(DEVICE, [a_result()]))
    assert not await passes(memory)


async def test_a_done_commit_about_the_same_checks_ends_what_was_held_and_about_others_does_not(
    store: SlowStore, memory: PostureCache
) -> None:
    store.holds(a_posture([a_result(), a_result(OTHER_CHECK)], revision=1))
    memory.hold(memory.narrow(DEVICE, [a_result(passed=False), a_result(OTHER_CHECK, passed=False)]))
    memory.settle(memory.narrow(DEVICE, [a_result(OTHER_CHECK)]), revision=2)
    assert (await passes(memory), await passes(memory, OTHER_CHECK)) == (False, True)
    memory.settle(memory.narrow(DEVICE, [a_result()]), revision=3)
    assert (await passes(memory), await passes(memory, OTHER_CHECK)) == (True, True)
    assert not memory._held


async def test_a_lock_whose_commit_failed_outlives_commits_of_results(store: SlowStore, memory: PostureCache) -> None:
    store.holds(a_posture([a_result()]))
    memory.hold(memory.narrow(DEVICE, state=DeviceState.REVOKED))
    memory.hold(memory.narrow(DEVICE, [a_result(passed=False)]))
    memory.settle(memory.narrow(DEVICE, [a_result()]), revision=2)
    assert await state(memory) is DeviceState.REVOKED
    memory.settle(memory.narrow(DEVICE, state=DeviceState.REVOKED), revision=3)
    assert not memory._held


@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from(["committed", "refused", "unknown"]), st.booleans()), min_size=1, max_size=12
    )
)
def test_nothing_but_a_commit_lifts_a_failure(attempts: list[tuple[bool, str, bool]]) -> None:
    """Whatever evidence comes and becomes of it: after a failure that may be stored, only a done commit makes the check pass."""

    async def run() -> None:
        store = SlowStore()
        memory = PostureCache(cast("DeviceStore", store), PATIENT)
        store.holds(a_posture([a_result()], revision=1))
        stored, doubtful = True, False
        for revision, (passed, outcome, forgotten) in enumerate(attempts, start=2):
            result = a_result(passed=passed)
            narrowing = memory.narrow(DEVICE, [result])
            assert await passes(memory) == (stored and passed and not doubtful), "before the commit"
            match outcome:
                case "committed":
                    store.holds(a_posture([result], revision=revision))
                    memory.committed(a_device(), [result], revision=revision)
                    memory.settle(narrowing, revision=revision)
                    stored, doubtful = passed, False
                case "refused":
                    memory.settle(narrowing)
                case _:
                    memory.hold(narrowing)
                    doubtful = doubtful or not passed
            if forgotten:
                memory.forget_all(revision=revision)
            assert await passes(memory) == (stored and not doubtful), "after it"

    asyncio.run(run())


async def state(memory: PostureCache) -> DeviceState:
    posture = await memory.posture(DEVICE)
    assert posture is not None
    return posture.device.state


def _check() -> Check:
    config = ClientCertificateConfig(
        certificate_id=cast("Any", "certificate"),
        common_name=None,
        subject_alternative_names=(),
        extended_key_usage=(),
        check_private_key=True,
        paths=(),
        trust_stores=(),
        trust=Trust.ISSUER,
        on_clone=OnClone.FAIL,
        allow_pkcs1=False,
    )
    return Check(CHECK, "check", 1, "client_certificate_v2", frozenset(), 300, 900, config)

"""Token buckets: so many at once, then so many a second, and no more memory than for so many keys."""

import pytest

from watchword_server.errors import RateLimitedError
from watchword_server.services.limiting import TokenBuckets


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def timer() -> Clock:
    return Clock()


def taken(buckets: TokenBuckets, key: str = "a", *, most: int = 1000) -> int:
    """How many tokens there are."""
    for count in range(most):
        try:
            buckets.take(key)
        except RateLimitedError:
            return count
    return most


def test_so_many_at_once_and_then_so_many_a_second(timer: Clock) -> None:
    buckets = TokenBuckets(per_second=2, burst=5, timer=timer)
    assert taken(buckets) == 5
    timer.now += 1
    assert taken(buckets) == 2
    timer.now += 0.4
    assert taken(buckets) == 0
    timer.now += 0.1
    assert taken(buckets) == 1
    timer.now += 1_000_000
    assert taken(buckets) == 5


def test_it_says_when_the_next_one_is_there(timer: Clock) -> None:
    buckets = TokenBuckets(per_second=0.5, burst=1, timer=timer)
    buckets.take("a")
    with pytest.raises(RateLimitedError) as refusal:
        buckets.take("a")
    timer.now += refusal.value.retry_after_seconds
    buckets.take("a")


def test_who_goes_on_asking_waits_no_longer_for_it(timer: Clock) -> None:
    buckets = TokenBuckets(per_second=1, burst=1, timer=timer)
    assert taken(buckets) == 1
    for _ in range(8):
        timer.now += 0.125
        refused = taken(buckets)
    assert refused == 1


def test_each_key_has_its_own(timer: Clock) -> None:
    buckets = TokenBuckets(per_second=1, burst=3, timer=timer)
    assert [taken(buckets, key) for key in "aab"] == [3, 0, 3]


def test_the_keys_that_are_remembered_are_bounded(timer: Clock) -> None:
    buckets = TokenBuckets(per_second=1, burst=1, timer=timer, max_keys=10)
    for key in range(1000):
        buckets.take(str(key))
    assert len(buckets._buckets) == 10
    assert taken(buckets, "999") == 0

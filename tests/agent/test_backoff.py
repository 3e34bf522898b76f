"""Waiting before trying again."""

from hypothesis import given
from hypothesis import strategies as st

from watchword_agent.backoff import Allowance, Backoff, system_uniform


def test_the_bound_doubles_up_to_the_cap_and_starts_over_after_a_success() -> None:
    backoff = Backoff(1, 300, uniform=lambda *bounds: bounds[1])
    assert [backoff.next() for _ in range(10)] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]
    backoff.reset()
    assert backoff.next() == 1


def test_the_jitter_is_full() -> None:
    assert Backoff(1, 300, uniform=lambda *bounds: bounds[0]).next() == 0


@given(failures=st.integers(min_value=0, max_value=10**6))
def test_no_number_of_failures_exceeds_the_cap(failures: int) -> None:
    assert 0 <= Backoff(0.5, 20, system_uniform, failures).next() <= 20


def test_an_allowance_fills_up_again() -> None:
    allowance = Allowance(2, per_second=4)
    assert [allowance.wait(0), allowance.wait(0), allowance.wait(0)] == [0, 0, 0.25]
    assert allowance.wait(0.125) == 0.125
    assert [allowance.wait(100), allowance.wait(100), allowance.wait(100)] == [0, 0, 0.25]

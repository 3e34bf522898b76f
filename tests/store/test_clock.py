"""The clock never goes backwards, keeps pace when the wall clock steps back, and notices a jump ahead."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchword_server.adapters.clock import SystemClock
from watchword_server.core.model.names import Instant


@dataclass
class Clocks:
    """A wall clock that anybody may set and a monotonic clock that nobody can."""

    wall_seconds: float = 1000.0
    monotonic_seconds: float = 50.0

    def wall(self) -> float:
        return self.wall_seconds

    def monotonic(self) -> float:
        return self.monotonic_seconds

    def pass_(self, seconds: float, *, wall_step: float = 0.0) -> None:
        self.monotonic_seconds += seconds
        self.wall_seconds += seconds + wall_step

    def system_clock(self, floor: float = 0.0) -> SystemClock:
        return SystemClock(floor=Instant(floor), wall=self.wall, monotonic=self.monotonic)


def test_it_tells_wall_time() -> None:
    clocks = Clocks()
    clock = clocks.system_clock()
    assert clock.now() == 1000.0
    clocks.pass_(5)
    assert clock.now() == 1005.0


def test_after_a_step_back_time_goes_on_from_where_it_was() -> None:
    clocks = Clocks()
    clock = clocks.system_clock()
    clocks.pass_(10, wall_step=-500)
    assert clock.now() == 1010.0
    clocks.pass_(7)
    assert clock.now() == 1017.0
    clocks.pass_(1, wall_step=500)
    assert clock.now() == 1018.0, "and no jump when the wall clock is right again"


def test_after_a_restart_it_starts_at_the_floor() -> None:
    clocks = Clocks()
    clock = clocks.system_clock(floor=5000)
    assert clock.now() == 5000.0
    clocks.pass_(3)
    assert clock.now() == 5003.0


def test_a_floor_in_the_past_changes_nothing() -> None:
    assert Clocks().system_clock(floor=999).now() == 1000.0


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(-1e6, 1e6)), max_size=30), st.floats(0, 1e9))
def test_it_never_goes_back_and_never_stands_still_while_time_passes(steps: list[tuple[float, float]], floor: float) -> None:
    clocks = Clocks(wall_seconds=1e8)
    clock = clocks.system_clock(floor=floor)
    last = clock.now()
    assert last >= floor
    for seconds, wall_step in steps:
        clocks.pass_(seconds, wall_step=wall_step)
        now = clock.now()
        assert now >= clocks.wall()
        assert now >= last + seconds * (1 - 1e-9) - 1e-6
        last = now


def test_a_jump_forward_is_told_once() -> None:
    clocks = Clocks()
    clock = clocks.system_clock()
    assert not clock.jumped_forward(30)
    clocks.pass_(3600)
    assert not clock.jumped_forward(30), "time that passed is no jump"
    clocks.pass_(1, wall_step=60)
    clock.now()
    assert clock.jumped_forward(30)
    assert not clock.jumped_forward(30)


@pytest.mark.parametrize("steps", [(20,), (-60,), (-60, 60)])
def test_no_jump_is_seen_where_time_did_not_run_ahead(steps: tuple[float, ...]) -> None:
    clocks = Clocks()
    clock = clocks.system_clock()
    for step in steps:
        clocks.pass_(1, wall_step=step)
        clock.now()
        assert not clock.jumped_forward(30)


def test_small_steps_within_one_look_add_up() -> None:
    clocks = Clocks()
    clock = clocks.system_clock()
    for _ in range(4):
        clocks.pass_(1, wall_step=10)
        clock.now()
    assert clock.jumped_forward(30)


def test_starting_at_the_floor_is_no_jump() -> None:
    assert not Clocks().system_clock(floor=5000).jumped_forward(30)


def test_with_the_machines_own_clocks_it_advances() -> None:
    clock = SystemClock()
    instants = [clock.now() for _ in range(1000)]
    assert instants == sorted(instants)
    assert instants[0] > 1_700_000_000

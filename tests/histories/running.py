"""Playing many histories, and making short what went wrong."""

import asyncio
import gc
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import structlog

from histories.at_once import AtOnce
from histories.events import History, make_history
from histories.house import Playing, Stage, Tally, Wrong
from histories.mutants import MUTANTS
from histories.pool import Pool
from histories.remembered import remember


@dataclass(frozen=True, slots=True)
class Failure:
    """A history that went wrong, and the shortest one found that does."""

    seed: int
    wrong: Wrong
    shortest: History

    def __str__(self) -> str:
        lines = [f"seed {self.seed}, step {self.wrong.step}: {self.wrong.what}", "the shortest that does:"]
        lines += [f"  {step.event!r}, then {step.asks}" for step in self.shortest]
        return "\n".join([*lines, f"again: WATCHWORD_HISTORY_SEED={self.seed} .venv/bin/pytest tests/histories"])


@dataclass(frozen=True, slots=True)
class Report:
    """What many histories came to. `failure`: the first."""

    histories: int
    tally: Tally
    failure: Failure | None


def play_all(seeds: Iterable[int]) -> Report:
    """Plays the histories of these seeds in this process, up to the first that goes wrong."""
    with _runner() as runner:
        return runner.run(_play_all(seeds))


def unnoticed(mutants: Iterable[str], seeds: Sequence[int]) -> list[str]:
    """Those of `histories.mutants` with which none of these histories goes wrong in this process."""
    missed = []
    with _runner() as runner:
        for name in mutants:
            with MUTANTS[name].applied():
                if runner.run(_play_all(seeds, shorten=False)).failure is None:
                    missed.append(name)
    return missed


def _runner() -> asyncio.Runner:
    remember()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    return asyncio.Runner(loop_factory=AtOnce)


async def _play_all(seeds: Iterable[int], *, shorten: bool = True) -> Report:
    stage = await _stage()
    tally, count = Tally(), 0
    gc.freeze()
    gc.set_threshold(50_000)  # what a history leaves behind is small, and looking through it often takes a tenth of the time
    for seed in seeds:
        history = make_history(seed)
        wrong = await Playing.begin(stage, tally).play(history)
        count += 1
        await asyncio.sleep(0)  # what is left to do in the loop
        if wrong is not None:
            return Report(count, tally, Failure(seed, wrong, await _shortest(stage, history) if shorten else history))
    return Report(count, tally, None)


_stages: list[Stage] = []


async def _stage() -> Stage:
    """The same for all in this process."""
    if not _stages:
        _stages.append(await Stage.set(Pool.make()))
    return _stages[0]


async def _shortest(stage: Stage, history: History) -> History:
    """The history without all that it goes wrong without."""
    shorter = True
    while shorter:
        shorter = False
        for candidate in _without_something(history):
            if await Playing.begin(stage, Tally()).play(candidate) is not None:
                history, shorter = candidate, True
                break
    return history


def _without_something(history: History) -> Iterable[History]:
    for place, step in enumerate(history):
        yield history[:place] + history[place + 1 :]
        for number in range(len(step.asks)):
            fewer = replace(step, asks=step.asks[:number] + step.asks[number + 1 :])
            yield (*history[:place], fewer, *history[place + 1 :])

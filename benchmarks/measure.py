"""What the benchmarks share: timing what is compared in turns, quantiles, and the two forms a report has."""

import argparse
import gc
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

Call = Callable[[], object]

REPEATS: Final = 5  # of what takes longer than a moment; the median counts
_WARM_UP_SECONDS: Final = 0.2
_TURN_SECONDS: Final = 0.02
_MAX_SAMPLES: Final = 2_000_000


# ---- Timing -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Timing:
    """Microseconds a call: `median` and `p99` of single calls, less the clock's cost; `batch` is the mean in the median sweep."""

    median: float
    p99: float
    batch: float


def quantile(ordered: Sequence[float], q: float) -> float:
    """The nearest-rank quantile of values in ascending order."""
    return ordered[min(len(ordered) - 1, max(0, math.ceil(q * len(ordered)) - 1))]


def settle() -> None:
    """What the server does when its rules are loaded: a later full collection need not look at them. The collector stays on."""
    gc.collect()
    gc.freeze()


def time_in_turns(subjects: Mapping[str, Sequence[Call]], *, seconds: float) -> dict[str, Timing]:
    """Times all calls of each subject again and again, the subjects taking turns, so that a slow moment of the machine hits all.

    A sweep over a subject's calls is timed once as a whole, once call by call. Calls are best made by `functools.partial`, whose
    own cost (some 0.05 µs) is part of what is reported.
    """
    for calls in subjects.values():
        _warm_up(calls)
    single: dict[str, list[int]] = {name: [] for name in subjects}
    batch: dict[str, list[float]] = {name: [] for name in subjects}
    deadline = time.perf_counter() + seconds * len(subjects)
    while not all(batch.values()) or time.perf_counter() < deadline:
        for name, calls in subjects.items():
            for call in calls:  # the processor's cache is this subject's again
                call()
            turn = time.perf_counter() + _TURN_SECONDS
            while True:
                batch[name].append(_sweep(calls))
                if len(single[name]) < _MAX_SAMPLES:
                    _sample(calls, single[name])
                if time.perf_counter() > turn:
                    break
    clock = _clock_cost()
    return {name: _timing(single[name], batch[name], clock) for name in subjects}


def _warm_up(calls: Sequence[Call]) -> None:
    until = time.perf_counter() + _WARM_UP_SECONDS
    while time.perf_counter() < until:
        for call in calls:
            call()


def _sweep(calls: Sequence[Call]) -> float:
    begun = time.perf_counter_ns()
    for call in calls:
        call()
    return (time.perf_counter_ns() - begun) / len(calls)


def _sample(calls: Sequence[Call], into: list[int]) -> None:
    clock, add = time.perf_counter_ns, into.append
    for call in calls:
        begun = clock()
        call()
        add(clock() - begun)


def _clock_cost() -> float:
    clock = time.perf_counter_ns
    return quantile(sorted(-(clock() - clock()) for _ in range(10_000)), 0.5)


def _timing(single: list[int], batch: list[float], clock: float) -> Timing:
    ordered, sweeps = sorted(single), sorted(batch)
    return Timing(
        median=(quantile(ordered, 0.5) - clock) / 1e3,
        p99=(quantile(ordered, 0.99) - clock) / 1e3,
        batch=quantile(sweeps, 0.5) / 1e3,
    )


# ---- Reporting ----------------------------------------------------------------------------------------------------------


def arguments(description: str | None, *, seconds: float) -> argparse.ArgumentParser:
    """A parser with what every benchmark understands."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of tables")
    parser.add_argument(
        "--seconds", type=float, default=seconds, metavar="S", help="how long each subject is timed (default: %(default)s)"
    )
    return parser


def report(name: str, figures: Mapping[str, Any], *, as_json: bool, text: str) -> None:
    """Prints one line of JSON, or the text for people."""
    machine = _machine()
    if as_json:
        print(json.dumps({"benchmark": name, "machine": machine, **figures}))
    else:
        print(f"{text}\n\n{', '.join(f'{key} {value}' for key, value in machine.items())}\n")


def talk(message: str) -> None:
    """Says on stderr what is being done: a benchmark takes minutes."""
    print(message, file=sys.stderr, flush=True)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Aligned columns; the first is text, the others are figures."""
    cells = [list(map(str, header)), *([_shown(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _shown(cell: object) -> str:
    match cell:
        case None:
            return "-"
        case float() if abs(cell) >= 100:
            return f"{cell:,.0f}"
        case float() if abs(cell) >= 10:
            return f"{cell:.1f}"
        case float():
            return f"{cell:.2f}"
        case _:
            return str(cell)


def _machine() -> dict[str, object]:
    """What was measured on. `sum_us`: how long it takes to add a thousand numbers now, for comparing two runs' times at all."""
    once = min(_sweep([partial(sum, range(1000))] * 100) for _ in range(20)) / 1e3
    return {
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "sum_us": round(once, 1),
    }

"""The same decisions by other engines, in the same run: µs a decision with 1, 100 and 10,000 hosts, and the ratio to Watchword.

Every engine runs in a process of its own, has to answer all questions rightly before it is timed, and comes round several times;
its best round counts. Example:  python -m benchmarks.peers --only "opa, table" --rounds 5
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from benchmarks.engines import ENGINES
from benchmarks.measure import arguments, quantile, report, settle, table, talk
from benchmarks.peer_policy import Question, host_rules, questions

SIZES: Final = (1, 100, 10_000)
_OURS: Final = "watchword"


def main() -> None:
    parser = arguments(__doc__, seconds=1.0)
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="how often each comes round (default: %(default)s)")
    parser.add_argument(
        "--only", choices=[name for name in ENGINES if name != _OURS], action="append", help="with Watchword; repeatable"
    )
    parser.add_argument("--engine", choices=list(ENGINES), help="measure one in this process, as JSON")
    parser.add_argument("--size", type=int, default=1, help="hosts, with --engine")
    options = parser.parse_args()
    if options.engine:
        print(json.dumps(measure(options.engine, options.size, options.seconds)))
        return
    names = [_OURS, *(options.only or (name for name in ENGINES if name != _OURS))]
    figures = {f"{name} @ {size}": _best(found) for (name, size), found in _rounds(names, options).items()}
    report("peers", {"engines": figures}, as_json=options.json, text=_text(names, figures))


def measure(name: str, size: int, seconds: float) -> dict[str, float]:
    """Loads an engine in this process, checks its answers and times it. Raises `SystemExit` where an answer is wrong."""
    rules = host_rules(size)
    asked = questions(rules)
    memory = _max_rss()
    begun = time.perf_counter()
    engine = ENGINES[name](rules)
    loaded = time.perf_counter()
    prepared = [engine.prepare(question) for question in asked]
    first = time.perf_counter()
    engine.decide(prepared[0])
    answered = time.perf_counter()
    wrong = [question for question, ready in zip(asked, prepared, strict=True) if engine.decide(ready) is not question.allowed]
    if wrong:
        raise SystemExit(f"`{name}` with {size} hosts answers {len(wrong)} of {len(asked)} wrongly, first {wrong[0]}")
    settle()

    def whole(question: Question) -> bool:
        return engine.decide(engine.prepare(question))

    return {
        "decide_us": _median_sweep([partial(engine.decide, ready) for ready in prepared], seconds),
        "prepare_and_decide_us": _median_sweep([partial(whole, question) for question in asked], seconds),
        "load_seconds": loaded - begun,
        "first_seconds": answered - first,
        "rss_mb": (_max_rss() - memory) / 1024,
    }


def _median_sweep(calls: Sequence[Any], seconds: float) -> float:
    """The median over sweeps of the mean of a sweep, in µs; at least one whole sweep."""
    sweeps: list[float] = []
    until = time.perf_counter() + seconds
    while not sweeps or time.perf_counter() < until:
        begun = time.perf_counter_ns()
        for call in calls:
            call()
        sweeps.append((time.perf_counter_ns() - begun) / len(calls) / 1e3)
    return quantile(sorted(sweeps), 0.5)


def _rounds(names: Sequence[str], options: argparse.Namespace) -> dict[tuple[str, int], list[dict[str, float]]]:
    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    for number in range(options.rounds):
        for size in SIZES:
            for name in names:
                talk(f"round {number + 1} of {options.rounds}: {name}, {size:,} hosts")
                command = [sys.executable, "-m", "benchmarks.peers", "--engine", name, "--size", str(size)]
                done = subprocess.run(
                    [*command, "--seconds", str(options.seconds)], stdout=subprocess.PIPE, text=True, check=False
                )
                if done.returncode:
                    raise SystemExit(f"`{name}` with {size:,} hosts failed")
                found.setdefault((name, size), []).append(json.loads(done.stdout))
    return found


def _best(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The least of each figure: what the machine's other work added to it least."""
    return {key: min(figures[key] for figures in rounds) for key in rounds[0]}


def _text(names: Sequence[str], figures: Mapping[str, Mapping[str, float]]) -> str:
    header = ["hosts; µs a decision, input prepared", *(f"{size:,}" for size in SIZES), *(f"ratio at {size:,}" for size in SIZES)]
    decide = [_row(name, figures, "decide_us") for name in names]
    whole = [_row(name, figures, "prepare_and_decide_us") for name in names]
    load = [
        [name, *(figures[f"{name} @ {size}"]["load_seconds"] + figures[f"{name} @ {size}"]["first_seconds"] for size in SIZES),
         figures[f"{name} @ {SIZES[-1]}"]["rss_mb"]]
        for name in names
    ]  # fmt: skip
    return "\n\n".join(
        [
            table(header, decide),
            table(["hosts; µs a decision, from plain values", *header[1:]], whole),
            table(["hosts; seconds to the first decision", *header[1 : 1 + len(SIZES)], f"MB at {SIZES[-1]:,}"], load),
        ]
    )


def _row(name: str, figures: Mapping[str, Mapping[str, float]], key: str) -> list[object]:
    own = [figures[f"{name} @ {size}"][key] for size in SIZES]
    ours = [figures[f"{_OURS} @ {size}"][key] for size in SIZES]
    return [name, *own, *(f"{time / our:,.1f}x" for time, our in zip(own, ours, strict=True))]


def _max_rss() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()

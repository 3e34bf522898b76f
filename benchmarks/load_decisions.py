"""Part of `load.py`: how late decisions are while rules are loaded or changed, beside the same while nothing else happens.

Another process asks at fixed times through a socket; the server answers from its event loop as `watchword serve` would: the loop
is uvloop's, loading runs in a thread, and threads hand the interpreter over as often as `cli/serve.py` sets it.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import uvloop

from benchmarks import entries, workload
from benchmarks.load_client import INTERVAL_SECONDS
from benchmarks.measure import REPEATS, quantile, settle, table, talk
from watchword_server.core.decide import decide
from watchword_server.house import House

_SWITCH_INTERVAL_SECONDS: Final = 0.0005  # as in cli/serve.py
_BETWEEN_SECONDS: Final = 0.2
_REQUESTS: Final = 4096
_CHANGES: Final = 10  # there and back


@dataclass(slots=True)
class _Window:
    """A stretch of time in which something was going on."""

    name: str
    begun: float
    ended: float = 0.0


def measure(rules: int, seconds: float) -> tuple[dict[str, Any], str]:
    """The figures, and as a table."""
    sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        windows, answers = runner.run(_decide_while_loading(rules, seconds))
    figures: dict[str, Any] = {}
    for name in dict.fromkeys(window.name for window in windows):
        spans = [(window.begun, window.ended) for window in windows if window.name == name]
        latencies = sorted(1e3 * latency for due, latency in answers if any(begun <= due <= ended for begun, ended in spans))
        figures[name] = {
            "answers": len(latencies),
            "p50_ms": quantile(latencies, 0.5),
            "p99_ms": quantile(latencies, 0.99),
            "max_ms": latencies[-1],
        }
    idle = figures["idle"]
    rows = [
        [name, figure["answers"], figure["p50_ms"], figure["p99_ms"], figure["p99_ms"] - idle["p99_ms"], figure["max_ms"]]
        for name, figure in figures.items()
    ]
    header = [f"a decision every {INTERVAL_SECONDS * 1e3:g} ms", "answers", "p50 ms", "p99 ms", "p99 less idle's", "max ms"]
    return figures, table(header, rows)


async def _decide_while_loading(rules: int, seconds: float) -> tuple[list[_Window], list[tuple[float, float]]]:
    windows: list[_Window] = []

    async def during(name: str, work: Callable[[], Awaitable[object]]) -> None:
        window = _Window(name, time.monotonic())
        await work()
        window.ended = time.monotonic()
        windows.append(window)
        await asyncio.sleep(_BETWEEN_SECONDS)

    async with entries.house(entries.half_and_half(rules)) as house:
        settle()
        with tempfile.TemporaryDirectory() as directory:
            path = f"{directory}/socket"
            server = await asyncio.start_unix_server(_Door(house, rules // 2).answer, path)
            client = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "benchmarks.load_client", path), stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            await asyncio.sleep(1.0)
            talk("decisions while nothing else happens")
            await during("idle", partial(asyncio.sleep, seconds))
            for turn in range(REPEATS):
                talk(f"decisions during load {turn + 1} of {REPEATS}")
                await during("whole load", house.rules.load)
                await during("changes of one", partial(_change_one, house))
            output, _ = await client.communicate(b"")
            server.close()
    return windows, [(due, latency) for due, latency in json.loads(output)]


async def _change_one(house: House) -> None:
    """One rule after the other, until there are enough for quantiles."""
    for number in range(_CHANGES):
        change = entries.gateway_rule(number, action="allow")
        await house.rules.apply({"gateway_rules": [change]}, prune=False, dry_run=False)
        await house.rules.apply({"gateway_rules": [entries.gateway_rule(number)]}, prune=False, dry_run=False)


class _Door:
    """Answers each byte with one, after a decision."""

    def __init__(self, house: House, hosts: int) -> None:
        self._house = house
        checks = {check.name: check for check in house.rules.in_force.current.rules.checks.values()}
        self._cases = workload.cases(_REQUESTS, hosts, [checks[check.name] for check in workload.CHECKS])
        self._next = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until the other end closes."""
        while questions := await reader.read(4096):
            for _ in questions:
                case = self._cases[self._next % _REQUESTS]
                self._next += 1
                decide(case.request, case.device, self._house.rules.in_force.current, now=workload.NOW)
            writer.write(b"!" * len(questions))
        writer.close()

"""A revocation list of a million entries: what a lookup costs, and how much reading the list holds up an event loop.

    make bench ONLY=revocation

The floor of a lookup is that of Python's own set of integers. The loop sleeps a millisecond again and again and notes by how much
it woke too late: alone first, then while a process reads the list, then while a thread of its own process does.
"""

import asyncio
import random
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.measure import arguments, quantile, report, settle, table, talk, time_in_turns
from support.pki import Authority, root_authority
from support.revocation import revocation_list
from watchword_server.adapters.revocation_reader import RevocationReader
from watchword_server.core.certificates.crl import read_revocation_list
from watchword_server.core.certificates.parsed import parse_whole
from watchword_server.ports.revocation import ListSource, ReadList, ReadRequest

_TICK_SECONDS = 0.001


async def _late_while(work: Callable[[], "asyncio.Future[object]"] | None, *, seconds: float) -> tuple[list[float], float]:
    """By how many milliseconds each tick was late, in ascending order, and how long the work took (or `seconds` without any)."""
    late: list[float] = []
    begun = time.perf_counter()
    task = None if work is None else work()
    while (time.perf_counter() - begun < seconds) if task is None else not task.done():
        before = time.perf_counter()
        await asyncio.sleep(_TICK_SECONDS)
        late.append((time.perf_counter() - before - _TICK_SECONDS) * 1e3)
    if task is not None:
        await task
    return sorted(late), time.perf_counter() - begun


async def _measure(
    ca: Authority, path: Path, der: bytes, spool: Path, *, seconds: float
) -> tuple[dict[str, list[float]], dict[str, float], ReadList]:
    reader = RevocationReader(spool)
    request = ReadRequest(ListSource.PATH, str(path), (ca.credential.der,))
    issuers = [parse_whole(ca.credential.der)]
    late: dict[str, list[float]] = {}
    took: dict[str, float] = {}
    settle()
    talk("a loop alone")
    late["alone"], took["alone"] = await _late_while(None, seconds=seconds)
    talk("while a process reads the list")
    late["reader process"], took["reader process"] = await _late_while(
        lambda: asyncio.ensure_future(reader.read(request)), seconds=0
    )
    talk("while a thread reads the list")
    late["thread"], took["thread"] = await _late_while(
        lambda: asyncio.ensure_future(asyncio.to_thread(read_revocation_list, der, issuers)), seconds=0
    )
    read = await reader.read(request)
    if read is None:
        raise RuntimeError("the list was not read")
    return late, took, read


def main() -> None:
    parser = arguments(__doc__, seconds=5)
    parser.add_argument("--entries", type=int, default=1_000_000, metavar="N", help="on the list (default: %(default)s)")
    options = parser.parse_args()
    chance = random.Random(1)  # noqa: S311 (no secret)
    talk(f"making a list of {options.entries:,} entries, which takes longer than reading it")
    serials = [chance.getrandbits(158) + 1 for _ in range(options.entries)]
    ca = root_authority()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "ca.crl"
        path.write_bytes(revocation_list(ca, serials))
        length = path.stat().st_size
        late, took, read = asyncio.run(_measure(ca, path, path.read_bytes(), Path(directory) / "spool", seconds=options.seconds))
        index, known = read.revocation_list.entries, set(serials)
        hits = chance.sample(serials, min(1000, len(serials)))
        misses = [chance.getrandbits(158) + 1 for _ in hits]
        talk("lookups")
        timings = time_in_turns(
            {
                "index, on the list": [partial(index.find, serial) for serial in hits],
                "index, not on it": [partial(index.find, serial) for serial in misses],
                "set of integers": [partial(known.__contains__, serial) for serial in hits],
            },
            seconds=options.seconds,
        )
    floor = timings["set of integers"].batch
    rows = [[name, timing.batch, timing.p99, timing.batch / floor] for name, timing in timings.items()]
    delays = [
        [name, took[name], quantile(ticks, 0.5), quantile(ticks, 0.99), ticks[-1], ticks[-1] - late["alone"][-1]]
        for name, ticks in late.items()
    ]
    figures = {
        "entries": len(index),
        "list_bytes": length,
        "lookup_us": {name: timing.batch for name, timing in timings.items()},
        "late_ms": {
            name: {"p99": quantile(ticks, 0.99), "max": ticks[-1], "seconds": took[name]} for name, ticks in late.items()
        },
    }
    text = "\n\n".join(
        [
            f"{len(index):,} entries, {length / 1e6:.0f} MB",
            table(["lookup", "µs", "p99 µs", "of the floor"], rows),
            table(["a loop that ticks every ms", "s", "late ms", "p99", "max", "more than alone"], delays),
        ]
    )
    report("revocation", figures, as_json=options.json, text=text)


if __name__ == "__main__":
    main()

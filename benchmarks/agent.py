"""What the agent costs a machine, and how soon it tells of a change: the real program, a server's half in this process.

`idle`: processor time and memory of an agent that watches a PEM file and an NSS database and has nothing to do. `start`: from
starting the program to the first results. `change`: from a file's replacement to the evidence of it at the server; its floor is
`asked`, the same evidence when the server asks for it: collecting, proving, signing, sending, without noticing. `thousand`: a
check that looks through 1,000 certificates, asked for by the server.

Needs certutil and pk12util (`make test-deps`). Example:  python -m benchmarks.agent --seconds 60
"""

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from agent.device import check_set
from agent.fake_server import TOKEN, FakeServer, Stream
from agent.nss_databases import NssDatabase
from benchmarks.measure import arguments, report, table, talk
from support.pki import Credential, Pki, key_pem
from watchword.v1 import posture_pb2 as pb

_AGENT: Final = Path(sys.executable).with_name("watchword-agent")
_TIMES: Final = 40
_PAUSE_SECONDS: Final = 0.25  # the agent answers a flapping file more slowly
_FIRST_EVIDENCE: Final = 2  # the first is for no checks, the second for those then told
_GOALS: Final = {
    "idle, processor %": 0.1,
    "idle, MB": 80.0,
    "start, ms": 2000.0,
    "PEM change, ms": 50.0,
    "NSS change, ms": 150.0,
    "thousand, ms": 200.0,
}


def main() -> None:
    options = arguments(__doc__, seconds=60.0).parse_args()
    figures = asyncio.run(_measure(options.seconds))
    rows = [[name, figures[name], goal] for name, goal in _GOALS.items()]
    rows += [[name, value, None] for name, value in figures.items() if name not in _GOALS]
    report("agent", figures, as_json=options.json, text=table(["", "measured", "goal"], rows))


@dataclass
class _Running:
    """An agent that has told of its checks, and the server's half it talks to."""

    server: FakeServer
    pid: int
    started_seconds: float
    stream: Stream


async def _measure(idle_seconds: float) -> dict[str, float]:
    pki = Pki.make()
    client = pki.issuing.issue("laptop-1.corp.example")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        talk("making NSS databases, one with 1,000 certificates")
        pem = directory / "client.pem"
        _write_pem(pem, client)
        small, large = NssDatabase(directory / "small"), NssDatabase(directory / "large")
        small.add(client, "laptop")
        large.add(client, "laptop")
        large.add_thousand([pki.web.issue(f"other-{number}", key=client.key) for number in range(20)])
        figures: dict[str, float] = {}

        talk("starting agents")
        starts = []
        for _ in range(5):
            async with _agent(directory, pem) as agent:
                starts.append(agent.started_seconds)
        figures["start, ms"] = median(starts) * 1e3

        talk(f"an idle agent, for {idle_seconds:g} s")
        async with _agent(directory, pem, f"sql:{small.directory}") as agent:
            figures["idle, processor %"], figures["idle, MB"] = await _idle(agent.pid, idle_seconds)

        talk("changing files")
        async with _agent(directory, pem) as agent:
            figures |= await _changes("PEM", agent, lambda: _write_pem(pem, client))
        async with _agent(directory, f"sql:{small.directory}") as agent:
            figures |= await _changes("NSS", agent, lambda: _replace(small.directory / "cert9.db"))

        talk("looking through 1,000 certificates")
        async with _agent(directory, f"sql:{large.directory}") as agent:
            figures["thousand, ms"] = median([await _asked(agent) for _ in range(_TIMES)]) * 1e3
        return figures


@contextlib.asynccontextmanager
async def _agent(directory: Path, *places: Path | str) -> AsyncIterator[_Running]:
    """Enrolls an agent whose checks are of these places and runs it; it has told of them when the block begins."""
    async with FakeServer() as server:
        server.check_set = check_set(*places, schedule_seconds=3600)
        state, token = directory / "state", directory / "token"
        token.write_text(TOKEN)
        quiet = asyncio.subprocess.DEVNULL
        enroll = ("enroll", "--server", server.address, "--token-file", str(token), "--state", str(state))
        enrolling = await asyncio.create_subprocess_exec(_AGENT, *enroll, stdout=quiet, stderr=quiet)
        if await enrolling.wait() != 0:
            raise RuntimeError("the agent cannot enroll")
        began = time.perf_counter()
        run = ("run", "--state", str(state), "--hostname", "laptop-1")
        process = await asyncio.create_subprocess_exec(_AGENT, *run, stderr=quiet)
        try:
            for _ in range(_FIRST_EVIDENCE):
                await server.next_evidence()
            yield _Running(server, process.pid, time.perf_counter() - began, await server.next_stream())
        finally:
            process.terminate()
            await process.wait()
            shutil.rmtree(state)


async def _idle(pid: int, seconds: float) -> tuple[float, float]:
    """Percent of one core, and MB resident; what it started is counted too."""
    await asyncio.sleep(2)
    began, spent = time.perf_counter(), _processor_seconds(pid)
    await asyncio.sleep(seconds)
    spent = _processor_seconds(pid) - spent
    return 100 * spent / (time.perf_counter() - began), sum(map(_resident_megabytes, [pid, *_children(pid)]))


async def _changes(kind: str, agent: _Running, change: Callable[[], None]) -> dict[str, float]:
    """From a change to its evidence, and from asking for evidence to it: medians, in turns."""
    changed, asked = [], []
    for _ in range(_TIMES):
        asked.append(await _asked(agent))
        began = time.perf_counter()
        change()
        await agent.server.next_evidence()
        changed.append(time.perf_counter() - began)
        await asyncio.sleep(_PAUSE_SECONDS)
        while not agent.server.evidence.empty():  # of the same change, seen twice
            agent.server.evidence.get_nowait()
    own, floor = median(changed), median(asked)
    return {f"{kind} change, ms": own * 1e3, f"{kind} asked, ms": floor * 1e3, f"{kind} change / asked": own / floor}


async def _asked(agent: _Running) -> float:
    began = time.perf_counter()
    agent.stream.send(attest_now=pb.AttestNow())
    await agent.server.next_evidence()
    return time.perf_counter() - began


def _write_pem(path: Path, client: Credential) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_bytes(client.chain_pem + key_pem(client.key))
    fresh.replace(path)


def _replace(path: Path) -> None:
    fresh = path.with_suffix(".new")
    shutil.copy(path, fresh)
    fresh.replace(path)


def _processor_seconds(pid: int) -> float:
    """Of all threads, and of all children, by the scheduler's own count in nanoseconds."""
    tasks = [task for each in (pid, *_children(pid)) for task in Path(f"/proc/{each}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def _resident_megabytes(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _children(pid: int) -> list[int]:
    return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]


if __name__ == "__main__":
    main()

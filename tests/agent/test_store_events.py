"""Stores without files: helpers that tell of changes, and what becomes of those that end, cannot watch, or hang."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.fake_server import PATIENCE_SECONDS
from watchword_agent import log, store_events
from watchword_agent.helper_process import Helpers
from watchword_agent.stores.base import Watched
from watchword_agent.watch import StoreWatch

# Tells a change for each line of a pipe that the test holds; `end` ends it.
_TELLING = """
import json, sys
with open({starts!r}, "a") as starts: starts.write("started\\n")
request = json.loads(sys.stdin.readline())
assert request["op"] == "watch"
print('{{"ok": {{}}}}', flush=True)
with open({pipe!r}) as pipe:
    for line in pipe:
        if line.strip() == "end": sys.exit(1)
        print(json.dumps({{"ok": {{"changed": request["place"]}}}}), flush=True)
"""


class Store:
    """What a helper watches, and what was told of it."""

    def __init__(self, directory: Path, code: str = _TELLING) -> None:
        self.starts, pipe, program = directory / "starts", directory / "pipe", directory / "helper.py"
        os.mkfifo(pipe)
        self._pipe = os.open(pipe, os.O_RDWR)  # both ends: the helper finds it open whenever it starts
        program.write_text(code.format(starts=str(self.starts), pipe=str(pipe)))
        self.watch = StoreWatch(Helpers(command=(sys.executable, "-I", "-S", str(program))))
        self._told = asyncio.Semaphore(0)

    def happens(self, what: str = "something") -> None:
        os.write(self._pipe, what.encode() + b"\n")

    async def is_told(self) -> None:
        await asyncio.wait_for(self._told.acquire(), PATIENCE_SECONDS)

    @asynccontextmanager
    async def watched(self, *places: str) -> AsyncIterator[None]:
        await self.watch.update(Watched(stores=frozenset(("telling", place) for place in places)))
        task = asyncio.create_task(self.watch.run(self._told.release))
        await asyncio.sleep(0)  # it has begun, and ends what it has to
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            os.close(self._pipe)
            assert not self.watch._stores._followers


async def test_a_store_is_told_when_it_is_watched_and_at_each_change(tmp_path: Path) -> None:
    store = Store(tmp_path)
    async with store.watched("MY"):
        await store.is_told()
        for _ in range(3):
            store.happens()
            await store.is_told()


async def test_a_helper_that_ended_is_started_again_and_what_was_missed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_events, "_RESTART_BASE_SECONDS", 0.01)
    store = Store(tmp_path)
    async with store.watched("MY"):
        await store.is_told()
        store.happens("end")
        await store.is_told()
        store.happens()
        await store.is_told()
    assert store.starts.read_text().count("started") == 2


async def test_stores_that_are_no_longer_asked_for_are_let_go(tmp_path: Path) -> None:
    store = Store(tmp_path)
    async with store.watched("MY"):
        await store.is_told()
        await store.watch.update(Watched())
        assert not store.watch._stores._followers


@pytest.mark.parametrize("code", ["helper_crashed", "store_locked"])
async def test_a_store_that_cannot_be_watched_is_said_once_and_tried_rarely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: str
) -> None:
    said = asyncio.Event()
    loop = asyncio.get_running_loop()
    waits: list[float] = []

    def uniform(low: float, high: float) -> float:
        assert low == 0
        waits.append(high)
        if len(waits) == 3:
            loop.call_soon_threadsafe(said.set)
        return 3600.0 if len(waits) == 3 else 0.0

    warnings: list[dict[str, object]] = []
    monkeypatch.setattr(store_events, "_RESTART_BASE_SECONDS", 0.02)
    monkeypatch.setattr(store_events, "system_uniform", uniform)
    monkeypatch.setattr(log, "warning", lambda _, **fields: warnings.append(fields))
    answer = "" if code == "helper_crashed" else 'print(\'{{"error": {{"code": "store_locked", "detail": ""}}}}\', flush=True)'
    store = Store(tmp_path, "import sys; sys.stdin.readline()\n" + answer)
    async with store.watched("MY"):
        await asyncio.wait_for(said.wait(), PATIENCE_SECONDS)
    assert waits == pytest.approx([0.02, 0.04, 0.08])
    assert [warning["code"] for warning in warnings] == [code]


async def test_a_store_that_is_not_supported_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = 'import sys; sys.stdin.readline()\nprint(\'{{"error": {{"code": "store_unsupported", "detail": ""}}}}\', flush=True)'
    store = Store(tmp_path, code)
    async with store.watched("MY"):
        [follower] = store.watch._stores._followers.values()
        await asyncio.to_thread(follower._thread.join, PATIENCE_SECONDS)
        assert not follower._thread.is_alive()


async def test_a_helper_that_hangs_does_not_hold_up_the_end(tmp_path: Path) -> None:
    store = Store(tmp_path, "import time; time.sleep(600)")
    async with asyncio.timeout(PATIENCE_SECONDS):
        async with store.watched("MY"):
            pass

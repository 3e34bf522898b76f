"""Noticing that a watched file came, went or changed. Every wait is for a call; none is for time to pass."""

import asyncio
import os
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.fake_server import PATIENCE_SECONDS
from watchword_agent import watch as watch_module
from watchword_agent.file_events import Change, FileEvents, InotifyEvents, Notice, WatchfilesEvents
from watchword_agent.stores import base
from watchword_agent.watch import StoreWatch, View, survey

Opener = Callable[[Iterable[str], Notice], FileEvents]


@pytest.fixture(params=[InotifyEvents, WatchfilesEvents], autouse=True)
def open_events(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Opener:
    """Each test runs with what watches on Linux, and with what does elsewhere."""
    opener: Opener = request.param
    monkeypatch.setattr(watch_module, "open_file_events", opener)
    return opener


class Watched:
    """A running watch, and what it had seen when it told of a change."""

    def __init__(self, *paths: Path) -> None:
        self.watch = StoreWatch()
        self.paths = frozenset(map(str, paths))
        self.times_told = 0
        self.first_told_of: Mapping[str, object] = {}
        self._told_of: Mapping[str, object] = survey(self.paths).marks
        self._before = self._told_of
        self._news = asyncio.Event()

    async def update(self, *paths: Path) -> None:
        self.paths = frozenset(map(str, paths))
        await self.watch.update(base.Watched(self.paths))
        self._before = self._told_of = survey(self.paths).marks

    def tell(self) -> None:
        self.times_told += 1
        self._told_of = self.watch._seen or {}
        self.first_told_of = self.first_told_of or self._told_of
        self._news.set()

    async def news(self) -> None:
        await self._news.wait()
        self._news.clear()

    async def change(self) -> None:
        """Returns when it was told of what is there now, which is something else than the last time."""
        there = survey(self.paths).marks
        assert there != self._before
        self._before = there
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self._told_of != there:
                await self.news()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.watch.run(self.tell))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])


@asynccontextmanager
async def watching(*paths: Path) -> AsyncIterator[Watched]:
    watched = Watched(*paths)
    await watched.update(*paths)
    async with watched.running():
        yield watched


async def test_creation_change_and_removal_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "client.pem"
    async with watching(path) as watched:
        path.write_text("one")
        await watched.change()
        path.write_text("two!")
        await watched.change()
        path.unlink()
        await watched.change()


async def test_a_change_before_the_watch_is_armed_is_noticed(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "client.pem")
    await watched.update(tmp_path / "client.pem")
    (tmp_path / "client.pem").write_text("between looking and watching")
    async with watched.running():
        await watched.change()


async def test_an_atomic_replacement_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "client.pem"
    path.write_text("one")
    async with watching(path) as watched:
        (tmp_path / "new").write_text("two")
        (tmp_path / "new").rename(path)
        await watched.change()
        path.rename(tmp_path / "old")
        await watched.change()


async def test_a_change_of_permissions_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "client.pem"
    path.write_text("one")
    async with watching(path) as watched:
        path.chmod(0o600)
        await watched.change()


async def test_directories_that_do_not_exist_yet_are_followed_as_they_appear(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "client.pem"
    async with watching(path) as watched:
        path.parent.parent.mkdir()
        await watched.change()
        path.parent.mkdir()
        await watched.change()
        path.write_text("one")
        await watched.change()


async def test_a_directory_above_that_goes_and_comes_back_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "client.pem"
    path.parent.mkdir(parents=True)
    path.write_text("one")
    async with watching(path) as watched:
        (tmp_path / "a").rename(tmp_path / "away")
        await watched.change()
        (tmp_path / "away").rename(tmp_path / "a")
        await watched.change()
        shutil.rmtree(tmp_path / "a")
        await watched.change()
        path.parent.mkdir(parents=True)
        await watched.change()
        path.write_text("two")
        await watched.change()


async def test_a_swapped_link_is_noticed(tmp_path: Path) -> None:
    """As Kubernetes updates a mounted secret: file -> ..data/file, ..data -> ..1, ..2."""
    for version in ("..1", "..2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "client.pem").write_text(version)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "client.pem").symlink_to("..data/client.pem")
    async with watching(tmp_path / "client.pem") as watched:
        (tmp_path / "..new").symlink_to("..2")
        (tmp_path / "..new").rename(tmp_path / "..data")
        await watched.change()
        (tmp_path / "..2" / "client.pem").write_text("changed behind the link")
        await watched.change()


async def test_a_link_to_another_directory_is_followed_there(tmp_path: Path) -> None:
    (tmp_path / "real" / "sub").mkdir(parents=True)
    (tmp_path / "configured").symlink_to(tmp_path / "real" / "sub" / ".." / "sub")
    async with watching(tmp_path / "configured" / "client.pem") as watched:
        (tmp_path / "real" / "sub" / "client.pem").write_text("one")
        await watched.change()


async def test_other_paths_are_watched_after_an_update(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with watching(tmp_path / "a" / "client.pem") as watched:
        await watched.update(tmp_path / "b" / "client.pem")
        (tmp_path / "b" / "client.pem").write_text("one")
        await watched.change()


async def test_neighbours_and_readers_are_not_changes(tmp_path: Path) -> None:
    path = tmp_path / "client.pem"
    path.write_text("one")
    async with watching(path) as watched:
        path.chmod(0o600)
        await watched.change()  # it is armed now, or about to be and looks once more
        before = watched.times_told
        for n in range(50):
            (tmp_path / f"neighbour-{n}").write_text("x")
            path.read_text()
        path.unlink()
        await watched.change()
        assert watched.times_told - before < 10


async def test_a_change_while_the_watch_is_being_armed_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_events: Opener
) -> None:
    path = tmp_path / "client.pem"

    def change_and_arm(directories: Iterable[str], notice: Notice) -> FileEvents:
        path.write_text("after looking, before watching")
        return open_events(directories, notice)

    monkeypatch.setattr(watch_module, "open_file_events", change_and_arm)
    monkeypatch.setattr(watch_module, "_LOOK_AGAIN_SECONDS", 3600.0)
    watched = Watched(path)
    await watched.update(path)
    async with watched.running(), asyncio.timeout(PATIENCE_SECONDS):
        while not watched.times_told:
            await watched.news()


async def test_an_event_counts_even_if_nothing_looks_different(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a file is written twice within one tick of its file system's clock."""

    def blind(paths: frozenset[str]) -> View:
        view = survey(paths)
        return View(view.directories, {name: mark[:1] for name, mark in view.marks.items()})

    path = tmp_path / "client.pem"
    path.write_text("one")
    monkeypatch.setattr(watch_module, "survey", blind)
    watched = Watched(path)
    await watched.update(path)
    async with watched.running(), asyncio.timeout(PATIENCE_SECONDS):
        while not watched.times_told:
            path.write_text("two")  # again and again: nobody tells when it is armed
            await asyncio.sleep(0.01)


async def test_an_update_while_it_looks_is_no_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks at the one file when it is told to watch another: how they differ is no change."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    here, there = tmp_path / "a" / "client.pem", tmp_path / "b" / "client.pem"
    updating, go_on = threading.Event(), threading.Event()

    def slow(paths: frozenset[str]) -> View:
        if str(there) in paths and not go_on.is_set():
            updating.set()
            assert go_on.wait(PATIENCE_SECONDS)
        return survey(paths)

    monkeypatch.setattr(watch_module, "survey", slow)
    async with watching(here) as watched:
        update = asyncio.create_task(watched.update(there))
        assert await asyncio.to_thread(updating.wait, PATIENCE_SECONDS)
        watched.watch._disturbed.set()
        for _ in range(20):  # turns of the loop, until its look at the old file waits for that at the new one
            await asyncio.sleep(0)
        go_on.set()
        await update
        there.write_text("one")
        await watched.change()
        assert watched.first_told_of == survey(watched.paths).marks


async def test_without_watches_it_looks_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the system grants no more of them."""

    def no_watches(*args: object) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(watch_module, "open_file_events", no_watches)
    monkeypatch.setattr(watch_module, "_POLL_SECONDS", 0.01)
    async with watching(tmp_path / "client.pem") as watched:
        (tmp_path / "client.pem").write_text("one")
        await watched.change()


@pytest.mark.parametrize("open_events", [InotifyEvents], indirect=True)  # elsewhere nothing tells it
@pytest.mark.parametrize("goes", [lambda path: path.rename(path.with_name("away")), shutil.rmtree], ids=["renamed", "removed"])
async def test_a_directory_that_another_one_replaces_is_watched_even_if_it_looks_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_events: Opener, goes: Callable[[Path], object]
) -> None:
    """A file system may give a new directory the number of the one that went."""
    opened = asyncio.Event()

    def same_numbers(paths: frozenset[str]) -> View:
        view = survey(paths)
        return View(dict.fromkeys(view.directories, (0, 0)), view.marks)

    def open_and_tell(directories: Iterable[str], notice: Notice) -> FileEvents:
        opened.set()
        return open_events(directories, notice)

    path = tmp_path / "a" / "client.pem"
    path.parent.mkdir()
    path.write_text("one")
    monkeypatch.setattr(watch_module, "survey", same_numbers)
    monkeypatch.setattr(watch_module, "open_file_events", open_and_tell)
    monkeypatch.setattr(watch_module, "_LOOK_AGAIN_SECONDS", 3600.0)
    async with watching(path) as watched, asyncio.timeout(PATIENCE_SECONDS):
        await opened.wait()
        opened.clear()
        goes(path.parent)  # nothing is noticed before the next await: then both have happened
        path.parent.mkdir()
        path.write_text("two")
        await watched.change()
        await opened.wait()
        path.write_text("three!")
        await watched.change()


async def test_a_removal_waits_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "client.pem"
    path.write_text("one")
    async with watching(path) as watched:
        path.chmod(0o600)
        await watched.change()
        monkeypatch.setattr(watch_module, "_DEBOUNCE_SECONDS", 3600.0)
        monkeypatch.setattr(watch_module, "_LOOK_AGAIN_SECONDS", 3600.0)
        path.unlink()
        await watched.change()


async def test_lost_events_count_for_everything(tmp_path: Path) -> None:
    (tmp_path / "client.pem").write_text("one")
    async with watching(tmp_path / "client.pem") as watched:
        watched.watch._noticed([Change(None, removal=False)])
        async with asyncio.timeout(PATIENCE_SECONDS):
            await watched.news()


async def test_two_ways_to_one_directory_are_both_told(tmp_path: Path) -> None:
    """The kernel has one watch for both."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    told: set[str | None] = set()
    complete = asyncio.Event()

    def notice(changes: Sequence[Change]) -> None:
        told.update(change.path for change in changes)
        if len(told) == 2:
            complete.set()

    events = InotifyEvents([str(tmp_path / "real"), str(tmp_path / "link")], notice)
    (tmp_path / "real" / "client.pem").touch()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await complete.wait()
    await events.close()
    assert told == {str(tmp_path / "real" / "client.pem"), str(tmp_path / "link" / "client.pem")}


def test_every_directory_on_the_way_is_watched(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    real = Path(os.path.realpath(tmp_path))
    view = survey(frozenset({str(tmp_path / "link" / "missing" / "client.pem")}))
    assert set(view.directories) >= {"/", str(real), str(real / "a")}
    assert view.marks[str(real / "link")] == ("link", "a")
    assert view.marks[str(real / "a" / "missing")][0] == "missing"


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert survey(frozenset({str(tmp_path / "a")})).marks.keys() >= {str(tmp_path / "a"), str(tmp_path / "b")}

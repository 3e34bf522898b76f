"""One server for all that is tried on it; whatever was sent, it has to go on serving."""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from doors.stage import Stage
from services.world import World
from support.pki import Pki

T = TypeVar("T")
_PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Served:
    """A server in this process, and the event loop it lives in."""

    world: World
    runner: "asyncio.Runner"

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs something against it; who waits for ever has found something."""
        return self.runner.run(asyncio.wait_for(work, _PATIENCE_SECONDS))


@pytest.fixture(scope="package")
def pki() -> Pki:
    return Pki.make()


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[Served]:
    limits = {
        "streams_per_second": 100_000,
        "streams_burst": 100_000,
        "enrollments_per_second": 10_000,
        "enrollments_burst": 100_000,
        "failed_logins_per_second": 1_000,
        "failed_logins_burst": 10_000,
    }
    with asyncio.Runner() as runner, contextlib.ExitStack() as stack:
        opened = World.open(tmp_path_factory.mktemp("fuzz"), pki, limits=limits)
        world = runner.run(opened.__aenter__())
        stack.callback(lambda: runner.run(opened.__aexit__(None, None, None)))
        runner.run(world.apply(world.rules))
        yield Served(world, runner)


@pytest.fixture(scope="package")
def stage(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[Stage]:
    with Stage.open(tmp_path_factory.mktemp("fuzz"), pki) as stage:
        yield stage

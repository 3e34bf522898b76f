"""A server without listeners, with one application, one check and one proxy."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.world import World
from support.pki import Pki


@pytest.fixture(scope="session")
def pki() -> Pki:
    return Pki.make()


@pytest.fixture
async def world(tmp_path: Path, pki: Pki) -> AsyncIterator[World]:
    async with World.open(tmp_path, pki) as world:
        await world.apply(world.rules)
        yield world

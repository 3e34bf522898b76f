"""A server's half, an enrolled device, and certificates."""

import logging
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agent.device import Device
from agent.fake_server import FakeServer
from support.pki import Pki


@pytest.fixture(scope="session")
def pki() -> Pki:
    return Pki.make()


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with FakeServer() as fake:
        yield fake
    assert fake.faults == []


@pytest.fixture
async def device(server: FakeServer, tmp_path: Path) -> Device:
    """Enrolled with `server`; nothing runs yet."""
    return await Device.enroll(server, tmp_path / "state")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    logger = logging.getLogger("watchword_agent")
    before = (logger.handlers[:], logger.level, logger.propagate)
    yield
    logger.handlers[:], logger.level, logger.propagate = before


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("WATCHWORD_AGENT_"):
            monkeypatch.delenv(name)

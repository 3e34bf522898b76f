"""The stores under test. A second database joins here and keeps the same contract."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from watchword_server.adapters.store_sql.store import SqlStore


@pytest.fixture(params=["sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlStore]:
    opened = await SqlStore.open(tmp_path / "data")
    yield opened
    await opened.close()

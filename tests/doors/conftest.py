"""One stage for all tests of a module: nothing a proxy asks changes it."""

from collections.abc import Iterator

import pytest

from doors.stage import Stage
from support.pki import Pki


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage.open(tmp_path_factory.mktemp("stage"), Pki.make()) as stage:
        yield stage


@pytest.fixture(params=["headers", "values", "raw_values"])
def form(request: pytest.FixtureRequest) -> str:
    """How Envoy passes the client's headers."""
    return str(request.param)

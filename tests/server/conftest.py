"""One server a module. A module may set `LIMITS` and `ENVIRONMENT` (settings of the server, by name) and `rule_document(pki)`."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

import pytest

from server.operators import Operators
from server.scene import Scene, rules
from support.pki import Pki
from support.server import WatchwordServer

# One test module is one address that enrolls and connects more than any real one.
UNHURRIED: Final[Mapping[str, float]] = {
    "enrollments_per_second": 10_000,
    "enrollments_burst": 100_000,
    "streams_per_second": 10_000,
    "streams_burst": 100_000,
    "messages_per_second": 10_000,
    "messages_burst": 100_000,
    "drain_seconds": 0,
}
# grpc's own words and traceback for a peer that was gone before its answer could be sent.
_PEER_LEFT: Final = re.compile(
    r"^ExecuteBatchError raised in core.*?^grpc\._cython\.cygrpc\.ExecuteBatchError:[^\n]*$", re.DOTALL | re.MULTILINE
)


@pytest.fixture(scope="session")
def pki() -> Pki:
    return Pki.make()


@pytest.fixture(scope="module")
def scene(request: pytest.FixtureRequest, pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    limits = {**UNHURRIED, **getattr(request.module, "LIMITS", {})}
    environment = {f"WATCHWORD_LIMITS__{name.upper()}": str(value) for name, value in limits.items()}
    environment |= getattr(request.module, "ENVIRONMENT", {})
    document = getattr(request.module, "rule_document", rules)(pki)
    with WatchwordServer(tmp_path_factory.mktemp("server") / "data", environment=environment) as server:
        operators = Operators(server.data)
        operators.apply(document)
        yield Scene(server, operators, pki, operators.enrollment_token(max_uses=100_000))
        assert server.program.running, "it did not survive the lies"
        assert surprises(server) == []


def surprises(server: WatchwordServer) -> list[str]:
    """What it logged that no lie may cause: failures it does not know, and what was not logged as an event at all."""
    told = _PEER_LEFT.sub("", server.program.stderr())
    return [line for line in told.splitlines() if line and (not line.startswith("{") or '"level": "error"' in line)]

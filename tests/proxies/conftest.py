"""A client, a proxy, an application; and either the real server or a stand-in that remembers what it was asked."""

from collections.abc import Iterator

import pytest

from support.pki import Credential, Pki
from support.upstream import Upstream


@pytest.fixture(scope="module")
def pki() -> Pki:
    return Pki.make()


@pytest.fixture(scope="module")
def credential(pki: Pki) -> Credential:
    """An honest device certificate."""
    return pki.issuing.issue("laptop-1.corp.example")


@pytest.fixture(scope="module")
def application() -> Iterator[Upstream]:
    """The application; its answers try to pass for the proxy's."""
    with Upstream(extra_headers=(("X-Watchword-Reason", "forged"), ("X-Watchword-Decision-Id", "forged"))) as upstream:
        yield upstream

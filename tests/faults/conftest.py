"""What the tests of failures start from."""

import pytest

from support.pki import Pki


@pytest.fixture(scope="session")
def pki() -> Pki:
    return Pki.make()

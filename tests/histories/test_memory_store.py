"""The store of the histories keeps the contract of the real ones, as far as histories go: evidence, bindings, rules."""

import pytest

from histories.memory_store import MemoryStore
from store import test_evidence, test_rules


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


globals().update(
    {name: test for module in (test_evidence, test_rules) for name, test in vars(module).items() if name.startswith("test_")}
)

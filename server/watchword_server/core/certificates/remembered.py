"""What was true once and stays true, kept while it is asked for."""

from typing import Generic, TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")


class Remembered(Generic[_K, _V]):
    """At most `size` values; the one that was not asked for the longest goes first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: dict[_K, _V] = {}  # in the order of use

    def get(self, key: _K) -> _V | None:
        """The value; None: not remembered."""
        value = self._values.pop(key, None)
        if value is not None:
            self._values[key] = value
        return value

    def put(self, key: _K, value: _V) -> None:
        """Remembers it, in the place of an older one if there are too many."""
        self._values.pop(key, None)
        self._values[key] = value
        while len(self._values) > self._size:
            self._values.pop(next(iter(self._values)), None)

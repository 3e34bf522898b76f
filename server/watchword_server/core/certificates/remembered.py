"""What was true once and stays true, kept while it is asked for."""

from typing import Final, Generic, TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")
_UNLIMITED: Final = 2**63


class Remembered(Generic[_K, _V]):
    """At most `size` values, of `weight` together; the one that was not asked for the longest goes first."""

    def __init__(self, size: int, *, weight: int = _UNLIMITED) -> None:
        self._size = size
        self._max_weight = weight
        self._weight = 0
        self._values: dict[_K, tuple[_V, int]] = {}  # in the order of use

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: _K) -> _V | None:
        """The value; None: not remembered."""
        entry = self._values.pop(key, None)
        if entry is None:
            return None
        self._values[key] = entry
        return entry[0]

    def put(self, key: _K, value: _V, *, weight: int = 0) -> None:
        """Remembers it, in the place of older ones if there are too many or they weigh too much."""
        _, before = self._values.pop(key, (None, 0))
        self._weight += weight - before
        self._values[key] = (value, weight)
        while len(self._values) > self._size or self._weight > self._max_weight:
            oldest = next(iter(self._values))
            self._weight -= self._values.pop(oldest)[1]

    def clear(self) -> None:
        """Forgets all."""
        self._values.clear()
        self._weight = 0

"""The rules that hold now: one immutable snapshot, swapped whole."""

from collections import OrderedDict
from typing import Final

from watchword_server.core.model import CheckId
from watchword_server.core.snapshot import EMPTY_SNAPSHOT, RuleSnapshot

_KEPT: Final = 8  # snapshots, to explain recent decisions with; what they have in common is there once


class RulesInForce:
    """Holds the snapshot; readers take `current` once and keep it for as long as they work."""

    __slots__ = ("_current", "_recent")

    def __init__(self, current: RuleSnapshot = EMPTY_SNAPSHOT) -> None:
        self._recent: OrderedDict[int, RuleSnapshot] = OrderedDict()
        self.current = current

    @property
    def current(self) -> RuleSnapshot:
        """The snapshot that holds now."""
        return self._current

    @current.setter
    def current(self, snapshot: RuleSnapshot) -> None:
        self._current = snapshot
        self._recent[snapshot.rules.revision] = snapshot
        self._recent.move_to_end(snapshot.rules.revision)
        while len(self._recent) > _KEPT:
            self._recent.popitem(last=False)

    def of_revision(self, revision: int) -> RuleSnapshot | None:
        """The snapshot of a rules revision, while it is one of the last few."""
        return self._recent.get(revision)

    @property
    def check_ids(self) -> frozenset[CheckId]:
        """The checks there are now."""
        return frozenset(self._current.rules.checks)

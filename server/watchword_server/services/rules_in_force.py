"""The rules that hold now: one immutable snapshot, swapped whole."""

from collections import OrderedDict
from typing import Final

from watchword_server.core.model.names import CheckId
from watchword_server.core.snapshot import EMPTY_SNAPSHOT, RuleSnapshot

_KEPT: Final = 4  # snapshots, to explain recent decisions with; what they have in common is there once


class RulesInForce:
    """Holds the snapshot; readers take `current` once and keep it for as long as they work."""

    __slots__ = ("_current", "_recent", "_retired")

    def __init__(self, current: RuleSnapshot = EMPTY_SNAPSHOT) -> None:
        self._recent: OrderedDict[int, RuleSnapshot] = OrderedDict()
        self._retired: list[RuleSnapshot] = []
        self.current = current

    @property
    def current(self) -> RuleSnapshot:
        """The snapshot that holds now."""
        return self._current

    @current.setter
    def current(self, snapshot: RuleSnapshot) -> None:
        self._current = snapshot
        same_revision = self._recent.pop(snapshot.rules.revision, None)
        if same_revision is not None and same_revision is not snapshot:
            self._retired.append(same_revision)
        self._recent[snapshot.rules.revision] = snapshot
        while len(self._recent) > _KEPT:
            self._retired.append(self._recent.popitem(last=False)[1])

    def retired(self) -> list[RuleSnapshot]:
        """The snapshots that are kept no longer; the caller has them now, and lets them go."""
        retired, self._retired = self._retired, []
        return retired

    def of_revision(self, revision: int) -> RuleSnapshot | None:
        """The snapshot of a rules revision, while it is one of the last few."""
        return self._recent.get(revision)

    @property
    def check_ids(self) -> frozenset[CheckId]:
        """The checks there are now."""
        return frozenset(self._current.rules.checks)

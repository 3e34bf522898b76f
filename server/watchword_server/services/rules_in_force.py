"""The rules that hold now: one immutable snapshot, swapped whole."""

from dataclasses import dataclass, field

from watchword_server.core.model import CheckId
from watchword_server.core.rules import EMPTY_RULE_SET, RuleSnapshot, compile_rules


@dataclass(slots=True)
class RulesInForce:
    """Holds the snapshot; readers take `current` once and keep it for as long as they work."""

    current: RuleSnapshot = field(default_factory=lambda: compile_rules(EMPTY_RULE_SET))

    @property
    def check_ids(self) -> frozenset[CheckId]:
        """The checks there are now."""
        return frozenset(self.current.rules.checks)

"""Decisions, told and found again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class DecisionQuery:
    """Which decisions, the newest first; `before` is a decision's id. Times are texts as the decision log has them.

    `rule`: the id or name of one that decided.
    """

    limit: int
    before: str | None = None
    decision: str | None = None
    reason: str | None = None
    caller: str | None = None
    device_id: str | None = None
    user_email: str | None = None
    host: str | None = None
    rule: str | None = None
    since_text: str | None = None
    until_text: str | None = None


@dataclass(frozen=True, slots=True)
class DecisionPage:
    """Records of the decision log; `next` is the `before` of the next page, if there is more to look through."""

    records: Sequence[Mapping[str, object]]
    next: str | None


class EventLog(Protocol):
    """A bounded log of JSON objects, one a line: the decision log and the posture log."""

    def write(self, event: Mapping[str, object] | Callable[[], Mapping[str, object]]) -> None:
        """Takes the event, or what will make it elsewhere, without waiting; counts what it had to drop."""
        ...

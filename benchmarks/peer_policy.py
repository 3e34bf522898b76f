"""The work that `peers.py` gives to every engine: one rule a host, and questions of four kinds, a quarter each.

A host is open to users of one email domain on devices that pass one of five checks. Everything else is denied.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

CHECKS: Final = tuple(f"c{number}" for number in range(5))
QUESTIONS: Final = 64
_DOMAINS: Final = 7
_STRIDE: Final = 7919  # prime: the questions are spread over all hosts


@dataclass(frozen=True, slots=True)
class HostRule:
    """Who may go where."""

    host: str
    domain: str
    check: str


@dataclass(frozen=True, slots=True)
class Question:
    """May this user on this device go there? `checks` are the device's: whether it passes each."""

    host: str
    email: str
    checks: Mapping[str, bool]
    allowed: bool  # the right answer

    @property
    def as_input(self) -> dict[str, object]:
        """Plain values, as an engine that takes any document gets them."""
        return {"host": self.host, "email": self.email, "device": {"checks": dict(self.checks)}}


def host_rules(count: int) -> list[HostRule]:
    """So many hosts, each with its rule."""
    return [
        HostRule(f"app{number}.corp.test", f"d{number % _DOMAINS}.example", CHECKS[number % len(CHECKS)])
        for number in range(count)
    ]


def questions(rules: Sequence[HostRule]) -> list[Question]:
    """Allowed; a user of another domain; a device that fails the check; a host without a rule; and from the beginning."""
    asked = []
    for number in range(QUESTIONS):
        rule, kind = rules[number * _STRIDE % len(rules)], number % 4
        asked.append(
            Question(
                host="nowhere.corp.test" if kind == 3 else rule.host,
                email=f"user{number}@{'other.example' if kind == 1 else rule.domain}",
                checks={check: not (kind == 2 and check == rule.check) for check in CHECKS},
                allowed=kind == 0,
            )
        )
    return asked

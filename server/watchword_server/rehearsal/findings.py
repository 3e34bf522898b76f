"""What `watchword rules check` tells of rules that are valid, and yet may not be what was meant (docs/rehearsal.md)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from watchword_server.errors import Problem


class Weight(StrEnum):
    """How much a finding weighs: `--strict` refuses a warning and lets a note pass."""

    WARNING = "warning"
    NOTE = "note"


class Code(StrEnum):
    """What was found. Stable: scripts and `docs/rehearsal.md` know them."""

    ABSENCE_LIFTS_BLOCK = "absence-lifts-block"
    ABSENCE_OPENS_ALLOW = "absence-opens-allow"
    FAILED_NEGATED = "failed-negated-in-allow"
    CREDENTIAL_LEFT_OUT = "credential-left-out"
    UNMATCHED_ALLOWED = "unmatched-allow"
    BYPASS_BESIDE_POSTURE = "bypass-beside-posture"
    NEVER_EXPIRES = "never-expires"
    ALLOW_HIDES_BLOCK = "allow-hides-block"
    NEVER_TRUE = "never-true"
    PATH_WITHOUT_HOST = "path-without-host"
    EVERYONE = "everyone"
    REPORT_ONLY = "report-only"
    BEYOND_GATEWAY = "beyond-gateway"
    EVIDENCE_OF_NOTHING = "evidence-of-nothing"
    MAX_AGE_UNDER_SCHEDULE = "max-age-under-schedule"
    NO_RESOLVER = "no-resolver"
    NO_LIST_NAMED = "no-list-named"
    DISABLED_RULE = "disabled-rule"
    BLOCKS_EVERYTHING = "blocks-everything"
    NO_POLICY = "no-policy"


_NOTES: Final = frozenset({
    Code.PATH_WITHOUT_HOST, Code.EVERYONE, Code.REPORT_ONLY, Code.BEYOND_GATEWAY, Code.DISABLED_RULE, Code.BLOCKS_EVERYTHING,
    Code.NO_POLICY, Code.NO_LIST_NAMED,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """One of them: where, why, and what to write instead."""

    code: Code
    problem: Problem

    @property
    def weight(self) -> Weight:
        """Follows from the code."""
        return Weight.NOTE if self.code in _NOTES else Weight.WARNING

"""Findings in what a rule demands of evidence, wherever it is written."""

from collections.abc import Collection, Iterator, Mapping

from watchword_server.configuration.document.base import quoted
from watchword_server.configuration.document.evidence import Evidence
from watchword_server.errors import Problem
from watchword_server.rehearsal.findings import Code, Finding


def evidence_findings(
    path: tuple[str | int, ...], evidence: Evidence | None, checks: Collection[str], schedules: Mapping[str, int]
) -> Iterator[Finding]:
    """Of the evidence written at `path`, for the checks that are asked there; `schedules` by check, in seconds."""
    if evidence is None:
        return
    if not checks:
        message = "nothing here asks for a check, so `evidence` demands nothing: ask for `device_posture`, or leave it out"
        yield Finding(Code.EVIDENCE_OF_NOTHING, Problem(path, message))
    most = evidence.max_age_seconds
    slower = [check for check in sorted(checks) if most is not None and schedules.get(check, 0) > most]
    if slower:
        message = (
            f"the agent looks at {quoted(slower[0])} every {schedules[slower[0]]} s, so its result is mostly older than "
            "this: write a longer `max_age`, or a shorter `schedule` of the check"
        )
        yield Finding(Code.MAX_AGE_UNDER_SCHEDULE, Problem((*path, "max_age"), message))

"""Everything that `watchword rules check` finds in a rule file that is valid."""

from watchword_server.rehearsal.access_findings import access_findings
from watchword_server.rehearsal.findings import Finding
from watchword_server.rehearsal.gateway_findings import gateway_findings
from watchword_server.rehearsal.snapshots import LoadedRules


def findings_in(loaded: LoadedRules) -> list[Finding]:
    """All findings, in the order of the file."""
    language = loaded.snapshot.rules.language
    found = [*gateway_findings(loaded.document, language), *access_findings(loaded.document)]
    return sorted(found, key=lambda finding: (_place(finding, loaded), finding.code))


def _place(finding: Finding, loaded: LoadedRules) -> tuple[int, int]:
    position = loaded.file.position(finding.problem.path)
    return (0, 0) if position is None else (position.line, position.column)

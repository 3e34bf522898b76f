"""Everything that `watchword rules check` finds in rule files that are valid."""

from watchword_server.rehearsal.access_findings import access_findings
from watchword_server.rehearsal.findings import Finding
from watchword_server.rehearsal.gateway_findings import gateway_findings
from watchword_server.rehearsal.snapshots import LoadedRules


def findings_in(loaded: LoadedRules) -> list[Finding]:
    """All findings, in the order of the files and their lines."""
    language = loaded.snapshot.rules.language
    found = [*gateway_findings(loaded.document, language), *access_findings(loaded.document)]
    return sorted(found, key=lambda finding: (loaded.files.order(finding.problem.path), finding.code))

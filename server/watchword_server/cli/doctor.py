"""`watchword doctor`: what is wrong around the server."""

import json
import sys
from pathlib import Path

import click

from watchword_server.cli.options import JSON
from watchword_server.cli.refusals import UnusableFile
from watchword_server.cli.words import counted
from watchword_server.inspection.findings import Finding, Weight
from watchword_server.inspection.kinds import INSPECTORS, kind_of


@click.group()
def doctor() -> None:
    """Find what is wrong around the server."""


@doctor.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--kind", type=click.Choice(list(INSPECTORS)), help="Which proxy FILE is for.  [default: by its name and content]")
@JSON
def proxy(file: Path, *, kind: str | None, as_json: bool) -> None:
    """Tell how a proxy's configuration lets somebody in whom Watchword was not asked about, or did not allow.

    FILE is nginx's, Envoy's, HAProxy's, a Caddyfile, or what Traefik reads at start; what it includes is read as well. Each
    finding has its line, a code (docs/proxies.md tells them all), what it lets happen, and what to write instead. Exit code 1 for
    an error; notes are never a fault. Finding nothing is no proof: it looks for the mistakes that are known.

    \b
    Example:  watchword doctor proxy /etc/nginx/nginx.conf
    """
    try:
        kind = kind or kind_of(file)
        if kind is None:
            raise UnusableFile(f"{file}: it does not tell which proxy it is for: add --kind")
        findings = list(INSPECTORS[kind](file))
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableFile(f"{file}: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from None
    findings.sort(key=lambda finding: (finding.place, finding.code))
    if as_json:
        click.echo(json.dumps({"kind": kind, "findings": [_record(finding) for finding in findings]}))
    for finding in [] if as_json else findings:
        click.echo(f"{finding.place}: {finding.what}; {finding.remedy} [{finding.weight}: {finding.code}]")
    errors = sum(finding.weight is Weight.ERROR for finding in findings)
    click.echo(f"{file}: {kind}, {counted(errors, 'error')}, {counted(len(findings) - errors, 'note')}", err=True)
    if errors:
        sys.exit(1)


def _record(finding: Finding) -> dict[str, object]:
    return {
        "code": finding.code.value,
        "weight": finding.weight.value,
        "file": str(finding.place.file),
        "line": finding.place.line,
        "what": finding.what,
        "remedy": finding.remedy,
    }

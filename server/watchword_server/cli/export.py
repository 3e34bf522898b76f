"""`watchword export`."""

from pathlib import Path
from typing import Any

import click

from watchword_server.cli.client import call
from watchword_server.cli.options import DATA
from watchword_server.cli.rule_files import write_rules
from watchword_server.configuration.yaml_writing import yaml_of


@click.command()
@click.argument("target", default="-", metavar="[DIR|-]")
@DATA
@click.option("--force", is_flag=True, help="Replace files that are there.")
def export(target: str, data: Path, *, force: bool) -> None:
    """Write what the server has as rule files: to stdout, or to DIR, a file a section.

    Applied to an empty store they make the same rules; applied to this one they change nothing. Entries made through the API are
    among them. Comments are not stored and so cannot come back; nor is where files were. No secret is written: of a caller's
    secret there is the SHA-256, as in the store, and a service token's credential is issued anew.

    \b
    Example:  watchword export rules/
    """
    document: dict[str, Any] = call(data, "GET", "/api/v1/rules/export")["document"]
    if target == "-":
        click.echo(yaml_of(document), nl=False)
        return
    write_rules(Path(target), document, force=force)

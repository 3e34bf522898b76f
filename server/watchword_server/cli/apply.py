"""`watchword apply`."""

import json
from pathlib import Path

import click

from watchword_server.cli.client import RefusedError, call_or_refuse
from watchword_server.cli.options import DATA, JSON
from watchword_server.cli.refusals import RefusedFile
from watchword_server.cli.settings_file import language_of
from watchword_server.configuration.yaml_file import read_rule_file
from watchword_server.errors import ConfigurationError


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@DATA
@click.option("--dry-run", is_flag=True, help="Say what would change; change nothing.")
@click.option("--prune", is_flag=True, help="Remove every entry that FILE does not name.")
@JSON
def apply(file: Path, data: Path, *, dry_run: bool, prune: bool, as_json: bool) -> None:
    """Make what FILE says true: all of it or, if anything in it is wrong, nothing.

    Files that FILE names are read here and now; the server sees their content, and of a caller's secret only the SHA-256.
    Exit code 1 for a refused file: each problem with file, line and what to write instead is on stderr.

    \b
    Example:  watchword apply rules.yaml --dry-run
    """
    rules = read_rule_file(file)
    try:
        settings = data / "watchword.toml"
        rules.document(language=language_of(settings if settings.exists() else None))  # the server has the last word
        body = {"document": rules.text.value, "prune": prune, "dry_run": dry_run}
        answer = call_or_refuse(data, "POST", "/api/v1/rules/apply", body=body)
    except ConfigurationError as error:
        raise RefusedFile("\n".join(rules.explain(error))) from None
    except RefusedError as error:
        told = "\n".join(rules.explain(ConfigurationError(error.problems))) if error.problems else str(error)
        raise RefusedFile(told) from None
    if as_json:
        click.echo(json.dumps(answer))
        return
    for line in answer["changes"]:
        click.echo(line)
    done = "would change" if dry_run else "in force" if answer["changed"] else "nothing to change"
    click.echo(f"{done}: rules revision {answer['revision']}", err=True)

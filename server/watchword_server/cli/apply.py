"""`watchword apply`."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from watchword_server.cli.client import RefusedError, call_or_refuse
from watchword_server.cli.options import DATA, JSON
from watchword_server.cli.refusals import RefusedFile
from watchword_server.cli.rule_files import FILE_OR_DIRECTORY, files_of
from watchword_server.cli.settings_file import language_of
from watchword_server.configuration.rule_files import RuleFiles, read_rule_files
from watchword_server.errors import ConfigurationError

_NAMED: Final = 10  # entries that only the store has
_INDENT: Final = " " * 12


@click.command()
@click.argument("files", nargs=-1, required=True, type=FILE_OR_DIRECTORY, metavar="FILE|DIR...")
@DATA
@click.option("--dry-run", is_flag=True, help="Print the plan; change nothing.")
@click.option("--prune", is_flag=True, help="Remove every entry that the files do not name, whoever made it.")
@click.option("--yes", is_flag=True, help="Remove without asking; needed with --prune where nobody can be asked.")
@JSON
def apply(files: Sequence[Path], data: Path, *, dry_run: bool, prune: bool, yes: bool, as_json: bool) -> None:
    """Make what the files say true: all of it or, if anything in it is wrong, nothing.

    Several files, and all `*.yaml` and `*.yml` below a directory, are one document. The plan is printed first: what is created,
    updated and removed, and how. If somebody changes the rules between the plan and its execution, nothing is done.

    Files that the files name are read here and now; the server sees their content, and of a caller's secret only the SHA-256.

    \b
    Exit codes:  0 in force, or nothing to change, or --dry-run   1 refused, or not confirmed   2 wrong usage
    Example:  watchword apply rules/ --dry-run
    """
    rules = read_rule_files(files_of(files, refusal=RefusedFile))
    try:
        settings = data / "watchword.toml"
        rules.document(language=language_of(settings if settings.exists() else None))  # the server has the last word
    except ConfigurationError as error:
        raise RefusedFile("\n".join(rules.explain(error))) from None
    body = {"document": rules.merged, "prune": prune}
    plan = _call(data, rules, {**body, "dry_run": True})
    if not as_json:
        _print_plan(plan, prune=prune)
    if not dry_run and plan["plan"]:
        _confirm([entry for entry in plan["plan"] if entry["action"] == "removed"], yes=yes)
    changes = bool(plan["plan"]) and not dry_run
    answer = _call(data, rules, {**body, "expected_revision": plan["revision"]}) if changes else plan
    if as_json:
        click.echo(json.dumps(answer))
        return
    done = "in force" if answer["changed"] else "would change" if plan["plan"] else "nothing to change"
    click.echo(f"{done}: rules revision {answer['revision']}", err=True)


def _call(data: Path, rules: RuleFiles, body: Mapping[str, object]) -> dict[str, Any]:
    try:
        return call_or_refuse(data, "POST", "/api/v1/rules/apply", body=dict(body))
    except RefusedError as error:
        told = "\n".join(rules.explain(ConfigurationError(error.problems))) if error.problems else str(error)
        raise RefusedFile(told) from None


def _print_plan(plan: Mapping[str, Any], *, prune: bool) -> None:
    told = {(entry["action"], f"{entry['section']}.{entry['name']}"): entry for entry in plan["plan"]}
    for line in plan["changes"]:
        click.echo(line)
        action, _, name = line.partition(" ")
        for difference in told.get((action, name.strip()), {}).get("differences", ()):
            before, after = (difference[key] or "(none)" for key in ("before", "after"))
            click.echo(f"{_INDENT}{difference['path']}: {before} → {after}")
    only = [f"{entry['section']}.{entry['name']}{' (API)' if entry['by_api'] else ''}" for entry in plan["only_stored"]]
    if only and not prune:
        more = f" and {len(only) - _NAMED} more" if len(only) > _NAMED else ""
        count = "1 entry is" if len(only) == 1 else f"{len(only)} entries are"
        click.echo(f"{count} not in the files and stay as they are: {', '.join(only[:_NAMED])}{more}", err=True)


def _confirm(removed: Sequence[Mapping[str, Any]], *, yes: bool) -> None:
    """Asks before anything is removed. Raises `click.Abort`, `click.UsageError`."""
    if not removed or yes:
        return
    made_by_api = sum(entry["by_api"] for entry in removed)
    what = f"remove {len(removed)} {'entry' if len(removed) == 1 else 'entries'}"
    what += f", {made_by_api} of them made through the API" if made_by_api else ""
    if not sys.stdin.isatty():
        raise click.UsageError(f"this would {what}: say --yes to do so, or --dry-run to look")
    click.confirm(f"{what}?", abort=True, err=True)

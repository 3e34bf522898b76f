"""`watchword revisions`: changes of the rules, and the way back."""

import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from watchword_server.cli.client import call
from watchword_server.cli.options import DATA, JSON
from watchword_server.cli.tables import table


@click.group()
def revisions() -> None:
    """Who changed the rules, when and how; and back to what they were."""


@revisions.command("list")
@DATA
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many, the newest first.")
@JSON
def list_revisions(data: Path, limit: int, *, as_json: bool) -> None:
    """Changes of the rules, the newest first.

    \b
    Example:  watchword revisions list --limit 5
    """
    found = call(data, "GET", f"/api/v1/revisions?limit={limit}")["revisions"]
    if as_json:
        click.echo(json.dumps(found))
        return
    rows = [{**each, "actor": " ".join(filter(None, (each["actor"]["kind"], each["actor"]["name"])))} for each in found]
    table(("revision", "at", "actor", "address", "entries", "rolls_back_to"), rows)


@revisions.command()
@click.argument("number", type=click.IntRange(1))
@DATA
@JSON
def show(number: int, data: Path, *, as_json: bool) -> None:
    """What a change did, entry by entry. Secrets are not kept and not shown.

    \b
    Example:  watchword revisions show 12
    """
    found = call(data, "GET", f"/api/v1/revisions/{number}")
    if as_json:
        click.echo(json.dumps(found))
        return
    for change in found["changes"]:
        click.echo(f"{change['action']:<9} {change['section']}.{change['name']} ({change['id']})")
        for line in _difference(change):
            click.echo(f"  {line}")


@revisions.command()
@click.argument("number", type=click.IntRange(1))
@DATA
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@JSON
def rollback(number: int, data: Path, *, dry_run: bool, as_json: bool) -> None:
    """Make the rules what they were as of revision NUMBER. This is a change like any other, and a revision of its own.

    Secrets are not taken back: callers and service tokens keep those they have now.

    \b
    Example:  watchword revisions rollback 12 --dry-run
    """
    answer = call(data, "POST", f"/api/v1/revisions/{number}/rollback", body={"dry_run": dry_run})
    if as_json:
        click.echo(json.dumps(answer))
        return
    for line in answer["changes"]:
        click.echo(line)
    done = "nothing to change" if not answer["changes"] else "would change" if dry_run else "in force"
    click.echo(f"{done}: rules revision {answer['revision']}", err=True)


def _difference(change: dict[str, Any]) -> Iterator[str]:
    before, after = (_lines(change[side]) for side in ("before", "after"))
    for line in difflib.ndiff(before, after):
        if line.startswith(("+ ", "- ")):
            yield line


def _lines(state: dict[str, Any] | None) -> list[str]:
    return [] if state is None else json.dumps(state, indent=2, sort_keys=True, ensure_ascii=False).splitlines()[1:-1]

"""`watchword posture-log` and `watchword decisions`: looking back."""

import json
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import click

from watchword_server.cli.client import call
from watchword_server.cli.options import DATA, JSON
from watchword_server.cli.tables import table

_PAGE: Final = 1000
_limit = click.option("--limit", type=click.IntRange(1, _PAGE), default=50, show_default=True, help="How many, the newest first.")
_since = click.option("--since", metavar="TIME", help="From this time, such as 2026-11-24T00:00:00Z.")
_until = click.option("--until", metavar="TIME", help="Before this time.")


@click.command("posture-log")
@DATA
@_limit
@click.option("--device", help="Only this device's, by its id.")
@click.option("--check", help="Only of this check, by its name or id.")
@click.option("--outcome", type=click.Choice(["passed", "failed"]), help="Only what passed, or failed.")
@click.option("--reason", help="Only with this reason.")
@_since
@_until
@JSON
def posture_log(data: Path, *, as_json: bool, **wanted: str | int | None) -> None:
    """What each check on each device came to, and from when until when; equal results one after the other are one line.

    \b
    Example:  watchword posture-log --check laptop --outcome failed --since 2026-11-24T00:00:00Z
    """
    found = _asked(data, "/api/v1/posture-log", wanted)["entries"]
    if as_json:
        click.echo(json.dumps(found))
        return
    table(("from", "until", "device_id", "device", "check", "conditions_met", "reason", "evidence_level", "evaluations"), found)


@click.command()
@DATA
@_limit
@click.option("--decision", type=click.Choice(["allow", "deny"]), help="Only these.")
@click.option("--reason", help="Only with this reason.")
@click.option("--caller", help="Only those that this caller asked for.")
@click.option("--device", help="Only of this device, by its id.")
@click.option("--user", help="Only of this user, by email.")
@click.option("--host", help="Only for this host.")
@click.option("--rule", help="Only decided by this rule, policy or application, by name or id.")
@_since
@_until
@JSON
def decisions(data: Path, *, as_json: bool, **wanted: str | int | None) -> None:
    """Decisions that the decision log still has, the newest first; `watchword explain ID` tells one whole.

    \b
    Example:  watchword decisions --decision deny --host wiki.corp.example
    """
    found = _asked(data, "/api/v1/decisions", wanted)["decisions"]
    if as_json:
        click.echo(json.dumps(found))
        return
    table(("at", "id", "caller", "decision", "reason", "host", "path", "user_email", "device"), [_row(one) for one in found])


def _asked(data: Path, path: str, wanted: dict[str, str | int | None]) -> dict[str, Any]:
    query = urlencode({name: value for name, value in wanted.items() if value is not None})
    return call(data, "GET", f"{path}?{query}")


def _row(record: dict[str, Any]) -> dict[str, Any]:
    request, device = record["request"], record["device"]
    return {**record, "host": request["host"], "path": request["path"], "device": device["name"] or device["id"]}

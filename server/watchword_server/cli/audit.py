"""`watchword audit`: the log of changes, shown, exported, and checked without a server."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import click

from watchword_server.adapters.store_sql.audit_file import verify_store
from watchword_server.adapters.store_sql.data_directory import DATABASE_FILE
from watchword_server.cli.client import call
from watchword_server.cli.options import DATA, JSON
from watchword_server.cli.tables import table
from watchword_server.core.audit import Fault, Link, Verification, canonical
from watchword_server.errors import StoreUnavailableError

_PAGE: Final = 1000
_SHOWN_FAULTS: Final = 20
_SQLITE: Final = b"SQLite format 3\0"


class _Head(click.ParamType[Link]):
    name = "NUMBER:HASH"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Link:
        """Raises `click.BadParameter`."""
        if isinstance(value, Link):
            return value
        try:
            return Link.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group()
def audit() -> None:
    """Who changed what and when, and who failed to authenticate."""


@audit.command("list")
@DATA
@click.option("--limit", type=click.IntRange(1, _PAGE), default=50, show_default=True, help="How many, the newest first.")
@click.option("--actor", help="Of whom: an id, or a kind such as api_token, host, device.")
@click.option("--action", help="What: entry.created, or device for all of its kind.")
@click.option("--target", help="To what: an id, or a kind such as checks, device.")
@click.option("--since", metavar="TIME", help="From this time, such as 2026-11-24T00:00:00Z.")
@click.option("--until", metavar="TIME", help="Before this time.")
@JSON
def list_records(data: Path, *, as_json: bool, **wanted: str | int | None) -> None:
    """Records of the audit log, the newest first.

    \b
    Example:  watchword audit list --target checks --since 2026-11-24T00:00:00Z
    """
    query = urlencode({name: value for name, value in wanted.items() if value is not None})
    found = call(data, "GET", f"/api/v1/audit?{query}")["records"]
    if as_json:
        click.echo(json.dumps(found))
        return
    table(("number", "at", "actor", "address", "action", "target", "details"), [_row(record) for record in found])


@audit.command()
@DATA
def export(data: Path) -> None:
    """The whole audit log as JSON lines, the oldest first; `watchword audit verify FILE` checks it anywhere.

    \b
    Example:  watchword audit export > audit.jsonl
    """
    for record in _all_records(data):
        click.echo(canonical(record))


@audit.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path, allow_dash=True), required=False)
@DATA
@click.option("--head", type=_Head(), help="A place the log is known to have had: tells whether its end was cut off.")
@JSON
def verify(file: Path | None, data: Path, head: Link | None, *, as_json: bool) -> None:
    """Whether the audit log is whole: FILE is an export or a copy of a store; without it, the store in --data is read.

    No server is asked. The place where the log ends is on stdout: keep it elsewhere and give it as --head the next time.
    Exit codes: 0 whole, 1 not; each fault is on stderr.

    \b
    Example:  watchword audit verify audit.jsonl --head 812:5a1f…
    """
    verification = Verification(head)
    try:
        faults = _verified(data / DATABASE_FILE if file is None else file, verification)
    except (StoreUnavailableError, OSError) as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        told = {"head": str(verification.last), "records": verification.count, "faults": list(map(str, faults))}
        click.echo(json.dumps(told))
    else:
        click.echo(str(verification.last))
    for fault in faults[:_SHOWN_FAULTS]:
        click.echo(str(fault), err=True)
    if len(faults) > _SHOWN_FAULTS:
        click.echo(f"and {len(faults) - _SHOWN_FAULTS} more", err=True)
    if faults:
        raise click.exceptions.Exit(1)
    first = 0 if verification.first is None else verification.first.number
    click.echo(f"whole: {verification.count} records, {first} to {verification.last.number}", err=True)


def _verified(path: Path, verification: Verification) -> list[Fault]:
    if str(path) == "-":
        with click.open_file("-", encoding="utf-8") as lines:
            return _verified_lines(lines, verification)
    if not path.exists():
        raise click.ClickException(f"no Watchword store at `{path}`: give FILE, or the --data of the server")
    with path.open("rb") as opened:
        is_store = opened.read(len(_SQLITE)) == _SQLITE
    if is_store:
        return verify_store(path, verification)
    with path.open(encoding="utf-8", errors="replace", newline="\n") as lines:
        return _verified_lines(lines, verification)


def _verified_lines(lines: Iterable[str], verification: Verification) -> list[Fault]:
    for line in lines:
        verification.take_line(line.removesuffix("\n"))
    return verification.finish()


def _all_records(data: Path) -> Iterator[dict[str, Any]]:
    after: int | None = 0
    while after is not None:
        page = call(data, "GET", f"/api/v1/audit?limit={_PAGE}&after={after}")
        yield from page["records"]
        after = page["next"]


def _row(record: dict[str, Any]) -> dict[str, Any]:
    details = " ".join(f"{name}={value}" for name, value in record["details"].items() if name != "difference_sha256")
    return {**record, "actor": _who(record["actor"]), "target": _who(record["target"]), "details": details or None}


def _who(each: dict[str, Any]) -> str:
    """`checks managed-laptop`, `api_token grafana`, `host`."""
    return " ".join(str(part) for part in (each["kind"], each["name"] or each["id"]) if part)

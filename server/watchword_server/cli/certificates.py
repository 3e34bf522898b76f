"""`watchword certificate`: uploaded CAs and their revocation lists."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import click

from watchword_server.cli.certificate_verify import verify
from watchword_server.cli.client import call
from watchword_server.cli.options import DATA, JSON
from watchword_server.cli.tables import table


@click.group()
def certificate() -> None:
    """Uploaded CAs: their revocation lists, and what a certificate is worth."""


certificate.add_command(verify)


@certificate.command("list")
@DATA
@JSON
def list_certificates(data: Path, *, as_json: bool) -> None:
    """Every uploaded CA with its revocation lists: from where, how old, how many entries, what went wrong last.

    \b
    Example:  watchword certificate list --json | jq '.[].lists[] | select(.last_error)'
    """
    found = call(data, "GET", "/api/v1/certificates")["certificates"]
    if as_json:
        click.echo(json.dumps(found))
        return
    columns = ("name", "source", "place", "kind", "number", "this_update", "next_update", "entries", "last_error")
    table(columns, [row for each in found for row in _rows(each)])


@certificate.command()
@click.argument("name")
@click.argument("file", type=click.File("rb"))
@DATA
@JSON
def crl(name: str, file: BinaryIO, data: Path, *, as_json: bool) -> None:
    """Bring the revocation list of the CA NAME, in DER or PEM; `-` reads it from stdin.

    In force and stored when this returns. A list that is not the CA's, or older than the one in force, is refused.

    \b
    Example:  watchword certificate crl corp-device-ca device-ca.crl
              curl -s http://pki.corp.example/device-ca.crl | watchword certificate crl corp-device-ca -
    """
    with tempfile.TemporaryFile() as passing:
        if not file.seekable():  # a pipe does not tell its length
            shutil.copyfileobj(file, passing)
            passing.seek(0)
        content = file if file.seekable() else passing
        taken = call(data, "POST", f"/api/v1/certificates/{quote(name, safe='')}/crl", content=content)
    if as_json:
        click.echo(json.dumps(taken))
        return
    click.echo(_described(taken), err=True)


@certificate.command()
@click.argument("name")
@DATA
def refresh(name: str, data: Path) -> None:
    """Have the server read the configured revocation lists of the CA NAME now, and say what came of each.

    Exit codes: 0 each place was read and its newest list is in force, 1 one was not.

    \b
    Example:  watchword certificate refresh corp-device-ca
    """
    asked = call(data, "POST", f"/api/v1/certificates/{quote(name, safe='')}/refresh", body={})
    if not asked["places"]:
        click.echo(f"the rules name no place for lists of `{name}`: `watchword certificate crl` brings one", err=True)
    for place in asked["places"]:
        told = place["error"]
        click.echo(f"{place['place']}: {_described(place) if told is None else told}", err=True)
    if any(place["error"] is not None for place in asked["places"]):
        raise click.exceptions.Exit(1)


def _described(taken: dict[str, Any]) -> str:
    number = "" if taken["number"] is None else f" {taken['number']}"
    return f"{taken['kind']} list{number} of {taken['this_update']} until {taken['next_update']}: {taken['entries']} revoked"


def _rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """A line for each list of a CA, or one that says that there is none."""
    nothing = dict.fromkeys(("source", "place", "kind", "number", "this_update", "next_update", "entries", "last_error"))
    return [{**nothing, **each, "name": found["name"]} for each in found["lists"]] or [{**nothing, "name": found["name"]}]

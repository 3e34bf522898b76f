"""`watchword signing-keys`: the keys that assertions and device tokens are signed with."""

import json
import time
from pathlib import Path

import click

from watchword_server.adapters.signing_keys import SigningKeys
from watchword_server.cli.client import call
from watchword_server.cli.options import DATA, JSON
from watchword_server.cli.tables import table
from watchword_server.core.model.names import Instant

_PATH = "/api/v1/signing-keys"


@click.group("signing-keys")
def signing_keys() -> None:
    """The keys that assertions and device tokens are signed with; applications read them at `/.well-known/jwks.json`."""


@signing_keys.command("list")
@DATA
@JSON
def list_(data: Path, *, as_json: bool) -> None:
    """Which key signs, which will, and which only verifies what it signed before."""
    found = call(data, "GET", _PATH)["signing_keys"]
    if as_json:
        click.echo(json.dumps(found))
        return
    table(("id", "algorithm", "standing", "created_at"), found)


@signing_keys.command()
@DATA
@JSON
def rotate(data: Path, *, as_json: bool) -> None:
    """Makes the next key. It is published at once and signs in ten minutes; the one before stays published for an hour more."""
    key = call(data, "POST", f"{_PATH}/rotate", body={})
    click.echo(json.dumps(key) if as_json else f"{key['id']} is published, and signs in ten minutes")


@signing_keys.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--algorithm", type=click.Choice(["ES256", "EdDSA"]), default="ES256", show_default=True)
def add(file: Path, algorithm: str) -> None:
    """Adds a new key to FILE, or makes it: for `decisions.signing_keys_file`, the same on every replica.

    \b
    Example:  watchword signing-keys add /etc/watchword/signing-keys.json
    """
    try:
        key = SigningKeys.add_to(file, algorithm=algorithm, now=Instant(time.time()))
    except OSError as error:
        raise click.ClickException(f"`{file}` cannot be written: {error.strerror}") from error
    click.echo(key.id)

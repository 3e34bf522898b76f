"""`watchword token`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from watchword_server.cli.client import call
from watchword_server.cli.options import DATA, JSON
from watchword_server.cli.tables import table


@click.group()
def token() -> None:
    """Make, list and revoke tokens. A token is shown once."""


@token.command()
@DATA
@click.option("--role", type=click.Choice(["read", "write", "admin"]), required=True, help="What its holder may do.")
@click.option("--name", default="", help="A name to know it by.")
@click.option("--expires", "expires_seconds", type=click.IntRange(1), help="Seconds until it ends.  [default: never]")
def create(data: Path, role: str, name: str, expires_seconds: int | None) -> None:
    """An API token for operators and their scripts; the token alone on stdout.

    \b
    Example:  watchword token create --role read --name grafana
    """
    body: dict[str, Any] = {"role": role, "name": name, "expires_in_seconds": expires_seconds}
    made = call(data, "POST", "/api/v1/tokens", body=body, may_create=True)
    click.echo(f"token {made['id']} with role {role}; it is not shown again", err=True)
    click.echo(made["token"])


@token.command()
@DATA
@click.option("--uses", type=click.IntRange(1, 100_000), default=1, show_default=True, help="How many devices it may enroll.")
@click.option(
    "--expires", "expires_seconds", type=click.IntRange(1), default=3600, show_default=True, help="Seconds until it ends."
)
@click.option("--approval", is_flag=True, help="Devices wait for `watchword devices approve`.")
@click.option("--serial-number", help="Only a device with this serial number.")
@click.option("--platform", type=click.Choice(["linux", "windows", "mac"]), help="Only a device of this platform.")
@click.option("--device", help="Give this device a new key, instead of enrolling another one.")
def enroll(
    data: Path,
    uses: int,
    expires_seconds: int,
    *,
    approval: bool,
    serial_number: str | None,
    platform: str | None,
    device: str | None,
) -> None:
    """An enrollment token for agents; the token alone on stdout.

    \b
    Example:  watchword token enroll --expires 86400 --serial-number 5CG1234XYZ
    """
    body: dict[str, Any] = {
        "max_uses": uses,
        "expires_in_seconds": expires_seconds,
        "needs_approval": approval,
        "serial_number": serial_number,
        "platform": platform,
        "device_id": device,
    }
    made = call(data, "POST", "/api/v1/enrollment-tokens", body=body, may_create=True)
    devices = "one device" if made["max_uses"] == 1 else f"{made['max_uses']} devices"
    click.echo(f"token {made['id']} for {devices} until {made['expires_at']}; it is not shown again", err=True)
    click.echo(made["token"])


@token.command("list")
@DATA
@JSON
def list_tokens(data: Path, *, as_json: bool) -> None:
    """All tokens, without their secrets.

    \b
    Example:  watchword token list --json
    """
    api = [{"kind": "api", **found} for found in call(data, "GET", "/api/v1/tokens")["tokens"]]
    enrollment = [{"kind": "enrollment", **found} for found in call(data, "GET", "/api/v1/enrollment-tokens")["tokens"]]
    if as_json:
        click.echo(json.dumps([*api, *enrollment]))
        return
    table(("id", "kind", "name", "allows", "expires_at", "state", "bound_to"), [_row(found) for found in (*api, *enrollment)])


def _row(found: Mapping[str, Any]) -> dict[str, Any]:
    """A token of either kind for the table."""
    bound = [str(found[name]) for name in ("device_id", "serial_number", "platform") if found.get(name)]
    uses = f"{found['uses']} of {found['max_uses']} used" if found["kind"] == "enrollment" else f"role {found['role']}"
    ended = "revoked" if found["revoked"] else "expired" if found["expired"] else "good"
    return {
        "id": found["id"],
        "kind": found["kind"],
        "name": found.get("name") or None,
        "allows": uses + (", with approval" if found.get("needs_approval") else ""),
        "expires_at": found["expires_at"],
        "state": ended,
        "bound_to": ", ".join(bound) or None,
    }


@token.command()
@click.argument("token_id")
@DATA
def revoke(token_id: str, data: Path) -> None:
    """End a token. Devices it has enrolled stay.

    \b
    Example:  watchword token revoke AbCdEfGhIjKlMnOp
    """
    call(data, "DELETE", f"/api/v1/tokens/{token_id}")
    click.echo(f"revoked {token_id}", err=True)

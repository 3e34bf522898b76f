"""`watchword token`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from watchword_server.cli.client import call
from watchword_server.cli.options import DATA, JSON
from watchword_server.cli.tables import table


@click.group()
def token() -> None:
    """Make, list and revoke tokens. A token is shown once."""


@token.command()
@DATA
@click.option("--role", type=click.Choice(["read", "write", "admin"]), help="An API token: what its holder may do.")
@click.option("--name", default="", help="A name to know an API token by.")
@click.option("--service", metavar="NAME", help="A credential of this service token, in place of the one it has.")
@click.option(
    "--expires",
    "expires_seconds",
    type=click.IntRange(1),
    help="Seconds until it ends.  [default: never; of a service token, what its entry says]",
)
@JSON
def create(data: Path, role: str | None, name: str, service: str | None, expires_seconds: int | None, *, as_json: bool) -> None:
    """An API token for operators and their scripts, or the credential of a service token; the secret alone on stdout.

    A service token's credential is two headers, which its holder sends with every request. The one it had before ends at once.

    \b
    Example:  watchword token create --role read --name grafana
              watchword token create --service backup > headers && curl -H @headers https://wiki.corp.example/
    """
    if (role is None) == (service is None):
        raise click.UsageError("write one of --role, for an API token, and --service, for a service token")
    if service is not None:
        if name:
            raise click.UsageError("a service token has the name of its entry: leave out --name")
        _create_credential(data, service, expires_seconds, as_json=as_json)
        return
    body: dict[str, Any] = {"role": role, "name": name, "expires_in_seconds": expires_seconds}
    made = call(data, "POST", "/api/v1/tokens", body=body, may_create=True)
    click.echo(f"token {made['id']} with role {role}; it is not shown again", err=True)
    click.echo(json.dumps(made) if as_json else made["token"])


def _create_credential(data: Path, service: str, expires_seconds: int | None, *, as_json: bool) -> None:
    path = f"/api/v1/service-tokens/{quote(service, safe='')}/credential"
    made = call(data, "POST", path, body={"expires_in_seconds": expires_seconds})
    until = "" if made["expires_at"] is None else f" until {made['expires_at']}"
    click.echo(
        f"credential of service token {made['name']}{until}; it is not shown again, and the one before has ended", err=True
    )
    if as_json:
        click.echo(json.dumps(made))
        return
    click.echo(f"CF-Access-Client-Id: {made['client_id']}")
    click.echo(f"CF-Access-Client-Secret: {made['client_secret']}")


@token.command()
@DATA
@click.option("--uses", type=click.IntRange(1, 100_000), default=1, show_default=True, help="How many devices it may enroll.")
@click.option(
    "--expires", "expires_seconds", type=click.IntRange(1), default=3600, show_default=True, help="Seconds until it ends."
)
@click.option("--approval", is_flag=True, help="Devices wait for `watchword devices approve`.")
@click.option("--serial-number", help="Only a device with this serial number.")
@click.option("--platform", type=click.Choice(["linux", "windows", "mac"]), help="Only a device of this platform.")
@click.option("--owner", metavar="EMAIL", help="The user whose devices these are.")
@click.option("--device", help="Give this device a new key, instead of enrolling another one.")
def enroll(
    data: Path,
    uses: int,
    expires_seconds: int,
    *,
    approval: bool,
    serial_number: str | None,
    platform: str | None,
    owner: str | None,
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
        "owner": owner,
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
    service = [{"kind": "service", **found} for found in call(data, "GET", "/api/v1/service-tokens")["tokens"]]
    found = (*api, *enrollment, *service)
    if as_json:
        click.echo(json.dumps(found))
        return
    table(("id", "kind", "name", "allows", "expires_at", "last_used_at", "state", "bound_to"), [_row(token) for token in found])


def _row(found: Mapping[str, Any]) -> dict[str, Any]:
    """A token of any kind for the table."""
    bound = [str(found[name]) for name in ("device_id", "serial_number", "platform", "owner") if found.get(name)]
    return {
        "id": found["id"],
        "kind": found["kind"],
        "name": found.get("name") or None,
        "allows": _allows(found),
        "expires_at": found["expires_at"],
        "last_used_at": found.get("last_used_at"),
        "state": _state(found),
        "bound_to": ", ".join(bound) or None,
    }


def _allows(found: Mapping[str, Any]) -> str:
    match found["kind"]:
        case "enrollment":
            return f"{found['uses']} of {found['max_uses']} used" + (", with approval" if found["needs_approval"] else "")
        case "service":
            return "what policies say"
        case _:
            return f"role {found['role']}"


def _state(found: Mapping[str, Any]) -> str:
    if found.get("issued") is False:
        return "not issued"
    return "revoked" if found.get("revoked") else "expired" if found["expired"] else "good"


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

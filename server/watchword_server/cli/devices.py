"""`watchword devices` and `results`."""

import json
from pathlib import Path

import click

from watchword_server.cli.client import call, call_pages
from watchword_server.cli.options import DATA, JSON
from watchword_server.cli.tables import table


@click.group()
def devices() -> None:
    """List, approve, lock and revoke devices; say whose they are; clear what was seen of a second machine."""


@devices.command("list")
@DATA
@JSON
def list_devices(data: Path, *, as_json: bool) -> None:
    """Every device with what it passes now.

    \b
    Example:  watchword devices list --json | jq '.[] | select(.connected | not)'
    """
    found = call_pages(data, "/api/v1/devices", "devices")
    if as_json:
        click.echo(json.dumps(found))
        return
    for device in found:
        device["clones"] = [*(["device key"] if device["key_cloned_at"] else []), *device["certificate_cloned_with"]]
    of_the_device = ("id", "state", "name", "owner", "platform", "serial_number", "key_protection")
    table((*of_the_device, "connected", "last_seen_at", "passed", "lock_reason", "clones"), found)


@devices.command()
@click.argument("device_id")
@DATA
def revoke(device_id: str, data: Path) -> None:
    """End a device for good: from now on it satisfies no rule.

    \b
    Example:  watchword devices revoke dev_0123456789abcdef0123456789abcdef
    """
    call(data, "POST", f"/api/v1/devices/{device_id}/revoke", body={})
    click.echo(f"revoked {device_id}", err=True)


@devices.command()
@click.argument("device_id")
@DATA
def approve(device_id: str, data: Path) -> None:
    """Let a pending device attest. A device that held its serial number is revoked.

    \b
    Example:  watchword devices approve dev_0123456789abcdef0123456789abcdef
    """
    call(data, "POST", f"/api/v1/devices/{device_id}/approve", body={})
    click.echo(f"approved {device_id}; its agent attests at its next try, at the latest in half an hour", err=True)


@devices.command()
@click.argument("device_id")
@click.option("--reason", required=True, help="Why: it is listed with the device, and kept in the audit log.")
@DATA
def lock(device_id: str, reason: str, data: Path) -> None:
    """Deny every request of a device from now on, until it is unlocked. It goes on attesting.

    \b
    Example:  watchword devices lock dev_0123456789abcdef0123456789abcdef --reason "reported stolen"
    """
    call(data, "POST", f"/api/v1/devices/{device_id}/lock", body={"reason": reason})
    click.echo(f"locked {device_id}", err=True)


@devices.command()
@click.argument("device_id")
@DATA
def unlock(device_id: str, data: Path) -> None:
    """Let what a device proves count again.

    \b
    Example:  watchword devices unlock dev_0123456789abcdef0123456789abcdef
    """
    call(data, "POST", f"/api/v1/devices/{device_id}/unlock", body={})
    click.echo(f"unlocked {device_id}", err=True)


@devices.command("set-owner")
@click.argument("device_id")
@click.argument("email", required=False)
@click.option("--nobody", is_flag=True, help="It is nobody's any more.")
@DATA
def set_owner(device_id: str, email: str | None, data: Path, *, nobody: bool) -> None:
    """Say whose a device is, for rules that ask (docs/rules.md).

    \b
    Example:  watchword devices set-owner dev_0123456789abcdef0123456789abcdef ada@corp.example
    """
    if (email is None) is not nobody:
        raise click.UsageError("name either the owner's EMAIL or --nobody")
    made = call(data, "PUT", f"/api/v1/devices/{device_id}/owner", body={"owner": email})
    click.echo(f"{device_id} is {'nobody' if nobody else made['owner']}'s", err=True)


@devices.command("clear-clone")
@click.argument("device_id")
@DATA
def clear_clone(device_id: str, data: Path) -> None:
    """Forget that two machines were seen with a device's key: only one of them has it now.

    \b
    Example:  watchword devices clear-clone dev_0123456789abcdef0123456789abcdef
    """
    call(data, "POST", f"/api/v1/devices/{device_id}/clear-clone", body={})
    click.echo(f"cleared {device_id}; a second machine that still has the key will show itself again", err=True)


@devices.command()
@click.argument("device_id")
@DATA
def attest(device_id: str, data: Path) -> None:
    """Ask a connected device to look again and attest now.

    \b
    Example:  watchword devices attest dev_0123456789abcdef0123456789abcdef
    """
    call(data, "POST", f"/api/v1/devices/{device_id}/attest", body={})
    click.echo(f"asked {device_id}", err=True)


@click.command()
@DATA
@click.option("--device", help="Only this device's.")
@JSON
def results(data: Path, device: str | None, *, as_json: bool) -> None:
    """The newest result of each check on each device: passed, failed or expired, and why.

    \b
    Example:  watchword results --device dev_0123456789abcdef0123456789abcdef
    """
    found = call_pages(data, "/api/v1/results", "results", {} if device is None else {"device": device})
    if as_json:
        click.echo(json.dumps(found))
        return
    table(("device_id", "device", "check", "standing", "reason", "evidence_level", "evidence_age_seconds", "expires_at"), found)

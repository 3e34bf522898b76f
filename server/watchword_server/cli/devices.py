"""`watchword devices`, `results` and `explain`."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from watchword_server.cli.client import call
from watchword_server.cli.options import DATA, JSON
from watchword_server.cli.tables import table

_DECISION_ID = re.compile(r"dcn_[0-9a-f]{24}")


@click.group()
def devices() -> None:
    """List, approve and revoke devices."""


@devices.command("list")
@DATA
@JSON
def list_devices(data: Path, *, as_json: bool) -> None:
    """Every device with what it passes now.

    \b
    Example:  watchword devices list --json | jq '.[] | select(.connected | not)'
    """
    found = call(data, "GET", "/api/v1/devices")["devices"]
    if as_json:
        click.echo(json.dumps(found))
        return
    table(("id", "state", "name", "platform", "serial_number", "connected", "last_seen_at", "passed"), found)


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
    path = "/api/v1/results" if device is None else f"/api/v1/results?device={device}"
    found = call(data, "GET", path)["results"]
    if as_json:
        click.echo(json.dumps(found))
        return
    table(("device_id", "device", "check", "standing", "reason", "evidence_level", "evidence_age_seconds", "expires_at"), found)


@click.command()
@click.argument("decision_id")
@DATA
@JSON
def explain(decision_id: str, data: Path, *, as_json: bool) -> None:
    """Why a request was allowed or denied: the rules that decided, each check with what was expected and received.

    DECISION_ID is in the answer's X-Watchword-Decision-Id header.

    \b
    Example:  watchword explain dcn_0123456789abcdef01234567
    """
    if not _DECISION_ID.fullmatch(decision_id):
        raise click.ClickException(f"`{decision_id}` is not a decision's id: it looks like dcn_ and 24 hexadecimal digits")
    record = call(data, "GET", f"/api/v1/decisions/{decision_id}")
    if as_json:
        click.echo(json.dumps(record))
        return
    request, device = record["request"], record["device"]
    click.echo(f"{record['decision']}: {record['reason']}   at {record['at']}   asked by {record['caller']}")
    click.echo(
        f"request   {request['method']} {request['scheme']}://{request['host']}{request['path']} from {request['source_ip']}"
    )
    click.echo(f"user      {record['user_email'] or 'none named'}")
    where = f"{device['id']} ({device['name']}), {device['state']}" if device["id"] else device["reason"]
    click.echo(f"device    {where}" + (f", by {device['method']}" if device["method"] else ""))
    for other in device["others"]:
        click.echo(f"            proven by {other}")
    if device["certificate_sha256"]:
        note = "" if device["proven"] else ", which the device does not prove any more"
        click.echo(f"presented certificate {device['certificate_sha256']}{note}")
    for rule in record["rules"]:
        click.echo(f"rule      {rule['kind']} {rule['name']}")
    for check in record["checks"]:
        click.echo(f"check     {check['name']}: {check['standing']}" + _check_details(check))


def _check_details(check: Mapping[str, Any]) -> str:
    if "reason" not in check:
        return ""
    lines = [f", {check['reason']}, {check['evidence_level']} {check['evidence_age_seconds']} s before"]
    lines += [f"\n            expected {value}" for value in check["expected_values"].values()]
    lines += [f"\n            received {name}: {value}" for name, value in check["received_values"].items()]
    return "".join(lines)

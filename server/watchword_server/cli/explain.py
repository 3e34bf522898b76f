"""`watchword explain`."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from watchword_server.cli.client import RefusedError, call, call_or_refuse
from watchword_server.cli.options import DATA, JSON
from watchword_server.cli.trees import print_readings

_DECISION_ID: Final = re.compile(r"dcn_[0-9a-f]{24}")


@click.command()
@click.argument("decision_id", required=False)
@click.option("--request", nargs=2, metavar="METHOD URL", help="Instead of a decision: a request that somebody could make now.")
@click.option("--email", help="With --request: its user.")
@click.option("--ip", "source_ip", metavar="ADDRESS", help="With --request: where it comes from.")
@click.option("--device", metavar="ID", help="With --request: the device it comes from, with the posture the server knows now.")
@click.option("--fact", "facts", multiple=True, metavar="NAME=JSON", help="With --request: what a caller reports besides.")
@DATA
@JSON
def explain(
    decision_id: str | None,
    request: tuple[str, str] | None,
    email: str | None,
    source_ip: str | None,
    device: str | None,
    facts: Sequence[str],
    data: Path,
    *,
    as_json: bool,
) -> None:
    """Why a request was allowed or denied, or would be: what was looked at, and what each check expected and received.

    DECISION_ID is in the answer's X-Watchword-Decision-Id header. With --request nothing is decided and nothing is logged.

    \b
    Example:  watchword explain dcn_0123456789abcdef01234567
              watchword explain --request GET https://wiki.corp.example/ --email ada@corp.example --ip 192.0.2.10
    """
    if (decision_id is None) == (request is None):
        raise click.UsageError("write a decision's id, or --request METHOD URL")
    if decision_id is not None:
        if email or source_ip or device or facts:
            raise click.UsageError("a decision has its own user, address, device and facts: leave them out, or use --request")
        _explain_decision(decision_id, data, as_json=as_json)
    elif request is not None:
        method, url = request
        if "://" in method:
            raise click.UsageError(f"`{method}` is no method: write the method first, then the URL, as in --request GET {method}")
        if "://" not in url:
            raise click.UsageError(f"`{url}` is no absolute URL: write one like `https://wiki.corp.example/`")
        body = {
            "method": method.upper(),
            "url": url,
            "email": email,
            "source_ip": source_ip,
            "device": device,
            "facts": dict(map(_fact, facts)),
        }
        _explain_request(body, data, as_json=as_json)


def _fact(text: str) -> tuple[str, object]:
    name, separator, value = text.partition("=")
    try:
        if not separator:
            raise ValueError(text)
        return name, json.loads(value)
    except ValueError:
        raise click.UsageError(f"`{text}` is not NAME=JSON: write one like `identity.login_method='\"okta\"'`") from None


# ---- A request ------------------------------------------------------------------------------------------------------------


def _explain_request(body: dict[str, Any], data: Path, *, as_json: bool) -> None:
    explained = call(data, "POST", "/api/v1/decisions/explain", body=body)
    if as_json:
        click.echo(json.dumps(explained))
        return
    click.echo(f"{explained['decision']}: {explained['reason']}   by rules revision {explained['rules_revision']}, now")
    _print_rules(explained)
    print_readings(explained["readings"])


# ---- A decision -----------------------------------------------------------------------------------------------------------


def _explain_decision(decision_id: str, data: Path, *, as_json: bool) -> None:
    if not _DECISION_ID.fullmatch(decision_id):
        raise click.ClickException(f"`{decision_id}` is not a decision's id: it looks like dcn_ and 24 hexadecimal digits")
    record = call(data, "GET", f"/api/v1/decisions/{decision_id}")
    explained: dict[str, Any] | None = None
    why_not = ""
    try:
        explained = call_or_refuse(data, "GET", f"/api/v1/decisions/{decision_id}/explanation")
    except RefusedError as error:
        why_not = str(error)
    if as_json:
        click.echo(json.dumps({**record, "explanation": explained}))
        return
    _print_record(record)
    if explained is None:
        click.echo(f"the path it took cannot be told: {why_not}", err=True)
        return
    click.echo("")
    for line in _basis(record, explained):
        click.echo(line)
    print_readings(explained["readings"])


def _basis(record: Mapping[str, Any], explained: Mapping[str, Any]) -> Sequence[str]:
    revision = explained["rules_revision"]
    if explained["basis"] == "rules_of_the_decision":
        return [f"path taken, by rules revision {revision}, which it was decided with:"]
    lines = [f"path it would take now, by rules revision {revision}; it was decided with revision {record['rules_revision']}:"]
    if not explained.get("query_known", True):
        lines.append("  the query was not logged: rules that read it see none")
    if not explained["agrees"]:
        lines.append(f"  today's answer would be another one, {explained['decision']}: {explained['reason']}")
    return lines


def _print_record(record: Mapping[str, Any]) -> None:
    request, device = record["request"], record["device"]
    click.echo(f"{record['decision']}: {record['reason']}   at {record['at']}   asked by {record['caller']}")
    port = f":{request['port']}" if request.get("port") else ""
    click.echo(
        f"request   {request['method']} {request['scheme']}://{request['host']}{port}{request['path']} "
        f"from {request['source_ip'] or 'an unknown address'}"
    )
    click.echo(f"user      {record['user_email'] or 'none named'}")
    where = f"{device['id']} ({device['name']}), {device['state']}" if device["id"] else device["reason"]
    click.echo(f"device    {where}" + (f", by {device['method']}" if device["method"] else ""))
    for other in device["others"]:
        click.echo(f"            proven by {other}")
    if device["certificate_sha256"]:
        note = "" if device["proven"] else ", which the device does not prove any more"
        click.echo(f"presented certificate {device['certificate_sha256']}{note}")
    _print_rules(record)
    for check in record["checks"]:
        click.echo(f"check     {check['name']}: {check['standing']}" + _check_details(check))


def _print_rules(found: Mapping[str, Any]) -> None:
    for rule in found["rules"]:
        click.echo(f"rule      {rule['kind']} {rule['name']}")
    for rule in found["reported"]:
        click.echo(f"reported  {rule['kind']} {rule['name']}: not enforced, it would {rule['effect'] or 'match'}")


def _check_details(check: Mapping[str, Any]) -> str:
    if "reason" not in check:
        return ""
    lines = [f", {check['reason']}, {check['evidence_level']} {check['evidence_age_seconds']} s before"]
    lines += [f"\n            expected {value}" for value in check["expected_values"].values()]
    lines += [f"\n            received {name}: {value}" for name, value in check["received_values"].items()]
    return "".join(lines)

"""Commands for the person at the device: `doctor`, `checks`, `stores`, `unenroll`."""

import asyncio
import json
import sys
from pathlib import Path

import click

from watchword_agent import app
from watchword_agent.cli_options import failures_exit, say, settings_of, state_options
from watchword_agent.doctor.examining import examine_device, stores_here
from watchword_agent.doctor.report import Outcome
from watchword_agent.doctor.telling import render_checks, render_report, render_stores
from watchword_agent.identity import read_platform

_EXITS = {Outcome.OK: 0, Outcome.FAILED: 1, Outcome.UNKNOWN: 2}


@click.command("doctor")
@click.option("--check", "only", metavar="NAME", help="This check alone.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@state_options
def doctor_command(config: Path | None, only: str | None, as_json: bool, **options: object) -> None:  # noqa: FBT001
    """Look at this device as the agent and the server do, and say what is in the way and what to do about it.

    Works while the agent runs and while it does not, with the server and without. It tries keys with a statement that proves
    nothing to anybody, sends no evidence and changes nothing. `*` marks the certificates that the agent sends.

    \b
    Example:
      watchword-agent doctor --check managed-laptop
    \b
    Exit codes:
      0  all is well
      1  something is in the way
      2  nobody can tell here and now; wrong usage
    """
    with failures_exit(code=2):
        report = asyncio.run(examine_device(settings_of(config, options), only=only))
        click.echo(report.model_dump_json(indent=2) if as_json else render_report(report))
    sys.exit(_EXITS[report.outcome])


@click.command("checks")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@state_options
def checks_command(config: Path | None, as_json: bool, **options: object) -> None:  # noqa: FBT001
    """Show the checks that the server last told this device, and how each stands.

    \b
    Example:
      watchword-agent checks
    \b
    Exit codes:
      0  shown
      2  the state directory cannot be read; wrong usage
    """
    with failures_exit(code=2):
        report = asyncio.run(examine_device(settings_of(config, options)))
        if as_json:
            click.echo(json.dumps([check.model_dump(mode="json") for check in report.checks], indent=2))
        else:
            click.echo(render_checks(report))


@click.command("stores")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@state_options
def stores_command(config: Path | None, as_json: bool, **options: object) -> None:  # noqa: FBT001
    """Show the certificate stores of this machine and how many certificates lie in each.

    \b
    Example:
      watchword-agent stores
    \b
    Exit codes:
      0  shown
      2  wrong usage
    """
    with failures_exit(code=2):
        stores = stores_here(app.access_of(settings_of(config, options)), read_platform())
        if as_json:
            click.echo(json.dumps([store.model_dump(mode="json") for store in stores], indent=2))
        else:
            click.echo(render_stores(stores))


@click.command("unenroll")
@click.option("--offline", is_flag=True, help="Tell the server nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@state_options
def unenroll_command(config: Path | None, offline: bool, yes: bool, **options: object) -> None:  # noqa: FBT001
    """Say goodbye to the server, and remove the device key and the enrollment. Prints the device id.

    The server keeps the device until an operator revokes it; without its key nobody attests as it any more. Stop a running agent
    first.

    \b
    Example:
      systemctl stop watchword-agent && watchword-agent unenroll --yes
    \b
    Exit codes:
      0  removed
      1  not enrolled, an agent is running, or a file cannot be removed
      2  wrong usage
    """
    with failures_exit():
        settings = settings_of(config, options)
        if not yes:
            click.confirm(f"remove the device key in `{settings.state_dir}` for good?", abort=True, err=True)
        gone = asyncio.run(app.unenroll_device(settings, offline=offline))
        if gone.goodbye_failure:
            say(f"the server was not told: {gone.goodbye_failure}; its results run to their expiry")
        say("an operator can revoke the device now: `watchword devices revoke`")
        click.echo(gone.enrollment.device_id)

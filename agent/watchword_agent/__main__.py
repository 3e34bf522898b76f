"""The command line. Data on stdout, talk on stderr. What helps the person at the device is in `help_commands`."""

import asyncio
import datetime as dt
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from watchword_agent import app, log
from watchword_agent.cli_options import failures_exit, say, settings_of, state_options
from watchword_agent.errors import AgentError, SettingsError
from watchword_agent.help_commands import checks_command, doctor_command, stores_command, unenroll_command
from watchword_agent.service_commands import install_service_command, uninstall_service_command
from watchword_agent.settings import Settings
from watchword_agent.status import render
from watchword_agent.tokens import ProofKey
from watchword_agent.windows_service import log_to, run_as_service

_MAX_TOKEN_FILE = 4096
_F = TypeVar("_F", bound=Callable[..., Any])


def _common_options(command: _F) -> _F:
    for option in (
        click.option(
            "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Least important events shown."
        ),
        click.option("--hostname", metavar="NAME", help="Instead of the one the system tells."),
        click.option("--serial-number", metavar="NUMBER", help="Instead of the one the firmware tells."),
        click.option(
            "--ca-file", metavar="FILE", type=click.Path(path_type=Path), help="PEM roots for the server's TLS certificate."
        ),
        click.option("--server", metavar="URL", help="https://host:port; or http://127.0.0.1:port, on this machine only."),
    ):
        command = option(command)
    return state_options(command)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="watchword", message="watchword-agent %(version)s")
def main() -> None:
    """Finds this device's client certificate, proves possession of its key, and streams the evidence to a Watchword server.

    Settings come from options, then WATCHWORD_AGENT_* variables, then the file of --config.
    """


@main.command("enroll")
@click.option("--token", metavar="TOKEN", help="The token an operator made. Other users may see it: better --token-file.")
@click.option(
    "--token-file", metavar="FILE", type=click.Path(path_type=Path, allow_dash=True), help="File with the token; - is stdin."
)
@_common_options
def enroll_command(token: str | None, token_file: Path | None, config: Path | None, **options: object) -> None:
    """Make this device known to a server; once. Prints the device id.

    The device key is made in the state directory and never leaves it. If enrolling fails, run the same command again: with the
    same token and the same state directory it leads to the same device.

    \b
    Example:
      watchword-agent enroll --server https://watchword.corp.example:7403 --token-file token
    \b
    Exit codes:
      0  enrolled, or this state directory was enrolled with that server before (nothing is sent then)
      1  refused or failed; or enrolled with another server
      2  wrong usage
    """
    with failures_exit():
        settings = settings_of(config, options)
        outcome = asyncio.run(app.enroll_device(settings, _token(token, token_file)))
        known = outcome.enrollment
        if outcome.already:
            say(f"already enrolled with {known.server}; to enroll anew, remove `{settings.state_dir}` first")
        elif known.pending_approval:
            say(f"enrolled with {known.server}; an operator has to approve this device before its evidence counts")
        else:
            say(f"enrolled with {known.server}")
        say(f"next: watchword-agent run --state {settings.state_dir}")
        click.echo(known.device_id)


@main.command("run")
@click.option("--service", is_flag=True, hidden=True, help="As the service control manager of Windows starts it.")
@_common_options
def run_command(config: Path | None, service: bool, **options: object) -> None:  # noqa: FBT001 -- click passes by name
    """Attest for as long as it runs; reconnects by itself. SIGTERM and Ctrl-C end it.

    \b
    Example:
      watchword-agent run --state /var/lib/watchword-agent
    \b
    Exit codes:
      0  ended by a signal
      1  cannot start: not enrolled, wrong settings, unsafe files, another agent is running
      2  wrong usage
    """
    with failures_exit():
        settings = settings_of(config, options)
        if service:
            sys.exit(_run_service(settings))
        asyncio.run(app.run_agent(settings))


@main.command("status")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@state_options
def status_command(config: Path | None, as_json: bool, **options: object) -> None:  # noqa: FBT001 -- click passes by name
    """Show what the running agent knows: connection, and each check with its reason.

    \b
    Example:
      watchword-agent status --json | jq '.checks[] | select(.passed | not)'
    \b
    Exit codes:
      0  connected, and every check passes
      1  connected, and a check does not pass or its result has expired
      2  not running, not connected, or not enrolled; wrong usage
    """
    with failures_exit(code=2):
        enrollment, status, running = app.agent_status(settings_of(config, options).state_dir)
        now = dt.datetime.now(tz=dt.UTC)
        if status is None:
            say(f"enrolled with {enrollment.server} as `{enrollment.device_id}`, and never run: watchword-agent run")
            sys.exit(2)
        connected = running and status.connected and status.last_ack_at is not None
        if as_json:
            click.echo(
                json.dumps({"running": running, **status.model_dump(mode="json"), "connected": running and status.connected})
            )
        else:
            click.echo(render(status, running=running, now=now))
    if not connected:
        sys.exit(2)
    sys.exit(0 if status.all_pass(now) else 1)


@main.command("goodbye")
@_common_options
def goodbye_command(config: Path | None, **options: object) -> None:
    """Tell the server that this device leaves: none of its results holds any longer. Prints the device id.

    For a device that is handed on or put away; it stays enrolled, and the next evidence lets it in again. An agent that is
    running would send that at once: stop it first.

    \b
    Example:
      systemctl stop watchword-agent && watchword-agent goodbye
    \b
    Exit codes:
      0  the server has ended the results, durably
      1  refused or failed: the results stay as they are; or an agent is running, or not enrolled
      2  wrong usage
    """
    with failures_exit():
        settings = settings_of(config, options)
        click.echo(asyncio.run(app.leave_server(settings)))
        say("the server has ended the results of this device; `watchword-agent run` brings it back")


@main.command("token")
@click.option("--audience", required=True, help="Whom the token is for: the `audience` of a caller's `device_tokens`.")
@click.option(
    "--key", type=click.Path(path_type=Path, dir_okay=False), help="PEM file of the key it is bound to; made if missing."
)
@click.option("--for", "request", metavar="METHOD URL", nargs=2, help="Print the two headers of this one request instead.")
@_common_options
def token_command(
    audience: str, key: Path | None, request: tuple[str, str] | None, config: Path | None, **options: object
) -> None:
    """Print a token that names this device, valid for five minutes. A client shows it in the header `Device-Token`.

    Bound to a key, each request needs a proof as well, in `Device-Proof`: `--for` makes both, ready for curl's `--header @-`.

    \b
    Examples:
      watchword-agent token --audience https://wiki.corp.example
      watchword-agent token --audience https://wiki.corp.example --key ~/.wiki.key --for GET https://wiki.corp.example/pages
    \b
    Exit codes:
      0  printed
      1  refused or failed, or not enrolled
      2  wrong usage
    """
    if request is not None and key is None:
        raise click.UsageError("`--for` needs `--key FILE`: the proof is of a key")
    with failures_exit():
        settings = settings_of(config, options)
        proof_key = None if key is None else ProofKey.load_or_create(key)
        token = asyncio.run(app.device_token(settings, audience, proof_key))
        if request is None or proof_key is None:
            click.echo(token)
            return
        method, url = request
        click.echo(f"Device-Token: {token}")
        click.echo(f"Device-Proof: {proof_key.proof(token, method=method, url=url.partition('?')[0].partition('#')[0])}")


@main.command("rotate-key")
@state_options
def rotate_key_command(config: Path | None, **options: object) -> None:
    """Replace the device key by a new one. Prints the id of the new key.

    The new key is made beside the present one. The running agent, or the next to run, proposes it to the server after its next
    evidence, within the checks' schedule; the present key goes on until evidence signed by the new one was accepted.

    \b
    Example:
      watchword-agent rotate-key
    \b
    Exit codes:
      0  the new key is made and will be proposed
      1  not enrolled, unsafe files, or no TPM where `device_key` wants one
      2  wrong usage
    """
    with failures_exit():
        settings = settings_of(config, options)
        click.echo(app.wish_new_key(settings))
        say("the agent proposes the new key after its next evidence; its log says `key_rotated` when it is the device's")


def _run_service(settings: Settings) -> int:
    def work() -> int:
        log_to(settings.state_dir / "agent.log")
        log.configure(settings.log_level)
        try:
            asyncio.run(app.run_agent(settings))
        except AgentError as error:
            say(f"error: {error}")
            return 1
        return 0

    try:
        return run_as_service(work)
    except OSError as error:
        raise SettingsError(f"`--service`: {error}; leave it out") from error


def _token(token: str | None, token_file: Path | None) -> str:
    if (token is None) == (token_file is None):
        raise click.UsageError("give either --token or --token-file")
    if token is not None:
        return token.strip()
    try:
        with click.open_file(str(token_file), encoding="utf-8") as file:
            return str(file.read(_MAX_TOKEN_FILE)).strip()
    except OSError as error:
        raise SettingsError(f"cannot read the token from `{token_file}`: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"`{token_file}` holds no token") from error


for _command in (
    *(doctor_command, checks_command, stores_command, unenroll_command),
    *(install_service_command, uninstall_service_command),
):
    main.add_command(_command)


if __name__ == "__main__":
    main()

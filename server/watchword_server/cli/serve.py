"""`watchword serve` and `watchword migrate`."""

import asyncio
import json
import resource
import signal
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import click
import structlog
from pydantic import ValidationError

from watchword_server import events
from watchword_server.adapters.store_sql.data_directory import DataDirectory
from watchword_server.adapters.store_sql.engine import sqlite_url
from watchword_server.adapters.store_sql.migrate import migrate as run_migrations
from watchword_server.app import Server
from watchword_server.app import serve as run_server
from watchword_server.cli.logs import configure_logging
from watchword_server.cli.options import DATA
from watchword_server.errors import ConfigurationError, WatchwordError
from watchword_server.settings import Settings, load_settings, settings_problem

_FEW_FILES: Final = 8192


@click.command()
@DATA
@click.option("--port", type=click.IntRange(0, 65535), help="First of five ports; 0 takes free ones.  [default: 7400]")
@click.option("--config", type=click.Path(dir_okay=False, path_type=Path), help="Settings file.  [default: DATA/watchword.toml]")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True)
def serve(data: Path, port: int | None, config: Path | None, log_level: str) -> None:
    """Verify devices and decide requests, until stopped.

    Creates the data directory and its store if there is none, and listens on loopback. When ready, one line of JSON on stdout
    tells the addresses. SIGTERM and Ctrl-C drain and end it.

    \b
    Example:  watchword serve --data /var/lib/watchword
    """
    configure_logging(log_level)
    settings = _settings(data, config, {} if port is None else {"port": port})
    try:
        _run(data, settings)
    except ConfigurationError as error:
        raise click.ClickException("; ".join(problem.message for problem in error.problems)) from None
    except WatchwordError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"cannot listen: {error.strerror or error}") from None


@click.command()
@DATA
def migrate(data: Path) -> None:
    """Bring the store to this version's schema. No server may run; make a backup first.

    \b
    Example:  watchword migrate --data /var/lib/watchword
    """
    try:
        with DataDirectory(data) as directory:
            done = run_migrations(sqlite_url(directory.database))
    except ConfigurationError as error:
        raise click.ClickException("; ".join(problem.message for problem in error.problems)) from None
    except WatchwordError as error:
        raise click.ClickException(str(error)) from None
    if done.before == done.after:
        click.echo(f"nothing to do: the schema is `{done.after}`", err=True)
    else:
        click.echo(f"migrated from {done.before or 'nothing'} to `{done.after}`", err=True)


def _settings(data: Path, config: Path | None, overrides: dict[str, Any]) -> Settings:
    file = config or data / "watchword.toml"
    if config is not None and not config.is_file():
        raise click.ClickException(f"no settings file `{config}`")
    try:
        return load_settings(file if file.is_file() else None, **overrides)
    except ValidationError as error:
        lines = [settings_problem(problem) for problem in error.errors()]
        told = f"settings are refused (`{file}`, the environment, options):\n  "
        raise click.ClickException(told + "\n  ".join(lines)) from None
    except (tomllib.TOMLDecodeError, ValueError) as error:
        raise click.ClickException(f"settings are refused: {error}") from None


def _run(data: Path, settings: Settings) -> None:
    # A thread that computes (logs, the store) may hold the interpreter this long before the event loop gets it back; the default
    # of 5 ms would be a decision's time many times over.
    sys.setswitchinterval(0.0005)
    _allow_many_files()
    if sys.platform == "win32":  # pragma: no cover - uvloop is not there
        runner = asyncio.Runner()
    else:
        import uvloop  # noqa: PLC0415 - not on every platform

        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    with runner:
        runner.run(_serve_until_signalled(data, settings))


def _allow_many_files() -> None:
    """Every connection is an open file, and many systems let a process have 1,024 unless it asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < _FEW_FILES:
        structlog.get_logger(__name__).warning(events.FEW_FILES, limit=hard, hint="raise LimitNOFILE: each agent needs one")


async def _serve_until_signalled(data: Path, settings: Settings) -> None:
    until, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, until.set)
    loop.add_signal_handler(signal.SIGHUP, _ignore_hangup)  # by default it would end the server without a drain
    await run_server(data, settings, until=until, on_ready=_announce)


def _ignore_hangup() -> None:
    structlog.get_logger(__name__).warning(
        events.SIGNAL_IGNORED, signal="SIGHUP", hint="settings and TLS files are read at start"
    )


def _announce(server: Server) -> None:
    click.echo(json.dumps({**server.addresses, "account_id": server.house.account_id}))
    sys.stdout.flush()

"""What the commands share: options, settings out of them, and the one place that turns an error into a message."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

from watchword_agent import log
from watchword_agent.errors import AgentError, EnrollmentRefusedError, ServerUnreachableError
from watchword_agent.settings import CONFIG_VARIABLE, DEFAULT_CONFIG, Settings, load_settings

_F = TypeVar("_F", bound=Callable[..., Any])


def state_options(command: _F) -> _F:
    """`--config` and `--state`."""
    told = f"TOML file of settings; default: `{DEFAULT_CONFIG}` if it is there."
    command = click.option("--config", metavar="FILE", type=click.Path(path_type=Path), envvar=CONFIG_VARIABLE, help=told)(
        command
    )
    return click.option("--state", "state_dir", metavar="DIR", type=click.Path(path_type=Path), help="State directory.")(command)


def settings_of(config: Path | None, options: dict[str, object]) -> Settings:
    """The settings; logging is as they say from then on. Raises `SettingsError`."""
    if config is None and DEFAULT_CONFIG.is_file():
        config = DEFAULT_CONFIG
    settings = load_settings(config, options)
    log.configure(settings.log_level)
    return settings


def say(text: str) -> None:
    """Talk, on standard error."""
    click.echo(text, err=True)


@contextlib.contextmanager
def failures_exit(code: int = 1) -> Iterator[None]:
    """The one place that turns an error into a message and an exit code."""
    try:
        yield
    except AgentError as error:
        say(f"watchword-agent: {error}")
        if isinstance(error, EnrollmentRefusedError):
            say("tell an operator the correlation id: the server's log says why under it")
            say("the device key is kept: the same command tries again with it")
        elif isinstance(error, ServerUnreachableError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
            say("the server's certificate is not signed by a root known here: give --ca-file")
        sys.exit(code)
    except KeyboardInterrupt:
        sys.exit(130)

"""Commands that make the agent a service of the system: `install-service`, `uninstall-service`."""

from pathlib import Path

import click

from watchword_agent.cli_options import failures_exit, say, settings_of, state_options
from watchword_agent.identity import read_platform
from watchword_agent.service import install, service_file, uninstall

_ROOT = click.option(
    "--root",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=Path("/"),
    help="Below this directory, for packages; starts nothing.",
)


@click.command("install-service")
@click.option("--print", "only_print", is_flag=True, help="Show the file and write nothing.")
@_ROOT
@state_options
def install_service_command(config: Path | None, only_print: bool, root: Path, **options: object) -> None:  # noqa: FBT001
    """Have the system run the agent, now and whenever it starts: by systemd, or launchd on macOS. Prints the file's path.

    The agent has to be enrolled first. Doing it again writes the file anew.

    \b
    Example:
      watchword-agent install-service --print
    \b
    Exit codes:
      0  installed, or shown
      1  not possible here, or not permitted
      2  wrong usage
    """
    with failures_exit():
        file = service_file(read_platform(), config=config, state_dir=settings_of(config, options).state_dir)
        if only_print:
            click.echo(file.content.decode(), nl=False)
            return
        new = install(file, root)
        say("installed" if new else "it was installed already")
        click.echo(str(root / file.path.relative_to("/")))


@click.command("uninstall-service")
@_ROOT
@state_options
def uninstall_service_command(config: Path | None, root: Path, **options: object) -> None:
    """Stop the service and remove its file. What enrolling made stays: `unenroll` removes that.

    \b
    Example:
      watchword-agent uninstall-service
    \b
    Exit codes:
      0  removed, or there was none
      1  not permitted
      2  wrong usage
    """
    with failures_exit():
        file = service_file(read_platform(), config=config, state_dir=settings_of(config, options).state_dir)
        say("removed" if uninstall(file, root) else "there was none")

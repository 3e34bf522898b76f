"""Commands that make the agent a service of the system: `install-service`, `uninstall-service`."""

import subprocess
from pathlib import Path

import click

from watchword_agent.cli_options import failures_exit, say, settings_of, state_options
from watchword_agent.identity import read_platform
from watchword_agent.service import install, install_on_windows, service_command, service_file, uninstall, uninstall_on_windows
from watchword_agent.windows_service import NAME, install_commands

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
    """Have the system run the agent, now and whenever it starts: by systemd, launchd, or the services of Windows.

    Prints the path of the file that says so; on Windows, where there is none, the service's name.

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
        platform, state_dir = read_platform(), settings_of(config, options).state_dir
        if platform == "windows":
            _install_on_windows(service_command(platform, config=config, state_dir=state_dir), only_print=only_print)
            return
        file = service_file(platform, config=config, state_dir=state_dir)
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
        if read_platform() == "windows":
            say("removed" if uninstall_on_windows() else "there was none")
            return
        file = service_file(read_platform(), config=config, state_dir=settings_of(config, options).state_dir)
        say("removed" if uninstall(file, root) else "there was none")


def _install_on_windows(command: list[str], *, only_print: bool) -> None:
    if only_print:
        for words in install_commands(command, is_there=False):
            click.echo(subprocess.list2cmdline(words))
        return
    new = install_on_windows(command)
    say("installed" if new else "it was installed already, and is configured anew")
    click.echo(NAME)

"""The `watchword` command. Exit codes: 0 done, 1 refused or failed, 2 wrong usage."""

import click

from watchword_server.cli.devices import devices, explain, results
from watchword_server.cli.rules import apply
from watchword_server.cli.serve import migrate, serve
from watchword_server.cli.tokens import token


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="watchword", message="watchword %(version)s")
def main() -> None:
    """Access decisions that rest on proof.

    stdout is data, stderr is talk. Commands reach the server through the socket in its data directory, or its store itself
    when no server runs.

    \b
    Exit codes:  0 done   1 refused or failed   2 wrong usage
    """


for command in (serve, apply, token, devices, results, explain, migrate):
    main.add_command(command)

if __name__ == "__main__":
    main()

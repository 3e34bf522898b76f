"""Options that several commands share."""

from pathlib import Path

import click

DATA = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="WATCHWORD_DATA",
    default="/var/lib/watchword",
    show_default=True,
    help="The server's data directory.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

"""Rule files as commands take them: files and directories."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from watchword_server.cli.refusals import RefusedFile, UnusableFile
from watchword_server.configuration.directories import UnusableDirectoryError, yaml_files

FILE_OR_DIRECTORY: Final = click.Path(exists=True, path_type=Path)


def files_of(paths: Sequence[Path], *, refusal: type[RefusedFile] = UnusableFile) -> list[Path]:
    """The files, and those of directories. Raises `refusal`."""
    try:
        return yaml_files(paths)
    except UnusableDirectoryError as error:
        raise refusal(str(error)) from None

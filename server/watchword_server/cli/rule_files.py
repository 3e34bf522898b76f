"""Rule files as commands take them, files and directories, and as they write them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from watchword_server.cli.refusals import RefusedFile, UnusableFile
from watchword_server.configuration.directories import UnusableDirectoryError, yaml_files
from watchword_server.configuration.document.base import Section
from watchword_server.configuration.yaml_writing import yaml_of

_LONELY: Final = "settings.yaml"  # for what has no section
FILE_OR_DIRECTORY: Final = click.Path(exists=True, path_type=Path)


def files_of(paths: Sequence[Path], *, refusal: type[RefusedFile] = UnusableFile) -> list[Path]:
    """The files, and those of directories. Raises `refusal`."""
    try:
        return yaml_files(paths)
    except UnusableDirectoryError as error:
        raise refusal(str(error)) from None


def write_rules(directory: Path, document: Mapping[str, Any], *, force: bool) -> None:
    """A file a section; with `force`, in place of those that are there. Raises `click.ClickException`."""
    files = _files(document)
    stale = _prepared(directory, files, force=force)
    for name, text in files.items():
        replace_file(directory / name, text)
    for path in stale:
        path.unlink()
    click.echo(f"{len(files)} {'file' if len(files) == 1 else 'files'} in {directory}", err=True)


def replace_file(path: Path, text: str) -> None:
    """The whole file or the one before. Raises `click.ClickException`."""
    new = path.with_name(f".{path.name}.new")
    try:
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    except OSError as error:
        raise click.ClickException(f"`{path}` cannot be written: {(error.strerror or str(error)).lower()}") from None


def _files(document: Mapping[str, Any]) -> dict[str, str]:
    """Texts by name of file; without any entry there is still one, so that the directory can be applied."""
    sections = {section.value for section in Section}
    texts = {f"{key}.yaml": yaml_of({key: value}) for key, value in document.items() if key in sections}
    rest = {key: value for key, value in document.items() if key not in sections}
    return texts | ({_LONELY: yaml_of(rest)} if rest or not texts else {})


def _prepared(directory: Path, files: Mapping[str, str], *, force: bool) -> list[Path]:
    """Makes the directory; the files of sections that have no entry any more. Raises `click.ClickException`."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        there = sorted(path for path in directory.iterdir() if path.suffix in (".yaml", ".yml"))
    except OSError as error:
        raise click.ClickException(f"`{directory}` cannot be written: {(error.strerror or str(error)).lower()}") from None
    ours = {f"{section.value}.yaml" for section in Section}
    foreign = [path.name for path in there if path.name not in ours]
    if there and (not force or foreign):
        name = (foreign or [there[0].name])[0]
        remedy = "choose another directory, or remove it" if foreign else "choose an empty directory, or say --force"
        raise click.ClickException(f"`{directory / name}` is there already: {remedy}")
    return [path for path in there if path.name not in files]

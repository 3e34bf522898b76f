"""`watchword export`."""

from pathlib import Path
from typing import Any, Final

import click

from watchword_server.cli.client import call
from watchword_server.cli.options import DATA
from watchword_server.configuration.directories import yaml_files
from watchword_server.configuration.document.base import Section
from watchword_server.configuration.yaml_writing import yaml_of

_LONELY: Final = "settings.yaml"  # for what has no section


@click.command()
@click.argument("target", default="-", metavar="[DIR|-]")
@DATA
@click.option("--force", is_flag=True, help="Replace files that are there.")
def export(target: str, data: Path, *, force: bool) -> None:
    """Write what the server has as rule files: to stdout, or to DIR, a file a section.

    Applied to an empty store they make the same rules; applied to this one they change nothing. Entries made through the API are
    among them. Comments are not stored and so cannot come back; nor is where files were. No secret is written: of a caller's
    secret there is the SHA-256, as in the store, and a service token's credential is issued anew.

    \b
    Example:  watchword export rules/
    """
    document: dict[str, Any] = call(data, "GET", "/api/v1/rules/export")["document"]
    if target == "-":
        click.echo(yaml_of(document), nl=False)
        return
    directory = Path(target)
    files = _files(document)
    stale = _prepared(directory, files, force=force)
    for name, text in files.items():
        _replace(directory / name, text)
    for path in stale:
        path.unlink()
    click.echo(f"{len(files)} {'file' if len(files) == 1 else 'files'} in {directory}", err=True)


def _files(document: dict[str, Any]) -> dict[str, str]:
    """Texts by name of file; without any entry there is still one, so that the directory can be applied."""
    sections = {section.value for section in Section}
    texts = {f"{key}.yaml": yaml_of({key: value}) for key, value in document.items() if key in sections}
    rest = {key: value for key, value in document.items() if key not in sections}
    return texts | ({_LONELY: yaml_of(rest)} if rest or not texts else {})


def _prepared(directory: Path, files: dict[str, str], *, force: bool) -> list[Path]:
    """Makes the directory; the files of sections that have no entry any more. Raises `click.ClickException`."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        there = yaml_files(sorted(path for path in directory.iterdir() if path.suffix in (".yaml", ".yml")))
    except OSError as error:
        raise click.ClickException(f"`{directory}` cannot be written: {(error.strerror or str(error)).lower()}") from None
    ours = {f"{section.value}.yaml" for section in Section}
    foreign = [path.name for path in there if path.name not in ours]
    if there and (not force or foreign):
        name = (foreign or [there[0].name])[0]
        remedy = "choose another directory, or remove it" if foreign else "choose an empty directory, or say --force"
        raise click.ClickException(f"`{directory / name}` is there already: {remedy}")
    return [path for path in there if path.name not in files]


def _replace(path: Path, text: str) -> None:
    """The whole file or the one before, readable as the umask has it."""
    new = path.with_name(f".{path.name}.new")
    try:
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    except OSError as error:
        raise click.ClickException(f"`{path}` cannot be written: {(error.strerror or str(error)).lower()}") from None

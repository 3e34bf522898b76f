"""How expressions are read where no server reads them: by its settings file, if one is named."""

import tomllib
from pathlib import Path

import click
from pydantic import ValidationError

from watchword_server.core.rules import LanguageSettings
from watchword_server.settings import load_settings, settings_problem

CONFIG = click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The server's settings file, for how it reads expressions.  [default: the default settings]",
)


def language_of(config: Path | None) -> LanguageSettings:
    """What the settings say of expressions. Raises `click.UsageError`."""
    if config is None:
        return LanguageSettings()
    try:
        return load_settings(config).rules.language
    except ValidationError as error:
        raise click.UsageError("; ".join(settings_problem(problem) for problem in error.errors())) from None
    except (tomllib.TOMLDecodeError, ValueError) as error:
        raise click.UsageError(f"settings are refused: {error}") from None

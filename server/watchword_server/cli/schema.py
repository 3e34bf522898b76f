"""`watchword schema`."""

import json
from collections.abc import Mapping
from typing import Final

import click
from pydantic import BaseModel

from watchword_server.configuration.document.sections import Document
from watchword_server.configuration.json_schema import json_schema
from watchword_server.rehearsal.scenarios import ScenarioDocument

_OF: Final[Mapping[str, tuple[type[BaseModel], str]]] = {
    "rules": (Document, "Watchword rules"),
    "scenarios": (ScenarioDocument, "Watchword scenarios"),
}


@click.command()
@click.argument("what", type=click.Choice(list(_OF)), default="rules")
def schema(what: str) -> None:
    """Print the JSON Schema of rule files, or of scenario files: editors check and complete by it.

    \b
    Example:  watchword schema rules > watchword-rules.schema.json
    """
    model, title = _OF[what]
    click.echo(json.dumps(json_schema(model, title), indent=2, ensure_ascii=False))

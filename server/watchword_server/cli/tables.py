"""Tables for people."""

from collections.abc import Mapping, Sequence
from typing import Any

import click


def table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints aligned columns; nothing more than a terminal and `column -t` would do."""
    cells = [[_cell(row[column]) for column in columns] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(columns, *cells, strict=True)]
    for line in ([name.upper() for name in columns], *cells):
        click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ",".join(map(str, value)) or "-"
        case _:
            return str(value)

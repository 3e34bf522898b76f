"""Plain JSON values as YAML that reads the same: `parse_yaml` of it is the value. One value has one text."""

import json
import re
from collections.abc import Iterator
from typing import Final

# Text that no YAML reader takes for anything else, where it stands: it begins with a letter, `/` or `*`'s like do not occur.
_PLAIN: Final = re.compile(r"[A-Za-z_/][A-Za-z0-9_./@+-]*(?: [A-Za-z0-9_./@+-]+)*")
_READ_AS_ANOTHER: Final = re.compile(r"null|true|false|yes|no|on|off|y|n", re.IGNORECASE)


def yaml_of(value: dict[str, object]) -> str:
    """The mapping, every value on lines of its own, keys in the order they have."""
    return "".join(f"{line}\n" for line in _mapping(value, "")) if value else "{}\n"


def _mapping(value: dict[str, object], indent: str) -> Iterator[str]:
    for key, member in value.items():
        yield from _under(f"{indent}{_scalar(key)}:", member, indent)


def _under(start: str, value: object, indent: str) -> Iterator[str]:
    """The value behind a key, or behind the `-` of an item."""
    match value:
        case dict() if value:
            yield start
            yield from _mapping(value, indent + "  ")
        case list() if value:
            yield start
            for item in value:
                yield from _item(item, indent + "  ")
        case str() if _is_a_block(value):
            yield f"{start} {'|' if value.endswith(chr(10)) else '|-'}"
            for line in value.removesuffix("\n").split("\n"):
                yield f"{indent}  {line}" if line else ""
        case _:
            yield f"{start} {_scalar(value)}"


def _item(value: object, indent: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        first, *rest = _mapping(value, indent + "  ")
        yield f"{indent}- {first[len(indent) + 2 :]}"
        yield from rest
    else:
        yield from _under(f"{indent}-", value, indent)


def _scalar(value: object) -> str:
    if not isinstance(value, str):
        return json.dumps(value)  # a number, true, false, null, [] or {}
    if _PLAIN.fullmatch(value) and not _READ_AS_ANOTHER.fullmatch(value):
        return value
    return json.dumps(value, ensure_ascii=not value.isprintable())


def _is_a_block(text: str) -> bool:
    lines = text.removesuffix("\n").split("\n")
    return (
        len(lines) > 1
        and bool(lines[0])
        and bool(lines[-1])
        and not lines[0].startswith(" ")
        and all(line.isprintable() and (not line or not line.isspace()) for line in lines)
    )

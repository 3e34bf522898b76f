r"""Wildcard patterns: `*` stands for any bytes, also none; `\*` and `\\` for the characters; the whole value must match."""

import re
from dataclasses import dataclass
from typing import Final

_TOKEN: Final = re.compile(rb"\*|\\.?|[^*\\]+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Wildcard:
    """What lies between the stars, in order: one piece more than stars. In lower case unless `strict`."""

    pieces: tuple[bytes, ...]
    strict: bool


def parse_wildcard(pattern: bytes, *, strict: bool, most_stars: int | None) -> Wildcard:
    """Reads a pattern. Raises `ValueError` with what to write instead."""
    pieces: list[bytes] = []
    piece = b""
    star = False  # whether the token before was one
    for found in _TOKEN.finditer(pattern):
        token = found[0]
        if token == b"*":
            if star:
                raise ValueError("two stars in a row are the same as one: write one, or `\\*` for the character")
            pieces.append(piece)
            piece = b""
        elif token.startswith(b"\\"):
            if token not in {b"\\*", b"\\\\"}:
                raise ValueError("a backslash in a wildcard may only stand before `*` or another backslash")
            piece += token[1:]
        else:
            piece += token
        star = token == b"*"
    pieces.append(piece)
    if most_stars is not None and len(pieces) > most_stars + 1:
        raise ValueError(f"a wildcard may have at most {most_stars} stars, this one has {len(pieces) - 1}")
    return Wildcard(tuple(pieces if strict else map(bytes.lower, pieces)), strict)

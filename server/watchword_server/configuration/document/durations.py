"""Durations as Go writes them (`time.ParseDuration`), as the Cloudflare API does: `5m`, `1h30m`, `24h`."""

import re
from fractions import Fraction
from typing import Annotated

from pydantic import BeforeValidator

from watchword_server.configuration.document.base import quoted

_NANOSECONDS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|ms|s|m|h)")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")
_MAX_CHARACTERS = 40
MAX_SECONDS = 366 * 24 * 3600


def parse_seconds(text: str) -> int:
    """Whole seconds, at most a year. Raises `ValueError` with what to write instead."""
    if len(text) > _MAX_CHARACTERS or not _WHOLE.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not a duration: write it like `5m`, `1h30m` or `24h`")
    nanoseconds = sum((Fraction(number) * _NANOSECONDS[unit] for number, unit in _PART.findall(text)), Fraction(0))
    seconds = nanoseconds / 10**9
    if seconds.denominator != 1:
        raise ValueError(f"{quoted(text)} is not a whole number of seconds: round it")
    if seconds > MAX_SECONDS:
        raise ValueError(f"{quoted(text)} is longer than a year: write at most `8784h`")
    return int(seconds)


def _with_unit(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError("a number alone has no unit: write it like `5m`, `1h30m` or `24h`")  # noqa: TRY004 - see `checks.py`
    return value


Duration = Annotated[str, BeforeValidator(_with_unit)]  # text; each field says what it accepts beyond `parse_seconds`

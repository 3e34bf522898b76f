"""What an expression may speak of: fields with their types, functions, and how much of everything."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from watchword_server.core.language.functions import FUNCTIONS, Function
from watchword_server.core.language.types import Type

_NAME: Final = re.compile(r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*")
# Each level of nesting costs some frames of Python's stack, whose limit of 1,000 the caller shares.
_DEEPEST_NESTING: Final = 150


@dataclass(frozen=True, slots=True)
class Limits:
    """How large an expression may be. Characters are code points.

    `nesting` counts parentheses, `not`, quantifiers and calls inside one another; `set_items` the items of one `{…}`;
    `wildcard_stars` the stars of one pattern (None: any number); `regex_memory_bytes` bounds one compiled pattern.
    """

    expression_characters: int = 4096
    nesting: int = 128
    regex_characters: int = 1024
    regex_memory_bytes: int = 2 << 20
    set_items: int = 2048
    wildcard_stars: int | None = 10

    def __post_init__(self) -> None:
        if not 1 <= self.nesting <= _DEEPEST_NESTING:
            raise ValueError(f"nesting must be 1 to {_DEEPEST_NESTING}, not {self.nesting}")


@dataclass(frozen=True, slots=True)
class Scheme:
    """The fields and functions of an expression, its limits, and two choices.

    `missing_not_equal`: what `!=` says of a missing value; True is the engine's default, False what the product's pages say.
    `gateway`: also takes what Gateway's pages show beyond the open grammar: dashes in a list's name, `.member` after an index,
    and the empty expression, which is always true. `members`: of a field that is a list of records, all that a record can have;
    of one that is not here, any. `elsewhere`: fields of other schemes, and how to say where they belong.
    """

    fields: Mapping[str, Type]
    functions: Mapping[str, Function] = field(default_factory=lambda: FUNCTIONS)
    limits: Limits = field(default_factory=Limits)
    missing_not_equal: bool = True
    gateway: bool = False
    members: Mapping[str, frozenset[str]] = field(default_factory=dict)
    elsewhere: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.fields:
            if not _NAME.fullmatch(name):
                raise ValueError(f"`{name}` cannot be a field's name: use letters, digits and `_`, separated by dots")
            if name.startswith("not"):
                raise ValueError(
                    f"`{name}` cannot be a field's name: engines that need no blank after `not` read `not {name[3:]}`"
                )
            if name in self.functions:
                raise ValueError(f"`{name}` cannot be a field's name: it is a function")

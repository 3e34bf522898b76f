"""The language's types: Bool, Int (64 bits, signed), Bytes, Ip, arrays and maps of them. Nothing converts by itself.

At run time they are `bool`, `int`, `bytes`, `(4 or 6, int)`, a tuple or list, and a dict with keys of `bytes`.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias


class Scalar(Enum):
    """A type without parts; compare with `is`."""

    BOOL = "Bool"
    INT = "Int"
    BYTES = "Bytes"
    IP = "Ip"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class ArrayOf:
    """An array; `[n]` takes one element, `[*]` every one."""

    element: "Type"

    def __str__(self) -> str:
        return f"Array<{self.element}>"


@dataclass(frozen=True, slots=True)
class MapOf:
    """A map from strings; `["key"]` takes one value, `[*]` every one in the order of keys."""

    element: "Type"

    def __str__(self) -> str:
        return f"Map<{self.element}>"


Type: TypeAlias = Scalar | ArrayOf | MapOf

BOOL: Final = Scalar.BOOL
INT: Final = Scalar.INT
BYTES: Final = Scalar.BYTES
IP: Final = Scalar.IP

_SCALARS: Final = {scalar.value: scalar for scalar in Scalar}
_CONTAINERS: Final = (("Array<", ArrayOf), ("Map<", MapOf))
_MAXIMUM_DEPTH: Final = 8


def parse_type(text: str) -> Type:
    """Reads `Bytes`, `Array<Map<Int>>` and the like, as `str(type)` writes them. Raises `ValueError`."""
    containers: list[type[ArrayOf | MapOf]] = []
    inner = text.strip()
    while len(containers) < _MAXIMUM_DEPTH:
        for prefix, container in _CONTAINERS:
            if inner.startswith(prefix) and inner.endswith(">"):
                containers.append(container)
                inner = inner[len(prefix) : -1]
                break
        else:
            break
    if inner not in _SCALARS:
        raise ValueError(f"`{text}` is no type: write Bool, Int, Bytes, Ip, Array<…> or Map<…>")
    found: Type = _SCALARS[inner]
    for container in reversed(containers):
        found = container(found)
    return found

"""The typed syntax tree. `span` is (start, end) in the text, in code points; equality does not look at it.

`each` is true of a boolean node that stands for one truth per element (it types to Array<Bool>): the body of `any` and `all`.
"""

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, TypeAlias

from watchword_server.core.language.regex import Regex
from watchword_server.core.language.types import Type
from watchword_server.core.language.wildcard import Wildcard

if TYPE_CHECKING:
    from watchword_server.core.language.functions import Function

Span: TypeAlias = tuple[int, int]


class Unpack(Enum):
    """The key of `[*]`."""

    UNPACK = auto()


UNPACK: Final = Unpack.UNPACK


# Values


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the scheme."""

    name: str
    type: Type
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Index:
    """`value[key]`; `unpacked` if a `[*]` is in it or in `value`, and then `type` is the element's."""

    value: "Value"
    key: "bytes | int | Unpack"
    type: Type
    unpacked: bool
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A function's result; `mapped` if it is applied to each element of its first argument, and then `type` is an array."""

    function: "Function"
    arguments: "tuple[Argument, ...]"
    type: Type
    mapped: bool
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Literal:
    """A value written out: bytes, an int, or an address as (family, number)."""

    value: bytes | int | tuple[int, int]
    type: Type
    span: Span = field(compare=False)


Value: TypeAlias = Field | Index | Call


# Right sides


@dataclass(frozen=True, slots=True)
class SetItem:
    """One item of a set: bytes, an inclusive range of ints, or (family, first, last) of addresses."""

    value: bytes | tuple[int, int] | tuple[int, int, int]
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class SetOf:
    """`{…}`, its items in the order written."""

    items: tuple[SetItem, ...]
    type: Type
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class ListName:
    """`$name`: the name as written, and the key it is looked up by; `span` is of the name without `$`."""

    name: str
    key: str
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Pattern:
    """What follows `matches`."""

    regex: Regex
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class WildcardPattern:
    """What follows `wildcard` and `strict wildcard`."""

    wildcard: Wildcard
    span: Span = field(compare=False)


Right: TypeAlias = Literal | SetOf | ListName | Pattern | WildcardPattern


# Booleans


@dataclass(frozen=True, slots=True)
class Always:
    """The empty expression: no condition."""

    span: Span = field(compare=False)
    each: bool = False


@dataclass(frozen=True, slots=True)
class Not:
    """`not`, `!`; element by element if `each`."""

    operand: "Boolean"
    each: bool
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class And:
    """Two or more operands; element by element, as long as the shortest, if `each`."""

    operands: "tuple[Boolean, ...]"
    each: bool
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Or:
    """As `And`."""

    operands: "tuple[Boolean, ...]"
    each: bool
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Xor:
    """As `And`; true if an odd number of operands is."""

    operands: "tuple[Boolean, ...]"
    each: bool
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Quantifier:
    """`any(…)` and `all(…)` of a boolean that is `each`, or of a value that is an array of Bool."""

    every: bool
    argument: "Boolean | Value"
    span: Span = field(compare=False)
    each: bool = False


@dataclass(frozen=True, slots=True)
class Comparison:
    """`left operator right`; the operator is one of `OPERATORS`' values, whichever way it was written."""

    left: Value
    operator: str
    right: Right
    each: bool
    operator_span: Span = field(compare=False)
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Truth:
    """A value of Bool as a condition."""

    value: Value
    each: bool
    span: Span = field(compare=False)


Boolean: TypeAlias = Always | Not | And | Or | Xor | Quantifier | Comparison | Truth
Argument: TypeAlias = Value | Literal | Boolean
Node: TypeAlias = Argument

# Every spelling of an operator, and the one name it goes by in the tree.
OPERATORS: Final = {
    "==": "==", "eq": "==", "!=": "!=", "ne": "!=", "<": "<", "lt": "<", "<=": "<=", "le": "<=", ">": ">", "gt": ">",
    ">=": ">=", "ge": ">=", "in": "in", "&": "&", "bitwise_and": "&", "contains": "contains", "matches": "matches",
    "~": "matches", "wildcard": "wildcard", "strict wildcard": "strict wildcard",
}  # fmt: skip

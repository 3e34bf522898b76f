"""What must be present in a context for an expression to be true: what an index of many expressions is built on.

It claims only what follows; where nothing follows, it says nothing.
"""

from typing import Final, TypeAlias

from watchword_server.core.language.functions import RuntimeValue
from watchword_server.core.language.parse import Expression
from watchword_server.core.language.sets import Ranges
from watchword_server.core.language.syntax import (
    And,
    Boolean,
    Call,
    Comparison,
    Field,
    Index,
    ListName,
    Literal,
    Not,
    Or,
    Quantifier,
    SetOf,
    Unpack,
    Value,
)
from watchword_server.core.language.types import BYTES, INT, ArrayOf

Requirements: TypeAlias = dict[str, frozenset[RuntimeValue]]

_WIDEST_RANGE: Final = 64


def required_values(expression: Expression) -> Requirements:
    """For some fields, values of which one at least is there whenever the expression is true: the field's, or one of its array's.

    An empty set means that it is never true.
    """
    return _required(expression.root)


def exact_values(node: Boolean) -> tuple[str, frozenset[RuntimeValue]] | None:
    """The field and the values of which one being there is all that a part of an expression says; None: it says more."""
    match node:
        case Comparison(left=Field()):
            compared = node
        case Quantifier(False, Comparison(left=Index()) as compared):
            pass
        case _:
            return None
    return next(iter(_required(compared).items()), None)


def _required(node: Boolean) -> Requirements:
    """What a node requires to be true; of one that is `each`, to be true of one element."""
    match node:
        case Comparison():
            name, values = _field_of(node.left), _values(node)
            return {} if name is None or values is None else {name: values}
        case Quantifier(False, argument) if not isinstance(argument, Field | Index | Call):
            return _required(argument)
        case And(operands):
            every: Requirements = {}
            for operand in operands:
                for name, values in _required(operand).items():
                    if name not in every or len(values) < len(every[name]):  # both must be met, so either may be named
                        every[name] = values
            return every
        case Or(operands):
            first, *others = map(_required, operands)
            common = first.keys() & frozenset.intersection(*(frozenset(other) for other in others))
            return {name: first[name].union(*(other[name] for other in others)) for name in sorted(common)}
        case Not(Not(operand)):
            return _required(operand)
        case _:
            return {}


def _field_of(value: Value) -> str | None:
    """A field, or an array's `[*]`."""
    match value:
        case Field(name) | Index(Field(name, ArrayOf()), Unpack.UNPACK):
            return name
        case _:
            return None


def _values(node: Comparison) -> frozenset[RuntimeValue] | None:
    match node.operator, node.right:
        case "==", Literal(value):
            return frozenset((value,))
        case "in", SetOf(items, kind) if kind is BYTES:
            return frozenset(item.value for item in items)
        case "in", SetOf(items, kind) if kind is INT:
            ranges = [item.value for item in items if isinstance(item.value, tuple)]
            numbers = Ranges.of((first, last) for first, last, *_ in ranges)
            return frozenset(numbers) if numbers.count() <= max(_WIDEST_RANGE, len(ranges)) else None
        case _:
            return None


def required_lists(expression: Expression) -> list[tuple[str, str]]:
    """Fields of which the value, or an element, is in a list (by its key) whenever the expression is true."""
    found: list[tuple[str, str]] = []
    pending: list[Boolean] = [expression.root]
    while pending:
        match pending.pop(0):
            case Comparison(left, "in", ListName(_, key)) if (name := _field_of(left)) is not None:
                found.append((name, key))
            case And(operands):
                pending = [*operands, *pending]
            case Quantifier(False, Comparison() | And() as argument):
                pending.insert(0, argument)
    return found

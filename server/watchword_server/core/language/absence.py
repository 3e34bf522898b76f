"""What the absence of a field does to an expression: which way each condition on it falls, and which way that pushes the whole.

If no effect is toward True, the expression is true without the field only if it is true whatever the field's value would be; and
likewise for False.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from watchword_server.core.language.parse import Expression
from watchword_server.core.language.scheme import Scheme
from watchword_server.core.language.syntax import (
    And,
    Argument,
    Boolean,
    Call,
    Comparison,
    Field,
    Index,
    Not,
    Or,
    Quantifier,
    Span,
    Truth,
    Xor,
)

_BOTH = (False, True)


@dataclass(frozen=True, slots=True)
class AbsenceEffect:
    """One condition (`span`: the comparison, the truth or the quantifier) and where the absence of `field` pushes the whole."""

    field: str
    span: Span
    toward: bool


def absence_effects(expression: Expression, absent: Collection[str]) -> list[AbsenceEffect]:
    """For every use of a field in `absent`, from left to right; two of one use where it may push either way."""
    return list(_effects(expression.root, absent, expression.scheme, (True,)))


def _effects(node: Boolean, absent: Collection[str], scheme: Scheme, direction: tuple[bool, ...]) -> Iterator[AbsenceEffect]:
    """`direction`: where a node that becomes true pushes the whole; both ways below `xor`."""
    match node:
        case Not(operand):
            yield from _effects(operand, absent, scheme, tuple(not toward for toward in direction))
        case And(operands) | Or(operands):
            for operand in operands:
                yield from _effects(operand, absent, scheme, direction)
        case Xor(operands):
            for operand in operands:
                yield from _effects(operand, absent, scheme, _BOTH)
        case Quantifier() | Comparison() | Truth():
            for name, outcomes in _outcomes(node, absent, scheme):
                ways = {toward is outcome for toward in direction for outcome in outcomes}
                yield from (AbsenceEffect(name, node.span, toward) for toward in sorted(ways))


def _outcomes(
    node: Quantifier | Comparison | Truth, absent: Collection[str], scheme: Scheme
) -> Iterator[tuple[str, tuple[bool, ...]]]:
    """For each use of an absent field, what the condition is without it; both where that depends on more."""
    match node:
        case Quantifier(every, (Field() | Index() | Call()) as argument):
            for name, certain in _uses(argument, absent):
                # A missing value is neither; but a mapped call whose other argument is missing gives an empty array.
                yield name, (False,) if certain or not every else _BOTH
        case Quantifier(every, argument):
            for leaf in _leaves(argument):
                for name, certain in _uses(leaf, absent):
                    yield name, (every,) if certain else _BOTH
        case Comparison(left, operator):
            missing = operator == "!=" and scheme.missing_not_equal
            for name, certain in _uses(left, absent):
                yield name, (missing,) if certain else _BOTH
        case Truth(value):
            for name, certain in _uses(value, absent):
                yield name, (False,) if certain else _BOTH


def _leaves(node: Argument) -> Iterator[Argument]:
    """The values that the body of a quantifier asks."""
    match node:
        case Not(operand):
            yield from _leaves(operand)
        case And(operands) | Or(operands) | Xor(operands):
            for operand in operands:
                yield from _leaves(operand)
        case Comparison(value) | Truth(value):
            yield value


def _uses(value: Argument, absent: Collection[str], *, certain: bool = True) -> Iterator[tuple[str, bool]]:
    """The absent fields in a value, and whether their absence makes it missing (or empty, if it has a `[*]`) for certain."""
    match value:
        case Field(name) if name in absent:
            yield name, certain
        case Index(inner):
            yield from _uses(inner, absent, certain=certain)
        case Call(function, arguments, _, mapped):
            for place, argument in enumerate(arguments):
                plain = isinstance(argument, Field | Index | Call) and not function.skips_missing
                yield from _uses(argument, absent, certain=certain and plain and not (mapped and place > 0))
        case Not(operand):
            yield from _uses(operand, absent, certain=False)
        case And(operands) | Or(operands) | Xor(operands):
            for operand in operands:
                yield from _uses(operand, absent, certain=False)
        case Comparison(left) | Truth(left):
            yield from _uses(left, absent, certain=False)
        case Quantifier(_, argument):
            yield from _uses(argument, absent, certain=False)

"""What a comparison asks of a value that is there, brought to few kinds, each with its fastest closure."""

from collections.abc import Callable, Container, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeAlias
from typing import Literal as OneOf

from watchword_server.core.language.context import Context
from watchword_server.core.language.functions import RuntimeValue
from watchword_server.core.language.regex import Regex
from watchword_server.core.language.sets import IpRanges, Ranges
from watchword_server.core.language.syntax import Comparison, ListName, Literal, Pattern, SetOf, WildcardPattern
from watchword_server.core.language.types import BYTES, INT
from watchword_server.core.language.wildcard import Wildcard

Predicate: TypeAlias = Callable[[RuntimeValue], bool]
Condition: TypeAlias = Callable[[Context], bool]

Kind: TypeAlias = OneOf[
    "equal", "unequal", "ordered", "member", "within", "prefix", "suffix", "holds", "affixes", "pieces", "search", "bits"
]  # fmt: skip

# Up to so many numbers, a range is as good as a set of them.
_FEW_NUMBERS: Final = 64


@dataclass(frozen=True, slots=True)
class Question:
    """A question to a value; if `fold`, to the value in lower case, while `operand` stands as it is."""

    kind: Kind
    operand: RuntimeValue
    fold: bool = False


def folded(question: Question) -> Question:
    """The same question to `lower(value)`."""
    return replace(question, fold=True)


def question_of(comparison: Comparison, lists: Mapping[str, Container[RuntimeValue]]) -> Question:
    """What the operator and the right side ask. Raises `KeyError` for a list that is not there."""
    operator, right = comparison.operator, comparison.right
    match right:
        case Literal(value):
            return _ordering(operator, value)
        case SetOf():
            return _membership(right)
        case ListName():
            return Question("member" if isinstance(found := lists[right.key], frozenset | set) else "within", found)
        case Pattern(regex):
            return _of_regex(regex)
        case WildcardPattern(wildcard):
            return _of_wildcard(wildcard)


def scalar(key: Hashable, question: Question, *, missing: bool) -> Condition:
    """The question put to a field; `missing` if a missing value passes."""
    x = question.operand
    if not question.fold and missing == (question.kind == "unequal"):
        match question.kind:  # None is equal to nothing and a member of nothing, so these need not ask for it
            case "equal":
                return lambda context: context[key] == x
            case "unequal":
                return lambda context: context[key] != x
            case "member":
                return lambda context: context[key] in x
            case "prefix":
                return lambda context: (value := context[key]) is not None and value.startswith(x)
            case "suffix":
                return lambda context: (value := context[key]) is not None and value.endswith(x)
            case "holds":
                return lambda context: (value := context[key]) is not None and x in value
    passes = predicate(question)
    if missing:
        return lambda context: (value := context[key]) is None or passes(value)
    return lambda context: (value := context[key]) is not None and passes(value)


def predicate(question: Question) -> Predicate:
    """The question put to a value that is there."""
    x = question.operand
    if not question.fold:
        return _plain(question)
    match question.kind:
        case "prefix":
            size = len(x)
            return lambda value: value[:size].lower() == x
        case "suffix" if x:
            size = len(x)
            return lambda value: value[-size:].lower() == x
        case "equal":
            size = len(x)
            return lambda value: len(value) == size and value.lower() == x
    passes = _plain(question)
    return lambda value: passes(value.lower())


def _plain(question: Question) -> Predicate:
    x = question.operand
    match question.kind:
        case "equal":
            return lambda value: value == x
        case "unequal":
            return lambda value: value != x
        case "member" | "within":
            return lambda value: value in x
        case "prefix":
            return lambda value: value.startswith(x)
        case "suffix":
            return lambda value: value.endswith(x)
        case "holds":
            return lambda value: x in value
        case "bits":
            return lambda value: value & x != 0
        case "search":
            search: Predicate = x
            return search
        case "affixes":
            first, last = x
            least = len(first) + len(last)
            return lambda value: len(value) >= least and value.startswith(first) and value.endswith(last)
        case "pieces":
            return _pieces(*x)
        case "ordered":
            return _ordered(*x)


def _ordered(operator: str, x: RuntimeValue) -> Predicate:
    if isinstance(x, tuple):
        family = x[0]
        within = _ordered(operator, x[1])
        return lambda value: value[0] == family and within(value[1])  # addresses of two families do not compare
    match operator:
        case "<":
            return lambda value: value < x
        case "<=":
            return lambda value: value <= x
        case ">":
            return lambda value: value > x
        case _:
            return lambda value: value >= x


def _pieces(first: bytes, *others: bytes) -> Predicate:
    """Each piece at the first place where it fits: if any choice of places matches, this one does."""
    *middle, last = others
    least = len(first) + len(last)

    def passes(value: bytes) -> bool:
        if len(value) < least or not value.startswith(first) or not value.endswith(last):
            return False
        place, end = len(first), len(value) - len(last)
        for piece in middle:
            place = value.find(piece, place, end)
            if place < 0:
                return False
            place += len(piece)
        return True

    return passes


def _ordering(operator: str, value: RuntimeValue) -> Question:
    match operator:
        case "==":
            return Question("equal", value)
        case "!=":
            return Question("unequal", value)
        case "&":
            return Question("bits", value)
        case "contains":
            return Question("holds", value)
    return Question("ordered", (operator, value))


def _membership(right: SetOf) -> Question:
    values: list[RuntimeValue] = [item.value for item in right.items]
    if right.type is BYTES:
        return Question("equal", values[0]) if len(values) == 1 else Question("member", frozenset(values))
    if right.type is INT:
        numbers = Ranges.of(values)
        if numbers.count() <= _FEW_NUMBERS:
            return Question("member", frozenset(numbers))
        return Question("within", numbers)
    if all(first == last for _, first, last in values):
        return Question("member", frozenset((family, first) for family, first, _ in values))
    return Question("within", IpRanges.of_numbers(values))


def _of_regex(regex: Regex) -> Question:
    kinds: Mapping[str, Kind] = {"contains": "holds", "prefix": "prefix", "suffix": "suffix", "equals": "equal"}
    if regex.shape == "search":
        return Question("search", regex.search)
    return Question(kinds[regex.shape], regex.literal, regex.fold)


def _of_wildcard(wildcard: Wildcard) -> Question:
    pieces, fold = wildcard.pieces, not wildcard.strict
    match pieces:
        case (only,):
            return Question("equal", only, fold)
        case (b"", b"") | (b"", b"", b""):
            return Question("holds", b"", fold=False)
        case (b"", middle, b""):
            return Question("holds", middle, fold)
        case (b"", last):
            return Question("suffix", last, fold)
        case (first, b""):
            return Question("prefix", first, fold)
        case (first, last):
            return Question("affixes", pieces, fold)
        case _:
            return Question("pieces", pieces, fold)

"""The language evaluated the slow and plain way, node by node: what the closures must agree with."""

import re
from collections.abc import Mapping
from typing import Any

from watchword_server.core.language.functions import FUNCTIONS
from watchword_server.core.language.parse import Expression
from watchword_server.core.language.regex import _engine
from watchword_server.core.language.regex_syntax import translate
from watchword_server.core.language.syntax import (
    UNPACK,
    Always,
    And,
    Argument,
    Boolean,
    Call,
    Comparison,
    Field,
    Index,
    ListName,
    Literal,
    Not,
    Or,
    Pattern,
    Quantifier,
    Right,
    SetOf,
    Truth,
    WildcardPattern,
    Xor,
)

MISSING = None


def evaluate(expression: Expression, context: Mapping[Any, Any], lists: Mapping[str, Any]) -> bool:
    return Reference(context, lists, missing_not_equal=expression.scheme.missing_not_equal).truth(expression.root)


class Reference:
    def __init__(self, context: Mapping[Any, Any], lists: Mapping[str, Any], *, missing_not_equal: bool) -> None:
        self.context = context
        self.lists = lists
        self.missing_not_equal = missing_not_equal

    def truth(self, node: Boolean) -> bool:
        match node:
            case Always():
                return True
            case Not(operand):
                return not self.truth(operand)
            case And(operands):
                return min(self.truth(operand) for operand in operands)
            case Or(operands):
                return max(self.truth(operand) for operand in operands)
            case Xor(operands):
                return len([operand for operand in operands if self.truth(operand)]) % 2 == 1
            case Truth(value):
                return self.value(value) is True
            case Comparison(left, operator, right):
                found = self.value(left)
                if found is MISSING:
                    return operator == "!=" and self.missing_not_equal
                return self.compare(found, operator, right)
            case Quantifier(every, argument):
                if isinstance(argument, Field | Index | Call):
                    array = self.value(argument)
                    if array is MISSING:
                        return False
                else:
                    array = self.truths(argument)
                return all(array) if every else any(array)

    def truths(self, node: Boolean) -> list[bool]:
        match node:
            case Not(operand):
                return [not truth for truth in self.truths(operand)]
            case And(operands) | Or(operands) | Xor(operands):
                result, *others = map(self.truths, operands)
                for other in others:
                    pairs = list(zip(result, other, strict=False))
                    if isinstance(node, And):
                        result = [left and right for left, right in pairs]
                    elif isinstance(node, Or):
                        result = [left or right for left, right in pairs]
                    else:
                        result = [left != right for left, right in pairs]
                return result
            case Truth(value):
                return list(self.value(value) or [])
            case Comparison(left, operator, right):
                return [self.compare(element, operator, right) for element in self.value(left) or []]
            case _:
                raise AssertionError(node)

    def value(self, node: Argument) -> Any:
        match node:
            case Field(name):
                return self.context.get(name)
            case Literal(value):
                return value
            case Index() if node.unpacked:
                return self.elements(node)
            case Index(value, key):
                return take(self.value(value), key)
            case Call():
                return self.call(node)
            case _:
                return self.truths(node) if node.each else self.truth(node)

    def elements(self, node: Index) -> list[Any] | None:
        if not (isinstance(node.value, Index) and node.value.unpacked):
            values = self.value(node.value)
            return MISSING if values is MISSING else unpacked(values)
        outer = self.elements(node.value)
        if outer is MISSING:
            # Nothing to unpack is missing only to the index that unpacks; behind it there is an empty array, unless the very
            # field or call is missing.
            base: Argument = node
            while isinstance(base, Index):
                base = base.value
            return MISSING if self.value(base) is MISSING else []
        if node.key is UNPACK:
            return [element for values in outer for element in unpacked(values)]
        return [element for values in outer if (element := take(values, node.key)) is not MISSING]

    def call(self, node: Call) -> Any:
        body, lenient = node.function.body, node.function is FUNCTIONS["concat"]
        first, *others = map(self.value, node.arguments)
        if node.mapped:
            if first is MISSING:
                return MISSING
            if MISSING in others and not lenient:
                return []
            rest = [other for other in others if other is not MISSING]
            return [result for element in first if (result := body(element, *rest)) is not MISSING]
        arguments = [first, *others]
        if lenient:
            arguments = [argument for argument in arguments if argument is not MISSING]
            return body(*arguments) if arguments else MISSING
        return MISSING if MISSING in arguments else body(*arguments)

    def compare(self, value: Any, operator: str, right: Right) -> bool:
        match operator, right:
            case "==", Literal(other):
                return bool(value == other)
            case "!=", Literal(other):
                return bool(value != other)
            case "contains", Literal(other):
                return other in value
            case "&", Literal(other):
                return bool(value & other)
            case _, Literal(other):
                if isinstance(value, tuple) and isinstance(other, tuple) and value[0] != other[0]:
                    return False
                return bool({"<": value < other, "<=": value <= other, ">": value > other, ">=": value >= other}[operator])
            case _, SetOf(items):
                return any(is_item(value, item.value) for item in items)
            case _, ListName(_, key):
                return value in self.lists[key]
            case _, Pattern(regex):
                return _engine(translate(regex.source), 1 << 20)(value)
            case _, WildcardPattern(wildcard):
                flags = re.DOTALL if wildcard.strict else re.DOTALL | re.IGNORECASE
                return re.fullmatch(b".*".join(map(re.escape, wildcard.pieces)), value, flags) is not None
        raise AssertionError(operator)


def take(value: Any, key: Any) -> Any:
    if value is MISSING:
        return MISSING
    if isinstance(value, dict):
        return value.get(key)
    return value[key] if key < len(value) else MISSING


def unpacked(values: Any) -> list[Any]:
    return [value for _, value in sorted(values.items())] if isinstance(values, dict) else list(values)


def is_item(value: Any, item: Any) -> bool:
    if isinstance(item, bytes):
        return bool(value == item)
    if len(item) == 2:
        return bool(item[0] <= value <= item[1])
    return bool(value[0] == item[0] and item[1] <= value[1] <= item[2])

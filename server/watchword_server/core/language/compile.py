"""Turns a syntax tree into closures, once; asking one costs about what the comparison costs.

A missing value is None and goes no further than the comparison that meets it: every comparison with it is false, but `!=` is what
the scheme says. To `any` and `all` a missing array is an empty one.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from watchword_server.core.language.compile_values import Getter, Matcher, ValueCompiler
from watchword_server.core.language.context import Context, TellsMembership
from watchword_server.core.language.parse import Expression
from watchword_server.core.language.predicates import Condition, Predicate, Question, folded, predicate, question_of, scalar
from watchword_server.core.language.quantifiers import every, every_that, none, some, some_member, some_that
from watchword_server.core.language.scheme import Scheme
from watchword_server.core.language.syntax import (
    UNPACK,
    Always,
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
    Truth,
    Unpack,
    Value,
    Xor,
)
from watchword_server.core.language.types import MapOf
from watchword_server.errors import ExpressionError

__all__ = ["Condition", "Context", "Getter", "Matcher", "compile_expression", "compile_node", "value_of"]

_NOTHING: Final[Mapping[str, Matcher]] = MappingProxyType({})
_SAME: Final[Mapping[str, Hashable]] = MappingProxyType({})
_ASKED_ONE_BY_ONE: Final = 8  # values; beyond, listing all that a field holds is less work


def compile_expression(
    expression: Expression, *, lists: Mapping[str, Matcher] = _NOTHING, keys: Mapping[str, Hashable] = _SAME
) -> Condition:
    """The expression as a function of a context.

    `lists` gives the items of a list by its key; `keys` what is looked up in the context for a field, where it is not its name.
    Raises `ExpressionError` for a list that is not there.
    """
    try:
        return _Compiler(expression.scheme, lists, keys, expression.text).condition(expression.root)
    except RecursionError:  # two subtrees that are nearly as deep as nesting allows are compared with one another
        message = "this is nested too deeply to be compiled: write it flatter"
        raise ExpressionError("syntax", message, text=expression.text, position=0, length=len(expression.text)) from None


def compile_node(
    node: Boolean, scheme: Scheme, *, lists: Mapping[str, Matcher] = _NOTHING, keys: Mapping[str, Hashable] = _SAME
) -> Condition:
    """A part of an expression as a function of a context; the part must not be `each`. Raises `ExpressionError`."""
    try:
        return _Compiler(scheme, lists, keys).condition(node)
    except RecursionError:
        start, end = node.span
        message = "this is nested too deeply to be compiled: write it flatter"
        raise ExpressionError("syntax", message, text=" " * end, position=start, length=end - start) from None


def value_of(
    node: Value, scheme: Scheme, *, lists: Mapping[str, Matcher] = _NOTHING, keys: Mapping[str, Hashable] = _SAME
) -> Getter:
    """A value as a function of a context: None where it is missing, the list of elements where it has a `[*]`."""
    return _Compiler(scheme, lists, keys).value(node)


class _Compiler(ValueCompiler):
    def condition(self, node: Boolean) -> Condition:
        if node.each:
            raise TypeError("a truth for each element is no condition: compile the `any` or `all` around it")
        match node:
            case Comparison():
                return self._comparison(node)
            case Quantifier():
                return self._quantifier(node)
            case Not(Quantifier(False, Comparison() as compared)):
                left, question = self._question(compared)
                held = self._held(left, question)
                return none(self.elements(left), question) if held is None else _negated(held)
            case Not(operand):
                negated = self.condition(operand)
                return lambda context: not negated(context)
            case And(operands):
                return _all_of([self.condition(operand) for operand in operands])
            case Or(operands):
                return _any_of([self.condition(operand) for operand in operands])
            case Xor(operands):
                parts = [self.condition(operand) for operand in operands]
                return lambda context: sum(part(context) for part in parts) % 2 == 1
            case Truth(value):
                return self._truth(value)
            case Always():
                return lambda _: True

    def _comparison(self, node: Comparison) -> Condition:
        left, question = self._question(node)
        missing = node.operator == "!=" and self.scheme.missing_not_equal
        if isinstance(left, Field):
            return scalar(self.key(left), question, missing=missing)
        getter, passes = self.value(left), predicate(question)
        if missing:
            return lambda context: (value := getter(context)) is None or passes(value)
        return lambda context: (value := getter(context)) is not None and passes(value)

    def _question(self, node: Comparison) -> tuple[Value, Question]:
        """What is compared, and how; `lower(…)` on the left becomes part of the how."""
        try:
            question = question_of(node, self.lists)
        except KeyError:
            raise self._unknown_list(node) from None
        left = node.left
        while (inner := _lowered(left)) is not None:
            left, question = inner, folded(question)
        return left, question

    def _unknown_list(self, node: Comparison) -> ExpressionError:
        assert isinstance(node.right, ListName)  # noqa: S101 - nothing else looks up a list
        name, (start, end) = node.right.name, node.right.span
        text, position = (f"${name}", 1) if self.text is None else (self.text, start)
        return ExpressionError("unknown_field", f"no list `{name}`", text=text, position=position, length=end - start)

    def _truth(self, value: Value) -> Condition:
        match value:
            case Field():
                key = self.key(value)
                return lambda context: context[key] is True
            case Call(function, (Field() as field, Literal(operand))) if function.name == "starts_with":
                return scalar(self.key(field), Question("prefix", operand), missing=False)
            case Call(function, (Field() as field, Literal(operand))) if function.name == "ends_with":
                return scalar(self.key(field), Question("suffix", operand), missing=False)
        getter = self.value(value)
        return lambda context: getter(context) is True

    def _quantifier(self, node: Quantifier) -> Condition:
        argument = node.argument
        if isinstance(argument, Field | Index | Call):
            getter = self.value(argument)
            if node.every:
                return lambda context: (truths := getter(context)) is not None and False not in truths
            return lambda context: (truths := getter(context)) is not None and True in truths
        if isinstance(argument, Comparison):
            left, question = self._question(argument)
            held = None if node.every else self._held(left, question)
            return held or (every if node.every else some)(self.elements(left), question)
        shared = self._of_one_element(argument)
        if shared is not None:
            source, passes = shared
            return (every_that if node.every else some_that)(self.elements(source), passes)
        truths_of = self.each(argument)
        if node.every:
            return lambda context: all(truths_of(context))
        return lambda context: any(truths_of(context))

    def _held(self, left: Value, question: Question) -> Condition | None:
        """`any(x == y)` and `any(x in {y z})` where x is the `field[*]` of a key that tells by itself whether it holds a value.

        Or where it is one member of each of a field's records: the groups of a user by name, what rules ask for most often.
        """
        values = {"equal": [question.operand], "member": question.operand}.get(question.kind, ())
        match left:
            case Index(Index(Field() as field, Unpack.UNPACK, MapOf()), bytes(member)) if values and not question.fold:
                return some_member(self.key(field), member, frozenset(values))
            case Index(Field() as field, Unpack.UNPACK) if not question.fold:
                key = self.key(field)
            case _:
                return None
        if not isinstance(key, TellsMembership) or not 0 < len(values) <= _ASKED_ONE_BY_ONE:
            return None
        held = [key.holds(value) for value in values]
        return held[0] if len(held) == 1 else _any_of(held)

    def _of_one_element(self, node: Boolean) -> tuple[Value, Predicate] | None:
        """The node as a question to one element, if every part of it asks the same elements."""
        match node:
            case Comparison():
                left, question = self._question(node)
                return left, predicate(question)
            case Truth(value):
                return value, bool
            case Not(operand):
                inner = self._of_one_element(operand)
                return None if inner is None else (inner[0], _negation(inner[1]))
            case And(operands) | Or(operands) | Xor(operands):
                parts = [self._of_one_element(operand) for operand in operands]
                known = [part for part in parts if part is not None]
                if len(known) < len(parts) or any(part[0] != known[0][0] for part in known):
                    return None
                return known[0][0], _combination(node, [passes for _, passes in known])
            case _:
                return None

    def each(self, node: Boolean) -> Callable[[Context], Sequence[bool]]:
        """One truth per element, for a node that is `each`."""
        match node:
            case Comparison():
                left, question = self._question(node)
                elements, passes = self.elements(left), predicate(question)
                return lambda context: [passes(value) for value in elements(context) or ()]
            case Truth(value):
                elements = self.elements(value)
                return lambda context: list(elements(context) or ())
            case Not(operand):
                negated = self.each(operand)
                return lambda context: [not truth for truth in negated(context)]
            case And(operands) | Or(operands) | Xor(operands):
                parts = [self.each(operand) for operand in operands]
                combined = _COMBINED[type(node)]
                return lambda context: [combined(truths) for truths in zip(*(part(context) for part in parts), strict=False)]
            case _:
                raise TypeError(f"{type(node).__name__} is one truth")


def _negated(condition: Condition) -> Condition:
    return lambda context: not condition(context)


def _lowered(value: Value) -> Value | None:
    """`x` of `lower(x)`, `x[*]` of `lower(x[*])[*]`."""
    match value:
        case Call(function, (Field() | Index() | Call() as argument,), _, mapped) if function.name == "lower" and not mapped:
            return argument
        case Index(Call(function, (Index() as argument,), _, True), key) if function.name == "lower" and key is UNPACK:
            return argument
        case _:
            return None


def _all_of(parts: list[Condition]) -> Condition:
    match parts:
        case [a, b]:
            return lambda context: a(context) and b(context)
        case [a, b, c]:
            return lambda context: a(context) and b(context) and c(context)

    return lambda context: all(part(context) for part in parts)


def _any_of(parts: list[Condition]) -> Condition:
    match parts:
        case [a, b]:
            return lambda context: a(context) or b(context)
        case [a, b, c]:
            return lambda context: a(context) or b(context) or c(context)

    return lambda context: any(part(context) for part in parts)


def _odd(truths: Sequence[bool]) -> bool:
    return sum(truths) % 2 == 1


_COMBINED: Final[Mapping[type[And] | type[Or] | type[Xor], Callable[[Sequence[bool]], bool]]] = {And: all, Or: any, Xor: _odd}


def _negation(passes: Predicate) -> Predicate:
    return lambda value: not passes(value)


def _combination(node: And | Or | Xor, parts: list[Predicate]) -> Predicate:
    match node, parts:
        case And(), [a, b]:
            return lambda value: a(value) and b(value)
        case Or(), [a, b]:
            return lambda value: a(value) or b(value)
    combined = _COMBINED[type(node)]
    return lambda value: combined([part(value) for part in parts])

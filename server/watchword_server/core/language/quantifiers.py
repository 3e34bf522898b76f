"""`any` and `all` over the elements of a value, which is None where it is missing: then there are no elements."""

from collections.abc import Callable, Collection, Hashable
from typing import TypeAlias

from watchword_server.core.language.context import Context
from watchword_server.core.language.functions import RuntimeValue
from watchword_server.core.language.predicates import Condition, Predicate, Question, predicate

Elements: TypeAlias = Callable[[Context], Collection[RuntimeValue] | None]


def some(elements: Elements, question: Question) -> Condition:
    """Whether one element passes."""
    x = question.operand
    if not question.fold:
        match question.kind:
            case "equal":
                return lambda context: (values := elements(context)) is not None and x in values
            case "member":
                apart = x.isdisjoint
                return lambda context: (values := elements(context)) is not None and not apart(values)
    return some_that(elements, predicate(question))


def none(elements: Elements, question: Question) -> Condition:
    """Whether no element passes."""
    x = question.operand
    if not question.fold:
        match question.kind:
            case "equal":
                return lambda context: (values := elements(context)) is None or x not in values
            case "member":
                apart = x.isdisjoint
                return lambda context: (values := elements(context)) is None or apart(values)
    passes = predicate(question)
    return every_that(elements, lambda value: not passes(value))


def every(elements: Elements, question: Question) -> Condition:
    """Whether all elements pass."""
    x = question.operand
    if not question.fold:
        match question.kind:
            case "unequal":
                return lambda context: (values := elements(context)) is None or x not in values
            case "member":
                includes = x.issuperset
                return lambda context: (values := elements(context)) is None or includes(values)
    return every_that(elements, predicate(question))


def some_that(elements: Elements, passes: Predicate) -> Condition:
    """Whether `passes` is true of one element."""

    def condition(context: Context) -> bool:
        values = elements(context)
        if values is not None:
            for value in values:
                if passes(value):
                    return True
        return False

    return condition


def every_that(elements: Elements, passes: Predicate) -> Condition:
    """Whether `passes` is true of all elements."""

    def condition(context: Context) -> bool:
        values = elements(context)
        if values is not None:
            for value in values:
                if not passes(value):
                    return False
        return True

    return condition


def some_member(key: Hashable, member: bytes, values: frozenset[RuntimeValue]) -> Condition:
    """Whether that member of one of the maps of a field is among the values."""

    def condition(context: Context) -> bool:
        maps = context[key]
        if maps is not None:
            for found in maps:
                if found.get(member) in values:  # None, where a map has no such member, is never among them
                    return True
        return False

    return condition

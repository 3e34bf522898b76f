"""Turns the values of a syntax tree into closures: fields, indexes and calls."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Container, Hashable, Mapping, Sequence
from operator import itemgetter
from typing import TypeAlias

from watchword_server.core.language.context import Context
from watchword_server.core.language.functions import RuntimeValue
from watchword_server.core.language.predicates import Condition
from watchword_server.core.language.quantifiers import Elements
from watchword_server.core.language.scheme import Scheme
from watchword_server.core.language.syntax import UNPACK, Argument, Boolean, Call, Field, Index, Literal, Value
from watchword_server.core.language.types import MapOf

Getter: TypeAlias = Callable[[Context], RuntimeValue]
Matcher: TypeAlias = Container[RuntimeValue]  # a list's items; a frozenset is fastest


class ValueCompiler(ABC):
    """What closures are made for: a scheme, lists by key, the keys of fields, and the text if it is known."""

    def __init__(
        self, scheme: Scheme, lists: Mapping[str, Matcher], keys: Mapping[str, Hashable], text: str | None = None
    ) -> None:
        self.scheme = scheme
        self.lists = lists
        self.keys = keys
        self.text = text

    @abstractmethod
    def condition(self, node: Boolean) -> Condition:
        """One truth as a function of a context."""

    @abstractmethod
    def each(self, node: Boolean) -> Callable[[Context], Sequence[bool]]:
        """One truth per element, for a node that is `each`."""

    def value(self, node: Argument) -> Getter:
        """Any node as a function of a context."""
        match node:
            case Field():
                return itemgetter(self.key(node))
            case Index() if node.unpacked:
                elements = self.elements(node)
                return lambda context: None if (values := elements(context)) is None else list(values)
            case Index(value):
                getter, take = self.value(value), _taker(node)
                return lambda context: None if (found := getter(context)) is None else take(found)
            case Call():
                return self._call(node)
            case Literal(value):
                return lambda _: value
            case _:
                return self.each(node) if node.each else self.condition(node)

    def _call(self, node: Call) -> Getter:
        body = node.function.body
        first, *others = map(self.value, node.arguments)
        if node.mapped:

            def mapped(context: Context) -> RuntimeValue:
                values = first(context)
                if values is None:
                    return None
                rest = [other(context) for other in others]
                if None in rest and not node.function.skips_missing:
                    return []
                rest = [argument for argument in rest if argument is not None]
                return [found for value in values if (found := body(value, *rest)) is not None]

            return mapped
        if node.function.skips_missing:
            getters = (first, *others)

            def lenient(context: Context) -> RuntimeValue:
                known = [value for getter in getters if (value := getter(context)) is not None]
                return body(*known) if known else None

            return lenient
        if not others:
            return lambda context: None if (value := first(context)) is None else body(value)
        if all(isinstance(argument, Literal) for argument in node.arguments[1:]):
            constants = [argument.value for argument in node.arguments[1:] if isinstance(argument, Literal)]
            return lambda context: None if (value := first(context)) is None else body(value, *constants)

        def strict(context: Context) -> RuntimeValue:
            values = [first(context), *(other(context) for other in others)]
            return None if None in values else body(*values)

        return strict

    def elements(self, node: Value) -> Elements:
        """The elements of a value with a `[*]`, or of an array; None if the value is missing."""
        if not isinstance(node, Index) or not node.unpacked:
            return self.value(node)
        indexes: list[Index] = []
        base: Value = node
        while isinstance(base, Index):
            indexes.append(base)
            base = base.value
        unpacks = sum(index.key is UNPACK for index in indexes)
        if unpacks == 1 and node.key is UNPACK:
            getter = self.value(node.value)
            if isinstance(node.value.type, MapOf):
                return lambda context: None if (found := getter(context)) is None else _in_order(found)
            return getter
        start = self.value(base)
        if unpacks == 1 and len(indexes) == 2 and isinstance(node.value.type, MapOf) and not isinstance(base.type, MapOf):
            return _members(start, node.key)  # the groups of a user by name: rules ask for nothing more often
        steps = [(index.key is UNPACK, isinstance(index.value.type, MapOf), _taker(index)) for index in reversed(indexes)]

        def elements(context: Context) -> Collection[RuntimeValue] | None:
            found = start(context)
            if found is None:
                return None
            level = [found]
            for unpack, is_map, take in steps:
                if unpack:
                    level = [element for values in level for element in (_in_order(values) if is_map else values)]
                else:
                    level = [element for values in level if (element := take(values)) is not None]
            return level

        return elements

    def key(self, field: Field) -> Hashable:
        """What is looked up for a field."""
        return self.keys.get(field.name, field.name)


def _members(start: Getter, key: RuntimeValue) -> Elements:
    """That member of each map of an array, where it has it."""

    def elements(context: Context) -> Collection[RuntimeValue] | None:
        maps = start(context)
        return None if maps is None else [found[key] for found in maps if key in found]

    return elements


def _taker(index: Index) -> Callable[[RuntimeValue], RuntimeValue]:
    """`value[key]` of a value that is there, None if it has no such element."""
    key: RuntimeValue = index.key
    if isinstance(index.value.type, MapOf):
        return lambda found: found.get(key)
    return lambda found: found[key] if key < len(found) else None


def _in_order(found: Mapping[bytes, RuntimeValue]) -> list[RuntimeValue]:
    return [found[key] for key in sorted(found)]

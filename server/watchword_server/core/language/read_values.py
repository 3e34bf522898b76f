"""Reads values: fields with indexes, calls, and their arguments. What is an argument depends on its first characters."""

import re
from abc import ABC, abstractmethod
from typing import Final
from typing import Literal as OneOf

from watchword_server.core.language.functions import Function
from watchword_server.core.language.literals import read_address, read_bytes, read_int, read_string, syntax_error
from watchword_server.core.language.names import unexpected, unknown_member, unknown_name
from watchword_server.core.language.scheme import Scheme
from watchword_server.core.language.syntax import (
    UNPACK,
    Argument,
    Boolean,
    Call,
    Field,
    Index,
    Literal,
    Span,
    Unpack,
    Value,
)
from watchword_server.core.language.types import BOOL, BYTES, INT, IP, ArrayOf, MapOf, Scalar, Type
from watchword_server.errors import ExpressionError

# A tab is no blank; only at both ends of the text is it ignored.
_BLANKS: Final = re.compile(r"[ \r\n]*")
_NAME: Final = re.compile(r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*")
_MEMBER: Final = re.compile(r"\.([A-Za-z0-9_]+)")
_UNPACK: Final = re.compile(r"\[[ \r\n]*\*[ \r\n]*\]")
# A word that is an operator ends where a name would end: `nott` is a name here, though the engine reads `not t`.
PREFIX: Final = re.compile(r"(?:(?P<group>\()|(?P<negation>not\b|!)|(?P<quantifier>any|all)[ \r\n]*\()[ \r\n]*", re.ASCII)
OPERATOR: Final = re.compile(
    r"[ \r\n]*(in|eq|==|ne|!=|ge|>=|le|<=|gt|>|lt|<|&|bitwise_and|contains|~|matches|wildcard|strict wildcard)"
)
# What starts like this in an argument is a name for sure; `a1`, `10` and `be:ef` may be literals.
_SURELY_NAME: Final = re.compile(r"[A-Za-z0-9_]{0,2}[G-Zg-z_]")
_STRING_START: Final = re.compile(r'"|r["#]')
_LARGEST_INDEX: Final = (1 << 32) - 1


def is_unpacked(node: Argument) -> bool:
    """Whether a `[*]` is in the node's own indexes."""
    return isinstance(node, Index) and node.unpacked


def type_of(node: Argument) -> Type:
    """The static type of any node."""
    if isinstance(node, Field | Index | Call | Literal):
        return node.type
    return ArrayOf(BOOL) if node.each else BOOL


class ValueReader(ABC):
    """A text and how far it is read. Every method starts at `position` and leaves it behind what it has read."""

    def __init__(self, text: str, scheme: Scheme) -> None:
        self.text = text
        self.scheme = scheme
        self.position = 0
        self._depth = 0

    @abstractmethod
    def condition(self) -> Boolean:
        """Operands joined by `and`, `xor` and `or`."""

    @abstractmethod
    def compared(self, value: Value) -> Boolean:
        """The comparison whose left side is `value`, which was just read."""

    def value(self) -> Value:
        """A field or a call, with indexes."""
        text, start = self.text, self.position
        found = _NAME.match(text, start)
        if found is None:
            raise syntax_error(text, start, unexpected(text, start, operand=True))
        name, end = found[0], found.end()
        if text.startswith(".", end):
            raise syntax_error(text, end + 1, "a name goes on after a dot: letters, digits or `_` are expected")
        value: Value
        kind = self.scheme.fields.get(name)
        if kind is not None:
            value = Field(name, kind, found.span())
            self.position = end
        elif name in self.scheme.functions:
            self.position = end
            value = self._call(self.scheme.functions[name], start)
        else:
            value = self._member_of_each(name, found.span())
        if text.startswith(("[", "."), self.position):
            return self._indexed(value)
        return value

    def _member_of_each(self, name: str, span: Span) -> Value:
        """`records.member[*]`, which Gateway's API reference writes for `records[*].member`; else the name is unknown."""
        start, end = span
        records, _, member = name.rpartition(".")
        kind = self.scheme.fields.get(records)
        unpack = _UNPACK.match(self.text, end)
        if self.scheme.gateway and unpack and isinstance(kind, ArrayOf) and isinstance(kind.element, MapOf):
            self._check_member(records, member, (start, end))
            self.position = unpack.end()
            field = Field(records, kind, (start, start + len(records)))
            each = Index(field, UNPACK, kind.element, unpacked=True, span=(start, self.position))
            return Index(each, member.encode(), kind.element.element, unpacked=True, span=(start, self.position))
        behind = _BLANKS.match(self.text, end)
        called = behind is not None and self.text.startswith("(", behind.end())
        message = unknown_name(name, self.scheme, called=called)
        raise ExpressionError("unknown_field", message, text=self.text, position=start, length=end - start)

    def _indexed(self, value: Value) -> Value:
        text = self.text
        while True:
            start = self.position
            if text.startswith("[", start):
                self.position += 1
                self.skip_blanks()
                key = self._key()
                self.close("`]` is expected", "]")
            elif self.scheme.gateway and isinstance(value, Index) and (member := _MEMBER.match(text, start)):
                key = member[1].encode()
                self.position = member.end()
            else:
                return value
            element = _element(value.type, key)
            if element is None:
                raise self.type_error(start, self.position, f"{value.type} has no such element: {_INDEXES[type(value.type)]}")
            if isinstance(key, bytes) and isinstance(value, Index) and isinstance(value.value, Field):
                self._check_member(value.value.name, key.decode(), (start, self.position))
            value = Index(value, key, element, key is UNPACK or is_unpacked(value), (value.span[0], self.position))

    def _check_member(self, records: str, member: str, span: Span) -> None:
        """Refuses a member that no record of the field has, where it is known what they have."""
        known = self.scheme.members.get(records)
        if known is not None and member not in known:
            message = unknown_member(member, records, known)
            raise ExpressionError("unknown_field", message, text=self.text, position=span[0], length=span[1] - span[0])

    def _key(self) -> bytes | int | Unpack:
        text, start = self.text, self.position
        message = 'an index is expected: `*`, a number from 0, or a key in double quotes, "like this"'
        if text.startswith("*", start):
            self.position += 1
            return UNPACK
        if text.startswith('"', start):
            key, self.position = read_string(text, start)
            try:
                key.decode()
            except UnicodeDecodeError:
                raise syntax_error(text, start, "a key must be text in UTF-8") from None
            return key
        try:
            number, self.position = read_int(text, start)
        except ExpressionError:
            raise syntax_error(text, start, message) from None
        if not 0 <= number <= _LARGEST_INDEX:
            raise syntax_error(text, start, message)
        return number

    def _call(self, function: Function, start: int) -> Value:
        text = self.text
        self.skip_blanks()
        self.deeper(self.position)
        if not text.startswith("(", self.position):
            raise syntax_error(text, self.position, f"`(` is expected: `{function.name}` is a function")
        self.position += 1
        self.skip_blanks()
        arguments: list[Argument] = []
        while self.position < len(text) and not text.startswith(")", self.position):
            if arguments:
                if not text.startswith(",", self.position):
                    raise syntax_error(text, self.position, "`,` or `)` is expected")
                self.position += 1
                self.skip_blanks()
            at = self.position
            argument = self.argument()
            self._check_argument(function, arguments, argument, at)
            arguments.append(argument)
            self.skip_blanks()
        if len(arguments) < function.required:
            message = f"`{function.name}` needs {_count(function.required)}, not {len(arguments)}"
            raise self.type_error(self.position, len(text), message)
        self.close("`)` is expected")
        self.shallower()
        mapped = is_unpacked(arguments[0])
        result = function.result(type_of(arguments[0]))
        return Call(function, tuple(arguments), ArrayOf(result) if mapped else result, mapped, (start, self.position))

    def argument(self) -> Argument:
        """An argument; what it is, its first characters decide."""
        text, start = self.text, self.position
        if _STRING_START.match(text, start):
            value, self.position = read_string(text, start)
            return Literal(value, BYTES, (start, self.position))
        if PREFIX.match(text, start):
            return self.condition()
        if _SURELY_NAME.match(text, start):
            found = self.value()
        else:
            depth = self._depth
            try:
                found = self.value()
            except ExpressionError as error:
                self.position, self._depth = start, depth
                return self._literal(error)
        # One comparison, never a chain: `and` and `or` need parentheses of their own here.
        return self.compared(found) if OPERATOR.match(text, self.position) else found

    def _literal(self, instead: ExpressionError) -> Literal:
        """A literal of whatever type reads; if none does, the fault is the one found when it was read as a name."""
        text, start = self.text, self.position
        for kind, read in ((IP, read_address), (INT, read_int), (BYTES, read_bytes)):
            try:
                value, self.position = read(text, start)
            except ExpressionError:
                continue
            return Literal(value, kind, (start, self.position))
        raise syntax_error(text, start, instead.message)

    def _check_argument(self, function: Function, before: list[Argument], argument: Argument, start: int) -> None:
        """Refuses an argument that the function does not take in this place."""
        name, found = function.name, type_of(argument)
        if before and is_unpacked(argument):
            raise self.type_error(start, self.position, "`[*]` may only be in the first argument of a function")
        parameter = function.parameter(len(before))
        if parameter is None:
            raise self.type_error(start, len(self.text), f"`{name}` takes at most {_count(len(function.parameters))}")
        literal = isinstance(argument, Literal)
        if parameter.literal is not None and parameter.literal is not literal:
            wanted = "a literal" if parameter.literal else "a field or a function's result"
            raise self.type_error(start, self.position, f"`{name}` takes {wanted} here")
        if not parameter.takes(found):
            raise self.type_error(start, self.position, f"`{name}` takes {parameter} here, not {found}")
        if function.returns is None and before and type_of(before[0]) != found:
            message = f"`{name}` takes arguments of one type: the first is {type_of(before[0])}, this is {found}"
            raise self.type_error(start, self.position, message)
        if isinstance(argument, Literal) and parameter.check is not None and not parameter.check(argument.value):
            raise self.type_error(start, self.position, f"`{name}` needs {parameter.described} here")

    def deeper(self, at: int) -> None:
        """Counts one level of nesting. The caller leaves it by `shallower`."""
        self._depth += 1
        most = self.scheme.limits.nesting
        if self._depth > most:
            raise syntax_error(self.text, at, f"this is nested deeper than {most}: parentheses, `not`, any, all and calls count")

    def shallower(self) -> None:
        """Leaves a level of nesting."""
        self._depth -= 1

    def close(self, message: str, bracket: OneOf[")", "]"] = ")") -> None:
        """Reads the closing bracket."""
        self.skip_blanks()
        if not self.text.startswith(bracket, self.position):
            raise syntax_error(self.text, self.position, message)
        self.position += 1

    def skip_blanks(self) -> None:
        """Reads blanks."""
        found = _BLANKS.match(self.text, self.position)
        if found:
            self.position = found.end()

    def type_error(self, start: int, end: int, message: str) -> ExpressionError:
        """A type error from `start` to `end`."""
        return ExpressionError("type", message, text=self.text, position=start, length=end - start)


_INDEXES: Final = {
    Scalar: "compare it without an index",
    ArrayOf: "write `[*]` or a number from 0",
    MapOf: 'write `[*]` or `["key"]`',
}


def _element(kind: Type, key: bytes | int | Unpack) -> Type | None:
    """The type of `value[key]`; None if there is none."""
    match kind, key:
        case (ArrayOf(element), int() | Unpack.UNPACK) | (MapOf(element), bytes() | Unpack.UNPACK):
            return element
        case _:
            return None


def _count(number: int) -> str:
    return "one argument" if number == 1 else f"{number} arguments"

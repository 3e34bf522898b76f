"""Reads an expression in one pass, checking types as it goes: how a right side reads depends on the type of the left.

The first fault ends it. Positions count code points in the text as given, with the blanks around it. It recurses only where
`Limits.nesting` counts.
"""

import re
from dataclasses import dataclass
from typing import Final

from watchword_server.core.language.literals import syntax_error
from watchword_server.core.language.names import bad_operator, missing_operator, unexpected
from watchword_server.core.language.read_values import OPERATOR, PREFIX, ValueReader, is_unpacked, type_of
from watchword_server.core.language.right_sides import SUPPORTED, read_right
from watchword_server.core.language.scheme import Scheme
from watchword_server.core.language.syntax import (
    OPERATORS,
    Always,
    And,
    Boolean,
    Call,
    Comparison,
    Field,
    Index,
    Literal,
    Not,
    Or,
    Quantifier,
    Truth,
    Value,
    Xor,
)
from watchword_server.core.language.types import BOOL, ArrayOf, MapOf, Scalar
from watchword_server.errors import ExpressionError

_LOGIC: Final = re.compile(r"[ \r\n]*(?:(?P<and>and\b|&&)|(?P<or>or\b|\|\|)|(?P<xor>xor\b|\^\^))[ \r\n]*", re.ASCII)
_GLUED: Final = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression that was read: its text as given, what it may speak of, and its tree, which types to Bool."""

    text: str
    scheme: Scheme
    root: Boolean


def parse(text: str, scheme: Scheme) -> Expression:
    """Reads `text`. Raises `ExpressionError` with the first fault."""
    most = scheme.limits.expression_characters
    if len(text) > most:
        raise ExpressionError("syntax", f"the expression is longer than {most} characters", text=text, position=most)
    if not text.isascii():
        _check_characters(text)
    body = text.rstrip()
    reader = _Reader(body, scheme)
    try:
        root = reader.whole(len(body) - len(body.lstrip()))
    except ExpressionError as error:
        error.text = text  # positions are the same: only the end was cut
        raise
    return Expression(text, scheme, root)


def _check_characters(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        message = "half of a surrogate pair is no character"
        raise ExpressionError("syntax", message, text=text, position=error.start, length=1) from None


class _Reader(ValueReader):
    """Reads conditions."""

    def whole(self, start: int) -> Boolean:
        """The whole text from `start`."""
        text = self.text
        if start >= len(text):
            if self.scheme.gateway:
                return Always((0, 0))
            raise syntax_error(text, 0, "the expression is empty", end=0)
        self.position = start
        root = self.condition()
        if self.position < len(text):
            raise syntax_error(text, self.position, unexpected(text, self.position))
        if root.each:
            raise self.type_error(len(text), len(text), "this is a truth for each element: write any(…) or all(…) around it")
        return root

    def condition(self) -> Boolean:
        start = self.position
        first = self._operand()
        return first if _LOGIC.match(self.text, self.position) is None else self._combination(first, start)

    def _combination(self, first: Boolean, start: int) -> Boolean:
        """Operands joined by `and`, `xor` and `or`, from tight to loose; each level is one node however long."""
        ands, xors, ors = _Group(first, start, self.position), _Group(), _Group()
        while True:
            found = _LOGIC.match(self.text, self.position)
            behind = found.end() if found else self.position
            operator = found.lastgroup if found else None
            if operator != "and":
                self._add(xors, ands.joined(And), ands, behind)
                ands = _Group()
                if operator != "xor":
                    self._add(ors, xors.joined(Xor), xors, behind)
                    xors = _Group()
                    if operator is None:
                        return ors.joined(Or)
            self.position = start = behind
            operand = self._operand()
            found = _LOGIC.match(self.text, self.position)
            self._add(ands, operand, _Group(operand, start, self.position), found.end() if found else self.position)

    def _add(self, group: "_Group", node: Boolean, extent: "_Group", behind: int) -> None:
        if group.nodes and group.nodes[0].each is not node.each:
            message = "a truth for each element and a single one cannot be combined: put any(…) or all(…) around the former"
            raise self.type_error(behind, len(self.text), message)
        group.add(node, extent.start, extent.end)

    def _operand(self) -> Boolean:
        start = self.position
        found = PREFIX.match(self.text, start)
        if found is None:
            return self.compared(self.value())
        self.deeper(start)
        self.position = found.end()
        match found.lastgroup:
            case "group":
                node = self.condition()
                self.close("`)` is expected")
            case "negation":
                operand = self._operand()
                node = Not(operand, operand.each, (start, self.position))
            case _:
                argument = self._quantified()
                self.close("`)` is expected: any(…) and all(…) take one comparison, or several in parentheses, any((… or …))")
                node = Quantifier(found["quantifier"] == "all", argument, (start, self.position))
        self.shallower()
        return node

    def _quantified(self) -> "Boolean | Value":
        start = self.position
        argument = self.argument()
        if type_of(argument) != ArrayOf(BOOL) or isinstance(argument, Literal) or is_unpacked(argument):
            found = type_of(argument)
            hint = ""
            if isinstance(argument, Field | Index | Call) and isinstance(found, ArrayOf | Scalar):
                hint = ": compare each element, as in any(field[*] == …)"
            message = f"a truth for each element is expected, not {found}{hint}"
            raise self.type_error(start, self.position, message)
        return argument

    def compared(self, value: Value) -> Boolean:
        """The comparison that starts with `value`, or a Bool value alone."""
        text, left, each = self.text, value.type, is_unpacked(value)
        if left is BOOL:
            return Truth(value, each, value.span)
        if isinstance(left, ArrayOf | MapOf) and left.element is BOOL:
            if each or isinstance(left, MapOf):
                raise self.type_error(self.position, self.position, f"{ArrayOf(left) if each else left} is no condition")
            return Truth(value, each=True, span=value.span)
        found = OPERATOR.match(text, self.position)
        if found is None:
            self.skip_blanks()
            raise syntax_error(text, self.position, missing_operator(text, self.position, left))
        operator = OPERATORS[found[1]]
        start, end = found.span(1)
        if not isinstance(left, Scalar) or operator not in SUPPORTED[left]:
            members = self.scheme.members.get(value.name, ()) if isinstance(value, Field) else ()
            raise self.type_error(start, end, bad_operator(found[1], left, text[value.span[0] : value.span[1]], members))
        self.position = end
        glued = _GLUED.match(text, end) if found[1][-1].isalpha() else None
        self.skip_blanks()
        try:
            right, self.position = read_right(text, self.position, operator, left, self.scheme)
        except ExpressionError as error:
            if glued:
                error.message = missing_operator(text, start, left)
            raise
        if glued:
            raise syntax_error(text, end, f"a blank is expected after `{found[1]}`", end=glued.end())
        return Comparison(value, operator, right, each, (start, end), (value.span[0], self.position))


class _Group:
    """Operands of one level, and from where to where they and their parentheses go."""

    __slots__ = ("end", "nodes", "start")

    def __init__(self, node: Boolean | None = None, start: int = 0, end: int = 0) -> None:
        self.nodes = [] if node is None else [node]
        self.start = start
        self.end = end

    def add(self, node: Boolean, start: int, end: int) -> None:
        self.start = self.start if self.nodes else start
        self.end = end
        self.nodes.append(node)

    def joined(self, kind: type[And] | type[Or] | type[Xor]) -> Boolean:
        if len(self.nodes) == 1:
            return self.nodes[0]
        return kind(tuple(self.nodes), self.nodes[0].each, (self.start, self.end))

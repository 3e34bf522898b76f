"""What an expression that was read speaks of, and how to rewrite parts of its text.

What it requires is in requirements.py, what the absence of a field does to it in absence.py; both are offered here too.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from watchword_server.core.language.absence import AbsenceEffect, absence_effects
from watchword_server.core.language.parse import Expression
from watchword_server.core.language.requirements import exact_values, required_lists, required_values
from watchword_server.core.language.syntax import (
    UNPACK,
    And,
    Call,
    Comparison,
    Field,
    Index,
    ListName,
    Literal,
    Node,
    Not,
    Or,
    Quantifier,
    SetOf,
    Span,
    Truth,
    Value,
    Xor,
)
from watchword_server.core.language.types import Scalar

__all__ = [
    "AbsenceEffect", "ListUse", "LiteralUse", "absence_effects", "beyond_gateway", "exact_values", "fields_used", "format_node",
    "list_uses", "literal_uses", "quote", "replace_spans", "required_lists", "required_values", "walk",
]  # fmt: skip

_PLAIN_TEXT: Final = re.compile(r"[^\"\\\x00-\x1f\x7f]*")


@dataclass(frozen=True, slots=True)
class ListUse:
    """A reference to a list: as written, the key it is looked up by, the type of its items, and where (without `$`)."""

    name: str
    key: str
    type: Scalar
    span: Span


@dataclass(frozen=True, slots=True)
class LiteralUse:
    """A string that a field is compared with; `span` covers it as written, with quotes."""

    field: str
    value: bytes
    operator: str
    span: Span


def walk(node: Node) -> Iterator[Node]:
    """The node and all nodes in it, values too, from left to right."""
    pending: list[Node] = [node]
    while pending:
        current = pending.pop()
        yield current
        match current:
            case Not(operand):
                pending.append(operand)
            case And(operands) | Or(operands) | Xor(operands):
                pending.extend(reversed(operands))
            case Quantifier(_, argument):
                pending.append(argument)
            case Comparison(value) | Truth(value) | Index(value):
                pending.append(value)
            case Call(_, arguments):
                pending.extend(reversed(arguments))


def fields_used(expression: Expression) -> frozenset[str]:
    """The names of all fields it speaks of."""
    return frozenset(node.name for node in walk(expression.root) if isinstance(node, Field))


def list_uses(expression: Expression) -> list[ListUse]:
    """Its references to lists, from left to right."""
    return [
        ListUse(node.right.name, node.right.key, node.left.type, node.right.span)
        for node in walk(expression.root)
        if isinstance(node, Comparison) and isinstance(node.right, ListName) and isinstance(node.left.type, Scalar)
    ]


def literal_uses(expression: Expression, fields: Collection[str]) -> list[LiteralUse]:
    """The strings that these fields, or their elements, are compared with by `==`, `!=` and `in {…}`."""
    uses: list[LiteralUse] = []
    for node in walk(expression.root):
        if not isinstance(node, Comparison) or (name := _field_of(node.left)) not in fields or name is None:
            continue
        match node.right:
            case Literal(bytes() as value) if node.operator in {"==", "!="}:
                uses.append(LiteralUse(name, value, node.operator, node.right.span))
            case SetOf(items):
                uses.extend(
                    LiteralUse(name, item.value, node.operator, item.span) for item in items if isinstance(item.value, bytes)
                )
    return uses


def _field_of(value: Value) -> str | None:
    """The name of a field, or of one whose elements these are."""
    while isinstance(value, Index) and (value.key is UNPACK or isinstance(value.key, int)):
        value = value.value
    return value.name if isinstance(value, Field) else None


def replace_spans(text: str, replacements: Iterable[tuple[int, int, str]]) -> str:
    """The text with each `start` to `end` replaced. Raises `ValueError` if they overlap."""
    parts: list[str] = []
    done = 0
    for start, end, new in sorted(replacements):
        if not done <= start <= end <= len(text):
            raise ValueError(f"the replacement at {start} to {end} overlaps another or the end")
        parts += (text[done:start], new)
        done = end
    return "".join((*parts, text[done:]))


def quote(value: bytes | str) -> str:
    """A quoted string that reads as `value`."""
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            return '"' + "".join(f"\\x{byte:02x}" for byte in value) + '"'
    if _PLAIN_TEXT.fullmatch(value):
        return f'"{value}"'
    return '"' + "".join(_escaped(character) for character in value) + '"'


def _escaped(character: str) -> str:
    if character in {'"', "\\"}:
        return "\\" + character
    return character if character >= " " and character != "\x7f" else f"\\x{ord(character):02x}"


def beyond_gateway(expression: Expression) -> list[tuple[Span, str]]:
    """Where it uses more of the language than Gateway's pages list, and what; from left to right."""
    found: list[tuple[Span, str]] = []
    text = expression.text
    for node in walk(expression.root):
        match node:
            case Xor(span=span):
                found.append((span, "`xor`"))
            case Not(span=span) if text.startswith("!", span[0]):
                found.append((span, "`!`"))
            case Quantifier(every=True, span=span):
                found.append((span, "`all(…)`"))
            case Call(function, span=span):
                found.append((span, f"`{function.name}(…)`"))
            case Comparison():
                found.extend(_unlisted(node, text))
            case Index(key=key, span=span) if isinstance(key, int):
                found.append((span, "an index by number"))
            case Literal(bytes(), span=span) if not text.startswith('"', span[0]):
                found.append((span, "a string without plain quotes"))
    return found


_LISTED: Final = frozenset({"==", "!=", "in", "matches", ">", ">=", "<", "<="})


def _unlisted(node: Comparison, text: str) -> Iterator[tuple[Span, str]]:
    written = text[slice(*node.operator_span)]
    if written not in _LISTED:
        yield node.operator_span, f"`{written}`"
    match node.right:
        case SetOf(items):
            spans = [item.span for item in items if isinstance(item.value, bytes)]
        case ListName():
            spans = []
        case right:
            spans = [] if isinstance(right, Literal) and not isinstance(right.value, bytes) else [right.span]
    for span in spans:
        if not text.startswith('"', span[0]):
            yield span, "a string without plain quotes"


def format_node(node: Node, text: str) -> str:
    """A node as it is written in the expression's text."""
    return text[slice(*node.span)]

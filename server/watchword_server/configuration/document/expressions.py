"""Expressions of Gateway rules: checked as they are read, and what they name found in them."""

from dataclasses import dataclass, field
from typing import Final

from pydantic import ValidationInfo
from pydantic_core import PydanticCustomError

from watchword_server.configuration.document.base import Section
from watchword_server.core.gateway import POSTURE_FIELDS, Part, refuse_odd_posture, scheme_of
from watchword_server.core.language import types
from watchword_server.core.language.analysis import list_uses, literal_uses
from watchword_server.core.language.parse import parse
from watchword_server.core.language.scheme import Scheme
from watchword_server.core.rules import LanguageSettings
from watchword_server.errors import ExpressionError

DEFAULT_LANGUAGE: Final = LanguageSettings()


@dataclass(frozen=True, slots=True)
class Named:
    """A name in an expression that has to lead to an entry: of a list behind `$`, or of a check in quotes.

    `span` is what an id replaces, in code points. `type`, of a list, is that of the value which is looked up in it.
    """

    section: Section
    name: str
    span: tuple[int, int]
    type: types.Type | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What validating needs besides the value: how expressions are read, and whether it is a stored entry.

    An expression is parsed once in a reading, however often it is written.
    """

    language: LanguageSettings = DEFAULT_LANGUAGE
    stored: bool = False
    _known: dict[tuple[str, Part, str], tuple[Named, ...]] = field(default_factory=dict, compare=False, repr=False)

    def names_in(self, rule_filter: str, part: Part, text: str) -> tuple[Named, ...]:
        """What the expression names, in the order of the text. Raises `ExpressionError` if it is no expression of this kind."""
        if not text:
            return ()
        key = (rule_filter, part, text)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = _names_in(text, _scheme(rule_filter, part, self.language))
        return known


def reading_of(info: ValidationInfo) -> Reading:
    """The reading that validation is part of; else one with the defaults."""
    return info.context if isinstance(info.context, Reading) else Reading()


def may_name(text: str) -> bool:
    """Whether an expression may name a list or a check: most do not, and that is told without reading them."""
    return "$" in text or any(name in text for name in POSTURE_FIELDS)


def problem_at(error: ExpressionError) -> PydanticCustomError:
    """The error as a validator raises it, its excerpt beside it."""
    message, *excerpt = _told(error)
    return PydanticCustomError("refused", "{message}", {"message": message, "excerpt": tuple(excerpt)})


def excerpt_of(text: str, span: tuple[int, int], message: str) -> tuple[str, tuple[str, ...]]:
    """A message about a part of an expression: with its place in front, and the lines to show beneath."""
    first, *excerpt = _told(ExpressionError("type", message, text=text, position=span[0], length=span[1] - span[0]))
    return first, tuple(excerpt)


def _told(error: ExpressionError) -> list[str]:
    place = f"{error.line}:{error.column}: "
    message = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in error.message)
    return [place + message, *error.render().rsplit("\n", 2)[1:]]


def _names_in(text: str, scheme: Scheme) -> tuple[Named, ...]:
    expression = parse(text, scheme)
    refuse_odd_posture(expression)
    if not may_name(text):
        return ()
    found = [Named(Section.LISTS, use.name, use.span, use.type) for use in list_uses(expression)]
    found += [
        Named(Section.CHECKS, use.value.decode(errors="backslashreplace"), use.span)
        for use in literal_uses(expression, POSTURE_FIELDS)
    ]
    return tuple(sorted(found, key=lambda named: named.span))


def _scheme(rule_filter: str, part: Part, language: LanguageSettings) -> Scheme:
    fields_of = "dns" if rule_filter == "dns_resolver" else rule_filter  # which resolver is chosen by the query
    return scheme_of(fields_of, part, language)

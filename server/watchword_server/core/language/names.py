"""What to say of names and operators that are not understood: what is expected, and what may have been meant."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

from watchword_server.core.language.right_sides import SUPPORTED
from watchword_server.core.language.scheme import Scheme
from watchword_server.core.language.types import BOOL, ArrayOf, MapOf, Scalar, Type

_LOGIC: Final = {"and": "&&", "or": "||", "xor": "^^", "not": "!", "any": "", "all": ""}


def unknown_name(name: str, scheme: Scheme, *, called: bool) -> str:
    """The message: what is unknown, and what may have been meant."""
    shown = name if len(name) <= 80 else name[:79] + "…"
    if name in {"any", "all"}:
        return f"`{name}` needs parentheses: write `{name}(…)`"
    if name.lower() in _LOGIC and not called:
        lower = name.lower()
        return f"a condition is expected before `{name}`" if lower == name else f"unknown field `{name}`: write `{lower}`"
    if name.lower() in {"true", "false"}:
        return f"unknown field `{name}`: there is no such value; write a Bool field alone, or `not` before it"
    if name.isdigit():
        return f"unknown field `{shown}`: a value cannot stand on the left; write the field first"
    if name in scheme.elsewhere and not called:
        return f"`{name}` {scheme.elsewhere[name]}"
    kind, known = ("function", scheme.functions) if called else ("field", scheme.fields)
    return f"unknown {kind} `{shown}`{did_you_mean(name, known)}"


def unknown_member(member: str, records: str, known: Iterable[str]) -> str:
    """The message: what no record of the field has, and what they have."""
    names = sorted(known)
    remedy = (
        did_you_mean(member, names) or f": there {'are' if len(names) > 1 else 'is'} {', '.join(f'`{name}`' for name in names)}"
    )
    return f"unknown member `{member[:80]}` of `{records}`{remedy}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`: did you mean …?` for a near miss, else nothing."""
    names = list(known)
    folded = {candidate.lower(): candidate for candidate in names}
    if name.lower() in folded:
        return f": did you mean `{folded[name.lower()]}`?"
    near = get_close_matches(name[:200], names, 1, 0.7)
    return f": did you mean `{near[0]}`?" if near else ""


_WORD: Final = re.compile(r"[ \r\n]*([A-Za-z_]+|[=!<>~^|&]+)")
_MEANT: Final = {
    "=": "`==`", "===": "`==`", "=~": "`matches`", "!~": "`not` before the field, and `matches`", "<>": "`!=`", "=>": "`>=`",
    "is": "`==`", "equals": "`==`", "equal": "`==`", "like": "`wildcard`", "match": "`matches`", "regex": "`matches`",
    "contain": "`contains`", "includes": "`contains`", "not": "`not` before the field, as in `not field in {…}`",
    "strict": "`strict wildcard`, with one blank", "starts_with": "`starts_with(field, …)`", "ends_with": "`ends_with(field, …)`",
}  # fmt: skip


def unexpected(text: str, position: int, *, operand: bool = False) -> str:
    """What to say of text where an operand, or else the end or another operand, is expected."""
    rest = text[position : position + 8].lstrip(" \r\n")
    if rest.startswith("\t"):
        return "a tab is no blank in an expression: use spaces or new lines"
    if rest.startswith(("#", "//")):
        return "there are no comments in an expression: remove it"
    if operand:
        if rest.startswith('"'):
            return "a value cannot stand on the left: write the field first"
        if rest.startswith(")"):
            return "a condition is expected before `)`"
        return "a condition is expected: a field, a function, `not`, `any(…)` or `(`"
    found = _WORD.match(text, position)
    word = found[1] if found else ""
    if word.lower() in {"and", "or", "xor"} and word not in _LOGIC:
        return f"`{word}` is no operator: write `{word.lower()}`"
    if word in {"&", "|", "^"}:
        return f"`{word}` does not join conditions: write `{word}{word}`, or the word"
    if rest.startswith(")"):
        return "`)` closes nothing"
    return "nothing more is expected here, unless `and`, `or` or `xor` joins it"


def missing_operator(text: str, position: int, left: Type) -> str:
    """What to say where an operator for a `left` is expected."""
    found = _WORD.match(text, position)
    word = found[1] if found else ""
    if word in _MEANT:
        return f"`{word}` is no operator: write {_MEANT[word]}"
    if isinstance(left, Scalar):
        known = sorted(SUPPORTED[left], key=lambda operator: (operator.isalpha(), operator))
        meant = word.lower()
        if meant != word and meant in {"eq", "ne", "lt", "le", "gt", "ge", *known}:
            return f"`{word}` is no operator: write `{meant}`"
        return f"an operator is expected: {left} takes {', '.join(f'`{operator}`' for operator in known)}"
    return f"an operator is expected; compare each element of {left}, as in any(field[*] == …)"


def bad_operator(operator: str, left: Type, value: str, members: Iterable[str] = ()) -> str:
    """What to say of an operator that a `left` does not take; `members` are those of its records."""
    shown = value if len(value) <= 60 else "field"
    match left:
        case ArrayOf(MapOf(Scalar())):
            names = sorted(members)
            one = f".{names[-1]}" if names else '["key"]'
            others = f"; records have {', '.join(f'`{name}`' for name in names)}" if names else ""
            return f"`{operator}` does not take an {left}: compare a member of each, `any({shown}[*]{one} {operator} …)`{others}"
        case ArrayOf(Scalar()):
            return f"`{operator}` does not take an {left}: compare each element, `any({shown}[*] {operator} …)`"
        case ArrayOf() | MapOf():
            return f"`{operator}` does not take {'an' if isinstance(left, ArrayOf) else 'a'} {left}: take one element by an index"
        case Scalar() if left is not BOOL:
            known = sorted(SUPPORTED[left], key=lambda known: (known.isalpha(), known))
            return f"{left} does not take `{operator}`: it takes {', '.join(f'`{known}`' for known in known)}"
        case _:
            return f"{left} does not take `{operator}`"

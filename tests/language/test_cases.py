"""The language as the engine speaks it: every case of `tests/cases/rules-language.jsonl`.

A case has an expression, types, a context, perhaps lists, and what must come of it; `accept` names every tolerable outcome, `pos`
and `span` where the fault is unless `pos_soft`, `expect_if_missing_ne_false` the answer under the other setting of `!=`.
"""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from watchword_server.core.language.compile import compile_expression
from watchword_server.core.language.context import read_context
from watchword_server.core.language.literals import read_address_range
from watchword_server.core.language.parse import parse
from watchword_server.core.language.scheme import Limits, Scheme
from watchword_server.core.language.sets import IpRanges
from watchword_server.core.language.types import parse_type
from watchword_server.errors import ExpressionError

CASES: Final = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "cases" / "rules-language.jsonl").read_text(encoding="utf-8").split("\n")
    if line
]
LIMITS: Final = Limits(expression_characters=1 << 20)

# Where this engine answers otherwise than the measured one, and why. Every entry is an outcome that the case tolerates.
DEVIATIONS: Final = {
    "int-047": ("error:syntax", "`eq443`: a word that is an operator ends where a name would"),
    "logic-035": ("error:unknown_field", "`nott` is a name, not `not t`"),
    "str-034": ("error:syntax", "bytes in hexadecimal are joined by `:` alone, as in the newest engine"),
    "ip-032": ("error:syntax", "`10/8` is no network here: which address is meant differs between programs"),
    "re-040": ("error:syntax", "`&&` inside `[…]` is refused: engines read it differently"),
    "re-041": ("error:syntax", "`(?x)` is refused: the linear-time engine has no verbose mode"),
}


def outcome(case: dict[str, Any], *, missing_not_equal: bool = True) -> bool | ExpressionError:
    types = {name: parse_type(kind) for name, kind in case["types"].items()}
    gateway = case.get("profile") == "gateway"
    scheme = Scheme(types, limits=LIMITS, missing_not_equal=missing_not_equal, gateway=gateway)
    lists = {name.replace("-", "") if gateway else name: items(found) for name, found in case.get("lists", {}).items()}
    try:
        return compile_expression(parse(case["expr"], scheme), lists=lists)(read_context(case["context"], types))
    except ExpressionError as error:
        return error


def items(found: dict[str, Any]) -> Any:
    if found["type"] == "Ip":
        return IpRanges.of_numbers(read_address_range(item, 0)[0] for item in found["items"])
    return frozenset(item.encode() if isinstance(item, str) else item for item in found["items"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_case(case: dict[str, Any]) -> None:
    found = outcome(case)
    answer = f"error:{found.kind}" if isinstance(found, ExpressionError) else found
    expected = case["expect"]
    if case["id"] in DEVIATIONS:
        expected = DEVIATIONS[case["id"]][0]
        assert expected in case["accept"]
        assert expected != case["expect"]
    assert answer == expected or (isinstance(expected, str) and answer in case.get("accept", ()))
    if isinstance(found, ExpressionError) and answer == case["expect"] and not case.get("pos_soft"):
        assert (found.position, found.length) == (case["pos"], case["span"])
    if "expect_if_missing_ne_false" in case:
        assert outcome(case, missing_not_equal=False) is case["expect_if_missing_ne_false"]


def test_there_are_cases() -> None:
    assert len(CASES) > 400
    assert DEVIATIONS.keys() <= {case["id"] for case in CASES}

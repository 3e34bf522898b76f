"""An AuthZEN evaluation: its properties as typed maps, and what leaving some of them out can change."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.values import NOW
from watchword_server.core.decide import decide
from watchword_server.core.evaluations import evaluation_of
from watchword_server.core.model.decisions import AccessRequest, Resolution, ResolvedDevice
from watchword_server.core.rules import EMPTY_RULE_SET, GatewayAction, GatewayFilter, GatewayRule
from watchword_server.core.snapshot import RuleSnapshot, compile_rules

NOBODYS: Final = ResolvedDevice(Resolution.ABSENT, "no_device")
ENTITIES: Final[Mapping[str, Mapping[str, str]]] = {
    "subject": {"type": "user", "id": "ada"},
    "action": {"name": "read"},
    "resource": {"type": "record", "id": "1"},
}


def a_question(**properties: Mapping[str, object]) -> dict[str, object]:
    """With the properties of its entities, and the context."""
    question: dict[str, object] = {
        name: {**entity, "properties": properties[name]} if name in properties else entity for name, entity in ENTITIES.items()
    }
    return question | ({"context": properties["context"]} if "context" in properties else {})


def allowed(snapshot: RuleSnapshot, question: Mapping[str, object]) -> bool:
    request = AccessRequest("", "https", "", "", "", None, None, "app", evaluation=evaluation_of(question))
    return decide(request, NOBODYS, snapshot, now=NOW).allowed


def rules(*expressions: tuple[GatewayAction, str]) -> RuleSnapshot:
    return compile_rules(
        replace(
            EMPTY_RULE_SET,
            gateway_rules=tuple(
                GatewayRule(f"rule-{place}", f"rule-{place}", place, GatewayFilter.AUTHZEN, action, traffic=expression)
                for place, (action, expression) in enumerate(expressions)
            ),
        )
    )


def test_each_property_is_in_the_map_of_its_type() -> None:
    told = {
        "text": "é", "empty": "", "yes": True, "no": False, "zero": 0, "least": -(2**63), "list": ["a", ""], "none": [],
        "in": {"side": {"text": "x", "yes": True}}, "with.dot": "y",
        "null": None, "half": 0.5, "beyond": 2**63, "mixed": ["a", 1], "numbers": [1], "objects": [{"a": "b"}], "bare": {},
    }  # fmt: skip
    fields = evaluation_of(a_question(subject=told, context=told)).fields
    for entity in ("subject", "context"):
        assert fields[f"{entity}.properties"] == {
            b"text": "é".encode(), b"empty": b"", b"in.side.text": b"x", b"with.dot": b"y",
        }  # fmt: skip
        assert fields[f"{entity}.properties.bool"] == {b"yes": True, b"no": False, b"in.side.yes": True}
        assert fields[f"{entity}.properties.int"] == {b"zero": 0, b"least": -(2**63)}
        assert fields[f"{entity}.properties.list"] == {b"list": (b"a", b""), b"none": ()}
    assert fields["resource.properties"] == {}
    assert (fields["subject.type"], fields["subject.id"], fields["action.name"]) == (b"user", b"ada", b"read")


@pytest.mark.parametrize(
    "told",
    [
        {"a.b": 1, "a": {"b": 1}},
        {"a": {"b": None}, "a.b": []},
        {"a": {"b.c": 1, "b": {"c": 1}}},
        {"a" * 513: 1},
        {"a" * 500: {"b" * 12: 1}},
        {"é" * 257: 1},
    ],
)
def test_what_has_no_plain_path_is_refused(told: Mapping[str, object]) -> None:
    with pytest.raises(ValueError, match="`resource` has"):
        evaluation_of(a_question(resource=told))


def test_without_a_rule_that_applies_the_answer_is_no() -> None:
    assert not allowed(rules(), a_question())
    assert not allowed(rules((GatewayAction.ALLOW, 'subject.id == "eve"')), a_question())
    assert allowed(rules((GatewayAction.ALLOW, 'subject.id == "ada"')), a_question())
    assert not allowed(
        rules((GatewayAction.BLOCK, 'action.name == "read"'), (GatewayAction.ALLOW, 'subject.id == "ada"')), a_question()
    )


CONDITIONS: Final = (
    'subject.properties["a"] == "x"',
    'subject.properties["a"] in {"x" "y"}',
    'resource.properties["in.side"] contains "x"',
    'action.properties.bool["soft"]',
    'context.properties.int["risk"] < 5',
    'any(subject.properties.list["groups"][*] == "x")',
    'lower(resource.properties["a"]) == "x"',
    'len(subject.properties["a"]) > 0',
)
texts = st.sampled_from(["x", "x", "", "y", "X"])
odd = st.sampled_from([None, "", 7, [1]])
told = st.fixed_dictionaries(
    {
        "a": texts | odd,
        "in": st.fixed_dictionaries({}, optional={"side": texts}),
        "soft": st.booleans() | odd,
        "risk": st.integers(0, 9) | odd,
        "groups": st.lists(texts, max_size=2) | odd,
    },
)
questions = st.fixed_dictionaries(dict.fromkeys(("subject", "action", "resource", "context"), told))
# What an allow asks for and what a block does not let pass: nothing that `watchword rules check` warns of.
allows = st.lists(st.sampled_from(CONDITIONS), min_size=1, max_size=2).map(" and ".join)
blocks = st.sampled_from(CONDITIONS).map(lambda condition: f"not({condition})")
asked = st.tuples(st.just(GatewayAction.ALLOW), allows) | st.tuples(st.just(GatewayAction.BLOCK), blocks)


@settings(max_examples=400)
@given(st.lists(asked, min_size=1, max_size=3), questions, st.data())
def test_who_tells_less_is_allowed_no_more(
    expressions: list[tuple[GatewayAction, str]],
    properties: dict[str, dict[str, Any]],
    data: st.DataObject,
) -> None:
    snapshot = rules(*expressions, (GatewayAction.ALLOW, 'subject.id == "ada"'))
    less = {
        entity: {name: value for name, value in each.items() if data.draw(st.booleans())} for entity, each in properties.items()
    }
    assert allowed(snapshot, a_question(**properties)) or not allowed(snapshot, a_question(**less))

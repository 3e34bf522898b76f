"""Long questions are not remembered without end: by their length, and beside the decisions about requests."""

import itertools
from collections.abc import Callable, Mapping
from typing import Final, cast

from services.values import NOW
from watchword_server.core.evaluations import evaluation_of
from watchword_server.core.model.decisions import AccessRequest
from watchword_server.core.model.names import Instant
from watchword_server.core.rules import Caller
from watchword_server.ports.memory import PostureMemory
from watchword_server.services.decisions import Decisions
from watchword_server.services.resolving import Presented, Resolver
from watchword_server.services.rules_in_force import RulesInForce

EDGE: Final = Caller("caller-1", "edge", frozenset(), frozenset(), None)


class _Clock:
    def now(self) -> Instant:
        return Instant(NOW)


class _NoLog:
    def write(self, event: Mapping[str, object] | Callable[[], Mapping[str, object]]) -> None: ...


def decisions() -> Decisions:
    """A caller that may assert nothing leads to no device: the resolver never asks its memory."""
    numbers = itertools.count(1)
    return Decisions(
        RulesInForce(),
        Resolver(cast("PostureMemory", None)),
        _Clock(),
        lambda size: next(numbers).to_bytes(size),
        _NoLog(),
    )


def request(text: str | None) -> AccessRequest:
    """A request; with a text, an evaluation whose question holds it."""
    document = {
        "subject": {"type": "user", "id": "ada"},
        "action": {"name": "read"},
        "resource": {"type": "record", "id": "1"},
        "context": {"text": text},
    }
    evaluation = None if text is None else evaluation_of(document)
    return AccessRequest("", "https", "", "", "", None, None, "edge", evaluation=evaluation)


async def test_long_evaluations_push_out_each_other_and_no_request() -> None:
    deciding = decisions()

    async def decide(text: str | None) -> str:
        return (await deciding.answer(request(text), Presented(), caller=EDGE)).id

    of_a_request, first = await decide(None), await decide("x" * 60_000)
    for _ in range(200):
        last = await decide("x" * 60_000)
    assert deciding.recent(first) is not None  # and was used last
    for _ in range(300):
        last = await decide("x" * 60_000)
    assert deciding.recent(first) is None
    assert deciding.record(first) is None
    assert deciding.recent(last) is not None
    assert deciding.recent(of_a_request) is not None
    for _ in range(12_000):
        await decide("short")
    assert deciding.recent(of_a_request) is not None
    assert deciding.recent(last) is not None

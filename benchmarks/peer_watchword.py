"""Watchword among the engines of `peers.py`: an application with a policy a host, and no Gateway rules."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from benchmarks import workload
from benchmarks.peer_policy import CHECKS, HostRule, Question
from watchword_server.core.decide import decide
from watchword_server.core.model.decisions import AccessRequest, Identity, ResolvedDevice
from watchword_server.core.model.results import DevicePosture
from watchword_server.core.rules import EMPTY_RULE_SET
from watchword_server.core.snapshot import compile_rules

_CHECKS: Final = {name: workload.check(name) for name in CHECKS}

_DEVICE: Final = workload.device(0)

Prepared = tuple[AccessRequest, ResolvedDevice]


def decider(rules: Sequence[HostRule]) -> Callable[[Prepared], bool]:
    """Decides by these rules."""
    snapshot = compile_rules(
        replace(
            EMPTY_RULE_SET,
            revision=1,
            checks={check.id: check for check in _CHECKS.values()},
            applications=tuple(workload.application(rule.host, rule.domain, _CHECKS[rule.check].id) for rule in rules),
        )
    )
    return lambda prepared: decide(prepared[0], prepared[1], snapshot, now=workload.NOW).allowed


def prepare(question: Question) -> Prepared:
    """The request, and the device with its results: all of it made anew, though a server's cache holds the results ready."""
    request = AccessRequest("GET", "https", question.host, "/", "", None, Identity(question.email), "edge")
    results = {_CHECKS[name].id: workload.result(_CHECKS[name], passed=passed) for name, passed in question.checks.items()}
    return request, workload.resolved(DevicePosture(_DEVICE, results, revision=1))

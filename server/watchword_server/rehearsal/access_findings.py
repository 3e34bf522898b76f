"""Findings in Access policies, applications, checks and what holds for all."""

from collections.abc import Iterator, Mapping

from watchword_server.configuration.document.applications import Application, PolicyLink
from watchword_server.configuration.document.base import quoted
from watchword_server.configuration.document.conditions import AccessGroup, InlinePolicy, Policy
from watchword_server.configuration.document.sections import Document
from watchword_server.configuration.document.selectors import Selector
from watchword_server.errors import Problem
from watchword_server.rehearsal.findings import Code, Finding

_Path = tuple[str | int, ...]
_AnyPolicy = Policy | InlinePolicy
_SHOWN_BY_CLIENTS = frozenset({"certificate", "common_name", "service_token", "any_valid_service_token"})


def access_findings(document: Document) -> Iterator[Finding]:
    """All of them."""
    groups = {group.name: group for group in document.groups}
    policies = {policy.name: policy for policy in document.policies}
    for path, policy in _policies(document):
        yield from _of_policy(path, policy, groups)
    for index, application in enumerate(document.applications):
        yield from _bypasses(("applications", index), application, policies, groups)
    for index, check in enumerate(document.checks):
        if check.expiration_seconds is None:
            path = ("checks", index, "expiration")
            message = "a result never expires: a device that is gone for good passes for ever; write a time such as `15m`"
            yield Finding(Code.NEVER_EXPIRES, Problem(path, message))
    if document.unmatched == "allow":
        message = (
            "a host that no application covers is open to everybody: write `unmatched: deny`, and an application for each host"
        )
        yield Finding(Code.UNMATCHED_ALLOWED, Problem(("unmatched",), message))


def _policies(document: Document) -> Iterator[tuple[_Path, _AnyPolicy]]:
    for index, policy in enumerate(document.policies):
        yield ("policies", index), policy
    for index, application in enumerate(document.applications):
        for place, own in application.inline_policies():
            yield ("applications", index, "policies", place), own


def _of_policy(path: _Path, policy: _AnyPolicy, groups: Mapping[str, AccessGroup]) -> Iterator[Finding]:
    if policy.report_only:
        message = "the policy is evaluated and not enforced: leave `report_only` out when the log shows what you expect"
        yield Finding(Code.REPORT_ONLY, Problem((*path, "report_only"), message))
    if policy.decision == "allow":
        everyone = _everyone(policy, groups)
        if everyone is not None:
            message = (
                "the policy allows everybody, named or not: add what it has to `require`, or write `decision: bypass` to say so"
            )
            yield Finding(Code.EVERYONE, Problem((*path, "include", everyone), message))
    for place, kind in _escapes(policy, groups, grants=policy.decision != "deny"):
        message = (
            f"whether to show what `{kind}` asks for is the client's choice, and one that leaves it out "
            f"{'escapes this policy' if policy.decision == 'deny' else 'is let in'}: ask for what has to be there"
        )
        yield Finding(Code.CREDENTIAL_LEFT_OUT, Problem((*path, *place), message))


def _everyone(conditions: _AnyPolicy | AccessGroup, groups: Mapping[str, AccessGroup]) -> int | None:
    """The include that is true of every request, if nothing else stands in the way."""
    if conditions.require or conditions.exclude:
        return None
    return next((index for index, selector in enumerate(conditions.include) if _is_everyone(selector, groups)), None)


def _is_everyone(selector: Selector, groups: Mapping[str, AccessGroup]) -> bool:
    if selector.everyone is not None:
        return True
    group = None if selector.group is None else groups.get(selector.group.id)
    return group is not None and _everyone(group, groups) is not None


def _escapes(
    conditions: _AnyPolicy | AccessGroup, groups: Mapping[str, AccessGroup], *, grants: bool
) -> Iterator[tuple[_Path, str]]:
    """Selectors that a client makes false by showing nothing, where false lets in: excluded by a grant, included by a deny."""
    parts = (
        ("include", conditions.include, grants),
        ("require", conditions.require, grants),
        ("exclude", conditions.exclude, not grants),
    )
    for part, selectors, is_safe in parts:
        for index, selector in enumerate(selectors):
            group = None if selector.group is None else groups.get(selector.group.id)
            if selector.kind in _SHOWN_BY_CLIENTS and not is_safe:
                yield (part, index), selector.kind
            elif group is not None:
                inner = next(_escapes(group, groups, grants=is_safe), None)
                if inner is not None:
                    yield (part, index), inner[1]


def _bypasses(
    path: _Path, application: Application, policies: Mapping[str, Policy], groups: Mapping[str, AccessGroup]
) -> Iterator[Finding]:
    """A bypass goes first, whatever its place: who it lets in is asked for no posture."""
    named = [
        (
            index,
            policies.get(policy.id if isinstance(policy, PolicyLink) else policy)
            if not isinstance(policy, InlinePolicy)
            else policy,
        )
        for index, policy in enumerate(application.policies)
    ]
    asking = next((policy for _, policy in named if policy is not None and _asks_posture(policy, groups)), None)
    if asking is None:
        return
    for index, policy in named:
        if policy is not None and policy.decision == "bypass" and not policy.report_only:
            message = (
                f"the bypass goes before every other policy, so whom it lets in is not asked for the posture that "
                f"{quoted(asking.name or 'another policy')} asks for: cover what is open to all by an application of its own path"
            )
            yield Finding(Code.BYPASS_BESIDE_POSTURE, Problem((*path, "policies", index), message))


def _asks_posture(conditions: _AnyPolicy | AccessGroup, groups: Mapping[str, AccessGroup]) -> bool:
    for selector in (*conditions.include, *conditions.require, *conditions.exclude):
        if selector.device_posture is not None:
            return True
        group = None if selector.group is None else groups.get(selector.group.id)
        if group is not None and _asks_posture(group, groups):
            return True
    return False

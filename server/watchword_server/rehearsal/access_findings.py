"""Findings in Access policies, applications, checks and what holds for all."""

from collections.abc import Iterator, Mapping

from watchword_server.configuration.document.applications import Application, PolicyLink
from watchword_server.configuration.document.base import quoted
from watchword_server.configuration.document.checks import ClientCertificateV2Check
from watchword_server.configuration.document.conditions import AccessGroup, InlinePolicy, Policy
from watchword_server.configuration.document.sections import Document
from watchword_server.configuration.document.selectors import DevicePosture, Selector
from watchword_server.errors import Problem
from watchword_server.rehearsal.evidence_findings import evidence_findings
from watchword_server.rehearsal.findings import Code, Finding

_Path = tuple[str | int, ...]
_AnyPolicy = Policy | InlinePolicy
_SHOWN_BY_CLIENTS = frozenset({"certificate", "common_name", "service_token", "any_valid_service_token"})


def access_findings(document: Document) -> Iterator[Finding]:
    """All of them."""
    groups = {group.name: group for group in document.groups}
    policies = {policy.name: policy for policy in document.policies}
    schedules = {check.name: check.schedule_seconds for check in document.checks}
    for path, policy in _policies(document):
        yield from _of_policy(path, policy, groups, schedules)
        yield from _of_selectors(path, policy, schedules)
    for index, group in enumerate(document.groups):
        yield from _of_selectors(("groups", index), group, schedules)
    yield from _credentials_left_out(document, groups)
    for index, application in enumerate(document.applications):
        yield from _bypasses(("applications", index), application, policies, groups)
        if not application.policies:
            message = "without a policy nobody gets in: name one in `policies`, or leave the application out"
            yield Finding(Code.NO_POLICY, Problem(("applications", index), message))
    for index, caller in enumerate(document.callers):
        if "client_certificate" in caller.may_assert and "client_certificate" not in caller.resolvers:
            message = (
                "the caller may assert a client certificate and finds no device by it, so every check fails: "
                "write `resolvers: [client_certificate]`"
            )
            yield Finding(Code.NO_RESOLVER, Problem(("callers", index, "may_assert"), message))
    unlisted = {each.name for each in document.certificates if not each.crl and each.ocsp is None}
    for index, check in enumerate(document.checks):
        if check.expiration_seconds is None:
            path = ("checks", index, "expiration")
            message = "a result never expires: a device that is gone for good passes for ever; write a time such as `15m`"
            yield Finding(Code.NEVER_EXPIRES, Problem(path, message))
        required = isinstance(check, ClientCertificateV2Check) and check.input.revocation == "require"
        if required and check.input.certificate_id in unlisted:
            path = ("checks", index, "input", "revocation")
            message = (
                "the certificate names neither `crl` nor `ocsp`: only uploaded lists can satisfy this; name where its lists are, "
                "or bring them with `watchword certificate crl`"
            )
            yield Finding(Code.NO_LIST_NAMED, Problem(path, message))
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


def _of_policy(
    path: _Path, policy: _AnyPolicy, groups: Mapping[str, AccessGroup], schedules: Mapping[str, int]
) -> Iterator[Finding]:
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
    asked = {check.integration_uid for _, check in _posture(path, policy, groups)}
    asked |= {each.kind for each in (*policy.include, *policy.require, *policy.exclude) if each.kind == "device_owner"}
    yield from evidence_findings((*path, "evidence"), policy.evidence, asked, schedules)


def _of_selectors(path: _Path, conditions: _AnyPolicy | AccessGroup, schedules: Mapping[str, int]) -> Iterator[Finding]:
    for place, check in _posture(path, conditions, {}):
        yield from evidence_findings((*place, "evidence"), check.evidence, {check.integration_uid}, schedules)


def _credentials_left_out(document: Document, groups: Mapping[str, AccessGroup]) -> Iterator[Finding]:
    """Each once, where it is written, however many policies come to it through a group."""
    indexes = {group.name: index for index, group in enumerate(document.groups)}
    found: dict[_Path, list[tuple[_AnyPolicy, str]]] = {}
    for path, policy in _policies(document):
        for place, kind in _escapes(path, policy, groups, indexes, grants=policy.decision != "deny"):
            found.setdefault(place, []).append((policy, kind))
    for place, reached in found.items():
        policy, kind = reached[0]
        others = len({id(one) for one, _ in reached}) - 1
        name = quoted(policy.name) if policy.name else "this policy"
        more = f" (and {others} more)" if others else ""
        message = (
            f"whether to show what `{kind}` asks for is the client's choice, and one that leaves it out "
            f"{f'escapes {name}' if policy.decision == 'deny' else f'is let in by {name}'}{more}: ask for what has to be there"
        )
        yield Finding(Code.CREDENTIAL_LEFT_OUT, Problem(place, message))


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
    path: _Path,
    conditions: _AnyPolicy | AccessGroup,
    groups: Mapping[str, AccessGroup],
    indexes: Mapping[str, int],
    *,
    grants: bool,
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
                yield (*path, part, index), selector.kind
            elif group is not None:
                yield from _escapes(("groups", indexes[group.name]), group, groups, indexes, grants=is_safe)


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
    return any(True for _ in _posture((), conditions, groups))


def _posture(
    path: _Path, conditions: _AnyPolicy | AccessGroup, groups: Mapping[str, AccessGroup]
) -> Iterator[tuple[_Path, DevicePosture]]:
    """The checks that are asked for, each with the selector's place; of a group's, the place of the group."""
    parts = {"include": conditions.include, "require": conditions.require, "exclude": conditions.exclude}
    for part, selectors in parts.items():
        for index, selector in enumerate(selectors):
            place = (*path, part, index)
            if selector.device_posture is not None:
                yield (*place, "device_posture"), selector.device_posture
            group = None if selector.group is None else groups.get(selector.group.id)
            if group is not None:
                yield from ((place, check) for _, check in _posture((), group, groups))

"""Which entries an entry names, and how names become ids."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from watchword_server.configuration.document.applications import Application
from watchword_server.configuration.document.base import Entry, Section
from watchword_server.configuration.document.checks import ClientCertificateCheck, ClientCertificateV2Check
from watchword_server.configuration.document.conditions import AccessGroup, Policy, Selector

BodyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """A value in an entry's body that names an entry of `section`: in a file by name or id, stored by id."""

    path: BodyPath
    section: Section
    value: str


def references(entry: Entry) -> Iterator[Reference]:
    """Every reference of an entry."""
    match entry:
        case ClientCertificateV2Check() | ClientCertificateCheck():
            yield Reference(("input", "certificate_id"), Section.CERTIFICATES, entry.input.certificate_id)
        case AccessGroup() | Policy():
            for part, selectors in selectors_of(entry).items():
                for index, selector in enumerate(selectors):
                    yield from _in_selector((part, index), selector)
        case Application():
            for index, policy in enumerate(entry.policies):
                yield Reference(("policies", index), Section.POLICIES, policy)


def selectors_of(entry: AccessGroup | Policy) -> Mapping[str, list[Selector]]:
    """Its selectors, by the key they stand under."""
    return {"include": entry.include, "require": entry.require, "exclude": entry.exclude}


def with_ids(body: Mapping[str, object], ids: Mapping[BodyPath, str]) -> dict[str, object]:
    """A copy of the body with ids at these paths, which `references` gave."""
    resolved: dict[str, object] = copy.deepcopy(dict(body))
    for path, found in ids.items():
        container: Any = resolved  # JSON; the path leads through it
        for step in path[:-1]:
            container = container[step]
        container[path[-1]] = found
    return resolved


def _in_selector(path: BodyPath, selector: Selector) -> Iterator[Reference]:
    if selector.group is not None:
        yield Reference((*path, "group", "id"), Section.GROUPS, selector.group.id)
    if selector.device_posture is not None:
        uid = selector.device_posture.integration_uid
        yield Reference((*path, "device_posture", "integration_uid"), Section.CHECKS, uid)

"""Which entries an entry names, and how names become ids."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from watchword_server.configuration.document.applications import Application, PolicyLink
from watchword_server.configuration.document.base import Entry, Section
from watchword_server.configuration.document.checks import ClientCertificateCheck, ClientCertificateV2Check
from watchword_server.configuration.document.conditions import AccessGroup, InlinePolicy, Policy
from watchword_server.configuration.document.expressions import excerpt_of
from watchword_server.configuration.document.gateway import GatewayRule
from watchword_server.configuration.document.selectors import Selector
from watchword_server.core.language.analysis import quote, replace_spans
from watchword_server.core.language.types import Type
from watchword_server.errors import Problem

BodyPath = tuple[str | int, ...]
WithSelectors = AccessGroup | Policy | InlinePolicy

# Where a selector names an entry. What else it names is known to others: identity providers, their groups, accounts.
_IN_SELECTORS: Final[Mapping[str, tuple[str, Section]]] = {
    "group": ("id", Section.GROUPS),
    "device_posture": ("integration_uid", Section.CHECKS),
    "email_list": ("id", Section.LISTS),
    "ip_list": ("id", Section.LISTS),
    "service_token": ("token_id", Section.SERVICE_TOKENS),
}


@dataclass(frozen=True, slots=True)
class InExpression:
    """Where a reference stands in an expression; `looked_up` is the type of what a list is asked for."""

    text: str
    span: tuple[int, int]
    looked_up: Type | None


@dataclass(frozen=True, slots=True)
class Reference:
    """A value in an entry's body that names an entry of `section`: in a file by name or id, stored by id.

    `within` None: the whole value at `path`; else a part of it.
    """

    path: BodyPath
    section: Section
    value: str
    within: InExpression | None = None

    def resolved(self, entry_id: str) -> "Reference":
        """The same reference, by id; a problem of it is still told where and as it was written."""
        return replace(self, value=entry_id)

    def problem(self, base: BodyPath, message: str) -> Problem:
        """The message at this reference, of an entry whose own path is `base`."""
        if self.within is None:
            return Problem((*base, *self.path), message)
        told, excerpt = excerpt_of(self.within.text, self.within.span, message)
        return Problem((*base, *self.path), told, excerpt)


def references(entry: Entry) -> Iterator[Reference]:
    """Every reference of an entry."""
    match entry:
        case GatewayRule():
            for part, text, named in entry.named():
                yield Reference((part,), named.section, named.name, InExpression(text, named.span, named.type))
        case ClientCertificateV2Check() | ClientCertificateCheck():
            yield Reference(("input", "certificate_id"), Section.CERTIFICATES, entry.input.certificate_id)
        case AccessGroup() | Policy():
            yield from _in_selectors((), entry)
        case Application():
            for index, policy in enumerate(entry.policies):
                path = ("policies", index)
                match policy:
                    case str():
                        yield Reference(path, Section.POLICIES, policy)
                    case PolicyLink():
                        yield Reference((*path, "id"), Section.POLICIES, policy.id)
                    case InlinePolicy():
                        yield from _in_selectors(path, policy)


def conditions_of(entry: Entry) -> Iterator[tuple[BodyPath, WithSelectors]]:
    """What in an entry has selectors, with its path: the entry itself, or the policies in it."""
    match entry:
        case AccessGroup() | Policy():
            yield (), entry
        case Application():
            for index, policy in entry.inline_policies():
                yield ("policies", index), policy


def selectors_of(conditions: WithSelectors) -> Iterator[tuple[BodyPath, Selector]]:
    """Its selectors, each with its path."""
    for part in ("include", "require", "exclude"):
        for index, selector in enumerate(getattr(conditions, part)):
            yield (part, index), selector


def _in_selectors(base: BodyPath, conditions: WithSelectors) -> Iterator[Reference]:
    for path, selector in selectors_of(conditions):
        found = _IN_SELECTORS.get(selector.kind)
        if found is not None:
            key, section = found
            yield Reference((*base, *path, selector.kind, key), section, getattr(selector.value, key))


# ---- Names become ids -----------------------------------------------------------------------------------------------------


def with_ids(body: Mapping[str, object], ids: Iterable[tuple[Reference, str]]) -> dict[str, object]:
    """The body with an id for each of these references; the containers on the way to them are copied, nothing else."""
    whole = {reference.path: found for reference, found in ids if reference.within is None and reference.value != found}
    parts: dict[BodyPath, list[tuple[int, int, str]]] = defaultdict(list)
    texts: dict[BodyPath, str] = {}
    for reference, found in ids:
        if reference.within is not None and reference.value != found:
            written = found if reference.section is Section.LISTS else quote(found)
            parts[reference.path].append((*reference.within.span, written))
            texts[reference.path] = reference.within.text
    whole |= {path: replace_spans(texts[path], spans) for path, spans in parts.items()}
    resolved = dict(body)
    copied: dict[BodyPath, Any] = {(): resolved}
    for path, found in whole.items():
        container: Any = resolved  # JSON; the path leads through it
        for depth, step in enumerate(path[:-1], start=1):
            below = copied.get(path[:depth])
            if below is None:
                below = copied[path[:depth]] = container[step].copy()
                container[step] = below
            container = below
        container[path[-1]] = found
    return resolved

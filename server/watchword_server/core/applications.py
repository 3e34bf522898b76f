"""Which application a request belongs to: by host and path, the most specific one wins, and nothing is inherited.

The wildcards are Cloudflare's. In a host, `*` stands for characters of one label: `*.example.com` covers `a.example.com`,
neither `example.com` nor `a.b.example.com`. In a path it stands for anything, slashes too. A path covers what lies below it:
`/eng` covers `/eng` and `/eng/exec`, not `/english`; `/eng/*` does not cover `/eng`. A host without `*` is more specific than
one with, then the host with more written characters, then the path with more, then the one with fewer `*`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from watchword_server.core.access import CompiledPolicy
from watchword_server.core.model import RuleMatch
from watchword_server.core.rules import Application, Destination, PolicyDecision

_FIRST = frozenset({PolicyDecision.BYPASS, PolicyDecision.NON_IDENTITY})


@dataclass(frozen=True, slots=True)
class CompiledApplication:
    """An application with its policies in the order they are asked: bypass and Service Auth first, then allow and deny."""

    application: Application
    match: RuleMatch
    policies: tuple[CompiledPolicy, ...]
    own: tuple[CompiledPolicy, ...]  # of `policies`, those that no other application can use


def compile_application(
    application: Application, policies: Iterable[CompiledPolicy], own: Iterable[CompiledPolicy] = ()
) -> CompiledApplication:
    """Arranges the policies, given in the order of their precedence."""
    return CompiledApplication(
        application=application,
        match=RuleMatch("application", application.id, application.name),
        policies=tuple(sorted(policies, key=lambda compiled: compiled.policy.decision not in _FIRST)),
        own=tuple(own),
    )


# ---- Patterns -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Covered:
    """A path of a host; `path` None: all of it."""

    path: re.Pattern[bytes] | None
    order: tuple[int, int]  # the lower, the more specific
    application: CompiledApplication


@dataclass(frozen=True, slots=True)
class _WildHost:
    """A host with `*`, and what of it is covered."""

    pattern: re.Pattern[str]
    order: tuple[int, int, str]
    covered: tuple[_Covered, ...]


def _host_pattern(host: str) -> re.Pattern[str]:
    labels = ("[^.]+" if label == "*" else re.escape(label).replace(r"\*", "[^.]*") for label in host.split("."))
    return re.compile(r"\.".join(labels))


def path_pattern(path: str) -> re.Pattern[bytes]:
    """What a written path covers, to be matched whole."""
    written = ".*".join(re.escape(part) for part in path.split("*"))
    below = "" if path.endswith("*") else "(?:/.*)?" if not path.endswith("/") else ".*"
    return re.compile((written + below).encode(), re.DOTALL)


def _covered(destination: Destination, application: CompiledApplication) -> _Covered:
    path = destination.path
    stars = path.count("*")
    return _Covered(path_pattern(path) if path else None, (stars - len(path), stars), application)


# ---- The index ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ApplicationIndex:
    """Finds a request's application; what that costs does not grow with the number of applications on other hosts."""

    exact: Mapping[str, tuple[_Covered, ...]]  # the most specific path first
    wild: Mapping[str, tuple[_WildHost, ...]]  # by the labels after the last one with `*`

    def find(self, host: str, path: bytes) -> CompiledApplication | None:
        """The application; None: there is none."""
        found = _first(self.exact.get(host, ()), path)
        if found is None and self.wild:
            found = next(filter(None, (_first(wild.covered, path) for wild in self._wild_hosts(host))), None)
        return found

    def _wild_hosts(self, host: str) -> list[_WildHost]:
        found: list[_WildHost] = []
        suffix = host
        while suffix:
            _, _, suffix = suffix.partition(".")
            found += [wild for wild in self.wild.get(suffix, ()) if wild.pattern.fullmatch(host)]
        return sorted(found, key=lambda wild: wild.order)


def _first(covered: Iterable[_Covered], path: bytes) -> CompiledApplication | None:
    for candidate in covered:
        if candidate.path is None or candidate.path.fullmatch(path):
            return candidate.application
    return None


def index_applications(applications: Iterable[CompiledApplication]) -> ApplicationIndex:
    """Arranges applications by what they cover."""
    hosts: dict[str, tuple[_Covered, ...]] = {}
    for host, covered in _by_host(applications):
        hosts[host] = tuple(sorted((*hosts[host], covered), key=_order)) if host in hosts else (covered,)
    wild: dict[str, tuple[_WildHost, ...]] = {}
    for host in [host for host in hosts if "*" in host]:
        literal = host.rpartition("*")[2].partition(".")[2]
        stars = host.count("*")
        entry = _WildHost(_host_pattern(host), (stars - len(host), stars, host), hosts.pop(host))
        wild[literal] = (*wild.get(literal, ()), entry)
    return ApplicationIndex(hosts, wild)


def _by_host(applications: Iterable[CompiledApplication]) -> Iterator[tuple[str, _Covered]]:
    for application in applications:
        for destination in application.application.destinations:
            yield destination.host, _covered(destination, application)


def _order(covered: _Covered) -> tuple[int, int]:
    return covered.order

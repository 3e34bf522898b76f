"""Which application a request belongs to: by host and path, the most specific one wins, and nothing is inherited.

The wildcards are Cloudflare's. In a host, `*` stands for characters of one label: `*.example.com` covers `a.example.com`,
neither `example.com` nor `a.b.example.com`. In a path it stands for anything, slashes too. A path covers what lies below it:
`/eng` covers `/eng` and `/eng/exec`, not `/english`; `/eng/*` does not cover `/eng`. A host without `*` is more specific than
one with, then the host with more written characters, then the path with more, then the one with fewer `*`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from watchword_server.core.access import CompiledPolicy
from watchword_server.core.model.decisions import RuleMatch
from watchword_server.core.paths import decoded
from watchword_server.core.rules import Application, Destination, PolicyDecision

_FIRST = frozenset({PolicyDecision.BYPASS, PolicyDecision.NON_IDENTITY})


# ---- Patterns -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A written path, cut at its `*`. Matching it takes time linear in the path, however many there are."""

    pieces: tuple[bytes, ...]

    @classmethod
    def of(cls, path: bytes) -> "PathPattern":
        """The pattern of a path as it is written."""
        return cls(tuple(path.split(b"*")))

    def covers(self, path: bytes) -> bool:
        """Whether the path is what is written, or lies below it."""
        first, *others = self.pieces
        if not path.startswith(first):
            return False
        place = len(first)
        if not others:
            return _ends_segment(path, place)
        *middle, last = others
        for piece in middle:  # each at the first place where it fits: if any choice of places matches, this one does
            place = path.find(piece, place) + len(piece)
            if place < len(piece):
                return False
        if not last:
            return True
        while (found := path.find(last, place)) >= 0:
            if _ends_segment(path, found + len(last)):
                return True
            place = found + 1
        return False


def _ends_segment(path: bytes, place: int) -> bool:
    return place == len(path) or path[place - 1 : place] == b"/" or path[place : place + 1] == b"/"


@dataclass(frozen=True, slots=True)
class Place:
    """A path of a host, as it is written and with its escapes decoded, as readings have it; `patterns` None: all of the host."""

    host: str
    patterns: tuple[PathPattern, ...] | None
    order: tuple[int, int]  # the lower, the more specific

    @classmethod
    def of(cls, destination: Destination) -> "Place":
        """What a destination covers."""
        path = destination.path.encode()
        stars = path.count(b"*")
        patterns = tuple(PathPattern.of(form) for form in dict.fromkeys((path, decoded(path)))) if path else None
        return cls(destination.host, patterns, (stars - len(path), stars))

    def covers(self, path: bytes) -> bool:
        """Whether the path is in it."""
        return self.patterns is None or any(pattern.covers(path) for pattern in self.patterns)


# ---- Compiling ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CompiledApplication:
    """An application with its policies in the order they are asked: bypass and Service Auth first, then allow and deny."""

    application: Application
    match: RuleMatch
    places: tuple[Place, ...]
    policies: tuple[CompiledPolicy, ...]
    own: tuple[CompiledPolicy, ...]  # of `policies`, those that no other application can use


def compile_application(
    application: Application, policies: Iterable[CompiledPolicy], own: Iterable[CompiledPolicy] = ()
) -> CompiledApplication:
    """Arranges the policies, given in the order of their precedence."""
    return CompiledApplication(
        application=application,
        match=RuleMatch("application", application.id, application.name),
        places=tuple(map(Place.of, application.destinations)),
        policies=tuple(sorted(policies, key=lambda compiled: compiled.policy.decision not in _FIRST)),
        own=tuple(own),
    )


# ---- The index ------------------------------------------------------------------------------------------------------------

_Covered = tuple[Place, CompiledApplication]


@dataclass(frozen=True, slots=True)
class _WildHost:
    """A host with `*`, and what of it is covered."""

    pattern: re.Pattern[str]
    order: tuple[int, int, str]
    covered: tuple[_Covered, ...]


def _host_pattern(host: str) -> re.Pattern[str]:
    labels = ("[^.]+" if label == "*" else re.escape(label).replace(r"\*", "[^.]*") for label in host.split("."))
    return re.compile(r"\.".join(labels))


@dataclass(frozen=True, slots=True)
class ApplicationIndex:
    """Finds a request's application; what that costs does not grow with the number of applications on other hosts."""

    exact: Mapping[str, tuple[_Covered, ...]]  # the most specific path first
    wild: Mapping[str, tuple[_WildHost, ...]]  # by the labels after the last one with `*`

    def find(self, host: str, path: bytes) -> CompiledApplication | None:
        """The application; None: there is none."""
        covered = self.exact.get(host, ())
        if len(covered) == 1 and covered[0][0].patterns is None:  # one application, all of the host: as nearly everywhere
            return covered[0][1]
        found = _first(covered, path)
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
    for place, application in covered:
        if place.covers(path):
            return application
    return None


def index_applications(applications: Iterable[CompiledApplication]) -> ApplicationIndex:
    """Arranges applications by what they cover."""
    hosts: dict[str, tuple[_Covered, ...]] = {}
    for application in applications:
        for place in application.places:
            entry = (place, application)
            known = hosts.get(place.host)
            hosts[place.host] = (entry,) if known is None else tuple(sorted((*known, entry), key=_order))
    wild: dict[str, tuple[_WildHost, ...]] = {}
    for host in [host for host in hosts if "*" in host]:
        literal = host.rpartition("*")[2].partition(".")[2]
        stars = host.count("*")
        wild_host = _WildHost(_host_pattern(host), (stars - len(host), stars, host), hosts.pop(host))
        wild[literal] = (*wild.get(literal, ()), wild_host)
    return ApplicationIndex(hosts, wild)


def _order(covered: _Covered) -> tuple[int, int]:
    place, _ = covered
    return place.order

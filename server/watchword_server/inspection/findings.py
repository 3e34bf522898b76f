"""What can be found in a proxy's configuration (docs/proxies.md tells each)."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from watchword_server.core.answer_headers import OWNED_HEADERS

# What the shipped configurations name the header in which a proxy tells who the user is.
IDENTITY_HEADER: Final = "x-authenticated-email"
ACME: Final = "/.well-known/acme-challenge"  # RFC 8555: public by its nature
EVERYBODY: Final = frozenset({"0.0.0.0/0", "::/0"})
PATIENCE_SECONDS: Final = 5.0  # a proxy that waits longer for an answer leaves its clients hanging while Watchword is away


class Weight(StrEnum):
    """An error fails the command, a note does not."""

    ERROR = "error"
    NOTE = "note"


class Code(StrEnum):
    """What was found. Stable: scripts and `docs/proxies.md` know them."""

    NOT_READ = "not-read"
    NOT_ASKED = "not-asked"
    PARTLY_ASKED = "partly-asked"
    ASKS_NOBODY = "asks-nobody"
    FAILS_OPEN = "fails-open"
    NOT_DENIED = "not-denied"
    DENIAL_UNDONE = "denial-undone"
    ANSWER_CACHED = "answer-cached"
    QUESTION_OPEN = "question-open"
    ANOTHER_REQUEST = "another-request"
    CLIENT_HEADER_BELIEVED = "client-header-believed"
    ANSWER_HEADER_FORGEABLE = "answer-header-forgeable"
    UNDERSCORED_NAMES = "underscored-names"
    CERTIFICATE_NOT_VERIFIED = "certificate-not-verified"
    CERTIFICATE_PASSED_ON = "certificate-passed-on"
    CERTIFICATE_DROPPED = "certificate-dropped"
    TLS_OPTIONS_IGNORED = "tls-options-ignored"
    SPEAKS_BEFORE_ALLOWED = "speaks-before-allowed"
    ADMIN_OPEN = "admin-open"
    SLOW_TO_DENY = "slow-to-deny"


_NOTES: Final = frozenset({Code.CERTIFICATE_DROPPED, Code.SLOW_TO_DENY})  # closed, and yet not what was meant


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A line of a file, counted from 1."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One of them: where, what it lets happen, and what to write instead."""

    code: Code
    place: Place
    what: str
    remedy: str

    @property
    def weight(self) -> Weight:
        """Follows from the code."""
        return Weight.NOTE if self.code in _NOTES else Weight.ERROR


def forgeable(place: Place, missing: Iterable[str], remedy: str) -> Finding:
    """Headers of ours that the application gets as the client wrote them."""
    names = list(missing)
    told = "X-Watchword-…, all of them" if len(names) == len(OWNED_HEADERS) else _listed(names)
    what = f"the application gets a client's own {told}, and takes them for Watchword's"
    return Finding(Code.ANSWER_HEADER_FORGEABLE, place, what, remedy)


def believed(place: Place, names: Iterable[str], remedy: str) -> Finding:
    """Headers that Watchword believes this proxy and that the client wrote."""
    return Finding(
        Code.CLIENT_HEADER_BELIEVED,
        place,
        f"Watchword gets a client's own {_listed(names)}, and takes it for the proxy's",
        remedy,
    )


def underscored(place: Place, remedy: str) -> Finding:
    """`X_Watchword_User` beside `X-Watchword-User`."""
    return Finding(
        Code.UNDERSCORED_NAMES,
        place,
        "a client's X_Watchword_User reaches the application, which may read it as X-Watchword-User",
        remedy,
    )


def passed_on(place: Place, remedy: str) -> Finding:
    """A certificate that nobody verified, told to the application."""
    return Finding(
        Code.CERTIFICATE_PASSED_ON,
        place,
        "the application is told of a client certificate that this proxy does not verify: anybody can make one of any name",
        remedy,
    )


def slow(place: Place, remedy: str) -> Finding:
    """Closed, and late."""
    return Finding(
        Code.SLOW_TO_DENY, place, f"while Watchword does not answer, clients wait longer than {PATIENCE_SECONDS:g} s", remedy
    )


def unread(place: Place, why: str) -> Finding:
    """Something that could say anything."""
    return Finding(Code.NOT_READ, place, f"{why}: whatever stands there was not looked at", "look at it as well, or by hand")


def not_ours(names: Iterable[str]) -> list[str]:
    """Those of our headers that are not among these lower-case names, as documents spell them."""
    there = set(names)
    return [spelled(name) for name in OWNED_HEADERS if name not in there]


def spelled(name: str) -> str:
    """`X-Watchword-User` for `x-watchword-user`."""
    return "-".join(part.capitalize() for part in name.split("-"))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)

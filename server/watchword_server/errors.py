"""Every error the server raises on purpose, split by who can mend it.

WatchwordError
├── PeerError                        the agent or proxy did something wrong; carries a code, no detail leaves the house
│   ├── ProtocolViolationError       a message out of turn, malformed or too large
│   ├── EvidenceRejectedError        verify.py, steps 1 to 6; nothing was stored
│   │   ├── DeviceNotActiveError     (1) unknown, pending or revoked
│   │   ├── EnvelopeInvalidError     (2) not these bytes, not this key
│   │   ├── EvidenceMalformedError   (3) signed, yet not an evidence message within limits
│   │   ├── ForeignEvidenceError     (4) another device, session, epoch, audience or challenge
│   │   ├── StaleChallengeError      (5) the challenge was spent or too old
│   │   ├── OutOfSequenceError       (6) a repeat or a gap
│   │   ├── NewKeyRefusedError       the key a device wants to rotate to: weak, unproven or taken; they look alike
│   │   └── SupersededError          a newer session of the device holds the epoch
│   ├── EnrollmentRefusedError       whatever the reason: outside, all look alike
│   ├── CallerRefusedError           nobody we know asks for decisions
│   ├── DeviceTokenRefusedError      a client shows a device token that does not hold, or does not prove its key
│   ├── CallerNotAllowedError        a caller asks for what its entry does not let it know
│   ├── RequestMalformedError        a decision request that cannot be understood
│   └── RateLimitedError             too many in too short a time
├── OperatorError                    an operator's input or the configuration
│   ├── ConfigurationError           settings, rule files; each problem with its place and remedy
│   ├── ExpressionError              an expression of the rules language; with line, column and what was expected
│   ├── NotAuthorizedError           missing, wrong or insufficient API token
│   ├── NotFoundError                no such object
│   ├── ConflictError                it is there already, in use, or in another state
│   └── RevocationReadError          a revocation list that could not be fetched, or is refused
└── ServiceError                     ours; retry later
    ├── StoreUnavailableError        the store did not take or give it
    ├── OverloadedError              a bounded queue is full
    └── DataDirectoryBusyError       another process holds the data directory
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

_CONTEXT_CHARACTERS: Final = 60


class WatchwordError(Exception):
    """Base of all; `code` is stable and part of the interface (docs/reasons.md)."""

    code: ClassVar[str] = "internal"


class PeerError(WatchwordError):
    """The peer's fault. The peer learns `code`; the message is for the operator's log."""

    code = "peer_error"


class ProtocolViolationError(PeerError):
    """A message out of turn, malformed or too large."""

    code = "protocol_violation"


class EvidenceRejectedError(PeerError):
    """Evidence that is not believed; nothing was stored."""

    code = "evidence_rejected"


class DeviceNotActiveError(EvidenceRejectedError):
    """(1) The device is unknown, pending or revoked: from outside, the same."""

    code = "device_not_active"


class EnvelopeInvalidError(EvidenceRejectedError):
    """(2) The device's key did not sign exactly these bytes as this kind of message."""

    code = "envelope_invalid"


class EvidenceMalformedError(EvidenceRejectedError):
    """(3) The signed payload is not a message of its kind, or exceeds a limit."""

    code = "evidence_malformed"


class ForeignEvidenceError(EvidenceRejectedError):
    """(4) It names another device, session, epoch, audience or challenge."""

    code = "evidence_foreign"


class StaleChallengeError(EvidenceRejectedError):
    """(5) The challenge was spent or is too old; a fresh one may be asked for."""

    code = "challenge_stale"


class OutOfSequenceError(EvidenceRejectedError):
    """(6) The sequence number is not exactly the next."""

    code = "out_of_sequence"


class NewKeyRefusedError(EvidenceRejectedError):
    """The key a device wants to rotate to is weak, did not sign, or was used before: from outside, the same."""

    code = "new_key_refused"


class SupersededError(EvidenceRejectedError):
    """A newer session of the device holds the epoch; this one has no effect any more."""

    code = "session_superseded"


class EnrollmentRefusedError(PeerError):
    """The enrollment was refused. `reason` is for the operator's log; the peer learns none."""

    code = "enrollment_refused"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class CallerRefusedError(PeerError):
    """The caller is not registered, or asserts what its entry does not allow."""

    code = "caller_refused"


class DeviceTokenRefusedError(PeerError):
    """A client shows a device token that does not hold, or does not prove the key it was issued to. `reason`: a decision's."""

    code = "device_token_refused"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class CallerNotAllowedError(PeerError):
    """A caller asks for what its entry does not let it know."""

    code = "caller_not_allowed"


class RequestMalformedError(PeerError):
    """A decision request that cannot be understood; a proxy treats it as a denial."""

    code = "request_malformed"


class RateLimitedError(PeerError):
    """Too many in too short a time."""

    code = "rate_limited"

    def __init__(self, message: str, *, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class OperatorError(WatchwordError):
    """An operator's input or configuration."""

    code = "operator_error"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a configuration: where, what, and what to write instead.

    `path` leads from the document's root to the value: names of keys and indexes of lists. `excerpt` are lines to show beneath:
    of an expression, the source around the fault and a caret.
    """

    path: tuple[str | int, ...]
    message: str
    excerpt: tuple[str, ...] = ()


class ConfigurationError(OperatorError):
    """A configuration that is refused whole, with every problem found."""

    code = "configuration_invalid"

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, problem.path))}: {problem.message}" for problem in problems))
        self.problems = tuple(problems)


class ExpressionError(OperatorError):
    """An expression of the rules language that is refused, with the place of the first fault.

    `position` and `length` count code points in `text`; `length` is 0 where something is missing.
    """

    code = "expression_invalid"

    def __init__(
        self, kind: Literal["syntax", "type", "unknown_field"], message: str, *, text: str, position: int, length: int = 0
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.text = text
        self.position = position
        self.length = length

    def __str__(self) -> str:
        return f"{self.line}:{self.column}: {self.message}"

    @property
    def line(self) -> int:
        """The line of the fault, from 1."""
        return self.text.count("\n", 0, self.position) + 1

    @property
    def column(self) -> int:
        """The column of the fault in its line, from 1, in code points."""
        return self.position - self.text.rfind("\n", 0, self.position)

    def render(self) -> str:
        """Three lines: the message with its place, the source around the fault, and carets under the fault."""
        start = self.position - self.column + 1
        line_end = self.text.find("\n", self.position)
        end = len(self.text) if line_end < 0 else line_end
        left = max(start, self.position - _CONTEXT_CHARACTERS)
        right = min(end, max(self.position + _CONTEXT_CHARACTERS, left + 2 * _CONTEXT_CHARACTERS))
        before = ("…" if left > start else "") + self.text[left : self.position]
        after = self.text[self.position : right] + ("…" if right < end else "")
        carets = "^" * max(1, min(self.length, right - self.position))
        return f"{self}\n{_printable(before)}{_printable(after)}\n{' ' * len(before)}{carets}"


def _printable(text: str) -> str:
    """One visible character for each: control characters and the like would move the caret or the terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


class NotAuthorizedError(OperatorError):
    """An API token is missing, wrong, expired, or its role is not enough."""

    code = "not_authorized"


class TokenRefusedError(NotAuthorizedError):
    """A token of another issuer is not one that holds here. The message says why, for the audit log; who sent it learns none."""

    code = "token_refused"


class NotFoundError(OperatorError):
    """No such object."""

    code = "not_found"


class ConflictError(OperatorError):
    """The object is there already, in use, or in a state that does not allow this."""

    code = "conflict"


class RevocationReadError(OperatorError):
    """A revocation list that could not be fetched, read or verified. `reason` is stable, `detail` for people."""

    code = "revocation_list_refused"

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class ServiceError(WatchwordError):
    """Our fault or our limit; the same call may succeed later."""

    code = "unavailable"


class StoreUnavailableError(ServiceError):
    """The store did not take or give it; nothing was acknowledged."""

    code = "store_unavailable"


class KeysUnavailableError(ServiceError):
    """The keys of a token's issuer cannot be read."""

    code = "keys_unavailable"


class OverloadedError(ServiceError):
    """A bounded queue is full."""

    code = "overloaded"


class DataDirectoryBusyError(ServiceError):
    """Another process holds the data directory."""

    code = "data_directory_busy"

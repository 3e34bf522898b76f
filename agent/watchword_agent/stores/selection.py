"""Which of the certificates that were found are worth sending: those that could pass, else the nearest misses."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from cryptography import x509

from watchword.v1 import posture_pb2 as pb
from watchword_agent.stores.base import MAX_CANDIDATES, Candidate, Contents, Found, Variables
from watchword_agent.stores.conditions import Condition, examine, load

MAX_CHAIN: Final = 8
_MAX_CERTIFICATE_BYTES: Final = 32 * 1024  # the server would reject all evidence for a larger one


class Seen:
    """A certificate that was found, read once, with what of the check it meets."""

    def __init__(
        self, found: Found, wanted: pb.ClientCertificateCheck, variables: Variables, now: dt.datetime, *, explicit: bool
    ) -> None:
        self.found = found
        self.explicit = explicit
        self.certificate = load(found.der)
        self.conditions: tuple[Condition, ...] = examine(found, self.certificate, wanted, variables, now)

    @cached_property
    def subject(self) -> bytes:
        """In DER; empty for what cannot be read."""
        return b"" if self.certificate is None else self.certificate.subject.public_bytes()

    @cached_property
    def issuer(self) -> bytes:
        """As `subject`."""
        return b"" if self.certificate is None else self.certificate.issuer.public_bytes()

    @property
    def passes(self) -> bool:
        """Whether nothing is known that would fail it."""
        return all(condition.met for condition in self.conditions)

    @property
    def is_ca(self) -> bool:
        """Whether it says that it is a CA's."""
        if self.certificate is None:
            return False
        try:
            return self.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except x509.ExtensionNotFound:
            return False


@dataclass(frozen=True, slots=True)
class Selection:
    """What a check's places hold: everything, and what of it is sent."""

    seen: tuple[Seen, ...]
    chosen: tuple[Seen, ...]

    def candidates(self) -> list[Candidate]:
        """The chosen ones, each with what may stand above it."""
        return [
            Candidate(
                tuple(each.found.der for each in _chain(leaf, self.seen)),
                leaf.found.location,
                leaf.found.private_key,
                leaf.found.sign,
                leaf.found.ocsp_responses,
            )
            for leaf in self.chosen
        ]


def select(
    contents: Sequence[Contents], wanted: pb.ClientCertificateCheck, variables: Variables, *, now: dt.datetime
) -> Selection:
    """At most `MAX_CANDIDATES`, the most promising first. What lies in several places is one, with a key if any has it."""
    seen = [
        Seen(found, wanted, variables, now, explicit=content.explicit)
        for content in contents
        for found in content.found
        if len(found.der) <= _MAX_CERTIFICATE_BYTES
    ]
    unique: dict[bytes, Seen] = {}
    for each in seen:
        other = unique.get(each.found.der)
        if other is None or (other.found.sign is None and each.found.sign is not None):
            unique[each.found.der] = each
    seen = list(unique.values())
    issuers = {each.issuer for each in seen if each.issuer != each.subject}
    standing = [each for each in seen if each.found.sign is not None or each.subject not in issuers] or seen
    # Of whole stores, what only a CA has is no client certificate; at a place that the check names, whatever lies there is told.
    standing = [each for each in standing if each.explicit or each.found.sign is not None or not each.is_ca]
    standing.sort(key=_rank)  # stable: else in the order found
    return Selection(tuple(seen), tuple(standing[:MAX_CANDIDATES]))


def _rank(seen: Seen) -> tuple[bool, bool, int]:
    """The smaller the nearer: passes; has a key; meets many conditions."""
    return not seen.passes, seen.found.sign is None, -sum(condition.met for condition in seen.conditions)


def _chain(leaf: Seen, seen: Sequence[Seen]) -> list[Seen]:
    """The leaf, then what may stand above it, by name: the server judges signatures. Nothing unrelated."""
    chain = [leaf]
    for certificate in chain:  # grows while it is walked: breadth first, which covers cross-signed issuers
        above = (other for other in seen if other.subject == certificate.issuer and other not in chain)
        chain.extend(list(above)[: MAX_CHAIN - len(chain)])
    return chain

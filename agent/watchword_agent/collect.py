"""Looking at everything a set of checks asks for. Blocking: runs in a worker thread."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from watchword.v1 import posture_pb2 as pb
from watchword_agent import log
from watchword_agent.errors import CollectionFailedError
from watchword_agent.identity import Identity, monotonic_seconds
from watchword_agent.kinds import kind_of
from watchword_agent.kinds.base import ProofBinding
from watchword_agent.stores.base import Access, Watched

_BUDGET_BYTES: Final = 240 * 1024  # a message has at most 256 KiB, the envelope and the rest of the evidence included


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found for one check, and when looking began, by `monotonic_seconds`."""

    evidence: pb.CheckEvidence
    looked_at: float


@dataclass(frozen=True, slots=True)
class Collected:
    """What was found for a set of checks, in their order."""

    identity: Identity
    findings: tuple[Finding, ...]


class Collector:
    """Collects evidence with the identity as it is at that moment."""

    def __init__(
        self, read_identity: Callable[[], Identity], access: Access, clock: Callable[[], float] = monotonic_seconds
    ) -> None:
        self._read_identity = read_identity
        self._access = access
        self._clock = clock

    def watched(self, checks: Sequence[pb.Check]) -> Watched:
        """What may change what `collect` brings."""
        identity, watched = self._read_identity(), Watched()
        for check in checks:
            kind = kind_of(check)
            if kind is not None:
                watched |= kind.watched(check, identity, self._access)
        return watched

    def collect(self, checks: Sequence[pb.Check], binding: ProofBinding) -> Collected:
        """One finding for each check, whatever happens: what cannot be looked at says why."""
        identity = self._read_identity()
        return Collected(identity, _within_budget([self._look(check, identity, binding) for check in checks]))

    def timed_out(self, checks: Sequence[pb.Check]) -> Collected:
        """What to say when `collect` does not come back, as from a dead network file system."""
        failure = CollectionFailedError("collection_timeout", "looking took too long")
        return Collected(self._read_identity(), tuple(Finding(_failed(check, failure), self._clock()) for check in checks))

    def _look(self, check: pb.Check, identity: Identity, binding: ProofBinding) -> Finding:
        looked_at, kind = self._clock(), kind_of(check)
        evidence = pb.CheckEvidence(check_id=check.id, check_revision=check.revision)
        try:
            if kind is None:
                raise CollectionFailedError("kind_unsupported", "this agent does not know this kind of check: update it")
            kind.collect(check, identity, self._access, binding, evidence)
        except CollectionFailedError as failure:
            evidence = _failed(check, failure)
        except Exception as error:  # noqa: BLE001 -- a fault in one check must not silence the others
            evidence = _failed(check, CollectionFailedError("internal_error", type(error).__name__))
        return Finding(evidence, looked_at)


def _failed(check: pb.Check, failure: CollectionFailedError) -> pb.CheckEvidence:
    log.debug(log.Event.COLLECTION_FAILED, check=check.name or check.id, code=failure.code, detail=failure.detail)
    error = pb.CollectionError(code=failure.code, detail=failure.detail)
    return pb.CheckEvidence(check_id=check.id, check_revision=check.revision, error=error)


def _within_budget(findings: list[Finding]) -> tuple[Finding, ...]:
    """The same, with the largest replaced by an error until all fit into one message."""
    sizes = [finding.evidence.ByteSize() for finding in findings]
    while sum(sizes) > _BUDGET_BYTES:
        largest = sizes.index(max(sizes))
        found = findings[largest].evidence
        error = pb.CollectionError(code="evidence_too_large", detail="what was found does not fit into one message")
        smaller = pb.CheckEvidence(check_id=found.check_id, check_revision=found.check_revision, error=error)
        if smaller.ByteSize() >= sizes[largest]:
            break  # thousands of checks, none of them large: nothing to gain
        log.warning(log.Event.EVIDENCE_TOO_LARGE, check=found.check_id)
        findings[largest], sizes[largest] = replace(findings[largest], evidence=smaller), smaller.ByteSize()
    return tuple(findings)

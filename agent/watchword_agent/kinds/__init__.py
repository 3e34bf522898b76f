"""The kinds of check, a small registry: a kind is one collector here and one judge in the server. Its name is the wire's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from watchword.v1 import posture_pb2 as pb
from watchword_agent.identity import Identity
from watchword_agent.kinds import client_certificate
from watchword_agent.kinds.base import ProofBinding
from watchword_agent.stores.base import Access, Watched


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of check is looked at, and whose change may change what is found."""

    collect: Callable[[pb.Check, Identity, Access, ProofBinding, pb.CheckEvidence], None]
    watched: Callable[[pb.Check, Identity, Access], Watched]


KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {"client_certificate": Kind(collect=client_certificate.collect, watched=client_certificate.watched)}
)


def kind_of(check: pb.Check) -> Kind | None:
    """The kind of a check; None for one that this agent does not know."""
    return KINDS.get(check.WhichOneof("kind") or "")

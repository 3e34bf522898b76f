"""What the agent needs from a certificate store: candidates for a check, a signature by a candidate's key, what to watch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from watchword.v1 import posture_pb2 as pb

MAX_CANDIDATES: Final = 8
Variables = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Possession:
    """A signature by a certificate's own key; `scheme` as `watchword.possession` names it, ECDSA in DER."""

    scheme: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class Candidate:
    """A certificate that was found: DER chain, itself first.

    `sign` is there exactly if `private_key` is USABLE; it takes a possession statement and raises `SigningFailedError`.
    """

    chain: tuple[bytes, ...]
    location: str
    private_key: pb.PrivateKeyState
    sign: Callable[[bytes], Possession] | None = None
    ocsp_responses: tuple[bytes, ...] = ()  # in DER


class CertificateStore(Protocol):
    """One kind of store. Called from a worker thread; may block."""

    def find(self, check: pb.ClientCertificateCheck, variables: Variables) -> Sequence[Candidate]:
        """At most `MAX_CANDIDATES`, the most promising first; none: not found. Raises `CollectionFailedError`."""
        ...

    def watched(self, check: pb.ClientCertificateCheck, variables: Variables) -> frozenset[str]:
        """The files whose change may change what `find` finds, whether they exist or not."""
        ...

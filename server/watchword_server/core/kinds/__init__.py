"""The kinds of check, a small registry: a kind is one module here, one configuration model, and one collector in the agent.

A kind judges a claim and says why; what holds for every kind (believing the envelope, the age of a claim, when a result
expires) is in `verify.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from watchword_server.core.kinds import client_certificate
from watchword_server.core.kinds.verdict import JudgingContext, Verdict
from watchword_server.core.model.evidence import Claim


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of check is judged. `types` are its names in the Cloudflare API."""

    types: tuple[str, ...]
    judge: Callable[[Claim, JudgingContext], Verdict]


CLIENT_CERTIFICATE: Final = Kind(types=("client_certificate_v2", "client_certificate"), judge=client_certificate.judge)

KINDS: Final[Mapping[str, Kind]] = MappingProxyType({name: kind for kind in (CLIENT_CERTIFICATE,) for name in kind.types})

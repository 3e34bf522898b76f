"""How much work one chain, one claim and one message are worth."""

from dataclasses import dataclass, field
from typing import Final

from watchword_server.core.certificates.refusal import CertificateRefusedError
from watchword_server.core.model.names import Fingerprint

_CLAIM: Final = 8_000  # microseconds: eight signatures on P-521, or a hundred on P-256
_MESSAGE: Final = 15_000


@dataclass(slots=True)
class Work:
    """What is left of it, in estimated microseconds: whoever sends a chain chooses what it costs to judge.

    What is remembered costs nothing. `signatures` are those that were verified here, by issuer and certificate, with the reason
    why one does not hold; none is verified twice. A part of a larger work takes from both.
    """

    microseconds: int = _CLAIM
    signatures: dict[tuple[Fingerprint, Fingerprint], str | None] = field(default_factory=dict)
    whole: "Work | None" = None

    @classmethod
    def of_message(cls) -> "Work":
        """What all claims of one message may cost together."""
        return cls(_MESSAGE)

    def of_claim(self) -> "Work":
        """What one of its claims may cost: the same whether the claim is judged in its message or again by itself."""
        return Work(whole=self, signatures=self.signatures)

    def spend(self, microseconds: int) -> None:
        """Raises `CertificateRefusedError` once too little is left."""
        self.microseconds -= microseconds
        if self.microseconds < 0:
            raise CertificateRefusedError(
                "chain_too_complex", expected="a chain without needless certificates, names or constraints"
            )
        if self.whole is not None:
            self.whole.spend(microseconds)

    def give_back(self, microseconds: int) -> None:
        """What was spent on that which has to be done once for every claim, and was worth it."""
        self.microseconds += microseconds
        if self.whole is not None:
            self.whole.give_back(microseconds)

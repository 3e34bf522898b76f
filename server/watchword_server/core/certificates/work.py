"""How much work one chain is worth."""

from dataclasses import dataclass

from watchword_server.core.certificates.refusal import CertificateRefusedError


@dataclass(slots=True)
class Work:
    """What is left of it, in estimated microseconds: whoever sends a chain chooses what it costs to judge."""

    microseconds: int = 6000  # seven signatures on P-521, or a hundred on P-256

    def spend(self, microseconds: int) -> None:
        """Raises `CertificateRefusedError` once too little is left."""
        self.microseconds -= microseconds
        if self.microseconds < 0:
            raise CertificateRefusedError(
                "chain_too_complex", expected="a chain without needless certificates, names or constraints"
            )

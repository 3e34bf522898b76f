"""What every proof of a piece of evidence is bound to."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProofBinding:
    """One challenge to one device: a proof made for it is worth nothing elsewhere."""

    nonce: bytes
    audience: str
    device_id: str
    session_id: bytes

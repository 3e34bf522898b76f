"""What is known of revocation now: one immutable view, swapped whole."""

from dataclasses import dataclass

from watchword_server.core.certificates.revocation import NOTHING_KNOWN, RevocationView


@dataclass(slots=True)
class RevocationInForce:
    """Holds the view; readers take `current` once and keep it for as long as they work.

    `edition` is another one when verdicts may be others: a view that only knows the same for longer leaves it.
    """

    current: RevocationView = NOTHING_KNOWN
    edition: int = 0

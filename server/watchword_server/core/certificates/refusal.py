"""Why a certificate does not pass, and how near it came."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Attempt:
    """A path that was tried, as far as it went, and why it does not pass."""

    subjects: tuple[str | None, ...]  # as `ParsedCertificate.subject_text`, from the lowest certificate to the trusted one
    reason: str
    expected: object
    received: object


class CertificateRefusedError(Exception):
    """Why a certificate does not pass: `reason` (docs/reasons.md), what was expected and what was received.

    `rank` is how far the certificate came: of several candidates the one with the highest is the nearest miss. `attempts` are
    the paths that were tried, where there is a choice of paths.
    """

    def __init__(
        self, reason: str, *, expected: object = None, received: object = None, attempts: Sequence[Attempt] = ()
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.expected = expected
        self.received = received
        self.attempts = tuple(attempts)

    @property
    def rank(self) -> int:
        """The place of `reason` in the order of conditions."""
        return ORDER.index(self.reason)


# In the order of the conditions.
ORDER: Final = (
    "certificate_malformed",
    "certificate_is_the_issuer",
    "certificate_algorithm_refused",
    "certificate_wrong_issuer",
    "chain_incomplete",
    "chain_too_long",
    "chain_too_complex",
    "certificate_signature_invalid",
    "certificate_is_a_ca",
    "certificate_extension_not_understood",
    "certificate_key_weak",
    "issuer_not_a_ca",
    "path_length_exceeded",
    "name_constraints_violated",
    "policy_required",
    "issuer_not_valid_now",
    "certificate_not_yet_valid",
    "certificate_expired",
    "extended_key_usage_missing",
    "serial_number_unknown",
    "serial_number_mismatch",
    "hostname_unknown",
    "common_name_mismatch",
    "subject_alternative_name_mismatch",
    "issuer_revoked",
    "certificate_revoked",
    "revocation_unknown",
)
REASONS: Final = frozenset(ORDER)

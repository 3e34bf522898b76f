"""The headers that an answer carries: to the application when it allows, to the client when it denies. Lower-case names."""

from typing import Final

DECISION_ID: Final = "x-watchword-decision-id"
DEVICE: Final = "x-watchword-device"
IDENTIFIED_BY: Final = "x-watchword-device-identified-by"
USER: Final = "x-watchword-user"
POLICY: Final = "x-watchword-policy"
CHECKS: Final = "x-watchword-checks"
EVIDENCE_LEVEL: Final = "x-watchword-evidence-level"
EVIDENCE_AGE: Final = "x-watchword-evidence-age"
REASON: Final = "x-watchword-reason"
ASSERTION: Final = "x-watchword-assertion"
OWNED_HEADERS: Final = (
    DECISION_ID,
    DEVICE,
    IDENTIFIED_BY,
    USER,
    POLICY,
    CHECKS,
    EVIDENCE_LEVEL,
    EVIDENCE_AGE,
    REASON,
    ASSERTION,
)

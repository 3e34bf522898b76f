"""The reasons that a decision can have without a server (docs/reasons.md): what a scenario may expect and suppose."""

from typing import Final

from watchword_server.core.certificates import refusal

# Why what a client presented makes the link to its device invalid.
LINK_REASONS: Final = refusal.REASONS | {
    "certificate_cloned", "device_ambiguous", "device_conflict", "device_locked", "device_token_refused", "device_proof_refused",
}  # fmt: skip
DECISION_REASONS: Final = LINK_REASONS | {
    "policy_allow", "policy_bypass", "policy_service_auth", "policy_deny", "gateway_block", "no_application", "no_policy_matched",
    "rule_allow", "rule_block", "no_rule_matched",
    "path_ambiguous", "service_token_refused", "fact_unknown", "no_device", "unknown_device", "device_pending", "device_revoked",
    "certificate_not_proven", "check_failed", "result_expired", "evidence_too_weak", "evidence_too_old", "no_result",
    "device_key_not_in_hardware", "device_binding_too_weak",
}  # fmt: skip

"""The names of structured log events, in one place. The decision log and the posture log are described in docs/logs.md."""

from typing import Final

SERVER_READY: Final = "server_ready"
SERVER_DRAINING: Final = "server_draining"
SERVER_STOPPED: Final = "server_stopped"
FEW_FILES: Final = "few_files"
SIGNAL_IGNORED: Final = "signal_ignored"
CLOCK_JUMPED: Final = "clock_jumped"
CERTIFICATE_CLONED: Final = "certificate_cloned"
SETTLE_FAILED: Final = "settle_failed"
DEVICE_ENROLLED: Final = "device_enrolled"
DEVICE_STATE_CHANGED: Final = "device_state_changed"
ENROLLMENT_REFUSED: Final = "enrollment_refused"
EVIDENCE_REJECTED: Final = "evidence_rejected"
STREAM_REFUSED: Final = "stream_refused"
STREAM_FAILED: Final = "stream_failed"
CALLER_SOCKET_FAILED: Final = "caller_socket_failed"
CALLER_REFUSED: Final = "caller_refused"
DECISION_FAILED: Final = "decision_failed"
RULES_CHANGED: Final = "rules_changed"
TOKEN_CREATED: Final = "token_created"  # noqa: S105 - a name of an event
TOKEN_REVOKED: Final = "token_revoked"  # noqa: S105 - a name of an event
LOG_LINE_FAILED: Final = "log_line_failed"
REQUEST_FAILED: Final = "request_failed"

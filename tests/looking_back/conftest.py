"""The same office as the audit log's tests have."""

from audit.conftest import office, pki

__all__ = ["office", "pki"]

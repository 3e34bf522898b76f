"""The operators' door: the API under `/api/v1`, `/metrics`, liveness and readiness. One module a subject; `app.py` joins them."""

from watchword_server.doors.operators.app import OperatorsDoor
from watchword_server.doors.operators.authentication import LOCAL_SOCKET

__all__ = ["LOCAL_SOCKET", "OperatorsDoor"]

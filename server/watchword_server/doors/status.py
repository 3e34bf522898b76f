"""Errors to status codes: one total table (`tests/doors/test_status.py`). Subclasses inherit their parent's row."""

from collections.abc import Mapping
from typing import Final

import grpc

from watchword_server import errors

_STATUS: Final[Mapping[type[errors.WatchwordError], tuple[grpc.StatusCode, int]]] = {
    errors.WatchwordError: (grpc.StatusCode.INTERNAL, 500),
    errors.PeerError: (grpc.StatusCode.INVALID_ARGUMENT, 400),
    errors.EvidenceRejectedError: (grpc.StatusCode.PERMISSION_DENIED, 403),
    errors.EvidenceMalformedError: (grpc.StatusCode.INVALID_ARGUMENT, 400),
    errors.StaleChallengeError: (grpc.StatusCode.FAILED_PRECONDITION, 409),
    errors.SupersededError: (grpc.StatusCode.ABORTED, 409),
    errors.EnrollmentRefusedError: (grpc.StatusCode.PERMISSION_DENIED, 403),
    errors.CallerRefusedError: (grpc.StatusCode.UNAUTHENTICATED, 401),
    errors.CallerNotAllowedError: (grpc.StatusCode.PERMISSION_DENIED, 403),
    errors.RateLimitedError: (grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
    errors.OperatorError: (grpc.StatusCode.INVALID_ARGUMENT, 400),
    errors.NotAuthorizedError: (grpc.StatusCode.UNAUTHENTICATED, 401),
    errors.NotFoundError: (grpc.StatusCode.NOT_FOUND, 404),
    errors.ConflictError: (grpc.StatusCode.FAILED_PRECONDITION, 409),
    errors.RevocationReadError: (grpc.StatusCode.INVALID_ARGUMENT, 422),
    errors.ServiceError: (grpc.StatusCode.UNAVAILABLE, 503),
    errors.OverloadedError: (grpc.StatusCode.RESOURCE_EXHAUSTED, 503),
}


def grpc_status(error: errors.WatchwordError) -> grpc.StatusCode:
    """The gRPC status of an error."""
    return next(_STATUS[cls] for cls in type(error).__mro__ if cls in _STATUS)[0]


def http_status(error: errors.WatchwordError) -> int:
    """The HTTP status of an error."""
    return next(_STATUS[cls] for cls in type(error).__mro__ if cls in _STATUS)[1]

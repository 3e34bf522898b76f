"""Errors as the API tells them: a code, a message, and for a document every problem with its path."""

from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from watchword_server import events
from watchword_server.doors.operators.authentication import ForbiddenError
from watchword_server.doors.status import http_status
from watchword_server.errors import ConfigurationError, RateLimitedError, WatchwordError

_log = structlog.get_logger(__name__)


def add_error_handlers(app: FastAPI) -> None:
    """Every failure leaves in one form, whoever noticed it."""
    app.add_exception_handler(WatchwordError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def error_response(
    status: int,
    code: str,
    message: str,
    *,
    problems: list[dict[str, Any]] | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """One error."""
    return JSONResponse({"error": {"code": code, "message": message, "problems": problems or []}}, status, headers)


def refusal(error: WatchwordError) -> JSONResponse:
    """One error of ours."""
    problems, headers = [], {}
    if isinstance(error, ConfigurationError):
        problems = [
            {"path": list(problem.path), "message": problem.message, "excerpt": list(problem.excerpt)}
            for problem in error.problems
        ]
    if isinstance(error, RateLimitedError):
        headers["Retry-After"] = str(max(1, int(error.retry_after_seconds)))
    status = 403 if isinstance(error, ForbiddenError) else http_status(error)
    return error_response(status, error.code, str(error), problems=problems, headers=headers)


async def _ours(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, WatchwordError):
        raise error
    return refusal(error)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    problems = [{"path": list(problem["loc"]), "message": problem["msg"].lower()} for problem in error.errors()]
    return error_response(400, "request_invalid", "the request body or a parameter is not as expected", problems=problems)


async def _http(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    return error_response(error.status_code, "http_error", str(error.detail).lower())


async def _unexpected(_: Request, error: Exception) -> JSONResponse:
    _log.error(events.REQUEST_FAILED, exc_info=error)
    return error_response(500, "internal", "something went wrong here; the server's log has it")

"""Errors as the API tells them: a code, a message, and for a document every problem with its path."""

from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from watchword_server import events
from watchword_server.doors.operators.authentication import ForbiddenError
from watchword_server.doors.status import http_status
from watchword_server.errors import ConfigurationError, RateLimitedError, WatchwordError


class ErrorProblem(BaseModel):
    """One thing that is wrong, and where: the path into the body, or `query` or `path` and a parameter's name."""

    path: list[str | int]
    message: str
    excerpt: list[str] = []


class Error(BaseModel):
    """`code` is for programs (docs/reasons.md), `message` for people."""

    code: str
    message: str
    problems: list[ErrorProblem]


class ErrorAnswer(BaseModel):
    """What every failure is answered with."""

    error: Error


FAILURES: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": ErrorAnswer, "description": words}
    for status, words in {
        400: "not as it has to be: each problem with its place",
        401: "no token, or one that is not valid",
        403: "a token that may not do this",
        404: "there is no such thing",
        409: "it does not fit what is there",
        411: "without a Content-Length",
        413: "too large",
        429: "too many wrong tokens, or too much at once",
        503: "the store does not take it: try again",
    }.items()
}

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

"""Errors in the API's form: a code, a message that names the remedy, and where in the request, as a JSON pointer."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

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

# The numbers that the API gives such failures; others by their status.
_CODES: Final = {400: 1004, 401: 10000, 403: 9109, 404: 7003, 405: 7001, 409: 1005, 411: 1006, 413: 1007, 429: 1015}
_INTERNAL: Final = 1001
_MAX_RETRY_SECONDS: Final = 60  # the SDK takes no more
_FIRST_OF_THE_ENTRY: Final = 2  # a problem's path begins with the section and the entry's name


def add_error_handlers(app: FastAPI) -> None:
    """Every failure leaves in one form, whoever noticed it."""
    app.add_exception_handler(WatchwordError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def failure(status: int, message: str, *, pointer: str | None = None, headers: dict[str, str] | None = None) -> JSONResponse:
    """One error."""
    return _failure(status, [(message, pointer)], headers)


def refusal(error: WatchwordError) -> JSONResponse:
    """One error of ours. A conflict is final: the SDK would try again otherwise."""
    status = 403 if isinstance(error, ForbiddenError) else http_status(error)
    if isinstance(error, ConfigurationError):
        return _failure(400, [(_told(problem.message, problem.excerpt), _pointer(problem.path)) for problem in error.problems])
    headers = {}
    if isinstance(error, RateLimitedError):
        headers["Retry-After"] = str(min(_MAX_RETRY_SECONDS, max(1, int(error.retry_after_seconds))))
    elif status == 409:
        headers["x-should-retry"] = "false"
    return failure(status, str(error), headers=headers)


def _failure(status: int, errors: Sequence[tuple[str, str | None]], headers: dict[str, str] | None = None) -> JSONResponse:
    code = _CODES.get(status, _INTERNAL)
    told = [
        {"code": code, "message": message} | ({} if pointer is None else {"source": {"pointer": pointer}})
        for message, pointer in errors
    ]
    return JSONResponse({"success": False, "errors": told, "messages": [], "result": None}, status, headers)


def _told(message: str, excerpt: Sequence[str]) -> str:
    return "\n".join([message, *excerpt])


def _pointer(path: Sequence[str | int]) -> str | None:
    parts = path[_FIRST_OF_THE_ENTRY:]
    return "/" + "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in parts) if parts else None


async def _ours(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, WatchwordError):
        raise error
    return refusal(error)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    """Never 422, which the SDK has another exception for."""
    if not isinstance(error, RequestValidationError):
        raise error
    return _failure(400, [(_sentence(problem), _place(problem)) for problem in error.errors()])


def _sentence(problem: dict[str, Any]) -> str:
    loc = problem["loc"]
    if problem["type"] == "json_invalid":
        return "the body is not JSON"
    name = f"`{loc[-1]}`" if len(loc) > 1 else "the body"
    return f"{name} is missing" if problem["type"] == "missing" else f"{name}: {str(problem['msg']).lower()}"


def _place(problem: Mapping[str, Any]) -> str | None:
    loc = problem["loc"]
    if problem["type"] == "json_invalid":
        return None
    return "/" + "/".join(map(str, loc[1:])) if loc and loc[0] == "body" and len(loc) > 1 else None


async def _http(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    words = {404: "there is no such route: this server has a part of the API, see docs/api.md", 405: "not by this method"}
    return failure(error.status_code, words.get(error.status_code, str(error.detail).lower()), headers=dict(error.headers or {}))


async def _unexpected(_: Request, error: Exception) -> JSONResponse:
    _log.error(events.REQUEST_FAILED, exc_info=error)
    return failure(500, "something went wrong here; the server's log has it")
